// The session methods that the app has called, and that are at work: the response waits for them.

import type { ObservedPromise } from '../awaitable.ts'
import { SessionError } from '../errors.ts'
import type { ErrorCallback } from '../session.ts'
import { soon } from '../timers.ts'

/** What the response of one request waits for. */
export class PendingWork {
  /** Made when something begins: most requests have nothing to wait for. */
  #pending: Set<Promise<void>> | undefined
  /** Work that failed while the response still waited. */
  #failures: { readonly error: unknown; readonly work: ObservedPromise<void> }[] | undefined
  #failure: { error: unknown } | undefined

  /** Something is at work, or a callback that may answer is. */
  get isBusy(): boolean {
    return this.#pending !== undefined && this.#pending.size > 0
  }

  /** Something is at work, or has failed and nobody has been told yet. */
  get isUnsettled(): boolean {
    return this.isBusy || (this.#failures !== undefined && this.#failures.length > 0)
  }

  /** What the last callback of a session method was given as an error, or has thrown. */
  get callbackFailure(): { error: unknown } | undefined {
    return this.#failure
  }

  /** Waits for `work`. `late`: called with a failure that comes when no response waits any more, if nobody observes it. */
  track(work: ObservedPromise<void>, isOver: () => boolean, late: (error: unknown) => void): ObservedPromise<void> {
    const done = this.#start()
    work.watch(done, (error) => {
      if (!isNotFound(error)) {
        if (!isOver()) this.#failures = [...(this.#failures ?? []), { error, work }]
        // `await` looks at what has failed already a moment later.
        else soon(() => work.observed || late(error))
      }
      done()
    })
    return work
  }

  /** A callback that ends pending work when it is called. */
  expect(callback: ErrorCallback): ErrorCallback {
    const done = this.#start()
    return (error) => {
      done()
      return callback(error)
    }
  }

  /** A callback that ends pending work when what it does is over, its promise included. */
  expectAnswer(callback: ErrorCallback): ErrorCallback {
    const done = this.#start()
    return async (error) => {
      try {
        this.#failure = error ? { error } : undefined
        await callback(error)
      } catch (thrown) {
        this.#failure = { error: thrown }
      } finally {
        done()
      }
    }
  }

  /** Waits until nothing is at work. @throws the error of work whose outcome nobody has observed. */
  async settle(): Promise<void> {
    while (this.isBusy) await Promise.all(this.#pending ?? [])
    const failure = this.#failures?.splice(0).find(({ work }) => !work.observed)
    if (failure) throw failure.error
  }

  /** Begins something that the response waits for. To be called when it is over. */
  #start(): () => void {
    let done = (): void => {}
    const going = new Promise<void>((resolve) => {
      done = () => {
        this.#pending?.delete(going)
        resolve()
      }
    })
    this.#pending ??= new Set()
    this.#pending.add(going)
    return done
  }
}

/** A `reload()` found no session: news to those who asked for it, and no failure of the store. */
function isNotFound(error: unknown): boolean {
  return error instanceof SessionError && error.code === 'ERR_SESSION_MISSING'
}
