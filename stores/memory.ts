// MemoryStore: sessions in the memory of one process, which end with it.

import { settle } from '../lib/awaitable.ts'
import { type CookieData, expiryOf } from '../lib/cookie.ts'
import { optionError } from '../lib/errors.ts'
import { isCookieChanged } from '../lib/merge.ts'
import { isPointer } from '../lib/port/pointer.ts'
import type { Driver, Make, Touched, Version } from '../lib/port/slot.ts'
import { cookieIn, type Outgoing, type StoredObject, withCookie } from '../lib/snapshot.ts'
import { inBackground } from '../lib/timers.ts'
import {
  type AllCallback,
  DriverStore,
  type ErrorCallback,
  type LengthCallback,
  LONGEST_DELAY,
  type PlainSession,
} from './driver.ts'
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

/** How many entries are freed at a time; requests come in between. */
const BATCH = 5_000

/**
 * Keeps sessions in this process. Good enough to run one process in production when `max` bounds it:
 * expired sessions are freed by a timer that keeps no process alive.
 */
export class MemoryStore extends DriverStore {
  /** The records as JSON, by id, as in express-session. */
  sessions: Record<string, string> = Object.create(null)
  /** The largest number of sessions; undefined: no limit. */
  readonly max: number | undefined

  readonly #interval: number
  /** The sessions by id; if `max` is set, the least recently used one comes first. */
  readonly #entries = new Map<string, Entry>()
  /** The pointers under ids that were renewed, oldest first. They are no sessions, and not in `sessions`. */
  readonly #pointers = new Map<string, Entry>()
  /** Ids by the interval in which they expire: bucket `n` can be freed at the time `n` × `reapInterval`. */
  readonly #buckets = new Map<number, Set<string>>()
  /** The last bucket that has been freed. */
  #reapedBucket: number
  /** The timer of the next reaping is running. It runs only while there is something to free. */
  #isScheduled = false

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
    this.#interval = reapInterval
    this.#reapedBucket = Math.floor(Date.now() / reapInterval)
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
    if (expires !== undefined) {
      const bucket = this.#bucketOf(expires)
      const ids = this.#buckets.get(bucket)
      if (ids) ids.add(sid)
      else this.#buckets.set(bucket, new Set([sid]))
      this.#schedule()
    }
  }

  /** Removes the first entry if there are more than `max`. */
  #evict(entries: Map<string, Entry>): void {
    if (this.max !== undefined && entries.size > this.max) {
      const oldest = entries.keys().next().value as string
      this.#remove(oldest)
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
  }

  /** Removes the entry of an id, but not what `sessions` holds. */
  #removeEntry(sid: string): void {
    const entry = this.#entries.get(sid) ?? this.#pointers.get(sid)
    if (!entry) return
    this.#entries.delete(sid)
    this.#pointers.delete(sid)
    if (entry.expires === undefined) return
    const bucket = this.#bucketOf(entry.expires)
    const ids = this.#buckets.get(bucket)
    if (ids?.delete(sid) && ids.size === 0) this.#buckets.delete(bucket)
  }

  #clear(): void {
    this.sessions = Object.create(null)
    this.#entries.clear()
    this.#pointers.clear()
    this.#buckets.clear()
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

  /** Never one that has been freed already. */
  #bucketOf(expires: number): number {
    return Math.max(Math.ceil(expires / this.#interval), this.#reapedBucket + 1)
  }

  #schedule(): void {
    if (!this.#isScheduled) this.#reapIn(Math.min(this.#interval, LONGEST_DELAY))
  }

  #reapIn(ms: number): void {
    this.#isScheduled = true
    inBackground(ms, () => this.#reap())
  }

  /** The last bucket up to `due` such that all buckets up to it are empty. */
  #lastEmptyBucket(due: number): number {
    let last = due
    for (const bucket of this.#buckets.keys()) last = Math.min(last, bucket - 1)
    return last
  }

  /** Frees the buckets that are due. The work is in proportion to what has expired, not to what is kept. */
  #reap(): void {
    let budget = BATCH
    const due = Math.floor(Date.now() / this.#interval)
    while (this.#reapedBucket < due && budget > 0) {
      const bucket = this.#reapedBucket + 1
      for (const sid of this.#buckets.get(bucket) ?? []) {
        if (budget-- === 0) break
        this.#remove(sid)
      }
      if (this.#buckets.has(bucket)) continue
      // After a long sleep, more buckets are due than there are with an entry: skip the empty ones.
      const gap = due - bucket > this.#buckets.size
      this.#reapedBucket = gap ? this.#lastEmptyBucket(due) : bucket
    }
    this.#isScheduled = false
    if (this.#reapedBucket < due) this.#reapIn(1)
    else if (this.#buckets.size > 0) this.#schedule()
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
