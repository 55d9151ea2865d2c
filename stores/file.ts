// FileStore: sessions in a folder, one file each, shared by all processes of a machine.

import { settle } from '../lib/awaitable.ts'
import { type CookieData, expiryOf, hasOtherLifetime } from '../lib/cookie.ts'
import { isPointer } from '../lib/port/pointer.ts'
import type { Driver, Make, Touched, Version } from '../lib/port/slot.ts'
import { cookieIn, type Outgoing, type Stored, withCookie } from '../lib/snapshot.ts'
import { type AllCallback, DriverStore, type ErrorCallback, type LengthCallback, type PlainSession } from './driver.ts'
import { type FileStoreOptions, readFileOptions } from './file/options.ts'
import { type Reaped, startReaping } from './file/reaper.ts'
import {
  type Content,
  extend,
  type Found,
  type FoundRecord,
  isAlive,
  isUnchanged,
  lastsAlmost,
  live,
  load,
  pointerExpiry,
} from './file/record.ts'
import { LANES, SessionFolder } from './file/session-folder.ts'

export type { FileStoreOptions } from './file/options.ts'

/** A record, and how its file was found. */
interface FileVersion extends Version {
  /** Undefined where a later change of the file could not be told from this one. */
  readonly found?: FoundRecord | undefined
}

