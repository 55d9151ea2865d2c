// The sessions of each user, one file for each. Other files of the store's folder are not its business.
//
//   <path>/user-sessions/<2 hex>/<62 hex>/                the entries of one user; the hex digits are the SHA-256 of its name
//     reserved-<key><extension>                           an entry whose session is about to be stored
//     kept-<key><extension>                               one whose session is stored
//
// The mtime of a file is the date on which its entry leaves. Its name tells the key: in hex digits where that is short,
// otherwise by `sha256-` and a hash; one line of the file, in JSON, is the key then. Others may be there, as a file goes
// from key to key when a session's id is renewed.
//
// Only who counts entries takes turns with others who do, by a lock. Else there are none: an entry is confirmed and moved by renaming its file and dropped by deleting it, and only one of
// several processes can do that. From `reserved` an entry becomes `kept`, and never the other way. Therefore whoever looks
// at the reserved file first, and then at the kept one, has not missed it.

import fs from 'node:fs'
import { dirname, join } from 'node:path'
import { debug } from '../../lib/diagnostics.ts'
import { type IndexEntry, RESERVED_MS, type UserIndex } from '../../lib/port/slot.ts'
import { codeOf, disk, isBusy, Limiter, readText, retryWhileBusy, unlessMissing, writeText } from './disk.ts'
import { flushFolder, removeLeftover, withLock } from './lock.ts'
import { timeOf } from './record.ts'
import { type FolderSettings, MAX_AT_ONCE, namesIn, sha256 } from './session-folder.ts'

const FOLDER = 'user-sessions'

/** What is locked while the entries of a user are counted; there is no such file. */
const LIMIT = 'limit'

/** The longest key, in bytes, that is in the name of its file: some file systems take 143 bytes for a name. */
const MAX_IN_NAME = 60
/** For how many milliseconds an expired entry is kept: a call that has found it alive may still be at work. */
const GRACE_MS = 10_000
/** The mtime, in ms, from which on an entry has no date. File systems round by less than this. */
const FOREVER = timeOf(Infinity) * 1000 - 10_000
/** How often a folder is read at most until it holds still, and how often it is made until a file is in it. */
const MAX_TRIES = 100
const MAX_READS = 5

/** Opens a file to add to its end, and makes none. */
const { O_APPEND, O_WRONLY } = fs.constants

/** Where the entry of a key is, in either state. */
interface EntryFiles {
  readonly reserved: string
  readonly kept: string
  /** What the file has to hold; undefined: its name tells the key. */
  readonly line: string | undefined
}

type State = 'reserved' | 'kept'
const STATES: readonly State[] = ['reserved', 'kept']

export class UserFiles implements UserIndex {
  readonly #root: string
  readonly #extension: string
  readonly #sync: boolean
  /** Captures the state, `sha256-` and the hex digits. */
  readonly #ownName: RegExp
  readonly #limiter = new Limiter(MAX_AT_ONCE)
  /** Of calls that count entries, which make other calls meanwhile. */
  readonly #counting = new Limiter(MAX_AT_ONCE)

  constructor({ path, extension, sync }: Pick<FolderSettings, 'path' | 'extension' | 'sync'>) {
    this.#root = join(path, FOLDER)
    this.#extension = extension
    this.#sync = sync
    this.#ownName = new RegExp(`^(reserved|kept)-(sha256-)?([0-9a-f]*)${extension.replaceAll('.', '\\.')}$`)
  }

