// The one door to a store. A slot is one session in a store, as one request uses it. Behind it every store looks alike:
// values or promises of them; a missing session is undefined; an error is a thrown error.

import type { Awaitable } from '../awaitable.ts'
import type { CookieData } from '../cookie.ts'
import type { Outgoing, Stored } from '../snapshot.ts'

/**
 * What a store held under an id at one moment. Opaque to the request, which hands it back to `update`: each store, and
 * each layer around one, adds what it needs to recognise its record again (a digest, file stats, a ciphertext).
 */
export interface Version {
  readonly record: Stored
}

/** What to write where a store holds `current`; undefined: nothing. */
export type Make = (current: Version) => Outgoing | undefined

/**
 * What came of extending a session. `changed`: another request has given it another lifetime since it was read, which
 * stays. `moved`: a pointer is in its place. Undefined: the store does not say.
 */
export type Touched = 'extended' | 'changed' | 'moved' | 'gone' | undefined

/** One session of a store, for one request. */
export interface Slot {
  readonly id: string
  /** What the store has the session under. */
  readonly key: string
  /** Another request of this process has ended the session since this slot read it. */
  readonly isGone: boolean
  /** Why the session that was read is over: the name of an option. */
  readonly over?: string | undefined
  /** The store may change the live session that it is given to write. */
  readonly mutates: boolean
  read(): Awaitable<Version | undefined>
  /** Stores the record, whatever was there. */
  create(record: Outgoing): Awaitable<Version>
  /** Stores the record unless there is one, and answers with what the store holds then. */
  add(record: Outgoing): Awaitable<Version>
  /**
   * Replaces the record of a session that exists. `make` is given `from` itself as long as the store still holds it, and
   * what it holds instead after that. Answers with what the store holds now; undefined: the session is gone, and nothing
   * was written.
   */
  update(from: Version, make: Make): Awaitable<Version | undefined>
  /** Extends the session to its cookie's expiry. `loaded` is its cookie as this request read it. */
  touch(record: Outgoing, loaded?: CookieData): Awaitable<Touched>
  /** Removes the session and answers with what was there. A pointer stays, and is the answer. */
  take(): Awaitable<Version | undefined>
  /** As `take`, for who does not need the record: a store that cannot say what it removes need not be read before. */
  end(): Awaitable<Version | undefined>
  /** Removes whatever is there, a pointer too. */
  remove(): Awaitable<void>
}

/** A store, as one middleware uses it. */
export interface StorePort {
  /** The store can extend a session without writing its data. Decided at set-up, as in express-session. */
  readonly touches: boolean
  /** See {@link Slot.mutates}. */
  readonly mutates: boolean
  /** For how many milliseconds the store keeps a session whose cookie sets no date; undefined: it is not known. */
  readonly lifetime: number | undefined
  /** The sessions of each user; undefined where the store keeps no index of them. */
  readonly users: UserIndex | undefined
  slot(id: string): Slot
  /** The session that the store has under this key, for who knows no id. */
  at(key: string): Slot
  /** The keys of all sessions. @throws SessionError `ERR_SESSION_USERS` where the store cannot say them. */
  keys(): Awaitable<string[]>
  /** Removes all sessions. @throws SessionError `ERR_SESSION_USERS` where the store can neither do that nor list them. */
  clear(): Awaitable<void>
}

/** Unit of the times that a promise-style store is given: as its host's documentation says. */
export type TtlUnit = 'ms' | 's'

/**
 * How a session that others may have changed is written. `merge`: this request's changes on top of theirs, never what is
 * gone. `reread`: the same, with a look at the store before each write. `overwrite`: the whole record, as express-session.
 */
export type Concurrency = 'merge' | 'reread' | 'overwrite'

/** How one middleware uses a store. */
export interface StoreUse {
  readonly unit: TtlUnit
  readonly concurrency: Concurrency
  /** Ids are renewed, and so perhaps by other processes: a session is looked for before it is ended. */
  readonly renews: boolean
  /** After so many ms without an answer a call of the store counts as failed; undefined: never. */
  readonly timeout: number | undefined
}

/** A transformation of what is stored, or of the id that it is stored under: a port around a port. */
export type Layer = (inner: StorePort) => StorePort

/** One session of a user, by its key in the store. */
export interface IndexEntry {
  readonly key: string
  /** The session is about to be stored. */
  readonly isReserved: boolean
}

/** For how many milliseconds an entry is reserved for a session that is about to be stored. */
export const RESERVED_MS = 60_000

/**
 * Which sessions a user has. Users are named by hashes of one length, in base64url; sessions by their keys in the store.
 * An entry is a hint: who asks looks at the session itself. Each call is one step, on any process that shares the store,
 * and costs the same however many sessions a user has, but for `list`.
 */
export interface UserIndex {
  /**
   * Adds an entry for a session that is about to be stored, unless there is one. It leaves after {@link RESERVED_MS}. False,
   * and nothing is added, where there are `limit` other entries.
   */
  reserve(user: string, key: string, limit?: number): Awaitable<boolean>
  /**
   * Keeps an entry until a date in ms since the epoch; undefined: until it is dropped. False: there is none any more, as
   * somebody has dropped it.
   */
  confirm(user: string, key: string, until: number | undefined): Awaitable<boolean>
  /** Gives the entry of one session to another, with its date. False, and nothing is changed, where there is none. */
  move(user: string, from: string, to: string): Awaitable<boolean>
  /** All entries whose date has not passed. */
  list(user: string): Awaitable<IndexEntry[]>
  /** Removes entries; those that are not there do not matter. */
  drop(user: string, keys: readonly string[]): Awaitable<void>
}

/**
 * What a bundled store implements; `DriverStore` builds the public store on it. Under an id that was renewed it keeps a
 * {@link Pointer} until that expires: `read`, `update` and `take` treat it as a record, `touch` does not extend it, and
 * what counts, lists or bounds sessions leaves it out. `expires` is in ms since the epoch, undefined where the session's
 * cookie sets no date.
 */
export interface Driver {
  /** For how many milliseconds a session is kept whose cookie sets no date; undefined: for ever. */
  lifetime?(): number
  /** Answers with nothing for a record that has expired. */
  read(id: string): Awaitable<Version | undefined>
  /** See {@link Slot.create}. */
  write(id: string, record: Outgoing, expires: number | undefined): Awaitable<Version>
  /** See {@link Slot.add}; one step. */
  add(id: string, record: Outgoing, expires: number | undefined): Awaitable<Version>
  /**
   * See {@link Slot.update}. One step that no other writer can come into, on any process that shares the store; one
   * round trip while nobody interferes.
   */
  update(id: string, from: Version, make: Make): Awaitable<Version | undefined>
  /** See {@link Slot.touch}. Without `loaded` no lifetime counts as changed. */
  touch(id: string, record: Outgoing, expires: number | undefined, loaded?: CookieData): Awaitable<Touched>
  /** See {@link Slot.take}; one step. */
  take(id: string): Awaitable<Version | undefined>
  /** See {@link Slot.remove}. */
  remove(id: string): Awaitable<void>
  /** The sessions of each user. What counts, lists or bounds sessions leaves it out; `clear` empties it. */
  readonly users?: UserIndex
}

/** A bundled store gives its driver under this name, unless the app has replaced one of the store's public methods. */
export const DRIVER: unique symbol = Symbol.for('unisession.driver') as never
