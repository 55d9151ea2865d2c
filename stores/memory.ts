// MemoryStore: sessions in the memory of one process, which end with it.

import { settle } from '../lib/awaitable.ts'
import { type CookieData, expiryOf } from '../lib/cookie.ts'
import { optionError } from '../lib/errors.ts'
import { isCookieChanged } from '../lib/merge.ts'
import { isPointer } from '../lib/port/pointer.ts'
import type { Driver, Make, Touched, Version } from '../lib/port/slot.ts'
import { cookieIn, type Outgoing, type StoredObject, withCookie } from '../lib/snapshot.ts'
import { type AllCallback, DriverStore, type ErrorCallback, type LengthCallback, type PlainSession } from './driver.ts'
import { Buckets } from './memory/buckets.ts'
import { MemoryUserIndex } from './memory/user-index.ts'
import { each, type OptionNames, readStoreOptions } from './options.ts'

export interface MemoryStoreOptions {
  /** The largest number of sessions. Above it, the least recently used one is removed. Default: no limit. */
  max?: number
  /** How often expired sessions are freed, in milliseconds. Default 60 000. */
  reapInterval?: number
}

const NAMES: OptionNames<MemoryStoreOptions> = {
  store: 'MemoryStore',
  known: ['max', 'reapInterval'],
  lenient: true,
  // The options of the package memorystore.
  instead: {
    checkPeriod: 'use reapInterval',
    ttl: 'a session lives as long as its cookie; set cookie.maxAge',
    serializer: 'sessions are kept as JSON',
    stale: 'an expired session is never handed out',
    ...each('dispose noDisposeOnSet', 'nothing is called when a session goes'),
  },
}

/** A record, and when it expires: in ms since the epoch, undefined where its cookie sets no date. */
interface Entry {
  readonly json: string
  readonly expires: number | undefined
}

/**
 * Keeps sessions in this process. Good enough to run one process in production when `max` bounds it:
 * expired sessions are freed by a timer that keeps no process alive.
 */
export class MemoryStore extends DriverStore {
  /** The records as JSON, by id, as in express-session. */
  sessions: Record<string, string> = Object.create(null)
  /** The largest number of sessions; undefined: no limit. */
  readonly max: number | undefined

  /** The sessions by id; if `max` is set, the least recently used one comes first. */
  readonly #entries = new Map<string, Entry>()
  /** The pointers under ids that were renewed, oldest first. They are no sessions, and not in `sessions`. */
  readonly #pointers = new Map<string, Entry>()
  /** The ids of sessions and pointers that expire. */
  readonly #expiring: Buckets<string>
  readonly #users: MemoryUserIndex

  constructor(options: MemoryStoreOptions = {}) {
    super()
    const { max, reapInterval = 60_000 } = readStoreOptions(options, NAMES)
    if (max !== undefined && !(Number.isInteger(max) && max > 0)) {
      throw optionError('max option of MemoryStore must be a whole number above 0')
    }
    if (!(Number.isFinite(reapInterval) && reapInterval > 0)) {
      throw optionError('reapInterval option of MemoryStore must be a number of milliseconds above 0')
    }
    this.max = max
    this.#expiring = new Buckets(reapInterval, (sid) => this.#remove(sid))
    this.#users = new MemoryUserIndex(
      reapInterval,
      (sid) => Object.hasOwn(this.sessions, sid) || this.#pointers.has(sid),
    )
    this.driver = { ...this.driver, users: this.#users }
  }

  /** The number of sessions in memory, expired ones that are not freed yet included. */
  get size(): number {
    return this.#entries.size
  }

  /** All live sessions by id. */
  override all(callback: AllCallback): void
  override all(): Promise<Record<string, PlainSession>>
  override all(callback?: AllCallback): void | Promise<Record<string, PlainSession>> {
    return settle(undefined, () => this.#all(), callback as ErrorCallback)
  }

  /** The number of live sessions. */
  override length(callback: LengthCallback): void
  override length(): Promise<number>
  override length(callback?: LengthCallback): void | Promise<number> {
    return settle(undefined, () => this.#liveIds().length, callback as ErrorCallback)
  }

  /** Removes all sessions. */
  override clear(callback: ErrorCallback): void
  override clear(): Promise<void>
  override clear(callback?: ErrorCallback): void | Promise<void> {
    return settle(undefined, () => this.#clear(), callback)
  }

  /** @internal */
  protected override readonly driver: Driver = {
    read: (sid) => {
      const json = this.#recordOf(sid)
      if (json === undefined) return undefined
      return { record: isPointer(json) || json.startsWith('{"cookie":') ? json : parseForeign(json) }
    },
    write: (sid, session, expires) => {
      this.#put(sid, session.json, expires, session.replaces)
      return { record: session.json }
    },
    add: (sid, session, expires) => {
      const existing = this.#recordOf(sid)
      if (existing === undefined) this.#put(sid, session.json, expires)
      return { record: existing ?? session.json }
    },
    update: (sid, from, make) => this.#update(sid, from, make),
    touch: (sid, session, expires, loaded) => this.#touch(sid, session, expires, loaded),
    take: (sid) => {
      const json = this.#read(sid)
      if (json !== undefined) this.#remove(sid)
      const record = json ?? this.#pointer(sid)
      return record === undefined ? undefined : { record }
    },
    remove: (sid) => this.#remove(sid),
  }

  /** A session or a pointer. */
  #recordOf(sid: string): string | undefined {
    return this.#read(sid) ?? this.#pointer(sid)
  }

  /** A session, which counts as used now. */
  #read(sid: string): string | undefined {
    const json = this.#peek(sid)
    if (json !== undefined && this.max !== undefined) {
      const entry = this.#entries.get(sid) as Entry
      this.#entries.delete(sid)
      this.#entries.set(sid, entry)
    }
    return json
  }

  /** A session, which does not count as used. */
  #peek(sid: string): string | undefined {
    const entry = this.#entry(sid)
    if (!entry) return undefined
    if (entry.expires === undefined || entry.expires > Date.now()) return entry.json
    this.#remove(sid)
    return undefined
  }