  async reserve(user: string, key: string, limit?: number): Promise<boolean> {
    if (limit === undefined) return this.#reserve(user, key).then(() => true)
    const file = join(this.#folderOf(user), LIMIT)
    const reserved = await withLock(file, { limiter: this.#counting, createFolder: true }, async () => {
      const entries = await this.list(user)
      if (entries.length >= limit && !entries.some((entry) => entry.key === key)) return false
      await this.#reserve(user, key)
      return true
    })
    return reserved === true
  }

  #reserve(user: string, key: string): Promise<void> {
    return this.#limiter.run(async () => {
      const { reserved, kept, line } = this.#filesOf(user, key)
      if ((await isLive(reserved)) || (await isLive(kept))) return
      for (let tries = 1; ; tries++) {
        try {
          await append(reserved, 'a', line)
          // Until here the entry counts as expired, so that a process may die at any moment.
          return await retryWhileBusy(() => disk.utimes(reserved, timeOf(Date.now() + RESERVED_MS)))
        } catch (error) {
          if (codeOf(error) !== 'ENOENT' || tries > MAX_TRIES) throw error
          // The folder is missing, or somebody has removed it, as it was empty.
          await makeFolder(dirname(reserved))
        }
      }
    })
  }

  confirm(user: string, key: string, until: number | undefined): Promise<boolean> {
    return this.#limiter.run(async () => {
      const { reserved, kept } = this.#filesOf(user, key)
      const time = timeOf(until ?? Infinity)
      const isConfirmed =
        ((await isLive(reserved)) && (await setTime(reserved, time)) && (await renameTo(kept, reserved))) ||
        ((await isLive(kept)) && (await setTime(kept, time)))
      if (isConfirmed) await this.#flush(kept)
      return isConfirmed
    })
  }

  move(user: string, from: string, to: string): Promise<boolean> {
    return this.#limiter.run(async () => {
      const source = this.#filesOf(user, from)
      const target = this.#filesOf(user, to)
      let isMoved = false
      for (const state of STATES) {
        const file = source[state]
        if (!(await isLive(file))) continue
        if (target.line) await unlessMissing(() => append(file, O_APPEND | O_WRONLY, target.line))
        if (!(await renameTo(target[state], file))) continue
        await this.#flush(target[state])
        isMoved = true
      }
      return isMoved
    })
  }

  async list(user: string): Promise<IndexEntry[]> {
    const folder = this.#folderOf(user)
    const found = new Map<string, IndexEntry | 'none'>()
    // A folder that changes while it is read may show a file under neither of its names.
    let before: string | undefined
    for (let reads = 0; reads < MAX_READS; reads++) {
      const names = (await namesIn(folder, 'ENOENT')).filter((name) => this.#ownName.test(name)).sort()
      let isComplete = true
      await inTurn(names, MAX_AT_ONCE, async (name) => {
        if (found.has(name)) return
        const entry = await this.#limiter.run(() => this.#load(folder, name))
        if (entry) found.set(name, entry)
        else isComplete = false
      })
      const now = names.join()
      if (isComplete && now === before) break
      before = now
    }
    const entries = new Map<string, IndexEntry>()
    for (const entry of found.values()) {
      if (entry !== 'none' && !(entry.isReserved && entries.has(entry.key))) entries.set(entry.key, entry)
    }
    return [...entries.values()]
  }

  async drop(user: string, keys: readonly string[]): Promise<void> {
    const dropAll = async (): Promise<number> => {
      let dropped = 0
      await inTurn(keys, MAX_AT_ONCE, async (key) => {
        if (await this.#limiter.run(() => this.#drop(user, key))) dropped++
      })
      return dropped
    }
    // Where one is missing, another call may have moved it from a key still to come to one that was gone through.
    if ((await dropAll()) < keys.length && keys.length > 1) await dropAll()
    await this.#removeEmpty(this.#folderOf(user))
  }

  /** Removes all entries. */
  clear(): Promise<void> {
    return this.#sweep(async (file) => {
      await unlessMissing(() => disk.unlink(file))
    })
  }

  /** Deletes the entries that have expired, one after the other. */
  reap(): Promise<void> {
    return this.#sweep(async (file) => {
      try {
        const expires = await expiryOf(file)
        if (expires !== undefined && expires < Date.now() - GRACE_MS) await unlessMissing(() => disk.unlink(file))
      } catch (error) {
        debug('%s cannot be reaped: %s', file, error)
      }
    })
  }

  #folderOf(user: string): string {
    const name = sha256(user)
    return join(this.#root, name.slice(0, 2), name.slice(2))
  }

  #filesOf(user: string, key: string): EntryFiles {
    const name = nameOf(key)
    const [reserved, kept] = STATES.map((state) => join(this.#folderOf(user), `${state}-${name}${this.#extension}`))
    return {
      reserved: reserved as string,
      kept: kept as string,
      // It begins a new line, as a writer may have died in the middle of one.
      line: name.startsWith(HASHED) ? `\n${JSON.stringify(key)}\n` : undefined,
    }
  }

  /** What a file says; `'none'`: nothing that counts; undefined: it is gone. */
  async #load(folder: string, name: string): Promise<IndexEntry | 'none' | undefined> {
    const file = join(folder, name)
    const [, state, hashed = '', hex = ''] = this.#ownName.exec(name) as RegExpExecArray
    const expires = await expiryOf(file)
    if (expires === undefined) return undefined
    if (expires <= Date.now()) return 'none'
    const isReserved = state === 'reserved'
    if (!hashed) return { key: Buffer.from(hex, 'hex').toString(), isReserved }
    const lines = await unlessMissing(() => readLines(file))
    const key = lines?.map(parseKey).find((key) => key !== undefined && nameOf(key) === hashed + hex)
    return lines && (key === undefined ? 'none' : { key, isReserved })
  }

  async #drop(user: string, key: string): Promise<boolean> {
    const files = this.#filesOf(user, key)
    let isDropped = false
    for (const state of STATES) {
      const isGone = await unlessMissing(() => disk.unlink(files[state]).then(() => true))
      isDropped ||= isGone === true
    }
    return isDropped
  }

  /** Waits until the disk has confirmed an entry, where the store does so. */
  async #flush(file: string): Promise<void> {
    if (!this.#sync) return
    await unlessMissing(async () => {
      const fd = await disk.open(file, 'r+')
      await disk.fsync(fd).finally(() => disk.close(fd))
      await flushFolder(file)
    })
  }

  /** Visits all entries of this store, one at a time, and removes folders that are empty then. */
  async #sweep(visit: (file: string) => Promise<void>): Promise<void> {
    for (const shard of await this.#foldersIn(this.#root, /^[0-9a-f]{2}$/)) {
      for (const folder of await this.#foldersIn(shard, /^[0-9a-f]{62}$/)) {
        for (const name of await namesIn(folder, 'ENOENT', 'ENOTDIR')) {
          if (this.#ownName.test(name)) await this.#limiter.run(() => visit(join(folder, name)))
          else if (name.startsWith(`${LIMIT}.`)) await removeLeftover(join(folder, name), false, this.#limiter)
        }
        await this.#removeEmpty(folder)
      }
    }
  }

  /** The folders in a folder; where there are none, it is removed. */
  async #foldersIn(folder: string, pattern: RegExp): Promise<string[]> {
    const names = (await namesIn(folder, 'ENOENT', 'ENOTDIR')).filter((name) => pattern.test(name))
    if (names.length === 0) await this.#removeEmpty(folder)
    return names.map((name) => join(folder, name))
  }

  /** Removes a folder if it is empty, and so on upwards. A new entry makes it again. */
  async #removeEmpty(folder: string): Promise<void> {
    for (let at = folder; at.startsWith(this.#root); at = dirname(at)) {
      try {
        await disk.rmdir(at)
      } catch (error) {
        if (['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR'].includes(codeOf(error) as string) || isBusy(error)) return
        throw error
      }
    }
  }
}

