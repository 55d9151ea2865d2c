// FileStore: sessions in a folder, one file each, shared by all processes of a machine.

import { settle } from '../lib/awaitable.ts'
import { type Cookie, type CookieData, expiryOf, hasOtherLifetime } from '../lib/cookie.ts'
import { isPointer } from '../lib/port/pointer.ts'
import type { Driver, Make, Touched, Version } from '../lib/port/slot.ts'
import { cookieIn, type Outgoing, type Stored, withCookie } from '../lib/snapshot.ts'
import {
  type AllCallback,
  DriverStore,
  type ErrorCallback,
  type LengthCallback,
  livesAlmostAsLong,
  type PlainSession,
} from './driver.ts'
import { type FileStoreOptions, readFileOptions } from './file/options.ts'
import { type ReapTarget, startReaping } from './file/reaper.ts'
import {
  differOnlyInDate,
  extend,
  type FileRecord,
  isLiveSession,
  isUnchanged,
  type Loaded,
  type LoadedRecord,
  liveRecord,
  load,
  pointerExpiry,
} from './file/record.ts'
import { MAX_AT_ONCE, SessionFolder } from './file/session-folder.ts'
import { UserFiles } from './file/user-index.ts'

export type { FileStoreOptions } from './file/options.ts'

interface FileVersion extends Version {
  /** The record as it was read; undefined for one that was written. */
  readonly loaded?: LoadedRecord
}

/** The cache holds records with so many characters in all. */
const MAX_CACHED = 4_000_000

/**
 * Keeps sessions in files. Safe between the processes of one machine, of Node and of Bun: a change is there as a whole
 * or not at all, whenever a process dies.
 *
 * Emits `corrupt` with the id and a SyntaxError for a file that cannot be read as a session. It counts as missing and
 * is kept, renamed to `<name>.corrupt`. The id is undefined where only the file could tell it.
 */
export class FileStore extends DriverStore {
  /** The folder, as an absolute path. */
  readonly path: string
  /** The lifetime in milliseconds of a session whose cookie has no expiry date. */
  readonly ttl: number

  readonly #folder: SessionFolder
  readonly #users: UserFiles
  /** Records as they were read, by file, the least recently used one first. Saves reading and decoding an unchanged file. */
  readonly #cache = new Map<string, LoadedRecord>()
  /** The characters of the records in the cache. */
  #cachedLength = 0