  /** The entry of a session. What `sessions` holds counts, because tests and tools write to it: the entry follows. */
  #entry(sid: string): Entry | undefined {
    const json = this.sessions[sid]
    const entry = this.#entries.get(sid)
    if (json === undefined) {
      if (entry) this.#remove(sid)
      return undefined
    }
    if (entry?.json === json) return entry
    this.#put(sid, json, expiryOf(cookieIn(json)))
    return this.#entries.get(sid)
  }

  /** The pointer under an id that was renewed, until it expires. */
  #pointer(sid: string): string | undefined {
    const entry = this.#pointers.get(sid)
    return entry && (entry.expires === undefined || entry.expires > Date.now()) ? entry.json : undefined
  }

  /** Replaces a session with a pointer. */
  #putPointer(sid: string, json: string, expires: number | undefined): void {
    this.#remove(sid)
    this.#insert(this.#pointers, sid, { json, expires })
    this.#evict(this.#pointers)
  }

  /** Stores a session. `replaces`: the id whose session is about to be removed, as this one takes its place. */
  #put(sid: string, json: string, expires: number | undefined, replaces?: string): void {
    this.#removeEntry(sid)
    this.sessions[sid] = json
    this.#insert(this.#entries, sid, { json, expires })
    if (replaces === undefined || !this.#entries.has(replaces)) this.#evict(this.#entries)
  }

  /** Adds an entry, and its id to the bucket in which it is freed. */
  #insert(entries: Map<string, Entry>, sid: string, entry: Entry): void {
    const { expires } = entry
    entries.set(sid, entry)
    if (expires !== undefined) this.#expiring.add(sid, expires)
  }

  /** Removes the first entry if there are more than `max`. */
  #evict(entries: Map<string, Entry>): void {
    if (this.max !== undefined && entries.size > this.max) {
      const oldest = entries.keys().next().value as string
      this.#remove(oldest)
      this.#users.forget(oldest)
    }
  }

  #update(sid: string, from: Version, make: Make): Version | undefined {
    const existing = this.#recordOf(sid)
    if (existing === undefined) return undefined
    const current = existing === from.record ? from : { record: existing }
    const session = make(current)
    if (!session) return current
    const { json } = session
    if (session.isPointer) this.#putPointer(sid, json, expiryOf(session.cookie))
    else this.#put(sid, json, expiryOf(session.cookie))
    return { record: json }
  }

  #touch(sid: string, session: Outgoing, expires: number | undefined, loaded: CookieData | undefined): Touched {
    const json = this.#read(sid)
    if (json === undefined) return this.#pointer(sid) === undefined ? 'gone' : 'moved'
    // Without a cookie there is no date to extend it to.
    if (!session.cookie) return 'extended'
    // Another request has changed the cookie, and its change must stay.
    const stored = cookieIn(json)
    if (stored && loaded && isCookieChanged(loaded, stored)) return 'changed'
    this.#put(sid, withCookie(json, session.cookie), expires)
    return 'extended'
  }

  #remove(sid: string): void {
    delete this.sessions[sid]
    this.#removeEntry(sid)
    this.#users.release(sid)
  }

  /** Removes the entry of an id, but not what `sessions` holds. */
  #removeEntry(sid: string): void {
    const entry = this.#entries.get(sid) ?? this.#pointers.get(sid)
    if (!entry) return
    this.#entries.delete(sid)
    this.#pointers.delete(sid)
    if (entry.expires !== undefined) this.#expiring.delete(sid, entry.expires)
  }

  #clear(): void {
    this.sessions = Object.create(null)
    this.#entries.clear()
    this.#pointers.clear()
    this.#expiring.clear()
    this.#users.clear()
  }

  /** The ids of all sessions that have not expired. */
  #liveIds(): string[] {
    return Object.keys(this.sessions).filter((sid) => this.#peek(sid) !== undefined)
  }

  #all(): Record<string, PlainSession> {
    const all: Record<string, PlainSession> = Object.create(null)
    for (const sid of this.#liveIds()) {
      const session = this.parse(sid, this.sessions[sid] as string)
      if (session) all[sid] = session
    }
    return all
  }
}

/**
 * A record that the app has written into `sessions`. As in express-session's store it may be any object, which the
 * middleware does not check further.
 */
function parseForeign(json: string): StoredObject | string {
  try {
    const record: unknown = JSON.parse(json)
    return typeof record === 'object' && record !== null ? (record as StoredObject) : json
  } catch {
    return json
  }
}
