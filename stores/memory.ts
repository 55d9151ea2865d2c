// MemoryStore: sessions of one process, gone with it.

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
  /** Most sessions kept; the least recently used goes first. Default: no limit. */
  max?: number
  /** How often expired sessions are freed, in milliseconds. Default 60 000. */
  reapInterval?: number
}

const NAMES: OptionNames<MemoryStoreOptions> = {
  store: 'MemoryStore',
  known: ['max', 'reapInterval'],
  lenient: true,
  // Of memorystore.
  instead: {
    checkPeriod: 'use reapInterval',
    ttl: 'a session lives as long as its cookie; set cookie.maxAge',
    serializer: 'sessions are kept as JSON',
    stale: 'an expired session is never handed out',
    ...each('dispose noDisposeOnSet', 'nothing is called when a session goes'),
  },
}

interface Entry {
  readonly json: string
  readonly expires: number | undefined
}

/** Entries freed in one go, so that a large harvest does not hold up requests. */
const BATCH = 5_000

/**
 * Keeps sessions in this process. Good enough to run one process in production when `max` bounds it:
 * expired sessions are freed by a timer that keeps no process alive.
 */
export class MemoryStore extends DriverStore {
  /** The records as JSON, by id, as in express-session. */
  sessions: Record<string, string> = Object.create(null)
  /** Most sessions kept; undefined: no limit. */
  readonly max: number | undefined

