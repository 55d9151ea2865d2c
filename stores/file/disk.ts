// The calls on files that FileStore makes: all of them in the thread pool, so that no disk, however slow, holds up the
// event loop.

import fs from 'node:fs'
import { sleep } from '../../lib/timers.ts'

/** Makes a call of Node's that answers by callback. */
export function ask<T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value as T))))
}

const FOLDER = { recursive: true, mode: 0o700 }

/** Times are in seconds. */
export const disk = {
  open: (path: string, flags: string): Promise<number> => ask((done) => fs.open(path, flags, 0o600, done)),
  stat: (path: string): Promise<fs.Stats> => ask((done) => fs.stat(path, done)),
  fstat: (fd: number): Promise<fs.Stats> => ask((done) => fs.fstat(fd, done)),
  read: (fd: number, into: Buffer, from: number, length: number): Promise<number> =>
    ask((done) => fs.read(fd, into, from, length, from, done)),
  write: (fd: number, from: Buffer, offset: number, position: number): Promise<number> =>
    ask((done) => fs.write(fd, from, offset, from.length - offset, position, done)),
  utimes: (path: string, time: number): Promise<void> => ask((done) => fs.utimes(path, time, time, done)),
  futimes: (fd: number, time: number): Promise<void> => ask((done) => fs.futimes(fd, time, time, done)),
  fsync: (fd: number): Promise<void> => ask((done) => fs.fsync(fd, done)),
  close: (fd: number): Promise<void> => ask((done) => fs.close(fd, done)),
  link: (from: string, to: string): Promise<void> => ask((done) => fs.link(from, to, done)),
  rename: (from: string, to: string): Promise<void> => ask((done) => fs.rename(from, to, done)),
  unlink: (path: string): Promise<void> => ask((done) => fs.unlink(path, done)),
  mkdir: (path: string): Promise<unknown> => ask((done) => fs.mkdir(path, FOLDER, done)),
  list: (folder: string): Promise<string[]> => ask((done) => fs.readdir(folder, done)),
}
export type Disk = typeof disk

export function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code
}

/** Windows refuses to rename or open what another process has open at that moment; elsewhere these errors are meant. */
export function isBusy(error: unknown): boolean {
  return process.platform === 'win32' && ['EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error) as string)
}

/** Makes a call that Windows may refuse for a moment: about a second of tries. */
export async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (let delay = 1; ; delay *= 2) {
    try {
      return await call()
    } catch (error) {
      if (!isBusy(error) || delay > 512) throw error
      await sleep(delay)
    }
  }
}

/** As `patiently`; undefined where the file is missing. */
export async function unlessMissing<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await patiently(call)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** The first `size` bytes of a file as text, in whichever of the encodings of a JSON text it is. */
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

/** Writes a text at a position of a file; answers with the position after it. */
export async function writeText(fd: number, text: string, encoding: BufferEncoding, position: number): Promise<number> {
  const buffer = Buffer.from(text, encoding)
  for (let done = 0; done < buffer.length; ) done += await disk.write(fd, buffer, done, position + done)
  return position + buffer.length
}

/**
 * Lets a few operations on files run at once, while the others wait for their turn: each has files open and a call in
 * the thread pool, which others need as well.
 */
export class Lanes {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}
