// FileStore: sessions in a folder, one file each, shared by all processes of a machine.
//
//   <path>/<2 hex>/<62 hex><extension>           a record; the hex digits are the SHA-256 of its id
//   <path>/<2 hex>/<62 hex><extension>.lock      its next content, and the lock of whoever writes it (lock.ts)
//   <path>/<2 hex>/<62 hex><extension>.corrupt   a record that could not be read
//
// A record's mtime is the date on which it expires: a touch need not rewrite it, a reaper need not read it. The date
// inside is the one of the last write. The later of the two holds, as a copy or an editor sets the mtime to its own.
//
// What is left under an id that was renewed is a record like any other, but no session: its date is a whole second, so
// that who counts sessions reads those few files that have such a date, and of all others looks at the date alone.

import crypto from 'node:crypto'
import fs from 'node:fs'
import { join, resolve, sep } from 'node:path'
import { Cookie, type CookieData, expiryOf, hasOtherLifetime } from '../lib/cookie.ts'
import { debug } from '../lib/diagnostics.ts'
import { optionError } from '../lib/errors.ts'
import { lintMilliseconds } from '../lib/lint.ts'
import { chain, isPromise, type Maybe, settle } from '../lib/maybe.ts'
import type { Driver, Make, Touched } from '../lib/port.ts'
import { cookieIn, type Outgoing, type Stored, splitRecord, withCookie } from '../lib/snapshot.ts'
import { isPointer } from '../lib/successor.ts'
import { inBackground, now, turn } from '../lib/timers.ts'
import { codeOf, type Disk, Pace, patiently, readText, type Steps, unlessMissing, wait } from './disk.ts'
import {
  type AllCallback,
  DriverStore,
  type ErrorCallback,
  type LengthCallback,
  LONGEST_DELAY,
  type PlainSession,
} from './driver.ts'
import { acquire, flushFolder, publish, release, SIGNATURE, SUFFIX } from './lock.ts'
import { FILE_OPTIONS, readStoreOptions } from './options.ts'

export interface FileStoreOptions {
  /** The folder for the sessions, made when it is missing; a relative path counts from the working directory. */
  path: string
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
/** Records remembered as they were read, for those who then change them. */
const REMEMBERED = 256
/** Milliseconds after a change in which a file system may give another change the same date. */
const RACY = 20
/** Milliseconds of work at a stretch on many files. */
const SLICE = 5
/** Milliseconds that an expired session is left where it is. */
const GRACE = 1_000
/** Milliseconds after which a lock that nobody waits for is deleted. */
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
  readonly #reads = new Pace()
  readonly #writes = new Pace()
  readonly #touches = new Pace()
  /** Records as they were read last, by file. */
  readonly #seen = new Map<string, FoundRecord>()
  /** Changes under way in this process, by file: they wait for each other here, not at the lock. */
  readonly #changes = new Map<string, Promise<unknown>>()

  /** @throws TypeError with the code `ERR_SESSION_OPTION` for an option that makes no sense. */
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
    if (typeof path !== 'string' || path === '' || path.includes('\0')) {
      throw optionError("path option of FileStore must be the folder for the sessions, such as './sessions'")
    }
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
    lintMilliseconds('ttl option of FileStore', ttl)
    lintMilliseconds('reapInterval option of FileStore', reapInterval)

