// Requests of this process that overlap on one session of a store which cannot update atomically itself.
// What they wrote is remembered as long as one of them holds its place, and a little longer: until that has been
// collected. So they can be merged without I/O.

import { isPromise, type Maybe } from './maybe.ts'
import type { Stored } from './snapshot.ts'
import { alarm } from './timers.ts'

/** How long one turn is waited for, in ms: a store that forgets an answer must not hold up a session for ever. */
const PATIENCE = 10_000

/** One session, as the requests of this process use it. */
class Flight {
  /** Counts what this process did to the record. */
  version = 0
  /** The version at which the record was last destroyed. */
  goneAt = -1
  /** What this process wrote last. */
  latest: Stored | undefined
  /** The last that must be alone with the record, and those at work beside each other since. */
  #tail: Turn | undefined
  readonly #beside = new Set<Turn>()

  /** Runs `work` alone, after all that was begun before; at once when that is nothing. */
  queue<T>(work: () => Maybe<T>): Maybe<T> {
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

  /** Runs `work` after what must be alone, beside others of its kind. */
  share<T>(work: () => Maybe<T>): Maybe<T> {
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
  /** Resolves when its work begins; undefined: at once. */
  readonly begun: Promise<unknown> | undefined
  readonly result: Promise<unknown>
}

/** Resolves when the turn is over, whatever came of it, or its own work has taken too long: its wait does not count. */
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

/** A request's place among those that use a session. Holding it keeps the session's history known. */
export class Ticket {
  /** The date on which what was read runs out, in ms since the epoch. */
  lasts = Number.POSITIVE_INFINITY
  readonly #flight: Flight
  readonly #entered: number
  #seen: number

  constructor(flight: Flight) {
    this.#flight = flight
    this.#entered = flight.version
    this.#seen = flight.version
  }

  /** The session was destroyed since this request began to read it. */
  get gone(): boolean {
    return this.#flight.goneAt > this.#seen
  }

  /** What was read has run out since. */
  get over(): boolean {
    return this.lasts <= Date.now()
  }

  /** What this process wrote last since this request came. */
  get latest(): Stored | undefined {
    return this.#flight.version === this.#entered ? undefined : this.#flight.latest
  }

  /** What another request of this process has written since. */
  get interference(): Stored | undefined {
    return this.#flight.version === this.#seen ? undefined : this.#flight.latest
  }

  queue<T>(work: () => Maybe<T>): Maybe<T> {
    return this.#flight.queue(work)
  }

  share<T>(work: () => Maybe<T>): Maybe<T> {
    return this.#flight.share(work)
  }

  /** This request has written. */
  wrote(record: Stored): void {
    this.#flight.latest = record
    this.#seen = ++this.#flight.version
  }

  /** Said before and after a destroy: whoever has read in between has read what is gone. */
  destroying(): void {
    this.#flight.goneAt = ++this.#flight.version
    this.#flight.latest = undefined
  }
}

/** The sessions of one store that requests of this process use now. */
export class Flights {
  readonly #flights = new Map<string, WeakRef<Flight>>()
  #sweepAt = 1024

  /** Takes a place; call it before reading. It is given back by being forgotten: a request may never end. */
  enter(sid: string): Ticket {
    let flight = this.#flights.get(sid)?.deref()
    if (!flight) {
      flight = new Flight()
      this.#flights.set(sid, new WeakRef(flight))
      if (this.#flights.size > this.#sweepAt) this.#sweep()
    }
    return new Ticket(flight)
  }

  #sweep(): void {
    for (const [sid, ref] of this.#flights) if (!ref.deref()) this.#flights.delete(sid)
    this.#sweepAt = Math.max(1024, this.#flights.size * 2)
  }
}
