// The folder of a FileStore: the names of its files, and the ways in which they change.
//
//   <path>/<2 hex>/<62 hex><extension>              a record (record.ts); the hex digits are the SHA-256 of its id
//   <path>/<2 hex>/<62 hex><extension>.lock         the lock of the writer that is changing the record (lock.ts)
//   <path>/<2 hex>/<62 hex><extension>.<name>.next  the next content of the record, which that writer prepares
//   <path>/<2 hex>/<62 hex><extension>.corrupt      a record that could not be read

import crypto from 'node:crypto'
import { join, sep } from 'node:path'
import { debug } from '../../lib/diagnostics.ts'
import { isPointer } from '../../lib/port/pointer.ts'
import { codeOf, disk, Limiter, retryWhileBusy, unlessMissing } from './disk.ts'
import { flushFolder, type Lock, type LockOptions, withLock } from './lock.ts'
import { encode, isJson, type Loaded, liveRecord, load, timeOf } from './record.ts'

/** How many reads run at once; likewise how many writes. */
export const MAX_AT_ONCE = 16

export interface FolderSettings {
  /** Absolute. */
  readonly path: string
  readonly extension: string
  readonly encoding: BufferEncoding
  /** A change is complete only when the disk has confirmed it. */
  readonly sync: boolean
}

/** What to write in the place of a record. */
export interface Replacement {
  readonly json: string
  /** In ms since the epoch. */
  readonly expires: number
}

export class SessionFolder {
  readonly readers = new Limiter(MAX_AT_ONCE)
  readonly writers = new Limiter(MAX_AT_ONCE)
  readonly #settings: FolderSettings
  /** Matches the name of a record, and that of a lock or a `.next` file, whose ending it captures. */
  readonly #ownName: RegExp
  readonly #onChanged: (file: string) => void
  /** The last change of each file that this process is making. The next one waits for it, rather than for the lock. */
  readonly #changes = new Map<string, Promise<unknown>>()

  /** `onChanged` is called with a file when this process has finished all of its changes of that file. */
  constructor(settings: FolderSettings, onChanged: (file: string) => void) {
    this.#settings = settings
    this.#onChanged = onChanged
    const extension = settings.extension.replaceAll('.', '\\.')
    this.#ownName = new RegExp(`^[0-9a-f]{62}${extension}((?:\\.lock)*(?:\\.lock|\\.[0-9a-f]+-\\d+\\.next))?$`)
  }

  fileOf(id: string): string {
    const { path, extension } = this.#settings
    const name = sha256(id)
    return `${path}${sep}${name.slice(0, 2)}${sep}${name.slice(2)}${extension}`
  }

  /** Runs `work` under the lock of `file`, after the changes of it that this process has begun before. */
  change<T>(
    file: string,
    options: Pick<LockOptions, 'createFolder' | 'waits'>,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T | undefined> {
    const { encoding } = this.#settings
    const start = (): Promise<T | undefined> => withLock(file, { limiter: this.writers, encoding, ...options }, work)
    const result = this.#changes.get(file)?.then(start) ?? start()
    const finish = (): void => {
      if (this.#changes.get(file) !== finished) return
      this.#changes.delete(file)
      this.#onChanged(file)
    }
    const finished = result.then(finish, finish)
    this.#changes.set(file, finished)
    return result
  }

  /**
   * Replaces a record with what `produce` returns; `produce` runs under the lock, and runs again when the lock is lost.
   * Writes nothing if it returns undefined, or if the folder is missing and `createFolder` is not set. Returns the JSON
   * that was written.
   */
  replace(
    id: string,
    options: { createFolder?: boolean },
    produce: (file: string) => Promise<Replacement | undefined>,
  ): Promise<string | undefined> {
    const file = this.fileOf(id)
    return this.change(file, options, async (lock) => {
      const replacement = await produce(file)
      if (!replacement) return undefined
      const { json } = replacement
      const expires = Math.round(replacement.expires)
      await lock.publish({ text: encode(id, expires, json), time: timeOf(expires), sync: this.#settings.sync })
      return json
    })
  }

  /** Deletes a record. With `id`, it returns the record, and does not delete a pointer. */
  remove(file: string, id?: string): Promise<Loaded | undefined> {
    return this.change(file, {}, async (lock) => {
      const loaded = id === undefined ? undefined : await load(file, id)
      const record = liveRecord(loaded)
      if (!record || !isPointer(record.json)) await unlessMissing(() => disk.unlink(file))
      // If the lock was lost meanwhile, another writer may have written again what it had read before.
      await lock.confirm()
      if (this.#settings.sync) await flushFolder(file)
      return loaded
    })
  }

  /** Renames a record that cannot be read. False: it can be read now, and stays. */
  async setAside(file: string, id: string | undefined): Promise<boolean> {
    try {
      const isReadable = await this.change(file, {}, async () => {
        const loaded = await load(file, id)
        if (loaded && !loaded.damage && isJson(loaded.record.json)) return true
        if (loaded) await renameToCorrupt(file)
        return false
      })
      return !isReadable
    } catch (error) {
      debug('%s is damaged, and cannot be renamed: %s', file, error)
      return true
    }
  }

  /**
   * Visits the files of this store, `width` of them at a time. A file that is not a record is a lock or a `.next` file.
   * Files that others have put into the folder are skipped.
   */
  async walk(width: number, visit: (file: string, isRecord: boolean) => Promise<void>): Promise<void> {
    const { path } = this.#settings
    for (const folder of await namesIn(path, 'ENOENT')) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue
      // ENOTDIR: a file with the name of a sub-folder, which somebody else has put there.
      const names = (await namesIn(join(path, folder), 'ENOENT', 'ENOTDIR')).values()
      const visitInTurn = async (): Promise<void> => {
        for (const name of names) {
          const own = this.#ownName.exec(name)
          if (own) await visit(join(path, folder, name), own[1] === undefined)
        }
      }
      await Promise.all(Array.from({ length: width }, visitInTurn))
    }
  }
}

/** In hex digits, which every file system keeps as they are. */
export function sha256(id: string): string {
  // UTF-8 turns every lone surrogate into the same bytes. No UTF-8 text begins with the byte 0xff.
  const input = /\p{Surrogate}/u.test(id) ? Buffer.concat([Buffer.of(0xff), Buffer.from(id, 'utf16le')]) : id
  return typeof crypto.hash === 'function'
    ? crypto.hash('sha256', input)
    : crypto.createHash('sha256').update(input).digest('hex')
}

/** Gives a damaged file the first free name of `.corrupt`, `.2.corrupt`, and so on. */
async function renameToCorrupt(file: string): Promise<void> {
  for (let n = 1; ; n++) {
    const name = n === 1 ? `${file}.corrupt` : `${file}.${n}.corrupt`
    if (await unlessMissing(() => disk.stat(name))) continue
    return retryWhileBusy(() => disk.rename(file, name))
  }
}

/** The names in a folder; none when reading it fails with one of the given codes. */
export async function namesIn(folder: string, ...missing: string[]): Promise<string[]> {
  try {
    return await disk.readdir(folder)
  } catch (error) {
    if (missing.includes(codeOf(error) as string)) return []
    throw error
  }
}
