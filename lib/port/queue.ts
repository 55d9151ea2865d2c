// Queues for stores that cannot update atomically: the requests of this process to one session take turns. The last
// version that they wrote is remembered while one of them runs, so that their changes are merged without reading the
// store.

import { type Awaitable, isPromise } from '../awaitable.ts'
import { alarm } from '../timers.ts'
import type { Version } from './slot.ts'

/** How long to wait for one turn, in milliseconds. A store that never answers must not block a session forever. */
const MAX_TURN = 10_000

/** The turns of one session. */
class SessionQueue {
  /** How many times this process has written or destroyed the record. */
  count = 0
  /** The value of `count` when the record was last destroyed; -1 if it never was. */
  destroyedAt = -1
  /** The version that this process wrote last; undefined if it has destroyed the session since. */
  latest: Version | undefined
  /** The last exclusive turn, while it is unfinished. */
  #lastExclusive: Turn | undefined
  /** The unfinished shared turns. */
  readonly #sharedTurns = new Set<Turn>()

  /** Runs an exclusive turn: after all turns that were requested before it; synchronously if there are none. */
  alone<T>(work: () => Awaitable<T>): Awaitable<T> {
    const earlier = this.#lastExclusive ? [this.#lastExclusive, ...this.#sharedTurns] : [...this.#sharedTurns]
    const started = earlier.length > 0 ? Promise.all(earlier.map(whenFinished)) : undefined
    const result = started ? started.then(work) : work()
    if (isPromise(result)) {
      const turn = { started, result }
      this.#lastExclusive = turn
      const done = (): void => {
        if (this.#lastExclusive === turn) this.#lastExclusive = undefined
      }
      result.then(done, done)
    }
    return result
  }

  /** Runs a shared turn: together with other shared turns, after the last exclusive one. */
  shared<T>(work: () => Awaitable<T>): Awaitable<T> {
    const started = this.#lastExclusive && whenFinished(this.#lastExclusive)
    const result = started ? started.then(work) : work()
    if (isPromise(result)) {
      const turn = { started, result }
      this.#sharedTurns.add(turn)
      const done = (): boolean => this.#sharedTurns.delete(turn)
      result.then(done, done)
    }
    return result
  }
}

interface Turn {
  /** Resolves when the turn's work starts; undefined if it started synchronously. */
  readonly started: Promise<unknown> | undefined
  readonly result: Promise<unknown>
}

/** Resolves when a turn has finished, or has run for too long. The time that it waited to start does not count. */
function whenFinished({ started, result }: Turn): Promise<void> {
  return started ? started.then(() => withTimeout(result)) : withTimeout(result)
}

/** Resolves when `work` settles, or after {@link MAX_TURN}. Never rejects. */
function withTimeout(work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = alarm(MAX_TURN, resolve).unref()
    const done = (): void => {
      timer.cancel()
      resolve()
    }
    work.then(done, done)
  })
}

/**
 * A request's place in the queue of a session. It knows what other requests did since this one came. While a place is
 * referenced, the queue and its last version are kept.
 */
export class Place {
  readonly #queue: SessionQueue
  readonly #countAtEntry: number
  /** The queue's count when this request last read or wrote. */
  #countSeen: number

  constructor(queue: SessionQueue) {
    this.#queue = queue
    this.#countAtEntry = queue.count
    this.#countSeen = queue.count
  }

  /** This process has destroyed the session since this request read or wrote it. */
  get isGone(): boolean {
    return this.#queue.destroyedAt > this.#countSeen
  }

  /** The version that this process wrote last; undefined if it has written none since this request came. */
  get latest(): Version | undefined {
    return this.#queue.count === this.#countAtEntry ? undefined : this.#queue.latest
  }

  /** The version that another request wrote last; undefined if none has written since this one read or wrote. */
  get interference(): Version | undefined {
    return this.#queue.count === this.#countSeen ? undefined : this.#queue.latest
  }

  /** See {@link SessionQueue.alone}. */
  alone<T>(work: () => Awaitable<T>): Awaitable<T> {
    return this.#queue.alone(work)
  }

  /** See {@link SessionQueue.shared}. */
  shared<T>(work: () => Awaitable<T>): Awaitable<T> {
    return this.#queue.shared(work)
  }

  /** Call it after this request has written a version. */
  wrote(version: Version): void {
    this.#queue.latest = version
    this.#countSeen = ++this.#queue.count
  }

  /** Call it before and after a destroy: a request that reads in between has read a session that is gone. */
  destroyed(): void {
    this.#queue.destroyedAt = ++this.#queue.count
    this.#queue.latest = undefined
  }
}

/** The queues of the sessions of one store that requests of this process use. */
export class SessionQueues {
  readonly #queues = new Map<string, WeakRef<SessionQueue>>()
  /** The number of queues at which those are removed whose places were all collected. */
  #sweepAt = 1024

  /**
   * Takes a place in the queue of a session. Call it before reading the session. A place is released by garbage
   * collection: there is no certain end of a request.
   */
  enter(id: string): Place {
    let queue = this.#queues.get(id)?.deref()
    if (!queue) {
      queue = new SessionQueue()
      this.#queues.set(id, new WeakRef(queue))
      if (this.#queues.size > this.#sweepAt) this.#sweep()
    }
    return new Place(queue)
  }

  /** All sessions are removed: who uses one finds it gone. */
  destroyedAll(): void {
    for (const ref of this.#queues.values()) {
      const queue = ref.deref()
      if (queue) new Place(queue).destroyed()
    }
  }

  #sweep(): void {
    for (const [id, ref] of this.#queues) if (!ref.deref()) this.#queues.delete(id)
    this.#sweepAt = Math.max(1024, this.#queues.size * 2)
  }
}
