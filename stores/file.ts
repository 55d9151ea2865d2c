// FileStore: sessions in a folder, one file each, shared by all processes of a machine.
//
//   <path>/<2 hex>/<62 hex><extension>              a record; the hex digits are the SHA-256 of its id
//   <path>/<2 hex>/<62 hex><extension>.lock         the lock of whoever changes it (lock.ts)
//   <path>/<2 hex>/<62 hex><extension>.<name>.next  its next content
//   <path>/<2 hex>/<62 hex><extension>.corrupt      a record that could not be read
//
// A record's mtime is the date on which it expires: a touch need not rewrite it, a reaper need not read it. The date
// inside is the one of the last write. The later of the two holds, as a copy or an editor sets the mtime to its own.
//
// What is left under an id that was renewed is a record like any other, but no session: its date is a whole second, so
// that who counts sessions reads those few files that have such a date, and of all others looks at the date alone.

import crypto from 'node:crypto'
import type fs from 'node:fs'
import { join, sep } from 'node:path'
import { Cookie, type CookieData, expiryOf, hasOtherLifetime } from '../lib/cookie.ts'
import { debug } from '../lib/diagnostics.ts'
import { optionError } from '../lib/errors.ts'
import { lintMilliseconds } from '../lib/lint.ts'
import { settle } from '../lib/maybe.ts'
import type { Driver, Make, Touched } from '../lib/port.ts'
import { cookieIn, type Outgoing, type Stored, splitRecord, withCookie } from '../lib/snapshot.ts'
import { isPointer } from '../lib/successor.ts'
import { inBackground } from '../lib/timers.ts'
import { codeOf, disk, Lanes, patiently, readText, unlessMissing } from './disk.ts'
import {
  type AllCallback,
  DriverStore,
  type ErrorCallback,
  type LengthCallback,
  LONGEST_DELAY,
  type PlainSession,
} from './driver.ts'
import { checkSync, readFolder } from './folder.ts'
import { exclusively, flushFolder, type Lock, type Terms, tidy } from './lock.ts'
import { FILE_OPTIONS, readStoreOptions } from './options.ts'

export interface FileStoreOptions {
  /**
   * The folder for the sessions, as text or a `file:` URL; a relative path counts from the working directory. It is
   * looked at when the store is made, and made by the first session when it is missing.
   */
  path: string | URL
  /** How long a session whose cookie sets no date lives after its last write or touch, in milliseconds. Default 24 hours. */
  ttl?: number | undefined
  /** How files are written; files in either encoding are read. Default `'utf8'`. */
  encoding?: 'utf8' | 'utf-8' | 'utf16le' | 'utf-16le' | 'ucs2' | 'ucs-2' | undefined
  /** How the files' names end. Default `'.json'`. */
  fileExtension?: string | undefined
  /** How often expired sessions are deleted, in milliseconds; `Infinity`: never. Default 10 minutes. */
  reapInterval?: number | undefined
  /** Answers only when the disk has confirmed the change, so that a power cut undoes none; takes milliseconds. Default `false`. */
  sync?: boolean | undefined
}

/** The content of a file. */
interface Content {
  readonly id: string
  readonly json: string
  readonly expires: number
}

/** What is in a record's place: a record, or what cannot be read as one. */
type Found =
  | { readonly content: Content; readonly stats: fs.Stats; readonly damage?: never }
  | { readonly damage: SyntaxError; readonly content?: never }
type FoundRecord = Extract<Found, { content: Content }>

/** What a record is replaced with; without `expires` it lives for the store's `ttl`. */
interface Next {
  readonly json: string
  readonly expires: number | undefined
}