    this.path = resolve(path)
    this.ttl = ttl
    this.#encoding = encoding
    this.#extension = fileExtension
    this.#sync = sync
    this.#ownName = new RegExp(`^[0-9a-f]{62}${fileExtension.replaceAll('.', '\\.')}(${SUFFIX.replace('.', '\\.')})?$`)
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
    remove: (sid) => chain(this.#remove(this.#fileOf(sid)), () => undefined),
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

  #read(sid: string): Maybe<string | undefined> {
    const file = this.#fileOf(sid)
    const found = this.#reads.run((disk) => load(disk, file, sid))
    return chain(found, (found): Maybe<string | undefined> => {
      if (!found?.damage) {
        if (found) this.#remember(file, found)
        return live(found)?.json
      }
      return chain(this.#setAside(file, sid, found.damage), (gone) => (gone ? undefined : this.#read(sid)))
    })
  }

  /** A change of the file right after would leave its date: then it has to be read again. */
  #remember(file: string, found: FoundRecord): void {
    this.#seen.delete(file)
    if (Date.now() - found.stats.ctimeMs < RACY) return
    this.#seen.set(file, found)
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.keys().next().value as string)
  }

  #write(sid: string, json: string, expires: number | undefined): Maybe<void> {
    const written = this.#replace(sid, { create: true }, () => ({ json, expires }))
    return chain(written, () => {})
  }

  #update(sid: string, from: Stored, make: Make): Maybe<string | undefined> {
    let damage: SyntaxError | undefined
    let kept: string | undefined
    const seen = this.#seen
    const updated = this.#replace(sid, { create: false }, function* (disk, file) {
      const known = seen.get(file)
      seen.delete(file)
      const isThere = known?.content.json === from && (yield* isUnchanged(disk, file, known.stats))
      const found = isThere ? known : yield* load(disk, file, sid)
      damage = found?.damage
      const current = live(found)
      if (!current) return undefined
      const session = make(current.json)
      kept = session ? undefined : current.json
      if (!session) return undefined
      const expires = expiryOf(session.cookie)
      return { json: session.json, expires: session.isPointer && expires ? Math.ceil(expires / 1000) * 1000 : expires }
    })
    return chain(updated, (json) =>
      damage ? chain(this.#setAside(this.#fileOf(sid), sid, damage), () => undefined) : (json ?? kept),
    )
  }

  #touch(sid: string, { cookie }: Outgoing, date: number | undefined, loaded?: CookieData): Maybe<Touched> {
    const expires = date ?? Date.now() + this.ttl
    const file = this.#fileOf(sid)
    const touched = this.#touches.run((disk) => extend(disk, file, sid, { cookie, expires, loaded }))
    return chain(touched, (touched): Maybe<Touched> => {
      if (touched !== 'differs') return touched
      let outcome: Touched = 'gone'
      const rewritten = this.#replace(sid, { create: false }, function* (disk) {
        const current = live(yield* load(disk, file, sid))
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
      return chain(rewritten, () => outcome)
    })
  }

  #take(sid: string): Maybe<string | undefined> {
    return chain(this.#remove(this.#fileOf(sid), sid), (found) => live(found)?.json)
  }

  /** Deletes a record; with `sid` it answers with what was there, and leaves a pointer. */
  #remove(file: string, sid?: string): Maybe<Found | undefined> {
    const sync = this.#sync
    return this.#change(file, function* (disk) {
      for (;;) {
        const lock = yield* acquire(disk, file)
        if (!lock) return undefined
        let found: Found | undefined
        try {
          if (sid !== undefined) found = yield* load(disk, file, sid)
          const pointer = live(found)
          if (!pointer || !isPointer(pointer.json)) yield* unlessMissing(() => disk.unlink(file))
        } catch (error) {
          yield* release(disk, lock)
          throw error
        }
        // Without the lock, another writer may have put back what it had read before.
        if (!(yield* release(disk, lock))) continue
        if (sync) yield* flushFolder(file)
        return found
      }
    })
  }

  /**
   * Writes what `produce` makes under the lock, which it does again when the lock is lost; nothing where it answers
   * undefined, or where the folder is missing and `create` is false. Answers with the JSON that was written.
   */
  #replace(
    sid: string,
    options: { create: boolean },
    produce: (disk: Disk, file: string) => Steps<Next | undefined> | Next,
  ): Maybe<string | undefined> {
    const file = this.#fileOf(sid)
    const id = JSON.stringify(sid)
    return this.#change(file, (disk) => this.#publish(disk, file, id, options, produce))
  }

  *#publish(
    disk: Disk,
    file: string,
    id: string,
    options: { create: boolean },
    produce: (disk: Disk, file: string) => Steps<Next | undefined> | Next,
  ): Steps<string | undefined> {
    for (;;) {
      const lock = yield* acquire(disk, file, options)
      if (!lock) return undefined
      let next: Next | undefined
      try {
        const produced = produce(disk, file)
        next = 'json' in produced ? produced : yield* produced
      } catch (error) {
        yield* release(disk, lock)
        throw error
      }
      if (!next) {
        yield* release(disk, lock)
        return undefined
      }
      const expires = Math.round(next.expires ?? Date.now() + this.ttl)
      const published = yield* publish(disk, lock, file, {
        text: `${SIGNATURE}"id":${id},"expires":${expires}${SESSION}${next.json}}\n`,
        encoding: this.#encoding,
        time: timeOf(expires),
        sync: this.#sync,
      })
      if (published) return next.json
    }
  }

  /** Runs a change of `file` after those of this process that are under way. */
  #change<T>(file: string, work: (disk: Disk) => Steps<T>): Maybe<T> {
    const go = (): Maybe<T> => this.#writes.run(work, this.#sync)
    const before = this.#changes.get(file)
    const result = before ? before.then(go) : go()
    if (!isPromise(result)) return result
    const done = (): void => {
      if (this.#changes.get(file) === tail) this.#changes.delete(file)
    }
    const tail = result.then(done, done)
    this.#changes.set(file, tail)
    return result
  }

  /** Keeps what cannot be read out of the way. False: it can be read by now. Fails only where a listener does. */
  #setAside(file: string, sid: string | undefined, damage: SyntaxError): Maybe<boolean> {
    const moved = this.#change(file, function* (disk) {
      try {
        const lock = yield* acquire(disk, file)
        if (!lock) return true
        try {
          const found = yield* load(disk, file, sid)
          if (found && !found.damage && isJson(found.content.json)) return false
          if (found) yield* patiently(() => disk.rename(file, unusedName(file)))
        } finally {
          yield* release(disk, lock)
        }
      } catch (error) {
        debug('%s is damaged, and cannot be renamed: %s', file, error)
      }
      return true
    })
    return chain(moved, (moved) => {
      if (moved) this.emit('corrupt', sid, damage)
      return moved
    })
  }

  async #all(): Promise<(PlainSession & { id: string })[]> {
    const all: (PlainSession & { id: string })[] = []
    const take = (file: string, found: Found | undefined): Maybe<unknown> => {
      if (found?.damage) return this.#setAside(file, undefined, found.damage)
      const current = live(found)
      const isSession = current && !isPointer(current.json) && this.#fileOf(current.id) === file
      const session = isSession ? this.parse(current.id, current.json) : undefined
      if (session) all.push({ ...session, id: (current as Content).id })
      return undefined
    }
    await this.#walk(turn, (file, isLock) => {
      if (isLock) return undefined
      const found = this.#reads.run((disk) => load(disk, file))
      return chain(found, (found) => take(file, found))
    })
    return all
  }

  async #length(): Promise<number> {
    let length = 0
    await this.#walk(turn, (file, isLock) => {
      if (isLock) return undefined
      const alive = this.#reads.run((disk) => isAlive(disk, file))
      return chain(alive, (alive) => {
        if (alive) length++
      })
    })
    return length
  }

  async #clear(): Promise<void> {
    await this.#walk(turn, (file, isLock) => (isLock ? undefined : this.#remove(file)))
  }

  /** Visits the files that are ours. No visit, and no stretch of them, is long; `pause` comes between. */
  async #walk(pause: () => Promise<void>, visit: (file: string, isLock: boolean) => Maybe<unknown>): Promise<void> {
    let start = now()
    for (const folder of await namesIn(this.path, 'ENOENT')) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue
      // A file of that name is somebody else's.
      for (const name of await namesIn(join(this.path, folder), 'ENOENT', 'ENOTDIR')) {
        const own = this.#ownName.exec(name)
        if (!own) continue
        const visited = visit(join(this.path, folder, name), own[1] !== undefined)
        if (isPromise(visited)) await visited
        if (now() - start < SLICE) continue
        await pause()
        start = now()
      }
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
    await this.#walk(rest, async (file, isLock) => {
      try {
        const stats = await this.#reads.run((disk) => unlessMissing(() => disk.stat(file)))
        if (!stats) return
        if (!isLock) {
          if (stats.mtimeMs < Date.now() - grace) await this.#bury(file, grace)
        } else if (stats.ctimeMs < Date.now() - ABANDONED) removeAbandoned(file)
      } catch (error) {
        debug('%s cannot be reaped: %s', file, error)
      }
    })
  }

  /** Deletes a record that has expired, unless a writer is at it or the date inside is a later one. */
  #bury(file: string, grace: number): Maybe<unknown> {
    const damage = this.#change(file, function* (disk) {
      const lock = yield* acquire(disk, file, { patient: false })
      if (!lock) return undefined
      try {
        const found = yield* load(disk, file)
        if (found?.damage) return found.damage
        if (found && found.content.expires < Date.now() - grace) yield* unlessMissing(() => disk.unlink(file))
        return undefined
      } finally {
        yield* release(disk, lock)
      }
    })
    return chain(damage, (damage) => damage && this.#setAside(file, undefined, damage))
  }
}