  /**
   * @throws TypeError with the code `ERR_SESSION_OPTION` for an option that makes no sense, or a folder that cannot be
   * made, read or written.
   */
  constructor(options: FileStoreOptions) {
    super()
    const { path, ttl, encoding, fileExtension: extension, reapInterval, sync } = readFileOptions(options)
    this.path = path
    this.ttl = ttl
    const settings = { path, extension, encoding, sync }
    this.#folder = new SessionFolder(settings, (file) => this.#uncache(file))
    this.#users = new UserFiles(settings)
    this.driver = { ...this.driver, users: this.#users }
    startReaping(this, reapInterval, FileStore.#reapTarget)
  }

  // Static: an arrow function in the constructor would keep the store in memory for as long as its timer runs.
  static #reapTarget(store: FileStore): ReapTarget {
    return {
      folder: store.#folder,
      users: store.#users,
      onDamage: (file, damage) => store.#setAside(file, undefined, damage),
    }
  }

  /** All live sessions, each with its `id`. */
  override all(callback: AllCallback): void
  override all(): Promise<(PlainSession & { id: string })[]>
  override all(callback?: AllCallback): void | Promise<(PlainSession & { id: string })[]> {
    return settle(undefined, () => this.#all(), callback as ErrorCallback)
  }

  /** The number of live sessions. */
  override length(callback: LengthCallback): void
  override length(): Promise<number>
  override length(callback?: LengthCallback): void | Promise<number> {
    return settle(undefined, () => this.#length(), callback as ErrorCallback)
  }

  /** Deletes all sessions, and nothing else that is in the folder. */
  override clear(callback: ErrorCallback): void
  override clear(): Promise<void>
  override clear(callback?: ErrorCallback): void | Promise<void> {
    return settle(undefined, () => this.#clear(), callback)
  }

  /** @internal */
  protected override readonly driver: Driver = {
    lifetime: () => this.ttl,
    read: (sid) => this.#read(sid),
    write: (sid, session, expires) => this.#write(sid, session.json, expires),
    add: (sid, session, expires) => this.#add(sid, session.json, expires),
    update: (sid, from, make) => this.#update(sid, from, make),
    touch: (sid, session, expires, loaded) => this.#touch(sid, session, expires, loaded),
    take: (sid) => this.#take(sid),
    remove: async (sid) => {
      await this.#folder.remove(this.#folder.fileOf(sid))
    },
  }

  /** @internal */
  protected override parse(sid: string, stored: Stored): PlainSession | undefined {
    try {
      return JSON.parse(stored as string) as PlainSession
    } catch (cause) {
      // `#read` does not parse the session, so damage within it is found only here.
      const file = this.#folder.fileOf(sid)
      void this.#setAside(file, sid, new SyntaxError(`${file} is damaged: ${(cause as Error).message}`, { cause }))
      return undefined
    }
  }

  /** Loads a record. One that cannot be read is set aside, unless a writer has replaced it meanwhile. */
  async #read(sid: string): Promise<FileVersion | undefined> {
    const file = this.#folder.fileOf(sid)
    for (;;) {
      const loaded = await this.#folder.readers.run(() => this.#load(file, sid))
      if (!loaded?.damage) {
        const record = liveRecord(loaded)
        return record && { record: record.json, loaded: loaded as LoadedRecord }
      }
      if (await this.#setAside(file, sid, loaded.damage)) return undefined
    }
  }

  /** Loads a record, from the cache if the file has not changed since. */
  async #load(file: string, sid: string): Promise<Loaded | undefined> {
    const cached = this.#cache.get(file)
    const loaded = cached && (await isUnchanged(file, cached)) ? cached : await load(file, sid)
    this.#uncache(file)
    if (loaded?.record && loaded.stats) this.#addToCache(file, loaded)
    return loaded
  }

  /** Adds a record, and removes the least recently used ones while the cache is too large. */
  #addToCache(file: string, loaded: LoadedRecord): void {
    this.#cache.set(file, loaded)
    this.#cachedLength += loaded.record.json.length
    for (const oldest of this.#cache.keys()) {
      if (this.#cachedLength <= MAX_CACHED) break
      this.#uncache(oldest)
    }
  }

  #uncache(file: string): void {
    const cached = this.#cache.get(file)
    if (!cached) return
    this.#cache.delete(file)
    this.#cachedLength -= cached.record.json.length
  }

  /** Stores a session, whatever was there. */
  async #write(sid: string, json: string, expires = Date.now() + this.ttl): Promise<Version> {
    await this.#folder.replace(sid, { createFolder: true }, async () => ({ json, expires }))
    return { record: json }
  }

  /** Stores a session unless there is one, and returns what is stored then. */
  async #add(sid: string, json: string, expires = Date.now() + this.ttl): Promise<Version> {
    let existing: FileRecord | undefined
    await this.#folder.replace(sid, { createFolder: true }, async (file) => {
      existing = liveRecord(await load(file, sid))
      return existing ? undefined : { json, expires }
    })
    return { record: existing?.json ?? json }
  }

  /** Replaces the record of a session that exists. `make` may run several times, as the lock may be lost. */
  async #update(sid: string, from: FileVersion, make: Make): Promise<Version | undefined> {
    let damage: SyntaxError | undefined
    /** What the file holds, where `make` chose to write nothing. */
    let unchanged: Version | undefined
    const written = await this.#folder.replace(sid, {}, async (file) => {
      // In most cases nobody has changed the file, and one `stat` shows it.
      const isFrom = from.loaded && (await isUnchanged(file, from.loaded))
      const loaded = isFrom ? from.loaded : await load(file, sid)
      damage = loaded?.damage
      const record = liveRecord(loaded)
      if (!record) return undefined
      const current = record.json === from.record ? from : { record: record.json }
      const session = make(current)
      unchanged = session ? undefined : current
      if (!session) return undefined
      const expires = expiryOf(session.cookie) ?? Date.now() + this.ttl
      return { json: session.json, expires: session.isPointer ? pointerExpiry(expires) : expires }
    })
    if (!damage) return written === undefined ? unchanged : { record: written }
    await this.#setAside(this.#folder.fileOf(sid), sid, damage)
    return undefined
  }

  /** Extends a session: not at all, by its file's mtime, or by writing its record, the cheapest that suffices. */
  async #touch(sid: string, session: Outgoing, date: number | undefined, loaded?: CookieData): Promise<Touched> {
    const { cookie } = session
    const expires = date ?? Date.now() + this.ttl
    const file = this.#folder.fileOf(sid)
    if (!session.cookieWillBeSent && this.#mayPostpone(file, cookie, expires)) return undefined
    const touched = await this.#folder.writers.run(() => extend(file, sid, { cookie, expires, loaded }))
    if (touched !== 'rewrite') return touched
    let outcome: Touched = 'gone'
    await this.#folder.replace(sid, {}, async () => {
      const record = liveRecord(await load(file, sid))
      if (!record) return undefined
      if (isPointer(record.json)) {
        outcome = 'moved'
        return undefined
      }
      const isChanged = hasOtherLifetime(cookieIn(record.json), loaded)
      outcome = isChanged ? 'changed' : 'extended'
      if (isChanged) return undefined
      return { json: cookie ? withCookie(record.json, cookie) : record.json, expires }
    })
    return outcome
  }

  /** Whether a touch can be left to a later request: the session lives almost as long, with the same cookie. */
  #mayPostpone(file: string, cookie: Cookie | undefined, expires: number): boolean {
    const record = liveRecord(this.#cache.get(file))
    if (!record || !livesAlmostAsLong(record.expires, expires)) return false
    const stored = cookieIn(record.json)
    return !cookie || (stored !== undefined && differOnlyInDate(cookie, stored))
  }

  /** Deletes a session, unless a pointer is in its place, and returns what was there. */
  async #take(sid: string): Promise<Version | undefined> {
    const record = liveRecord(await this.#folder.remove(this.#folder.fileOf(sid), sid))
    return record && { record: record.json }
  }

  /** Renames a damaged file and emits `corrupt`. False: it can be read now. Throws only what a listener throws. */
  async #setAside(file: string, sid: string | undefined, damage: SyntaxError): Promise<boolean> {
    if (!(await this.#folder.setAside(file, sid))) return false
    this.emit('corrupt', sid, damage)
    return true
  }

  async #all(): Promise<(PlainSession & { id: string })[]> {
    const all: (PlainSession & { id: string })[] = []
    await this.#folder.walk(MAX_AT_ONCE, async (file, isRecord) => {
      if (!isRecord) return
      const loaded = await this.#folder.readers.run(() => load(file))
      if (loaded?.damage) {
        await this.#setAside(file, undefined, loaded.damage)
        return
      }
      const record = liveRecord(loaded)
      // A copy under another name is not the session of its id.
      if (!record || isPointer(record.json) || this.#folder.fileOf(record.id) !== file) return
      const session = this.parse(record.id, record.json)
      if (session) all.push({ ...session, id: record.id })
    })
    return all
  }

  async #length(): Promise<number> {
    let length = 0
    await this.#folder.walk(MAX_AT_ONCE, async (file, isRecord) => {
      if (isRecord && (await this.#folder.readers.run(() => isLiveSession(file)))) length++
    })
    return length
  }

  async #clear(): Promise<void> {
    // First, so that no session which stays is without its entry.
    await this.#users.clear()
    await this.#folder.walk(MAX_AT_ONCE, async (file, isRecord) => {
      if (isRecord) await this.#folder.remove(file)
    })
  }
}

/** The same as `new FileStore(options)`. */
export function fileStore(options: FileStoreOptions): FileStore {
  return new FileStore(options)
}
