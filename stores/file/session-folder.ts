// The files of a FileStore.
//
//   <path>/<2 hex>/<62 hex><extension>              a record (record.ts); the hex digits are the SHA-256 of its id
//   <path>/<2 hex>/<62 hex><extension>.lock         the lock of whoever changes it (lock.ts)
//   <path>/<2 hex>/<62 hex><extension>.<name>.next  its next content
//   <path>/<2 hex>/<62 hex><extension>.corrupt      a record that could not be read

import crypto from 'node:crypto'
import { join, sep } from 'node:path'
import { debug } from '../../lib/diagnostics.ts'
import { isPointer } from '../../lib/port/pointer.ts'
import { codeOf, disk, Lanes, patiently, unlessMissing } from './disk.ts'
import { exclusively, flushFolder, type Lock, type Terms } from './lock.ts'
import { encode, type Found, isJson, live, load, timeOf } from './record.ts'

/** Operations at once, of each kind. */
export const LANES = 16

export interface FolderSettings {
  /** Absolute. */
  readonly path: string
  readonly extension: string
  readonly encoding: BufferEncoding
  /** A change is over when the disk has confirmed it. */
  readonly sync: boolean
}

/** What a record is replaced with. */
export interface Next {
  readonly json: string
  /** In ms since the epoch. */
  readonly expires: number
}

export class SessionFolder {
  readonly reads = new Lanes(LANES)
  readonly writes = new Lanes(LANES)
  readonly #settings: FolderSettings
  readonly #ownName: RegExp
  readonly #changed: (file: string) => void
  /** Changes under way in this process, by file: they wait for each other here, not at the lock. */
  readonly #changes = new Map<string, Promise<unknown>>()

  /** `changed` is called for a file when the changes of it that were under way are over. */
  constructor(settings: FolderSettings, changed: (file: string) => void) {
    this.#settings = settings
    this.#changed = changed
    const extension = settings.extension.replaceAll('.', '\\.')
    this.#ownName = new RegExp(`^[0-9a-f]{62}${extension}((?:\\.lock)*(?:\\.lock|\\.[0-9a-f]+-\\d+\\.next))?$`)
  }

  fileOf(id: string): string {
    const { path, extension } = this.#settings
    const name = digest(id)
    return `${path}${sep}${name.slice(0, 2)}${sep}${name.slice(2)}${extension}`
  }

  /** Runs a change of `file` after those of this process that are under way. */
  change<T>(
    file: string,
    options: Pick<Terms, 'create' | 'patient'>,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T | undefined> {
    const { encoding } = this.#settings
    const go = (): Promise<T | undefined> => exclusively(file, { lanes: this.writes, encoding, ...options }, work)
    const result = this.#changes.get(file)?.then(go) ?? go()
    const done = (): void => {
      if (this.#changes.get(file) !== tail) return
      this.#changes.delete(file)
      this.#changed(file)
    }
    const tail = result.then(done, done)
    this.#changes.set(file, tail)
    return result
  }

  /**
   * Writes what `produce` makes under the lock. When the lock is lost, `produce` runs again. Writes nothing where it
   * answers undefined, or where the folder is missing and `create` is not set. Answers with the JSON that was written.
   */
  replace(
    id: string,
    options: { create?: boolean },
    produce: (file: string) => Promise<Next | undefined>,
  ): Promise<string | undefined> {
    const file = this.fileOf(id)
    return this.change(file, options, async (lock) => {
      const next = await produce(file)
      if (!next) return undefined
      const expires = Math.round(next.expires)
      await lock.publish({ text: encode(id, expires, next.json), time: timeOf(expires), sync: this.#settings.sync })
      return next.json
    })
  }

  /** Deletes a record. With `id` it answers with what was there, and leaves a pointer. */
  remove(file: string, id?: string): Promise<Found | undefined> {
    return this.change(file, {}, async (lock) => {
      const found = id === undefined ? undefined : await load(file, id)
      const current = live(found)
      if (!current || !isPointer(current.json)) await unlessMissing(() => disk.unlink(file))
      // Without the lock, another writer may have put back what it had read before.
      await lock.confirm()
      if (this.#settings.sync) await flushFolder(file)
      return found
    })
  }

  /** Renames a record that cannot be read. False: it can be read by now. */
  async setAside(file: string, id: string | undefined): Promise<boolean> {
    try {
      const isSound = await this.change(file, {}, async () => {
        const found = await load(file, id)
        if (found && !found.damage && isJson(found.content.json)) return true
        if (found) await moveAside(file)
        return false
      })
      return !isSound
    } catch (error) {
      debug('%s is damaged, and cannot be renamed: %s', file, error)
      return true
    }
  }

  /** Visits the files that are ours, so many at a time. What is no record is left of a writer's work on one. */
  async walk(width: number, visit: (file: string, isRecord: boolean) => Promise<void>): Promise<void> {
    const { path } = this.#settings
    for (const folder of await namesIn(path, 'ENOENT')) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue
      // A file of that name is somebody else's.
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

/** SHA-256 as hex, which is the same name on every file system. */
function digest(id: string): string {
  // As UTF-8, all lone surrogates are the same; no UTF-8 begins with this byte.
  const input = /\p{Surrogate}/u.test(id) ? Buffer.concat([Buffer.of(0xff), Buffer.from(id, 'utf16le')]) : id
  return typeof crypto.hash === 'function'
    ? crypto.hash('sha256', input)
    : crypto.createHash('sha256').update(input).digest('hex')
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
