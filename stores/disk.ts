// Files, worked on at once while the disk answers at once, and through the thread pool while it does not: a call that
// is served from the page cache costs a tenth of the CPU time without the trip, and a slow disk must not hold up the
// event loop. Operations are generators, written once for both.

import fs from 'node:fs'
import { promisify } from 'node:util'
import { isPromise, type Maybe } from '../lib/maybe.ts'
import { now, sleep } from '../lib/timers.ts'

/** An operation on files; what it yields is awaited. */
export type Steps<T> = Generator<Promise<unknown>, T, unknown>

export function* wait<T>(value: Maybe<T>): Steps<T> {
  return isPromise(value) ? ((yield value) as T) : value
}

/** Runs an operation, synchronously up to its first promise. */
export function run<T>(steps: Steps<T>): Maybe<T> {
  const step = steps.next()
  return step.done ? step.value : finish(steps, step.value)
}

async function finish<T>(steps: Steps<T>, pending: Promise<unknown>): Promise<T> {
  for (;;) {
    const step = await pending.then(
      (value) => steps.next(value),
      (error: unknown) => steps.throw(error),
    )
    if (step.done) return step.value
    pending = step.value
  }
}

/** The calls that a store makes. Times are in seconds. */
export interface Disk {
  open(path: string, flags: string, mode?: number): Maybe<number>
  stat(path: string): Maybe<fs.Stats>
  fstat(fd: number): Maybe<fs.Stats>
  read(fd: number, into: Buffer, offset: number, length: number): Maybe<number>
  write(fd: number, from: Buffer, offset: number, length: number): Maybe<number>
  futimes(fd: number, time: number): Maybe<void>
  fsync(fd: number): Maybe<void>
  close(fd: number): Maybe<void>
  rename(from: string, to: string): Maybe<void>
  unlink(path: string): Maybe<void>
  mkdir(path: string): Maybe<unknown>
}

const FOLDER = { recursive: true, mode: 0o700 }

export const blocking: Disk = {
  open: (path, flags, mode) => fs.openSync(path, flags, mode),
  stat: (path) => fs.statSync(path),
  fstat: (fd) => fs.fstatSync(fd),
  read: (fd, into, offset, length) => fs.readSync(fd, into, offset, length, offset),
  write: (fd, from, offset, length) => fs.writeSync(fd, from, offset, length),
  futimes: (fd, time) => fs.futimesSync(fd, time, time),
  fsync: (fd) => fs.fsyncSync(fd),
  close: (fd) => fs.closeSync(fd),
  rename: (from, to) => fs.renameSync(from, to),
  unlink: (path) => fs.unlinkSync(path),
  mkdir: (path) => fs.mkdirSync(path, FOLDER),
}

const open = promisify(fs.open) as (path: string, flags: string, mode?: number) => Promise<number>
const stat = promisify(fs.stat)
const fstat = promisify(fs.fstat)
const read = promisify(fs.read)
const write = promisify(fs.write)
const futimes = promisify(fs.futimes)
const fsync = promisify(fs.fsync)
const close = promisify(fs.close)
const rename = promisify(fs.rename)
const unlink = promisify(fs.unlink)
const mkdir = promisify(fs.mkdir)

export const pooled: Disk = {
  open: (path, flags, mode) => open(path, flags, mode),
  stat: (path) => stat(path),
  fstat: (fd) => fstat(fd),
  read: async (fd, into, offset, length) => (await read(fd, into, offset, length, offset)).bytesRead,
  write: async (fd, from, offset, length) => (await write(fd, from, offset, length)).bytesWritten,
  futimes: (fd, time) => futimes(fd, time, time),
  fsync: (fd) => fsync(fd),
  close: (fd) => close(fd),
  rename: (from, to) => rename(from, to),
  unlink: (path) => unlink(path),
  mkdir: (path) => mkdir(path, FOLDER),
}

export function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code
}

/** Windows refuses to rename or open what another process has open at that moment; elsewhere these errors are meant. */
export function isBusy(error: unknown): boolean {
  return process.platform === 'win32' && ['EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error) as string)
}

/** Makes a call that Windows may refuse for a moment: about a second of tries. */
export function* patiently<T>(call: () => Maybe<T>): Steps<T> {
  for (let delay = 1; ; delay *= 2) {
    try {
      return yield* wait(call())
    } catch (error) {
      if (!isBusy(error) || delay > 512) throw error
      yield sleep(delay)
    }
  }
}

/** As `patiently`; undefined where the file is missing. */
export function* unlessMissing<T>(call: () => Maybe<T>): Steps<T | undefined> {
  try {
    return yield* patiently(call)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Larger content always goes through the thread pool. */
const LARGE = 65_536
// Shared: nothing may yield between filling and emptying it.
const scratch = Buffer.allocUnsafeSlow(LARGE)

/** The first `size` bytes of a file as text, in whichever of the encodings of a JSON text it is. */
export function* readText(disk: Disk, fd: number, size: number): Steps<string> {
  if (size > LARGE) disk = pooled
  const buffer = disk === blocking ? scratch : Buffer.allocUnsafe(size)
  let length = 0
  while (length < size) {
    const count = yield* wait(disk.read(fd, buffer, length, size - length))
    if (count === 0) break
    length += count
  }
  // JSON begins with an ASCII character, whose second byte is zero in UTF-16.
  return buffer.toString(length > 1 && buffer[1] === 0 ? 'utf16le' : 'utf8', 0, length)
}

export function* writeText(disk: Disk, fd: number, text: string, encoding: BufferEncoding): Steps<void> {
  let buffer = scratch
  let length: number
  if (disk === blocking && text.length * 3 <= LARGE) length = scratch.write(text, encoding)
  else {
    buffer = Buffer.from(text, encoding)
    length = buffer.length
    if (length > LARGE) disk = pooled
  }
  for (let done = 0; done < length; ) done += yield* wait(disk.write(fd, buffer, done, length - done))
}

/** Milliseconds of an operation, on average over the last `MEMORY`, above which the disk counts as slow. */
const SLOW = 1
const MEMORY = 32
/** For how many milliseconds it then does, at first and at most: it is tried again, and each time that was too early, later. */
const FIRST_PAUSE = 100
const LONGEST_PAUSE = 3_200
/** Operations in the thread pool at once: each may hold two open files. */
const LANES = 64

/** Chooses how the disk is asked for one kind of operation, by how fast it has answered lately. */
export class Pace {
  #mean = 0
  #pause = 0
  #slowUntil = 0
  #free = LANES
  readonly #waiting: (() => void)[] = []

  /** Runs an operation; `slow`: of a kind that is never fast. */
  run<T>(work: (disk: Disk) => Steps<T>, slow = false): Maybe<T> {
    const start = now()
    if (slow || start < this.#slowUntil) return this.#pooled(work)
    const result = run(work(blocking))
    if (!isPromise(result)) this.#note(now() - start)
    return result
  }

  async #pooled<T>(work: (disk: Disk) => Steps<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await run(work(pooled))
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }

  #note(ms: number): void {
    this.#mean += (ms - this.#mean) / MEMORY
    if (this.#mean <= SLOW) return
    const again = now() - this.#slowUntil < 4 * this.#pause
    this.#pause = again ? Math.min(2 * this.#pause, LONGEST_PAUSE) : FIRST_PAUSE
    this.#slowUntil = now() + this.#pause
    this.#mean = SLOW / 2
  }
}
