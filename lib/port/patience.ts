// How long a store may take: `storeTimeout`, and the warning that names a store which does not answer.

import { type Awaitable, isPromise } from '../awaitable.ts'
import { warn } from '../diagnostics.ts'
import { SessionError } from '../errors.ts'
import { alarm, inBackground } from '../timers.ts'

/** After so many ms without an answer a store is named. */
const LONG = 10_000

/** The calls of one store that wait for their answers. */
export class Patience {
  readonly #name: string
  readonly #waiting = new Map<object, { readonly since: number; readonly method: string }>()
  #isLooking = false
  #isNamed = false

  constructor(store: object) {
    this.#name = store.constructor?.name || 'the store'
  }

  /** Passes an answer on. After `timeout` ms it counts as failed; without one, a late answer is warned of. */
  wait<T>(answer: Awaitable<T>, method: string, timeout: number | undefined): Awaitable<T> {
    if (!isPromise(answer)) return answer
    return timeout === undefined ? this.#watch(answer, method) : limit(answer, method, timeout)
  }

  /** Remembers when the call was made. One timer serves all calls that wait. */
  #watch<T>(answer: Promise<T>, method: string): Promise<T> {
    if (this.#isNamed) return answer
    this.#waiting.set(answer, { since: Date.now(), method })
    const done = (): boolean => this.#waiting.delete(answer)
    answer.then(done, done)
    this.#look()
    return answer
  }

  /** Looks, once in that time, for a call that has waited as long. A store is named once in a process. */
  #look(): void {
    if (this.#isLooking) return
    this.#isLooking = true
    inBackground(LONG, () => {
      this.#isLooking = false
      const late = [...this.#waiting.values()].find(({ since }) => Date.now() - since >= LONG)
      if (late) {
        this.#isNamed = true
        this.#waiting.clear()
        warn(
          'WARN_SESSION_STORE_SILENT',
          `${this.#name} has not answered ${late.method}() for ${LONG / 1000} seconds, so a request waits; see that it calls ` +
            'back or settles its promise, and set the storeTimeout option to fail such requests',
        )
      } else if (this.#waiting.size > 0) this.#look()
    })
  }
}

/** Whichever comes first: the answer, or the end of the time. */
function limit<T>(answer: Promise<T>, method: string, timeout: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const patience = alarm(timeout, () =>
      reject(new SessionError('ERR_SESSION_TIMEOUT', `store did not answer ${method}() within ${timeout} ms`)),
    )
    answer.then(
      (value) => {
        patience.cancel()
        resolve(value)
      },
      (error) => {
        patience.cancel()
        reject(error)
      },
    )
  })
}
