// The connection to Redis: nothing that is asked of a client waits for ever.

import { type Awaitable, isPromise } from '../../lib/awaitable.ts'
import { SessionError } from '../../lib/errors.ts'
import { alarm, now, sleep } from '../../lib/timers.ts'
import type { Link } from './clients.ts'
import type { Commands } from './commands.ts'

/** How long commands wait for the first connection, and for one that was lost. */
const FIRST_MS = 3_000
const LOST_MS = 1_000
const RETRY_MS = 20
/** What a look at the connection counts for at most: a process that was held up has not waited. */
const TURN_MS = 250
/** How often it is looked for an answer, every `TURN_MS`; half as often where the client is not ready. */
const LOOKS = 12

export class Connection {
  readonly #link: Link
  #patience = FIRST_MS
  #cause: unknown
  #recovery: Promise<void> | undefined

  constructor(link: Link) {
    this.#link = link
  }

  run<T>(work: (commands: Commands) => Awaitable<T>): Promise<T> {
    // Not past those that wait: what was asked first is done first.
    if (!this.#recovery && this.#link.ready()) {
      this.#patience = LOST_MS
      this.#cause = undefined
      return this.#send(work)
    }
    // All that wait do so together: no command makes an attempt of its own.
    this.#recovery ??= this.#recover().finally(() => {
      this.#recovery = undefined
    })
    return this.#recovery.then(() => this.#send(work))
  }

  /** Some clients keep what was sent and not answered for a new connection: when that does not come, it is over. */
  #send<T>(work: (commands: Commands) => Awaitable<T>): Promise<T> {
    const link = this.#link
    return answered(
      () => work(link.commands),
      () => !link.ready(),
    )
  }

  async #recover(): Promise<void> {
    do {
      const start = now()
      this.#open()
      await sleep(RETRY_MS)
      if (this.#link.ready()) return
      this.#patience -= Math.min(Math.max(RETRY_MS, now() - start), TURN_MS)
    } while (this.#patience > 0)
    const reason = this.#cause instanceof Error ? this.#cause.message : 'the client is not connected'
    throw new SessionError('ERR_SESSION_STORE', `Redis cannot be reached: ${reason}`, { cause: this.#cause })
  }

  /** Not waited for: an attempt may take as long as Redis is away. */
  async #open(): Promise<void> {
    try {
      await this.#link.open()
    } catch (error) {
      this.#cause = error
    }
  }

  /** The ends of the keys that begin with `prefix`, page by page. */
  async *scan(prefix: string, count: number): AsyncGenerator<string[]> {
    const nodes = await this.run(({ nodes }) => nodes?.())
    if (!nodes) {
      throw new SessionError(
        'ERR_SESSION_STORE',
        'the client of RedisStore has no scan(), which all(), ids(), length() and clear() need',
      )
    }
    const start = (this.#link.commands.keyPrefix ?? '') + prefix
    const pattern = `${start.replace(/[\\*?[\]^]/g, '\\$&')}*`
    for (const node of nodes) {
      let cursor = '0'
      do {
        const page = await this.run(() => node(cursor, pattern, count))
        cursor = String(page.cursor)
        yield page.keys.map((key) => String(key).slice(start.length))
      } while (cursor !== '0')
    }
  }
}

/** Fails when an answer is late, earlier when it is `hopeless`. Its timer keeps the process alive: a client may not. */
function answered<T>(work: () => Awaitable<T>, hopeless: () => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const result = work()
    if (!isPromise(result)) return resolve(result)
    const fail = (): void => reject(new SessionError('ERR_SESSION_STORE', 'Redis does not answer'))
    // Timers come before I/O: after something has held the process up, one runs while the answer lies there unread.
    let looks = 0
    const look = (): void => {
      looks++
      if (looks === LOOKS || (looks >= LOOKS / 2 && hopeless())) fail()
      else patience = alarm(TURN_MS, look)
    }
    let patience = alarm(TURN_MS, look)
    result.then(
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
