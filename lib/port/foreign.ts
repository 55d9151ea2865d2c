// A store that is not bundled. It cannot compare and replace: requests of this process that overlap on a session take
// turns here instead.

import { type Awaitable, chain, isPromise } from '../awaitable.ts'
import { type CookieData, expiryOf } from '../cookie.ts'
import { SessionError } from '../errors.ts'
import { isCookieChanged } from '../merge.ts'
import { type Outgoing, Snapshot, type Stored } from '../snapshot.ts'
import { type Callback, Calls, isNotFound } from './dialect.ts'
import { Patience } from './patience.ts'
import { isPointer } from './pointer.ts'
import { type Place, SessionQueues } from './queue.ts'
import type { Make, Slot, StorePort, StoreUse, Touched, Version } from './slot.ts'

/** A store as it may come: with express-session's callbacks, with promises, or both. */
export interface ForeignStore {
  get(id: string, callback?: Callback): unknown
  set(id: string, session: object, third?: Callback | number): unknown
  destroy(id: string, callback?: Callback): unknown
  touch?(id: string, second: object | number | undefined, callback?: Callback): unknown
  all?(callback?: Callback): unknown
  clear?(callback?: Callback): unknown
  on?(event: string, listener: (...args: unknown[]) => void): unknown
}

/** What is known of a store, whoever uses it. */
export class ForeignStoreState {
  readonly calls: Calls
  readonly queues = new SessionQueues()
  readonly patience: Patience

  constructor(store: ForeignStore) {
    this.calls = new Calls(store)
    this.patience = new Patience(store)
  }
}

/** A store of another package, as one middleware uses it. */
export class ForeignPort implements StorePort {
  readonly touches: boolean
  readonly mutates = true
  readonly #store: ForeignStore
  readonly #state: ForeignStoreState
  readonly #use: StoreUse

  constructor(store: ForeignStore, state: ForeignStoreState, use: StoreUse) {
    this.#store = store
    this.#state = state
    this.#use = use
    this.touches = typeof store.touch === 'function'
  }

  readonly lifetime = undefined
  readonly users = undefined