  readonly #interval: number
  /** What is known of the records, least recently used first when `max` is set. */
  readonly #entries = new Map<string, Entry>()
  /** What is left under ids that were renewed, oldest first. */
  readonly #pointers = new Map<string, Entry>()
  /** Ids by the interval in which they expire. */
  readonly #slots = new Map<number, Set<string>>()
  #reapedSlot: number
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
    this.#reapedSlot = Math.floor(Date.now() / reapInterval)
  }

  /** Sessions kept at this moment. */
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
    return settle(undefined, () => this.#live().length, callback as ErrorCallback)
  }

  override clear(callback: ErrorCallback): void
  override clear(): Promise<void>
  override clear(callback?: ErrorCallback): void | Promise<void> {
    return settle(undefined, () => this.#clear(), callback)
  }

  /** @internal */
  protected override readonly driver: Driver = {
    read: (sid) => {
      const json = this.#read(sid) ?? this.#pointer(sid)
      if (json === undefined) return undefined
      return { record: isPointer(json) || json.startsWith('{"cookie":') ? json : handedOver(json) }
    },
    write: (sid, session, expires) => {
      this.#put(sid, session.json, expires, session.replaces)
      return { record: session.json }
    },
    add: (sid, session, expires) => {
      const held = this.#read(sid) ?? this.#pointer(sid)
      if (held === undefined) this.#put(sid, session.json, expires)
      return { record: held ?? session.json }
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

  #read(sid: string): string | undefined {
    const json = this.#look(sid)
    if (json !== undefined && this.max !== undefined) {
      const entry = this.#entries.get(sid) as Entry
      this.#entries.delete(sid)
      this.#entries.set(sid, entry)
    }
    return json
  }

  /** The record, without it counting as used. */
  #look(sid: string): string | undefined {
    const entry = this.#entry(sid)
    if (!entry) return undefined
    if (entry.expires === undefined || entry.expires > Date.now()) return entry.json
    this.#remove(sid)
    return undefined
  }

  /** The record of `sid`; `sessions` is the truth, tests and tools write to it. */
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

  /** What is left under an id that was renewed. */
  #pointer(sid: string): string | undefined {
    const entry = this.#pointers.get(sid)
    return entry && (entry.expires === undefined || entry.expires > Date.now()) ? entry.json : undefined
  }

  #point(sid: string, json: string, expires: number | undefined): void {
    this.#remove(sid)
    this.#add(this.#pointers, sid, { json, expires })
    this.#bound(this.#pointers)
  }

  #put(sid: string, json: string, expires: number | undefined, replaces?: string): void {
    this.#forget(sid)
    this.sessions[sid] = json
    this.#add(this.#entries, sid, { json, expires })
    // The one that it takes the place of is about to go.
    if (replaces === undefined || !this.#entries.has(replaces)) this.#bound(this.#entries)
  }

  #add(entries: Map<string, Entry>, sid: string, entry: Entry): void {
    const { expires } = entry
    entries.set(sid, entry)
    if (expires !== undefined) {
      const slot = this.#slotOf(expires)
      const ids = this.#slots.get(slot)
      if (ids) ids.add(sid)
      else this.#slots.set(slot, new Set([sid]))
      this.#schedule()
    }
  }

  #bound(entries: Map<string, Entry>): void {
    if (this.max !== undefined && entries.size > this.max) {
      const oldest = entries.keys().next().value as string
      this.#remove(oldest)
    }
  }

  #update(sid: string, from: Version, make: Make): Version | undefined {
    const held = this.#read(sid) ?? this.#pointer(sid)
    if (held === undefined) return undefined
    const current = held === from.record ? from : { record: held }
    const session = make(current)
    if (!session) return current
    const { json } = session
    if (session.isPointer) this.#point(sid, json, expiryOf(session.cookie))
    else this.#put(sid, json, expiryOf(session.cookie))
    return { record: json }
  }

  #touch(sid: string, session: Outgoing, expires: number | undefined, loaded: CookieData | undefined): Touched {
    const json = this.#read(sid)
    if (json === undefined) return this.#pointer(sid) === undefined ? 'gone' : 'moved'
    // Without a cookie there is no date to extend it to.
    if (!session.cookie) return 'extended'
    // Of a cookie that another request has changed, nothing may be overwritten.
    const stored = cookieIn(json)
    if (stored && loaded && isCookieChanged(loaded, stored)) return 'changed'
    this.#put(sid, withCookie(json, session.cookie), expires)
    return 'extended'
  }

  #remove(sid: string): void {
    delete this.sessions[sid]
    this.#forget(sid)
  }

  #forget(sid: string): void {
    const entry = this.#entries.get(sid) ?? this.#pointers.get(sid)
    if (!entry) return
    this.#entries.delete(sid)
    this.#pointers.delete(sid)
    if (entry.expires === undefined) return
    const slot = this.#slotOf(entry.expires)
    const ids = this.#slots.get(slot)
    if (ids?.delete(sid) && ids.size === 0) this.#slots.delete(slot)
  }

  #clear(): void {
    this.sessions = Object.create(null)
    this.#entries.clear()
    this.#pointers.clear()
    this.#slots.clear()
  }

  #live(): string[] {
    return Object.keys(this.sessions).filter((sid) => this.#look(sid) !== undefined)
  }

  #all(): Record<string, PlainSession> {
    const all: Record<string, PlainSession> = Object.create(null)
    for (const sid of Object.keys(this.sessions)) {
      const json = this.#look(sid)
      const session = json === undefined ? undefined : this.parse(sid, json)
      if (session) all[sid] = session
    }
    return all
  }

  #slotOf(expires: number): number {
    return Math.max(Math.ceil(expires / this.#interval), this.#reapedSlot + 1)
  }

  #schedule(): void {
    if (!this.#isScheduled) this.#reapIn(Math.min(this.#interval, LONGEST_DELAY))
  }

  #reapIn(ms: number): void {
    this.#isScheduled = true
    inBackground(ms, () => this.#reap())
  }

  /** The last slot up to `due` before which there is nothing to free. */
  #lastEmptySlot(due: number): number {
    let last = due
    for (const slot of this.#slots.keys()) last = Math.min(last, slot - 1)
    return last
  }

  /** Frees the slots that have passed: work in proportion to what has expired, not to what is kept. */
  #reap(): void {
    let budget = BATCH
    const due = Math.floor(Date.now() / this.#interval)
    while (this.#reapedSlot < due && budget > 0) {
      const slot = this.#reapedSlot + 1
      for (const sid of this.#slots.get(slot) ?? []) {
        if (budget-- === 0) break
        this.#remove(sid)
      }
      if (this.#slots.has(slot)) continue
      // After a long sleep there are more empty slots than sessions: go on at the next that has any.
      const gap = due - slot > this.#slots.size
      this.#reapedSlot = gap ? this.#lastEmptySlot(due) : slot
    }
    this.#isScheduled = false
    if (this.#reapedSlot < due) this.#reapIn(1)
    else if (this.#slots.size > 0) this.#schedule()
  }
}

/** A record that somebody else has written, as express-session's store hands it over: the middleware does not judge it. */
function handedOver(json: string): StoredObject | string {
  try {
    const record: unknown = JSON.parse(json)
    return typeof record === 'object' && record !== null ? (record as StoredObject) : json
  } catch {
    return json
  }
}