const DAY = 86_400_000
const ENCODINGS = ['utf8', 'utf-8', 'utf16le', 'utf-16le', 'ucs2', 'ucs-2']
/** The last date, in seconds, that every file system can hold; the date inside the record has no such limit. */
const LAST_TIME = 2 ** 32 - 1
/** By how many milliseconds a file system may round a time down. */
const COARSE = 2_000
/** Bytes of a record in which `touch` looks for the cookie before it reads all. */
const HEAD = 4_096
/** Where our part of a file ends and the record begins. Quotes within an id are escaped, so this is nowhere before. */
const SESSION = ',"session":'
/** Characters of records remembered as they were read, for those who read them again or change them. */
const REMEMBERED = 4_000_000
/** Milliseconds after a change in which a file system may give another change the same date. */
const RACY = 20
/** Operations at once, of each kind. */
const LANES = 16
/** Milliseconds that an expired session is left where it is. */
const GRACE = 1_000
// A session's life that is extended by less than this, or by less than this part of it, is left to the next request.
const SLACK = 60_000
const SLACK_PART = 0.05
/** Milliseconds after which what a writer has left is deleted, though nobody can say that the writer is dead. */
const ABANDONED = 60_000

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

  readonly #encoding: BufferEncoding
  readonly #extension: string
  readonly #sync: boolean
  readonly #ownName: RegExp
  readonly #reads = new Lanes(LANES)
  readonly #writes = new Lanes(LANES)
  /** Records as they were read last, by file; the one that was used last is the last. */
  readonly #seen = new Map<string, FoundRecord>()
  #seenLength = 0
  /** Changes under way in this process, by file: they wait for each other here, not at the lock. */
  readonly #changes = new Map<string, Promise<unknown>>()

  /**
   * @throws TypeError with the code `ERR_SESSION_OPTION` for an option that makes no sense, or a folder that cannot be
   * made, read or written.
   */
  constructor(options: FileStoreOptions) {
    super()
    const {
      path,
      ttl = DAY,
      encoding = 'utf8',
      fileExtension = '.json',
      reapInterval = 600_000,
      sync = false,
    } = readStoreOptions(options, FILE_OPTIONS)
    if (!(Number.isFinite(ttl) && ttl > 0)) {
      throw optionError('ttl option of FileStore must be a number of milliseconds above 0')
    }
    if (!ENCODINGS.includes(encoding)) {
      throw optionError("encoding option of FileStore must be 'utf8' or 'utf16le', which can hold every session")
    }
    if (typeof fileExtension !== 'string' || !/^(\.[\w-]+)*$/.test(fileExtension)) {
      throw optionError("fileExtension option of FileStore must be a dot and a word, such as '.json'")
    }
    if (!(typeof reapInterval === 'number' && reapInterval > 0)) {
      throw optionError('reapInterval option of FileStore must be a number of milliseconds above 0 (Infinity: never)')
    }
    if (typeof sync !== 'boolean') throw optionError('sync option of FileStore must be true or false')
    if (sync) checkSync()
    lintMilliseconds('ttl option of FileStore', ttl)
    lintMilliseconds('reapInterval option of FileStore', reapInterval)

    this.path = readFolder(path)
    this.ttl = ttl
    this.#encoding = encoding
    this.#extension = fileExtension
    this.#sync = sync
    const extension = fileExtension.replaceAll('.', '\\.')
    this.#ownName = new RegExp(`^[0-9a-f]{62}${extension}((?:\\.lock)*(?:\\.lock|\\.[0-9a-f]+-\\d+\\.next))?$`)
    if (reapInterval !== Infinity) {
      const interval = Math.min(reapInterval, LONGEST_DELAY)
      // Soon for the first time, as some processes never get old; not in all processes at once.
      FileStore.#schedule(new WeakRef(this), interval * 0.2 * Math.random(), interval)
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
    update: (sid, from, make) => this.#update(sid, from, make),
    touch: (sid, session, expires, loaded) => this.#touch(sid, session, expires, loaded),
    take: (sid) => this.#take(sid),
    remove: async (sid) => {
      await this.#remove(this.#fileOf(sid))
    },
  }

  /** @internal */
  protected override parse(sid: string, stored: Stored): PlainSession | undefined {
    try {
      return JSON.parse(stored as string) as PlainSession
    } catch (cause) {
      // The driver's `read` does not look at the data.
      const file = this.#fileOf(sid)
      void this.#setAside(file, sid, new SyntaxError(`${file} is damaged: ${(cause as Error).message}`, { cause }))
      return undefined
    }
  }

  #fileOf(sid: string): string {
    const name = digest(sid)
    return `${this.path}${sep}${name.slice(0, 2)}${sep}${name.slice(2)}${this.#extension}`
  }

  async #read(sid: string): Promise<string | undefined> {
    const file = this.#fileOf(sid)
    for (;;) {
      const found = await this.#reads.run(() => this.#look(file, sid))
      if (!found?.damage) return live(found)?.json
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
    // A change right after would leave its date.
    if (Date.now() - found.stats.ctimeMs < RACY) return
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

  async #write(sid: string, json: string, expires: number | undefined): Promise<void> {
    await this.#replace(sid, { create: true }, async () => ({ json, expires }))
  }

  async #update(sid: string, from: Stored, make: Make): Promise<string | undefined> {
    let damage: SyntaxError | undefined
    let kept: string | undefined
    const updated = await this.#replace(sid, {}, async (file) => {
      const seen = this.#seen.get(file)
      const isThere = seen?.content.json === from && (await isUnchanged(file, seen.stats))
      const found = isThere ? seen : await load(file, sid)
      damage = found?.damage
      const current = live(found)
      if (!current) return undefined
      const session = make(current.json)
      kept = session ? undefined : current.json
      if (!session) return undefined
      const expires = expiryOf(session.cookie)
      return { json: session.json, expires: session.isPointer && expires ? Math.ceil(expires / 1000) * 1000 : expires }
    })
    if (!damage) return updated ?? kept
    await this.#setAside(this.#fileOf(sid), sid, damage)
    return undefined
  }

  async #touch(sid: string, session: Outgoing, date: number | undefined, loaded?: CookieData): Promise<Touched> {
    const { cookie } = session
    const expires = date ?? Date.now() + this.ttl
    const file = this.#fileOf(sid)
    if (!session.announced && lastsAlmost(live(this.#seen.get(file)), cookie, expires)) return undefined
    const touched = await this.#writes.run(() => extend(file, sid, { cookie, expires, loaded }))
    if (touched !== 'differs') return touched
    let outcome: Touched = 'gone'
    await this.#replace(sid, {}, async () => {
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

  async #take(sid: string): Promise<string | undefined> {
    return live(await this.#remove(this.#fileOf(sid), sid))?.json
  }

  /** Deletes a record; with `sid` it answers with what was there, and leaves a pointer. */
  #remove(file: string, sid?: string): Promise<Found | undefined> {
    return this.#change(file, {}, async (lock) => {
      const found = sid === undefined ? undefined : await load(file, sid)
      const pointer = live(found)
      if (!pointer || !isPointer(pointer.json)) await unlessMissing(() => disk.unlink(file))
      // Without the lock, another writer may have put back what it had read before.
      await lock.confirm()
      if (this.#sync) await flushFolder(file)
      return found
    })
  }

  /**
   * Writes what `produce` makes under the lock, which it does again when the lock is lost; nothing where it answers
   * undefined, or where the folder is missing and `create` is not set. Answers with the JSON that was written.
   */
  #replace(
    sid: string,
    options: { create?: boolean },
    produce: (file: string) => Promise<Next | undefined>,
  ): Promise<string | undefined> {
    const file = this.#fileOf(sid)
    const id = JSON.stringify(sid)
    return this.#change(file, options, async (lock) => {
      const next = await produce(file)
      if (!next) return undefined
      const expires = Math.round(next.expires ?? Date.now() + this.ttl)
      await lock.publish({
        text: `"id":${id},"expires":${expires}${SESSION}${next.json}}\n`,
        time: timeOf(expires),
        sync: this.#sync,
      })
      return next.json
    })
  }

  /** Runs a change of `file` after those of this process that are under way. */
  #change<T>(
    file: string,
    options: Pick<Terms, 'create' | 'patient'>,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T | undefined> {
    const go = (): Promise<T | undefined> =>
      exclusively(file, { lanes: this.#writes, encoding: this.#encoding, ...options }, work)
    const result = this.#changes.get(file)?.then(go) ?? go()
    const done = (): void => {
      if (this.#changes.get(file) !== tail) return
      this.#changes.delete(file)
      this.#forget(file)
    }
    const tail = result.then(done, done)
    this.#changes.set(file, tail)
    return result
  }

  /** Keeps what cannot be read out of the way. False: it can be read by now. Fails only where a listener does. */
  async #setAside(file: string, sid: string | undefined, damage: SyntaxError): Promise<boolean> {
    try {
      const isSound = await this.#change(file, {}, async () => {
        const found = await load(file, sid)
        if (found && !found.damage && isJson(found.content.json)) return true
        if (found) await moveAside(file)
        return false
      })
      if (isSound) return false
    } catch (error) {
      debug('%s is damaged, and cannot be renamed: %s', file, error)
    }
    this.emit('corrupt', sid, damage)
    return true
  }

  async #all(): Promise<(PlainSession & { id: string })[]> {
    const all: (PlainSession & { id: string })[] = []
    await this.#walk(LANES, async (file, isRecord) => {
      if (!isRecord) return
      const found = await this.#reads.run(() => load(file))
      if (found?.damage) {
        await this.#setAside(file, undefined, found.damage)
        return
      }
      const current = live(found)
      const isSession = current && !isPointer(current.json) && this.#fileOf(current.id) === file
      const session = isSession ? this.parse(current.id, current.json) : undefined
      if (session) all.push({ ...session, id: (current as Content).id })
    })
    return all
  }

  async #length(): Promise<number> {
    let length = 0
    await this.#walk(LANES, async (file, isRecord) => {
      if (isRecord && (await this.#reads.run(() => isAlive(file)))) length++
    })
    return length
  }

  async #clear(): Promise<void> {
    await this.#walk(LANES, async (file, isRecord) => {
      if (isRecord) await this.#remove(file)
    })
  }

  /** Visits the files that are ours, so many at a time; what is no record is left of a writer's work on one. */
  async #walk(width: number, visit: (file: string, isRecord: boolean) => Promise<void>): Promise<void> {
    for (const folder of await namesIn(this.path, 'ENOENT')) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue
      // A file of that name is somebody else's.
      const names = (await namesIn(join(this.path, folder), 'ENOENT', 'ENOTDIR')).values()
      const visitInTurn = async (): Promise<void> => {
        for (const name of names) {
          const own = this.#ownName.exec(name)
          if (own) await visit(join(this.path, folder, name), own[1] === undefined)
        }
      }
      await Promise.all(Array.from({ length: width }, visitInTurn))
    }
  }

  static #schedule(store: WeakRef<FileStore>, delay: number, interval: number): void {
    inBackground(delay, () => {
      // Held by its timer, a store that nobody uses any more would live for ever.
      const reaper = store.deref()
      if (!reaper) return
      reaper
        .#reap(Math.min(interval, GRACE))
        .catch((error: unknown) => debug('expired sessions cannot be deleted: %s', error))
        .then(() => FileStore.#schedule(store, interval, interval))
    })
  }

  /** Deletes what expired more than `grace` ms ago: not in the very moment in which a touch may extend it. */
  async #reap(grace: number): Promise<void> {
    await this.#walk(1, async (file, isRecord) => {
      try {
        const stats = await this.#reads.run(() => unlessMissing(() => disk.stat(file)))
        if (!stats) return
        if (!isRecord) await tidy(file, stats.ctimeMs < Date.now() - ABANDONED, this.#writes)
        else if (stats.mtimeMs < Date.now() - grace) await this.#bury(file, grace)
      } catch (error) {
        debug('%s cannot be reaped: %s', file, error)
      }
    })
  }

  /** Deletes a record that has expired, unless a writer is at it or the date inside is a later one. */
  async #bury(file: string, grace: number): Promise<void> {
    const damage = await this.#change(file, { patient: false }, async (lock) => {
      const found = await load(file)
      if (found?.damage) return found.damage
      await lock.confirm()
      if (found && found.content.expires < Date.now() - grace) await unlessMissing(() => disk.unlink(file))
      return undefined
    })
    if (damage) await this.#setAside(file, undefined, damage)
  }
}