/** Deletes a lock that nobody waits for. At once, with nothing awaited in between: the next of this name is a live one. */
function removeAbandoned(lock: string): void {
  const stats = fs.statSync(lock, { throwIfNoEntry: false })
  if (stats && stats.ctimeMs < Date.now() - ABANDONED) fs.unlinkSync(lock)
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
function* load(disk: Disk, file: string, sid?: string): Steps<Found | undefined> {
  const fd = yield* unlessMissing(() => disk.open(file, 'r'))
  if (fd === undefined) return undefined
  let text: string
  let stats: fs.Stats
  try {
    stats = yield* wait(disk.fstat(fd))
    text = yield* readText(disk, fd, stats.size)
  } finally {
    yield* wait(disk.close(fd))
  }
  try {
    return { content: decode(text, Math.round(stats.mtimeMs), sid), stats }
  } catch (cause) {
    return { damage: new SyntaxError(`${file} is damaged: ${(cause as Error).message}`, { cause }) }
  }
}

/** Whether a file is still the one that was read, its content never changed nor its date. */
function* isUnchanged(disk: Disk, file: string, seen: fs.Stats): Steps<boolean> {
  const stats = yield* unlessMissing(() => disk.stat(file))
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

function* isAlive(disk: Disk, file: string): Steps<boolean> {
  const stats = yield* unlessMissing(() => disk.stat(file))
  if (!stats) return false
  if (stats.mtimeMs > Date.now() && stats.mtimeMs % 1000 !== 0) return true
  const found = live(yield* load(disk, file))
  return found !== undefined && !isPointer(found.json)
}

/**
 * Extends a session by nothing but its file's mtime. `differs`: its record has to be written, as the cookie is another
 * or the date is one that the mtime cannot say.
 */
function* extend(
  disk: Disk,
  file: string,
  sid: string,
  { cookie, expires, loaded }: { cookie: Cookie | undefined; expires: number; loaded: CookieData | undefined },
): Steps<Touched | 'differs'> {
  const fd = yield* unlessMissing(() => disk.open(file, 'r+'))
  if (fd === undefined) return 'gone'
  try {
    const { size, mtimeMs } = yield* wait(disk.fstat(fd))
    const head = yield* readText(disk, fd, Math.min(size, HEAD))
    const at = head.indexOf(SESSION)
    const stored = at === -1 ? undefined : splitRecord(head.slice(at + SESSION.length))?.cookie
    if (!stored) return 'differs'
    const own = JSON.parse(`${head.slice(0, at)}}`)
    if (own.id !== sid) return 'differs'
    if (Math.max(own.expires, mtimeMs) <= Date.now()) return 'gone'
    if (hasOtherLifetime(stored, loaded)) return 'changed'
    if (expires < own.expires || (cookie && undated(cookie) !== undated(loaded ?? stored))) return 'differs'
    yield* wait(disk.futimes(fd, timeOf(expires)))
    return 'extended'
  } catch (error) {
    if (error instanceof SyntaxError) return 'differs'
    throw error
  } finally {
    yield* wait(disk.close(fd))
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

/** A name for a damaged file that does not hide an earlier one. */
function unusedName(file: string): string {
  for (let n = 1; ; n++) {
    const name = n === 1 ? `${file}.corrupt` : `${file}.${n}.corrupt`
    if (!fs.existsSync(name)) return name
  }
}

/** What is in a folder; nothing where opening it fails in one of these ways. */
async function namesIn(folder: string, ...missing: string[]): Promise<string[]> {
  try {
    return await fs.promises.readdir(folder)
  } catch (error) {
    if (missing.includes(codeOf(error) as string)) return []
    throw error
  }
}

/** Leaves the event loop to others for as long as it was taken; keeps no process alive. */
function rest(): Promise<void> {
  return new Promise((resolve) => inBackground(SLICE, resolve))
}