const HASHED = 'sha256-'

/** The part of a file's name that tells the key. */
function nameOf(key: string): string {
  const bytes = Buffer.from(key)
  // UTF-8 has no bytes for a lone surrogate.
  const isInName = bytes.length <= MAX_IN_NAME && bytes.toString() === key
  return isInName ? bytes.toString('hex') : HASHED + sha256(key)
}

/** When an entry leaves, in ms since the epoch; undefined: there is none. */
async function expiryOf(file: string): Promise<number | undefined> {
  const stats = await unlessMissing(() => disk.stat(file))
  return stats && (stats.mtimeMs < FOREVER ? Math.round(stats.mtimeMs) : Infinity)
}

async function isLive(file: string): Promise<boolean> {
  const expires = await expiryOf(file)
  return expires !== undefined && expires > Date.now()
}

/** False: there is no such file. */
async function setTime(file: string, time: number): Promise<boolean> {
  return (await unlessMissing(() => disk.utimes(file, time).then(() => true))) ?? false
}

/** False: there is no such file. */
async function renameTo(target: string, file: string): Promise<boolean> {
  return (await unlessMissing(() => disk.rename(file, target).then(() => true))) ?? false
}

/** Tries to make a folder. Whether it is there then only its next use shows, as others remove empty ones. */
async function makeFolder(folder: string): Promise<void> {
  try {
    await retryWhileBusy(() => disk.mkdir(folder))
  } catch (error) {
    // What mkdir finds depends on the moment; Node has ENOTDIR for a folder that went while it was looked at.
    if (!['ENOENT', 'ENOTDIR', 'EEXIST'].includes(codeOf(error) as string)) throw error
  }
}

/** Adds a text to the end of a file. */
async function append(file: string, flags: string | number, text = ''): Promise<void> {
  const fd = await retryWhileBusy(() => disk.open(file, flags))
  try {
    if (text) await writeText(fd, text, 'utf8')
  } finally {
    await disk.close(fd)
  }
}

async function readLines(file: string): Promise<string[]> {
  const fd = await disk.open(file, 'r')
  try {
    return (await readText(fd, (await disk.fstat(fd)).size)).split('\n')
  } finally {
    await disk.close(fd)
  }
}

/** The key that a line tells; undefined: it tells none, or only a part. */
function parseKey(line: string): string | undefined {
  try {
    const key: unknown = JSON.parse(line)
    return typeof key === 'string' ? key : undefined
  } catch {
    return undefined
  }
}

/** Visits all items, `width` of them at a time. */
async function inTurn<T>(items: readonly T[], width: number, visit: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  const visitNext = async (): Promise<void> => {
    for (const item of rest) await visit(item)
  }
  await Promise.all(Array.from({ length: width }, visitNext))
}