/** The same as `new FileStore(options)`. */
export function fileStore(options: FileStoreOptions): FileStore {
  return new FileStore(options)
}

/** SHA-256 as hex, which is the same name on every file system. */
function digest(sid: string): string {
  // As UTF-8, all lone surrogates are the same; no UTF-8 begins with this byte.
  const input = /\p{Surrogate}/u.test(sid) ? Buffer.concat([Buffer.of(0xff), Buffer.from(sid, 'utf16le')]) : sid
  return typeof crypto.hash === 'function'
    ? crypto.hash('sha256', input)
    : crypto.createHash('sha256').update(input).digest('hex')
}

/** Reads what is in the place of a record; one of another id than `sid` is damage. Undefined: nothing is there. */
async function load(file: string, sid?: string): Promise<Found | undefined> {
  const fd = await unlessMissing(() => disk.open(file, 'r'))
  if (fd === undefined) return undefined
  let text: string
  let stats: fs.Stats
  try {
    stats = await disk.fstat(fd)
    text = await readText(fd, stats.size)
  } finally {
    await disk.close(fd)
  }
  try {
    return { content: decode(text, Math.round(stats.mtimeMs), sid), stats }
  } catch (cause) {
    return { damage: new SyntaxError(`${file} is damaged: ${(cause as Error).message}`, { cause }) }
  }
}

