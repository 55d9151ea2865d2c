// The one door to a store. Behind it every dialect looks alike: values or promises of them, a missing
// session is undefined, an error is a thrown error. No driver code.

import { type CookieData, expiryOf } from './cookie.ts'
import { type Callback, Calls, isMissing } from './dialect.ts'
import { chain, isPromise, type Maybe } from './maybe.ts'
import { isCookieChanged } from './merge.ts'
import { Flights, type Ticket } from './overlap.ts'
import type { Secret } from './signature.ts'
import { type Outgoing, Snapshot, type Stored } from './snapshot.ts'
import { isPointer } from './successor.ts'

/** A record as it was read, and the reader's place among those who use the session. */
export interface Loaded {
  readonly stored: Stored
  readonly ticket: Ticket | undefined
}

/** What the request's life asks of a store. */
export interface StorePort {
  /** Whether the store can extend a session without writing its data. Decided at set-up, as in express-session. */
  readonly touches: boolean
  /** Whether the store may change the live session that it is given to write. */
  readonly mutates: boolean
  read(sid: string): Maybe<Loaded | undefined>
  /** A place among the requests that use a session which is not in the store yet. */
  enter(sid: string): Ticket | undefined
  /** Creates the record, or replaces it whatever it is. */
  write(sid: string, session: Outgoing, ticket: Ticket | undefined): Maybe<void>
  /**
   * Replaces the record of a session that exists; see {@link Driver.update}. A store that cannot do it in one step
   * does so as far as this process goes, and with `reread` looks at its record before it writes.
   */
  update(sid: string, from: Stored, make: Make, ticket: Ticket | undefined, reread: boolean): Maybe<Stored | undefined>
  /** Extends a session. `loaded` is its cookie as it was read. */
  touch(sid: string, session: Outgoing, loaded: CookieData | undefined, ticket: Ticket | undefined): Maybe<Touched>
  /**
   * Ends a session; see {@link Driver.take}. A store that cannot say what it removes is asked before, with `look`; without,
   * what there was is undefined, unless this process knows it.
   */
  take(sid: string, ticket: Ticket | undefined, look: boolean): Maybe<Stored | undefined>
  /** Removes whatever is there. */
  remove(sid: string, ticket: Ticket | undefined): Maybe<void>
}

/** What to write where a store holds `current`; undefined: nothing. */
export type Make = (current: Stored) => Outgoing | undefined

/**
 * What came of extending a session. `changed`: another request has given it another lifetime since it was read, and
 * that one stays. `moved`: there is a pointer in its place. Undefined: the store does not say.
 */
export type Touched = 'extended' | 'changed' | 'moved' | 'gone' | undefined

/**
 * The part that a bundled store implements; {@link DriverStore} builds the public store on it. Under an id that was
 * renewed it keeps a {@link Pointer}, as what `update` was given, until that expires: `read`, `update` and `take` know it
 * as a record, `touch` does not extend it, and what counts, lists or bounds sessions leaves it out.
 * `expires` is in ms since the epoch, undefined where the session's cookie sets no date.
 */
export interface Driver {
  /** For how many milliseconds a session is kept whose cookie sets no date; undefined: for ever. */
  lifetime?(): number
  /** The record, unless there is none or it has expired. */
  read(sid: string): Maybe<Stored | undefined>
  /** Creates the record, or replaces it whatever it is. */
  write(sid: string, session: Outgoing, expires: number | undefined): Maybe<void>
  /**
   * Replaces the record of a session that exists, as one step that no other writer can come into, on any process that
   * shares the store. `make` says what to write where the store holds `current`; it is tried with `from` first, the
   * record as `read` or the last `update` gave it, which costs no extra round trip while nobody interferes.
   * Answers with the record that the store holds now, or undefined when the session is gone: then nothing is written.
   */
  update(sid: string, from: Stored, make: Make): Maybe<Stored | undefined>
  /**
   * Extends an existing session to its cookie's expiry. Without `loaded`, its cookie as it was read, no lifetime counts
   * as changed.
   */
  touch(sid: string, session: Outgoing, expires: number | undefined, loaded?: CookieData): Maybe<Touched>
  /** Removes a session and answers with its record, as one step; a pointer stays, and is the answer. */
  take(sid: string): Maybe<Stored | undefined>
  /** Removes whatever is there. */
  remove(sid: string): Maybe<void>
}

/** A store of this package gives its driver under this name, as long as nobody has replaced its public methods. */
export const DRIVER: unique symbol = Symbol.for('unisession.driver') as never

/** A store as it may come: express-session's callbacks, promises, or both. */
export interface ForeignStore {
  get(sid: string, callback?: Callback): unknown
  set(sid: string, session: object, third?: Callback | number): unknown
  destroy(sid: string, callback?: Callback): unknown
  touch?(sid: string, second: object | number | undefined, callback?: Callback): unknown
  on?(event: string, listener: () => void): unknown
  [DRIVER]?(): Driver | undefined
}

