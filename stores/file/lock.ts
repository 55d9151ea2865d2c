// How several processes change one file in turn.
//
//   <file>.<name>.next   what a writer is about to put in the place of the file; its first bytes say who the writer is
//   <file>.lock          the lock: a second name (a hard link) of the writer's `.next`; only one writer can create it
//
// A lock therefore says from its first moment on who holds it, and the next writer breaks the lock of a dead process.
// A writer publishes its content by renaming `.next` over the file. If it is killed, the file stays as it was.
// Whoever breaks a lock deletes the holder's `.next` first: should the holder be alive after all, it can no longer
// publish anything. Breaking a lock is a change under a lock as well, that of `<file>.lock`.

import { dirname } from 'node:path'
import { debug } from '../../lib/diagnostics.ts'
import { SessionError } from '../../lib/errors.ts'
import { now, sleep } from '../../lib/timers.ts'
import { codeOf, disk, isBusy, type Limiter, retryWhileBusy, unlessMissing, writeText } from './disk.ts'
import { isDead, newWriter } from './writer.ts'

const LOCK = '.lock'
const NEXT = '.next'

/** After so many polls with the same holder, a waiting writer breaks the lock: three seconds, more on a slow disk. */
const STALE_POLLS = 100
/** After so many polls, whoever held the lock, a waiting writer gives up. */
const MAX_POLLS = 1_000
/** The longest pause between two polls, in milliseconds. */
const MAX_PAUSE_MS = 32
/** For so many milliseconds nobody breaks a lock: `STALE_POLLS` take longer than this. */
const UNBREAKABLE_MS = 1_000

/** Thrown when the lock has been broken: what was done under it may have no effect, and is done again. */
const LOST = Symbol('lost')

/** The `.next` file of a writer. */
function nextOf(file: string, writer: string): string | undefined {
  const name = /\/([\w-]+)$/.exec(writer)?.[1]
  return name && `${file}.${name}${NEXT}`
}

/** The writer that holds a lock; undefined when nobody does, '' when the lock does not say. */
async function holderOf(lockFile: string): Promise<string | undefined> {
  const fd = await unlessMissing(() => disk.open(lockFile, 'r'))
  if (fd === undefined) return undefined
  try {
    const head = Buffer.alloc(256)
    await disk.read(fd, head, 0, head.length)
    // In UTF-16, the second byte of each of these characters is zero.
    const text = head.toString('latin1').replaceAll('\0', '')
    return /^\{"writer":"([^"]*)",/.exec(text)?.[1] ?? ''
  } finally {
    await disk.close(fd)
  }
}

export interface LockOptions {
  /** Limits how many writers are at work at once. */
  readonly limiter: Limiter
  /** Of the file. Default `'utf8'`. */
  readonly encoding?: BufferEncoding
  /** Creates the folder of the file if it is missing. Default false. */
  readonly createFolder?: boolean
  /** Waits while another writer holds the lock. Default true. */
  readonly waits?: boolean
}

/** A lock that this writer holds, together with the `.next` file that it prepares. */
export class Lock {
  readonly #file: string
  readonly #lockFile: string
  readonly #writer: string
  readonly #next: string
  readonly #encoding: BufferEncoding
  /** When the lock was acquired, by the clock of `now()`. */
  readonly #since = now()
  /** The open `.next` file. */
  #fd: number | undefined
  #isPublished = false
  #isLost = false

  private constructor(file: string, writer: string, encoding: BufferEncoding, fd: number) {
    this.#file = file
    this.#lockFile = file + LOCK
    this.#writer = writer
    this.#next = nextOf(file, writer) as string
    this.#encoding = encoding
    this.#fd = fd
  }

