// Requests of this process that use one session of a store which cannot update atomically. What they wrote is remembered
// while one of them holds its place, so that they can be merged without I/O.

import { type Awaitable, isPromise } from '../awaitable.ts'
import { alarm } from '../timers.ts'
import type { Version } from './slot.ts'

/** How long one turn is waited for, in ms: a store that forgets an answer must not hold up a session for ever. */
const PATIENCE = 10_000

/** One session, as the requests of this process use it. */
class SessionQueue {
  /** Counts what this process did to the record. */
  count = 0
  /** The count at which the record was last destroyed. */
  destroyedAt = -1
  /** What this process wrote last. */
  latest: Version | undefined
  /** The last turn that must be alone with the record, and the turns that have begun beside each other since. */
  #tail: Turn | undefined
  readonly #beside = new Set<Turn>()

  /** Runs `work` alone, after everything that was begun before it; at once when nothing was. */
  alone<T>(work: () => Awaitable<T>): Awaitable<T> {
    const before = this.#tail ? [this.#tail, ...this.#beside] : [...this.#beside]
    const begun = before.length > 0 ? Promise.all(before.map(end)) : undefined
    const result = begun ? begun.then(work) : work()
    if (isPromise(result)) {
      const turn = { begun, result }
      this.#tail = turn
      const done = (): void => {
        if (this.#tail === turn) this.#tail = undefined
      }
      result.then(done, done)
    }
    return result
  }

  /** Runs `work` beside others of its kind, after what must be alone. */
  shared<T>(work: () => Awaitable<T>): Awaitable<T> {
    const begun = this.#tail && end(this.#tail)
    const result = begun ? begun.then(work) : work()
    if (isPromise(result)) {
      const turn = { begun, result }
      this.#beside.add(turn)
      const done = (): boolean => this.#beside.delete(turn)
      result.then(done, done)
    }
    return result
  }
}

interface Turn {
  /** Resolves when the turn's work begins; undefined: it began at once. */
  readonly begun: Promise<unknown> | undefined
  readonly result: Promise<unknown>
}

/** Resolves when the turn is over, or when its own work has taken too long; the time that it waited does not count. */
function end({ begun, result }: Turn): Promise<void> {
  return begun ? begun.then(() => patiently(result)) : patiently(result)
}

function patiently(work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const patience = alarm(PATIENCE, resolve).unref()
    const done = (): void => {
      patience.cancel()
      resolve()
    }
    work.then(done, done)
  })
}

/** A request's place among those that use a session. While it is referenced, what they wrote is remembered. */
export class Place {
  readonly #queue: SessionQueue
  readonly #entered: number
  #seen: number

  constructor(queue: SessionQueue) {
    this.#queue = queue
    this.#entered = queue.count
    this.#seen = queue.count
  }

  /** The session was destroyed since this request began to read it. */
  get isGone(): boolean {
    return this.#queue.destroyedAt > this.#seen
  }

  /** What this process wrote last since this request came. */
  get latest(): Version | undefined {
    return this.#queue.count === this.#entered ? undefined : this.#queue.latest
  }

  /** What another request of this process wrote last since this one read or wrote. */
  get interference(): Version | undefined {
    return this.#queue.count === this.#seen ? undefined : this.#queue.latest
  }

  /** See {@link SessionQueue.alone}. */
  alone<T>(work: () => Awaitable<T>): Awaitable<T> {
    return this.#queue.alone(work)
  }

  /** See {@link SessionQueue.shared}. */
  shared<T>(work: () => Awaitable<T>): Awaitable<T> {
    return this.#queue.shared(work)
  }

  /** This request has written. */
  wrote(version: Version): void {
    this.#queue.latest = version
    this.#seen = ++this.#queue.count
  }

  /** Called before and after a destroy: who has read in between has read what is gone. */
  destroyed(): void {
    this.#queue.destroyedAt = ++this.#queue.count
    this.#queue.latest = undefined
  }
}

/** The sessions of one store that requests of this process use now. */
export class SessionQueues {
  readonly #queues = new Map<string, WeakRef<SessionQueue>>()
  #sweepAt = 1024

  /** Takes a place; call it before reading. It is given back by being collected, as a request may never end. */
  enter(id: string): Place {
    let queue = this.#queues.get(id)?.deref()
    if (!queue) {
      queue = new SessionQueue()
      this.#queues.set(id, new WeakRef(queue))
      if (this.#queues.size > this.#sweepAt) this.#sweep()
    }
    return new Place(queue)
  }

  #sweep(): void {
    for (const [id, ref] of this.#queues) if (!ref.deref()) this.#queues.delete(id)
    this.#sweepAt = Math.max(1024, this.#queues.size * 2)
  }
}