/** Unit of the times that a promise-style store is given: as its host's documentation says. */
export type TtlUnit = 'ms' | 's'

/** Milliseconds that a session has left when it is handed to a store. */
function remaining(session: Outgoing): number | undefined {
  const expires = expiryOf(session.cookie)
  return expires === undefined ? undefined : Math.max(0, expires - Date.now())
}

/**
 * Any store that is not ours. Always called as `store.method(…)`: it may have private fields, or be patched later.
 * It cannot compare and replace; requests of this process that overlap on a session take their turns here instead.
 */
class ForeignPort implements StorePort {
  readonly touches: boolean
  readonly mutates = true
  readonly #store: ForeignStore
  readonly #calls: Calls
  readonly #unit: TtlUnit
  readonly #flights: Flights

  constructor(store: ForeignStore, unit: TtlUnit, flights: Flights) {
    this.#store = store
    this.#unit = unit
    this.#flights = flights
    this.#calls = new Calls(store)
    this.touches = typeof store.touch === 'function'
  }

  enter(sid: string): Ticket {
    return this.#flights.enter(sid)
  }

  read(sid: string): Maybe<Loaded | undefined> {
    const ticket = this.enter(sid)
    return chain(this.#get(sid), (stored) => {
      if (!stored) return undefined
      const expires = expiryIn(stored)
      // A date that has passed already was not kept up to date: some stores extend a record without writing it.
      if (expires !== undefined && expires > Date.now()) ticket.lasts = expires
      return { stored, ticket }
    })
  }

  write(sid: string, session: Outgoing, ticket: Ticket | undefined): Maybe<void> {
    if (!ticket) return this.#set(sid, session)
    return ticket.queue(() => chain(this.#set(sid, session), () => ticket.wrote(session.json)))
  }

  update(
    sid: string,
    from: Stored,
    make: Make,
    ticket: Ticket | undefined,
    reread: boolean,
  ): Maybe<Stored | undefined> {
    const taken = ticket ?? this.enter(sid)
    const write = (current: Stored): Maybe<Stored> => {
      const session = make(current)
      if (!session) return current
      const { json } = session
      return chain(this.#set(sid, session), () => {
        taken.wrote(json)
        return json
      })
    }
    return taken.queue(() => {
      if (taken.gone) return undefined
      const latest = taken.interference ?? from
      // A record whose date has passed meanwhile is mostly gone, and sometimes was extended: only the store knows.
      if (!reread && !(taken.over && isOver(latest))) return write(latest)
      return chain(this.#get(sid), (stored) => {
        if (!stored) return undefined
        return write(reread ? stored : latest)
      })
    })
  }

  touch(sid: string, session: Outgoing, loaded: CookieData | undefined, ticket: Ticket | undefined): Maybe<Touched> {
    const taken = ticket ?? this.enter(sid)
    return taken.share((): Maybe<Touched> => {
      if (taken.gone) return 'gone'
      const theirs = taken.latest
      if (theirs && isPointer(theirs)) return 'moved'
      if (theirs && loaded && isCookieChanged(loaded, new Snapshot(theirs).cookie)) return 'changed'
      const touch = (): Maybe<undefined> => chain(this.#touch(sid, session), () => undefined)
      return taken.over ? chain(this.#get(sid), (stored): Maybe<Touched> => (stored ? touch() : 'gone')) : touch()
    })
  }

  take(sid: string, ticket: Ticket | undefined, look: boolean): Maybe<Stored | undefined> {
    const taken = ticket ?? this.enter(sid)
    return taken.queue(() =>
      chain(look ? this.#get(sid) : taken.latest, (stored): Maybe<Stored | undefined> => {
        if (stored && isPointer(stored)) return stored
        return chain(this.#end(sid, taken), () => stored)
      }),
    )
  }

  remove(sid: string, ticket: Ticket | undefined): Maybe<void> {
    const taken = ticket ?? this.enter(sid)
    return taken.queue(() => this.#end(sid, taken))
  }

  #end(sid: string, ticket: Ticket): Maybe<void> {
    ticket.destroying()
    return chain(this.#destroy(sid), () => ticket.destroying())
  }

  #get(sid: string): Maybe<Stored | undefined> {
    try {
      const found = this.#calls.get(sid)
      return isPromise(found) ? found.then(asStored, missingOrThrow) : asStored(found)
    } catch (error) {
      return missingOrThrow(error)
    }
  }

  #set(sid: string, session: Outgoing): Maybe<void> {
    return this.#calls.do(sid, (callback) =>
      this.#store.set(sid, session.session, callback ?? this.#ttl(session)),
    ) as Maybe<void>
  }

  #touch(sid: string, session: Outgoing): Maybe<unknown> {
    return this.#calls.do(sid, (callback) =>
      !callback && this.#unit === 's'
        ? this.#store.touch?.(sid, this.#ttl(session))
        : this.#store.touch?.(sid, session.session, callback),
    )
  }

  #destroy(sid: string): Maybe<void> {
    return this.#calls.do(sid, (callback) => this.#store.destroy(sid, callback)) as Maybe<void>
  }

  #ttl(session: Outgoing): number | undefined {
    const ms = remaining(session)
    return ms === undefined || this.#unit === 'ms' ? ms : Math.ceil(ms / 1000)
  }
}