  /** `'taken'`: another writer holds the lock. `'missing'`: the folder does not exist, and `createFolder` is not set. */
  static async acquire(file: string, options: LockOptions): Promise<Lock | 'taken' | 'missing'> {
    const { encoding = 'utf8', createFolder = false } = options
    const writer = await newWriter()
    const fd = await createFile(nextOf(file, writer) as string, createFolder)
    if (fd === undefined) return 'missing'
    const lock = new Lock(file, writer, encoding, fd)
    try {
      await lock.#create()
      return lock
    } catch (error) {
      await lock.#discardNext()
      if (codeOf(error) === 'EEXIST' || isBusy(error)) return 'taken'
      // Somebody has deleted `.next` or the folder meanwhile.
      throw codeOf(error) === 'ENOENT' ? LOST : error
    }
  }

  /** Creates the lock as a second name of `.next`, which has named its writer by then. */
  async #create(): Promise<void> {
    const head = `{"writer":"${this.#writer}",`
    await writeText(this.#fd as number, head, this.#encoding)
    try {
      await disk.link(this.#next, this.#lockFile)
    } catch (error) {
      if (['EEXIST', 'ENOENT'].includes(codeOf(error) as string)) throw error
      await this.#createWithoutLink(head)
    }
  }

  /** Some file systems have no hard links. There, a lock is empty for a moment, and does not say who holds it. */
  async #createWithoutLink(head: string): Promise<void> {
    const fd = await disk.open(this.#lockFile, 'wx')
    try {
      await writeText(fd, head, 'utf8')
    } catch (error) {
      await disk.unlink(this.#lockFile)
      throw error
    } finally {
      await disk.close(fd)
    }
  }

  /** Whether nobody has broken the lock. Reads it only when somebody might have. */
  async #isHeld(): Promise<boolean> {
    return now() - this.#since < UNBREAKABLE_MS || (await holderOf(this.#lockFile)) === this.#writer
  }

  /** Throws, so that all is done again, if somebody has broken the lock. */
  async confirm(): Promise<void> {
    if (!(await this.#isHeld())) throw this.#lose()
  }

  /** Makes `release` leave the lock alone. */
  #lose(): typeof LOST {
    this.#isLost = true
    return LOST
  }

  /**
   * Replaces the content of the file. `text` lacks its opening brace; `time` is the mtime in seconds; `sync` waits until
   * the disk has confirmed the change.
   */
  async publish({ text, time, sync }: { text: string; time: number; sync: boolean }): Promise<void> {
    const fd = this.#fd as number
    try {
      await writeText(fd, text, this.#encoding)
      await disk.utimes(this.#next, time)
      if (sync) await disk.fsync(fd)
      this.#fd = undefined
      await disk.close(fd)
      await this.confirm()
      await retryWhileBusy(() => disk.rename(this.#next, this.#file))
      this.#isPublished = true
    } catch (error) {
      // Whoever broke the lock has deleted `.next`.
      throw codeOf(error) === 'ENOENT' ? this.#lose() : error
    }
    if (sync) await flushFolder(this.#file)
  }

  /** Never fails: the change has been made or has failed by now, and a lock that stays behind is broken by the next writer. */
  async release(): Promise<void> {
    try {
      await this.#discardNext()
      // A lock of this name that is no longer held belongs to another writer.
      if (!this.#isLost && (await this.#isHeld())) await unlessMissing(() => disk.unlink(this.#lockFile))
    } catch (error) {
      debug('%s stays: %s', this.#lockFile, error)
    }
  }

  /** Closes the `.next` file, and deletes it unless it has been published. */
  async #discardNext(): Promise<void> {
    const fd = this.#fd
    this.#fd = undefined
    if (fd !== undefined) await disk.close(fd)
    if (!this.#isPublished) await unlessMissing(() => disk.unlink(this.#next))
  }
}

/** Creates a file and opens it. Undefined: its folder is missing, and `createFolder` is false. */
async function createFile(path: string, createFolder: boolean): Promise<number | undefined> {
  for (let tries = 0; ; tries++) {
    try {
      return await retryWhileBusy(() => disk.open(path, 'wx'))
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || tries > 2) throw error
      if (!createFolder) return undefined
      await disk.mkdir(dirname(path))
    }
  }
}

/**
 * Runs `work` while no other writer changes `file`, and runs it again if the lock was broken meanwhile. Undefined: the
 * folder is missing, or another writer holds the lock and `waits` is false.
 * @throws SessionError `ERR_SESSION_STORE` when the lock cannot be acquired within half a minute.
 */
export async function withLock<T>(
  file: string,
  options: LockOptions,
  work: (lock: Lock) => Promise<T>,
): Promise<T | undefined> {
  const { limiter, waits = true } = options
  const waiting: Waiting = { polls: 0, pause: 1 }
  for (;;) {
    const outcome = await limiter.run(() => tryWithLock(file, options, work))
    if (typeof outcome === 'object') return outcome.value
    if (outcome === 'missing' || (outcome === 'taken' && !waits)) return undefined
    if (outcome === 'taken') await waitForLock(file, waiting, limiter)
  }
}

/** Tries once to acquire the lock, runs `work` under it, and releases it. `'lost'`: somebody has broken it meanwhile. */
async function tryWithLock<T>(
  file: string,
  options: LockOptions,
  work: (lock: Lock) => Promise<T>,
): Promise<{ value: T } | 'taken' | 'missing' | 'lost'> {
  try {
    const lock = await Lock.acquire(file, options)
    if (typeof lock === 'string') return lock
    try {
      return { value: await work(lock) }
    } finally {
      await lock.release()
    }
  } catch (error) {
    if (error === LOST) return 'lost'
    throw error
  }
}

/** How long one writer has waited for a lock so far. */
interface Waiting {
  polls: number
  /** The next pause in milliseconds. */
  pause: number
}

/** Polls a lock until nobody holds it, and breaks it if its holder is dead or does not give it up. */
async function waitForLock(file: string, waiting: Waiting, limiter: Limiter): Promise<void> {
  const lockFile = file + LOCK
  /** The holder at the last poll, and for how many polls it has been the same. */
  let last: string | undefined
  for (let unchanged = 0; ; unchanged++) {
    const holder = await limiter.run(() => holderOf(lockFile))
    if (++waiting.polls > MAX_POLLS) {
      throw new SessionError('ERR_SESSION_STORE', `the lock of a session cannot be had: ${lockFile}, of ${holder}`)
    }
    if (holder === undefined) return
    if (holder !== last) unchanged = 0
    last = holder
    if (unchanged >= STALE_POLLS || (unchanged > 0 && (await isDead(holder)))) {
      return breakLock(file, holder, limiter)
    }
    await sleep(waiting.pause * (0.5 + Math.random()))
    waiting.pause = Math.min(2 * waiting.pause, MAX_PAUSE_MS)
  }
}

/** Breaks the lock of `file` if `holder` still holds it. */
async function breakLock(file: string, holder: string, limiter: Limiter): Promise<void> {
  const lockFile = file + LOCK
  await withLock(lockFile, { limiter }, async (lock) => {
    // Another writer may have broken it first.
    if ((await holderOf(lockFile)) !== holder) return
    const next = nextOf(file, holder)
    if (next) await unlessMissing(() => disk.unlink(next))
    await lock.confirm()
    await unlessMissing(() => disk.unlink(lockFile))
  })
}

/** Deletes a lock or a `.next` file if its writer is dead, or if it is so old that the caller says so by `isOld`. */
export async function removeLeftover(path: string, isOld: boolean, limiter: Limiter): Promise<void> {
  if (path.endsWith(NEXT)) {
    if (isOld) await limiter.run(() => unlessMissing(() => disk.unlink(path)))
    return
  }
  const holder = await limiter.run(() => holderOf(path))
  if (holder !== undefined && (isOld || (await isDead(holder))))
    await breakLock(path.slice(0, -LOCK.length), holder, limiter)
}

/** Waits until the disk has confirmed that a name has changed; Windows does that by itself. */
export async function flushFolder(file: string): Promise<void> {
  if (process.platform === 'win32') return
  const fd = await disk.open(dirname(file), 'r')
  try {
    await disk.fsync(fd)
  } finally {
    await disk.close(fd)
  }
}