/** Whether a file is still the one that was read, its content never changed nor its date. */
async function isUnchanged(file: string, seen: fs.Stats): Promise<boolean> {
  const stats = await unlessMissing(() => disk.stat(file))
  return (
    stats !== undefined &&
    stats.ino === seen.ino &&
    stats.dev === seen.dev &&
    stats.size === seen.size &&
    stats.ctimeMs === seen.ctimeMs &&
    stats.mtimeMs === seen.mtimeMs
  )
}

/** @throws SyntaxError for a text that is no session. */
function decode(text: string, mtime: number, sid: string | undefined): Content {
  const { id, expires, json } = slice(text) ?? dissect(text)
  // A file that still has the mtime of somebody else's change may not be what was written here.
  if (mtime < Math.min(expires, LAST_TIME * 1000) - COARSE) JSON.parse(json)
  if (sid !== undefined && id !== sid) throw new SyntaxError('it is the session of another id')
  return mtime > expires ? { id, expires: mtime, json: withDate(json, mtime) } : { id, expires, json }
}

/** The parts of a file as we write it, on one line with nothing after it, its record unparsed. */
function slice(text: string): Content | undefined {
  const at = text.indexOf(SESSION)
  // A file system that lost what it was given returns zeros.
  if (at === -1 || !text.endsWith('}\n') || text.includes('\0')) return undefined
  try {
    const { id, expires } = JSON.parse(`${text.slice(0, at)}}`)
    if (typeof id !== 'string' || typeof expires !== 'number') return undefined
    return { id, expires, json: text.slice(at + SESSION.length, -2) }
  } catch {
    return undefined
  }
}