function asStored(found: unknown): Stored | undefined {
  return (found || undefined) as Stored | undefined
}

function missingOrThrow(error: unknown): undefined {
  if (isMissing(error)) return undefined
  throw error
}

/** The date that was stored with a record; undefined where there is none, or the record is no session. */
function expiryIn(stored: Stored): number | undefined {
  const cookie = typeof stored === 'string' ? new Snapshot(stored).cookie : stored.cookie
  return expiryOf(cookie)
}

function isOver(stored: Stored): boolean {
  const expires = expiryIn(stored)
  return expires !== undefined && expires <= Date.now()
}

/** A bundled store: straight to its driver, unless somebody has replaced a method of the store. */
class DriverPort implements StorePort {
  readonly touches = true
  readonly #store: ForeignStore
  readonly #patched: ForeignPort

  constructor(store: ForeignStore, unit: TtlUnit, flights: Flights) {
    this.#store = store
    this.#patched = new ForeignPort(store, unit, flights)
  }

  get #driver(): Driver | undefined {
    return this.#store[DRIVER]?.()
  }

  get mutates(): boolean {
    return this.#driver === undefined
  }

  enter(sid: string): Ticket | undefined {
    return this.#driver ? undefined : this.#patched.enter(sid)
  }

  read(sid: string): Maybe<Loaded | undefined> {
    const driver = this.#driver
    if (!driver) return this.#patched.read(sid)
    return chain(driver.read(sid), (stored) => (stored ? { stored, ticket: undefined } : undefined))
  }

  write(sid: string, session: Outgoing, ticket: Ticket | undefined): Maybe<void> {
    const driver = this.#driver
    return driver ? driver.write(sid, session, expiryOf(session.cookie)) : this.#patched.write(sid, session, ticket)
  }

  update(
    sid: string,
    from: Stored,
    make: Make,
    ticket: Ticket | undefined,
    reread: boolean,
  ): Maybe<Stored | undefined> {
    const driver = this.#driver
    return driver ? driver.update(sid, from, make) : this.#patched.update(sid, from, make, ticket, reread)
  }

  touch(sid: string, session: Outgoing, loaded: CookieData | undefined, ticket: Ticket | undefined): Maybe<Touched> {
    const driver = this.#driver
    if (!driver) return this.#patched.touch(sid, session, loaded, ticket)
    return driver.touch(sid, session, expiryOf(session.cookie), loaded)
  }

  take(sid: string, ticket: Ticket | undefined, look: boolean): Maybe<Stored | undefined> {
    const driver = this.#driver
    return driver ? driver.take(sid) : this.#patched.take(sid, ticket, look)
  }

  remove(sid: string, ticket: Ticket | undefined): Maybe<void> {
    const driver = this.#driver
    return driver ? driver.remove(sid) : this.#patched.remove(sid, ticket)
  }
}

/** What is known of a store: one for each, so that all who use it know of each other. */
interface Known {
  readonly flights: Flights
  readonly ports: Map<TtlUnit, StorePort>
  secrets: readonly Secret[]
}

const known = new WeakMap<object, Known>()

function knownOf(store: object): Known {
  let entry = known.get(store)
  if (!entry) {
    entry = { flights: new Flights(), ports: new Map(), secrets: [] }
    known.set(store, entry)
  }
  return entry
}

/** The secrets of the middleware that was made last on a store: for what is asked of the store itself. */
export function secretsOf(store: object): readonly Secret[] {
  return knownOf(store).secrets
}

export function setSecrets(store: object, secrets: readonly Secret[]): void {
  knownOf(store).secrets = secrets
}

/** The port of a store. */
export function portOf(store: ForeignStore, unit: TtlUnit = 'ms'): StorePort {
  const entry = knownOf(store)
  let port = entry.ports.get(unit)
  if (!port) {
    const Port = typeof store[DRIVER] === 'function' ? DriverPort : ForeignPort
    port = new Port(store, unit, entry.flights)
    entry.ports.set(unit, port)
  }
  return port
}
