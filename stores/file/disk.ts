// The file system calls of FileStore. Every one of them runs in the thread pool, so that no disk, however slow, blocks
// the event loop.
//
// That costs CPU time: against synchronous calls a read takes 6 to 7 times as much, a write 1.6 times on a disk and 4
// times in memory. What it buys: on a disk that takes 10 ms for a call, a synchronous write (8 calls) stops the event
// loop, and with it all requests, for 84 ms, a pooled one for 2 to 5 ms. `bench/file.mjs --only pool` measures both.

import fs from 'node:fs'
import { sleep } from '../../lib/timers.ts'

/** Makes a callback call of `node:fs`, which runs in the thread pool, and returns its result as a promise. */
export function pooled<T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value as T))))
}

const MKDIR_OPTIONS = { recursive: true, mode: 0o700 }

/** One function for each call, so that tests can make a disk slow or broken. Times are in seconds. */
export const disk = {
  open: (path: string, flags: string | number): Promise<number> => pooled((done) => fs.open(path, flags, 0o600, done)),
  stat: (path: string): Promise<fs.Stats> => pooled((done) => fs.stat(path, done)),
  fstat: (fd: number): Promise<fs.Stats> => pooled((done) => fs.fstat(fd, done)),
  /** Reads at the offset `from` of the file, and to the same offset of the buffer. */
  read: (fd: number, into: Buffer, from: number, length: number): Promise<number> =>
    pooled((done) => fs.read(fd, into, from, length, from, done)),
  /** Writes the buffer from `offset` on, after what has been written to the file before. */
  write: (fd: number, buffer: Buffer, offset: number): Promise<number> =>
    pooled((done) => fs.write(fd, buffer, offset, buffer.length - offset, null, done)),
  utimes: (path: string, time: number): Promise<void> => pooled((done) => fs.utimes(path, time, time, done)),
  futimes: (fd: number, time: number): Promise<void> => pooled((done) => fs.futimes(fd, time, time, done)),
  fsync: (fd: number): Promise<void> => pooled((done) => fs.fsync(fd, done)),
  close: (fd: number): Promise<void> => pooled((done) => fs.close(fd, done)),
  link: (from: string, to: string): Promise<void> => pooled((done) => fs.link(from, to, done)),
  rename: (from: string, to: string): Promise<void> => pooled((done) => fs.rename(from, to, done)),
  unlink: (path: string): Promise<void> => pooled((done) => fs.unlink(path, done)),
  mkdir: (path: string): Promise<unknown> => pooled((done) => fs.mkdir(path, MKDIR_OPTIONS, done)),
  rmdir: (folder: string): Promise<void> => pooled((done) => fs.rmdir(folder, done)),
  readdir: (folder: string): Promise<string[]> => pooled((done) => fs.readdir(folder, done)),
}
export type Disk = typeof disk

export function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code
}

/** On Windows, a call fails with one of these codes while another process has the file open. Elsewhere they are real errors. */
export function isBusy(error: unknown): boolean {
  return process.platform === 'win32' && ['EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error) as string)
}

/** Repeats a call while the file is busy, for about one second. */
export async function retryWhileBusy<T>(call: () => Promise<T>): Promise<T> {
  for (let delay = 1; ; delay *= 2) {
    try {
      return await call()
    } catch (error) {
      if (!isBusy(error) || delay > 512) throw error
      await sleep(delay)
    }
  }
}

/** Like `retryWhileBusy`, but returns undefined when the file does not exist. */
export async function unlessMissing<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await retryWhileBusy(call)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Reads the first `size` bytes of a file that holds JSON, and finds out their encoding: UTF-8 or UTF-16. */
export async function readText(fd: number, size: number): Promise<string> {
  const buffer = Buffer.allocUnsafe(size)
  let length = 0
  while (length < size) {
    const count = await disk.read(fd, buffer, length, size - length)
    if (count === 0) break
    length += count
  }
  // JSON begins with an ASCII character, whose second byte is zero in UTF-16.
  return buffer.toString(length > 1 && buffer[1] === 0 ? 'utf16le' : 'utf8', 0, length)
}

/** Writes a text after what has been written to the file before. One call may write only a part of it. */
export async function writeText(fd: number, text: string, encoding: BufferEncoding): Promise<void> {
  const buffer = Buffer.from(text, encoding)
  for (let written = 0; written < buffer.length; ) written += await disk.write(fd, buffer, written)
}

/**
 * Limits how many tasks run at once; the others wait in a queue. Each task has files open and occupies a thread of the
 * pool, which the app needs as well.
 */
export class Limiter {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}