/** The parts of a file that somebody has written otherwise. */
function dissect(text: string): Content {
  const { id, expires, session } = JSON.parse(text) ?? {}
  if (typeof id !== 'string' || typeof expires !== 'number' || session === undefined) {
    throw new SyntaxError('it is JSON, but no session')
  }
  return { id, expires, json: JSON.stringify(session) }
}

function live(found: Found | undefined): Content | undefined {
  return found?.content && found.content.expires > Date.now() ? found.content : undefined
}

async function isAlive(file: string): Promise<boolean> {
  const stats = await unlessMissing(() => disk.stat(file))
  if (!stats) return false
  if (stats.mtimeMs > Date.now() && stats.mtimeMs % 1000 !== 0) return true
  const found = live(await load(file))
  return found !== undefined && !isPointer(found.json)
}

/** Whether a session already lives as long as `expires`, or so little less that it is left to a later request. */
function lastsAlmost(seen: Content | undefined, cookie: Cookie | undefined, expires: number): boolean {
  if (!seen || expires < seen.expires) return false
  if (expires - seen.expires > Math.min(SLACK, (expires - Date.now()) * SLACK_PART)) return false
  const stored = cookieIn(seen.json)
  return !cookie || (stored !== undefined && undated(cookie) === undated(stored))
}