/** Characters of records remembered as they were read, for who reads them again. */
const REMEMBERED = 4_000_000

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
  /** How long a session whose cookie sets no date lives, in milliseconds. */
  readonly ttl: number

  readonly #folder: SessionFolder
  /** Records as they were read last, by file; the one that was used last is the last. */
  readonly #seen = new Map<string, FoundRecord>()
  #seenLength = 0

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
    this.#folder = new SessionFolder(settings, (file) => this.#forget(file))
    startReaping(this, reapInterval, FileStore.#reaped)
  }

  // No arrow function in the constructor, whose scope would hold the store.
  static #reaped(store: FileStore): Reaped {
    return { folder: store.#folder, damaged: (file, damage) => store.#setAside(file, undefined, damage) }
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
      // The driver's `read` does not look at the data.
      const file = this.#folder.fileOf(sid)
      void this.#setAside(file, sid, new SyntaxError(`${file} is damaged: ${(cause as Error).message}`, { cause }))
      return undefined
    }
  }

  async #read(sid: string): Promise<FileVersion | undefined> {
    const file = this.#folder.fileOf(sid)
    for (;;) {
      const found = await this.#folder.reads.run(() => this.#look(file, sid))
      if (!found?.damage) {
        const current = live(found)
        return current && { record: current.json, found: found?.isRacy ? undefined : found }
      }
      if (await this.#setAside(file, sid, found.damage)) return undefined
    }
  }

  /** What is in the place of a record; read again only where it may have changed. */
  async #look(file: string, sid: string): Promise<Found | undefined> {
    const seen = this.#seen.get(file)
    const found = seen && (await isUnchanged(file, seen.stats)) ? seen : await load(file, sid)
    this.#forget(file)
    if (found?.content) this.#remember(file, found)
    return found
  }

  #remember(file: string, found: FoundRecord): void {
    if (found.isRacy) return
    this.#forget(file)
    this.#seen.set(file, found)
    this.#seenLength += found.content.json.length
    for (const oldest of this.#seen.keys()) {
      if (this.#seenLength <= REMEMBERED) break
      this.#forget(oldest)
    }
  }

  #forget(file: string): void {
    const seen = this.#seen.get(file)
    if (!seen) return
    this.#seen.delete(file)
    this.#seenLength -= seen.content.json.length
  }

  async #write(sid: string, json: string, expires = Date.now() + this.ttl): Promise<Version> {
    await this.#folder.replace(sid, { create: true }, async () => ({ json, expires }))
    return { record: json }
  }

  async #add(sid: string, json: string, expires = Date.now() + this.ttl): Promise<Version> {
    let held: Content | undefined
    await this.#folder.replace(sid, { create: true }, async (file) => {
      held = live(await load(file, sid))
      return held ? undefined : { json, expires }
    })
    return { record: held?.json ?? json }
  }

  async #update(sid: string, from: FileVersion, make: Make): Promise<Version | undefined> {
    let damage: SyntaxError | undefined
    let kept: Version | undefined
    const updated = await this.#folder.replace(sid, {}, async (file) => {
      const isThere = from.found && (await isUnchanged(file, from.found.stats))
      const found = isThere ? from.found : await load(file, sid)
      damage = found?.damage
      const content = live(found)
      if (!content) return undefined
      const current = content.json === from.record ? from : { record: content.json }
      const session = make(current)
      kept = session ? undefined : current
      if (!session) return undefined
      const expires = expiryOf(session.cookie) ?? Date.now() + this.ttl
      return { json: session.json, expires: session.isPointer ? pointerExpiry(expires) : expires }
    })
    if (!damage) return updated === undefined ? kept : { record: updated }
    await this.#setAside(this.#folder.fileOf(sid), sid, damage)
    return undefined
  }

  async #touch(sid: string, session: Outgoing, date: number | undefined, loaded?: CookieData): Promise<Touched> {
    const { cookie } = session
    const expires = date ?? Date.now() + this.ttl
    const file = this.#folder.fileOf(sid)
    if (!session.cookieWillBeSent && lastsAlmost(live(this.#seen.get(file)), cookie, expires)) return undefined
    const touched = await this.#folder.writes.run(() => extend(file, sid, { cookie, expires, loaded }))
    if (touched !== 'differs') return touched
    let outcome: Touched = 'gone'
    await this.#folder.replace(sid, {}, async () => {
      const current = live(await load(file, sid))
      if (!current) return undefined
      if (isPointer(current.json)) {
        outcome = 'moved'
        return undefined
      }
      const isChanged = hasOtherLifetime(cookieIn(current.json), loaded)
      outcome = isChanged ? 'changed' : 'extended'
      if (isChanged) return undefined
      return { json: cookie ? withCookie(current.json, cookie) : current.json, expires }
    })
    return outcome
  }

  async #take(sid: string): Promise<Version | undefined> {
    const content = live(await this.#folder.remove(this.#folder.fileOf(sid), sid))
    return content && { record: content.json }
  }

  /** Keeps what cannot be read out of the way. False: it can be read by now. Fails only where a listener does. */
  async #setAside(file: string, sid: string | undefined, damage: SyntaxError): Promise<boolean> {
    if (!(await this.#folder.setAside(file, sid))) return false
    this.emit('corrupt', sid, damage)
    return true
  }

  async #all(): Promise<(PlainSession & { id: string })[]> {
    const all: (PlainSession & { id: string })[] = []
    await this.#folder.walk(LANES, async (file, isRecord) => {
      if (!isRecord) return
      const found = await this.#folder.reads.run(() => load(file))
      if (found?.damage) {
        await this.#setAside(file, undefined, found.damage)
        return
      }
      const current = live(found)
      const isSession = current && !isPointer(current.json) && this.#folder.fileOf(current.id) === file
      const session = isSession ? this.parse(current.id, current.json) : undefined
      if (session) all.push({ ...session, id: (current as Content).id })
    })
    return all
  }

  async #length(): Promise<number> {
    let length = 0
    await this.#folder.walk(LANES, async (file, isRecord) => {
      if (isRecord && (await this.#folder.reads.run(() => isAlive(file)))) length++
    })
    return length
  }

  async #clear(): Promise<void> {
    await this.#folder.walk(LANES, async (file, isRecord) => {
      if (isRecord) await this.#folder.remove(file)
    })
  }
}

/** The same as `new FileStore(options)`. */
export function fileStore(options: FileStoreOptions): FileStore {
  return new FileStore(options)
}