  slot(id: string): Slot {
    return new ForeignSlot(id, this.#store, this.#state, this.#use)
  }

  at(key: string): Slot {
    return this.slot(key)
  }

  /** By `all`, which gives an object by id, or a list whose members have theirs under `id`, `sid` or `_id`. */
  keys(): Awaitable<string[]> {
    const { all } = this.#store
    if (typeof all !== 'function') throw cannotList(this.#store)
    return chain(
      this.#ask('all', (callback) => this.#store.all?.(callback)),
      (sessions) => {
        if (typeof sessions !== 'object' || sessions === null) throw cannotList(this.#store)
        if (!Array.isArray(sessions)) return Object.keys(sessions)
        return sessions.map((session: { id?: unknown; sid?: unknown; _id?: unknown } | null) => {
          const id = session?.id ?? session?.sid ?? session?._id
          if (typeof id === 'string') return id
          throw cannotList(this.#store)
        })
      },
    )
  }

  /** By `clear`, or by `destroy` for each session. Requests that use one find it gone. */
  clear(): Awaitable<void> {
    const { queues } = this.#state
    queues.destroyedAll()
    const cleared =
      typeof this.#store.clear === 'function'
        ? this.#ask('clear', (callback) => this.#store.clear?.(callback))
        : chain(this.keys(), (keys) => Promise.all(keys.map((key) => this.slot(key).remove())))
    return chain(cleared, () => queues.destroyedAll())
  }

  #ask(method: string, call: (callback?: Callback) => unknown): Awaitable<unknown> {
    return this.#state.patience.wait(this.#state.calls.do('', call), method, this.#use.timeout)
  }
}

/** One session of such a store. Its place among the requests of this process is taken when it is first needed. */
class ForeignSlot implements Slot {
  readonly id: string
  readonly mutates = true
  // Methods are called as `store.method(…)`: a store may have private fields, or be patched later.
  readonly #store: ForeignStore
  readonly #state: ForeignStoreState
  readonly #use: StoreUse
  #place: Place | undefined
  /** The session was read or stored through this slot. */
  #isKnown = false
  /** When the record that was read runs out, in ms since the epoch. */
  #expires = Number.POSITIVE_INFINITY

  constructor(id: string, store: ForeignStore, state: ForeignStoreState, use: StoreUse) {
    this.id = id
    this.#store = store
    this.#state = state
    this.#use = use
  }

  get key(): string {
    return this.id
  }

  get isGone(): boolean {
    return this.#place?.isGone === true
  }

  /** A request that overwrites keeps no place: what others do in the meantime is nothing to it. */
  #enter(): Place {
    if (this.#use.concurrency === 'overwrite') return this.#state.queues.enter(this.id)
    this.#place ??= this.#state.queues.enter(this.id)
    return this.#place
  }

  /** What was read has run out since. A request that overwrites does not ask. */
  get #isOver(): boolean {
    return this.#expires <= Date.now() && this.#use.concurrency !== 'overwrite'
  }

  read(): Awaitable<Version | undefined> {
    this.#enter()
    return chain(this.#get(), (version) => {
      if (!version) return undefined
      this.#isKnown = true
      const expires = expiryIn(version.record)
      // A date that has passed already was not kept up to date: some stores extend a record without writing it.
      if (expires !== undefined && expires > Date.now()) this.#expires = expires
      return version
    })
  }

  /** A request that overwrites does not wait for its turn: it writes at once, as express-session does. */
  create(record: Outgoing): Awaitable<Version> {
    this.#isKnown = true
    if (this.#use.concurrency === 'overwrite') return chain(this.#set(record), () => new Overwritten(record))
    const place = this.#enter()
    return place.alone(() => this.#write(record, place))
  }

  add(record: Outgoing): Awaitable<Version> {
    this.#isKnown = true
    const place = this.#enter()
    return place.alone(() => chain(this.#get(), (found) => found ?? this.#write(record, place)))
  }

  /**
   * In its turn, the last record that this process wrote counts as what the store holds, unless it is to be read again.
   */
  update(from: Version, make: Make): Awaitable<Version | undefined> {
    const place = this.#enter()
    const write = (current: Version): Awaitable<Version> => {
      const record = make(current)
      return record ? this.#write(record, place) : current
    }
    const rereads = this.#use.concurrency === 'reread'
    return place.alone(() => {
      if (place.isGone) return undefined
      const latest = place.interference ?? from
      // A record whose date has passed meanwhile is mostly gone, and sometimes was extended: only the store knows.
      if (!rereads && !(this.#isOver && isOver(latest.record))) return write(latest)
      return chain(this.#get(), (found) => {
        if (!found) return undefined
        const isSame = !rereads || found.record === latest.record
        return write(isSame ? latest : found)
      })
    })
  }

  /** Extending changes no data, so requests do it beside each other, after the writes that were begun before. */
  touch(record: Outgoing, loaded?: CookieData): Awaitable<Touched> {
    const place = this.#enter()
    return place.shared((): Awaitable<Touched> => {
      if (place.isGone) return 'gone'
      const latest = place.latest?.record
      if (latest && isPointer(latest)) return 'moved'
      if (latest && loaded && isCookieChanged(loaded, new Snapshot(latest).cookie)) return 'changed'
      const touch = (): Awaitable<undefined> => chain(this.#touch(record), () => undefined)
      return this.#isOver ? chain(this.#get(), (found): Awaitable<Touched> => (found ? touch() : 'gone')) : touch()
    })
  }

  take(): Awaitable<Version | undefined> {
    const place = this.#enter()
    return place.alone(() => chain(this.#get(), (found) => this.#end(place, found)))
  }

  /** Where ids may be renewed elsewhere the session is read first: a pointer may be in its place by now. */
  end(): Awaitable<Version | undefined> {
    const { concurrency, renews } = this.#use
    if (this.#isKnown && (renews || concurrency === 'reread')) return this.take()
    const place = this.#enter()
    return place.alone(() => this.#end(place, place.latest))
  }

  remove(): Awaitable<void> {
    const place = this.#enter()
    return place.alone(() => this.#destroy(place))
  }

  /** A pointer stays, for who comes with the old id. */
  #end(place: Place, found: Version | undefined): Awaitable<Version | undefined> {
    if (found && isPointer(found.record)) return found
    return chain(this.#destroy(place), () => found)
  }

  /** A store that says `ENOENT` has no such session, as express-session takes it. */
  #get(): Awaitable<Version | undefined> {
    try {
      const found = this.#wait(this.#state.calls.get(this.id), 'get')
      return isPromise(found) ? found.then(versionOf, missingOrThrow) : versionOf(found)
    } catch (error) {
      return missingOrThrow(error)
    }
  }

  /** Writes the record, and tells the other requests of this process what it is. */
  #write(record: Outgoing, place: Place): Awaitable<Version> {
    return chain(this.#set(record), () => {
      const version = { record: record.json }
      place.wrote(version)
      return version
    })
  }

  /** A promise-style store is given the time that is left in place of the callback. */
  #set(record: Outgoing): Awaitable<unknown> {
    const set = this.#state.calls.do(this.id, (callback) =>
      this.#store.set(this.id, record.session, callback ?? this.#ttl(record)),
    )
    return this.#wait(set, 'set')
  }

  /** A store of bun-router's kind is given seconds, any other the session. */
  #touch(record: Outgoing): Awaitable<unknown> {
    const touched = this.#state.calls.do(this.id, (callback) =>
      !callback && this.#use.unit === 's'
        ? this.#store.touch?.(this.id, this.#ttl(record))
        : this.#store.touch?.(this.id, record.session, callback),
    )
    return this.#wait(touched, 'touch')
  }

  /** Who reads between the two calls of `destroyed` has read what is gone. */
  #destroy(place: Place): Awaitable<void> {
    place.destroyed()
    const destroyed = this.#state.calls.do(this.id, (callback) => this.#store.destroy(this.id, callback))
    return chain(this.#wait(destroyed, 'destroy'), () => place.destroyed())
  }

  /** Passes an answer on, as long as `storeTimeout` allows. */
  #wait<T>(answer: Awaitable<T>, method: string): Awaitable<T> {
    return this.#state.patience.wait(answer, method, this.#use.timeout)
  }

  /** The time that the session has left, in the unit of the store. */
  #ttl(record: Outgoing): number | undefined {
    const expires = expiryOf(record.cookie)
    if (expires === undefined) return undefined
    const ms = Math.max(0, expires - Date.now())
    return this.#use.unit === 'ms' ? ms : Math.ceil(ms / 1000)
  }
}

/** What was written by a request that overwrites: nobody may ever ask for its JSON. */
class Overwritten implements Version {
  readonly #record: Outgoing

  constructor(record: Outgoing) {
    this.#record = record
  }

  get record(): Stored {
    return this.#record.json
  }
}

function cannotList(store: object): SessionError {
  return new SessionError(
    'ERR_SESSION_USERS',
    `${store.constructor?.name || 'the store'} cannot list its sessions: it needs a method all() that gives them by id; use a store that has one, such as those of unisession`,
  )
}

function versionOf(found: unknown): Version | undefined {
  return found ? { record: found as Stored } : undefined
}

function missingOrThrow(error: unknown): undefined {
  if (isNotFound(error)) return undefined
  throw error
}

/** The date that was stored with a record; undefined where there is none, or the record is no session. */
function expiryIn(record: Stored): number | undefined {
  return expiryOf(typeof record === 'string' ? new Snapshot(record).cookie : record.cookie)
}

function isOver(record: Stored): boolean {
  const expires = expiryIn(record)
  return expires !== undefined && expires <= Date.now()
}