/**
 * Extends a session by nothing but its file's mtime. `differs`: its record has to be written, as the cookie is another
 * or the date is one that the mtime cannot say.
 */
async function extend(
  file: string,
  sid: string,
  { cookie, expires, loaded }: { cookie: Cookie | undefined; expires: number; loaded: CookieData | undefined },
): Promise<Touched | 'differs'> {
  const fd = await unlessMissing(() => disk.open(file, 'r+'))
  if (fd === undefined) return 'gone'
  try {
    const { size, mtimeMs } = await disk.fstat(fd)
    const head = await readText(fd, Math.min(size, HEAD))
    const at = head.indexOf(SESSION)
    const stored = at === -1 ? undefined : splitRecord(head.slice(at + SESSION.length))?.cookie
    if (!stored) return 'differs'
    const own = JSON.parse(`${head.slice(0, at)}}`)
    if (own.id !== sid) return 'differs'
    if (Math.max(own.expires, mtimeMs) <= Date.now()) return 'gone'
    if (hasOtherLifetime(stored, loaded)) return 'changed'
    if (expires < own.expires || (cookie && undated(cookie) !== undated(loaded ?? stored))) return 'differs'
    await disk.futimes(fd, timeOf(expires))
    return 'extended'
  } catch (error) {
    // Node's permission model has no futimes.
    if (error instanceof SyntaxError || codeOf(error) === 'ERR_ACCESS_DENIED') return 'differs'
    throw error
  } finally {
    await disk.close(fd)
  }
}

/** A cookie without its date, to be compared. */
function undated(cookie: CookieData | Cookie): string {
  const data = cookie instanceof Cookie ? cookie.data : cookie
  return JSON.stringify({ ...data, expires: Boolean(data.expires) })
}

/** A record whose cookie, if it has a date, has this one. */
function withDate(json: string, ms: number): string {
  const cookie = cookieIn(json)
  if (!cookie?.expires) return json
  return withCookie(json, { ...cookie, expires: new Date(ms) })
}

function timeOf(expires: number): number {
  return Math.min(Math.max(expires / 1000, 1), LAST_TIME)
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Renames a damaged file, hiding no earlier one. */
async function moveAside(file: string): Promise<void> {
  for (let n = 1; ; n++) {
    const name = n === 1 ? `${file}.corrupt` : `${file}.${n}.corrupt`
    if (await unlessMissing(() => disk.stat(name))) continue
    return patiently(() => disk.rename(file, name))
  }
}

/** What is in a folder; nothing where opening it fails in one of these ways. */
async function namesIn(folder: string, ...missing: string[]): Promise<string[]> {
  try {
    return await disk.list(folder)
  } catch (error) {
    if (missing.includes(codeOf(error) as string)) return []
    throw error
  }
}
