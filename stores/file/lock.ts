// Changes of a file that several processes share.
//
//   <file>.<name>.next   what a writer puts in the place of the file; it begins with who the writer is
//   <file>.lock          the lock: a second name of that file (a hard link), of which only one can be made
//
// The lock thus tells from its first moment on who has it, and when that process is dead, the next one takes it away.
// What a writer prepares is published by renaming it over the file: a writer that is killed leaves the file as it was.
// To take a lock away, its writer's `.next` is deleted first: after that, nothing can be published under the lock, should
// the writer be alive after all. That in turn is done under a lock, the one of `<file>.lock`.

import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { debug } from '../../lib/diagnostics.ts'
import { SessionError } from '../../lib/errors.ts'
import { now, sleep } from '../../lib/timers.ts'
import { ask, codeOf, disk, isBusy, type Lanes, patiently, unlessMissing, writeText } from './disk.ts'

export const LOCK = '.lock'
export const NEXT = '.next'

/** Looks at a lock, of the same writer each time, after which a waiting writer takes it away: three seconds, more on a slow disk. */
const STALE = 100
/** Looks, of whichever writer, after which it gives up. */
const PATIENCE = 1_000
/** Milliseconds between two looks, at most. */
const PAUSE = 32
/** Milliseconds for which a lock is not stale to anybody: each of their looks takes a while. */
const SAFE = 1_000

/** The lock has been taken away: what was done under it may not hold, and is done again. */
const LOST = Symbol('lost')

// Who is who. Of a process of this machine it can be told whether it is alive, of any other not.

interface Self {
  /** The machine as it was started this time, and the pid namespace in which a pid means something. */
  readonly space: string
  readonly start: string
}

let self: Promise<Self> | undefined

async function identify(): Promise<Self> {
  const [boot, namespace, { start }] = await Promise.all([
    askProc((done) => fs.readFile('/proc/sys/kernel/random/boot_id', 'latin1', done)),
    askProc((done) => fs.readlink('/proc/self/ns/pid', done)),
    statusOf(process.pid),
  ])
  const place = boot && namespace ? boot + namespace : hostname()
  return { space: createHash('sha256').update(place).digest('hex').slice(0, 12), start }
}

/** What /proc says; undefined where there is none, or where it may not be read. */
function askProc(call: Parameters<typeof ask<string>>[0]): Promise<string | undefined> {
  return ask(call).catch(() => undefined)
}

/** When a process was started, and whether it has ended already but for its parent; nothing where that is not known. */
async function statusOf(pid: number): Promise<{ start: string; ended: boolean }> {
  const text = await askProc((done) => fs.readFile(`/proc/${pid}/stat`, 'latin1', done))
  // The second field may hold anything, in parentheses.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  return { start: fields?.[19] ?? '', ended: /^[ZX]$/.test(fields?.[0] ?? '') }
}

async function isDead(writer: string): Promise<boolean> {
  const [, pid, space, start] = /^(\d+)@(\w+)\.(\d*)\//.exec(writer) ?? []
  self ??= identify()
  if (pid === undefined || space !== (await self).space) return false
  try {
    process.kill(Number(pid), 0)
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
  const status = await statusOf(Number(pid))
  // Another process may have its pid by now.
  return status.ended || (status.start !== '' && start !== '' && status.start !== start)
}

/** Tells the writers of this process, of all its threads and copies of this module, from each other. */
const RUN = randomBytes(6).toString('hex')
let count = 0

/** The file of the writer that `writer` names. */
function nextOf(file: string, writer: string): string | undefined {
  const name = /\/([\w-]+)$/.exec(writer)?.[1]
  return name && `${file}.${name}${NEXT}`
}

/** Who has a lock: undefined when it is free, '' where that cannot be read. */
export async function writerOf(lock: string): Promise<string | undefined> {
  const fd = await unlessMissing(() => disk.open(lock, 'r'))
  if (fd === undefined) return undefined
  try {
    const head = Buffer.alloc(256)
    await disk.read(fd, head, 0, head.length)
    // Of UTF-16, the first bytes of each pair.
    const text = head.toString('latin1').replaceAll('\0', '')
    return /^\{"writer":"([^"]*)",/.exec(text)?.[1] ?? ''
  } finally {
    await disk.close(fd)
  }
}

export interface Content {
  /** Without its first brace. */
  readonly text: string
  /** Seconds: the mtime. */
  readonly time: number
  /** Waits until the disk has confirmed it. */
  readonly sync: boolean
}

/** A lock that is held. */
export class Lock {
  readonly #file: string
  readonly #lock: string
  readonly #writer: string
  readonly #next: string
  readonly #encoding: BufferEncoding
  readonly #since = now()
  /** Of the file that is prepared. */
  #fd: number | undefined
  #length = 0
  #published = false
  #lost = false

  private constructor(file: string, writer: string, encoding: BufferEncoding, fd: number) {
    this.#file = file
    this.#lock = file + LOCK
    this.#writer = writer
    this.#next = nextOf(file, writer) as string
    this.#encoding = encoding
    this.#fd = fd
  }

  /** `taken`: somebody else has the lock. `missing`: there is no such folder, and `create` does not ask to make it. */
  static async take(
    file: string,
    { create = false, encoding = 'utf8' }: { create?: boolean; encoding?: BufferEncoding },
  ): Promise<Lock | 'taken' | 'missing'> {
    self ??= identify()
    const { space, start } = await self
    const writer = `${process.pid}@${space}.${start}/${RUN}-${++count}`
    const fd = await make(nextOf(file, writer) as string, create)
    if (fd === undefined) return 'missing'
    const lock = new Lock(file, writer, encoding, fd)
    try {
      await lock.#make()
      return lock
    } catch (error) {
      await lock.#drop()
      if (codeOf(error) === 'EEXIST' || isBusy(error)) return 'taken'
      throw codeOf(error) === 'ENOENT' ? LOST : error
    }
  }

  async #make(): Promise<void> {
    const head = `{"writer":"${this.#writer}",`
    this.#length = await writeText(this.#fd as number, head, this.#encoding, 0)
    try {
      await disk.link(this.#next, this.#lock)
    } catch (error) {
      if (['EEXIST', 'ENOENT'].includes(codeOf(error) as string)) throw error
      await this.#makeWithoutLinks(head)
    }
  }

  /** Not every file system has hard links. On others a lock is for a moment nobody's. */
  async #makeWithoutLinks(head: string): Promise<void> {
    const fd = await disk.open(this.#lock, 'wx')
    try {
      await writeText(fd, head, 'utf8', 0)
    } catch (error) {
      await disk.unlink(this.#lock)
      throw error
    } finally {
      await disk.close(fd)
    }
  }

  async #isHeld(): Promise<boolean> {
    return now() - this.#since < SAFE || (await writerOf(this.#lock)) === this.#writer
  }

  /** Has all be done again if somebody has taken the lock away. */
  async confirm(): Promise<void> {
    if (!(await this.#isHeld())) throw this.#lose()
  }

  #lose(): typeof LOST {
    this.#lost = true
    return LOST
  }

  /** Makes `content` what is in the file. */
  async publish({ text, time, sync }: Content): Promise<void> {
    const fd = this.#fd as number
    try {
      await writeText(fd, text, this.#encoding, this.#length)
      await disk.utimes(this.#next, time)
      if (sync) await disk.fsync(fd)
      this.#fd = undefined
      await disk.close(fd)
      await this.confirm()
      await patiently(() => disk.rename(this.#next, this.#file))
      this.#published = true
    } catch (error) {
      throw codeOf(error) === 'ENOENT' ? this.#lose() : error
    }
    if (sync) await flushFolder(this.#file)
  }

  /** Gives the lock up. Never fails: what could be done has been done, and a lock that stays is taken away. */
  async release(): Promise<void> {
    try {
      await this.#drop()
      // One that is being taken away is left to whoever does: the next of this name is not ours.
      if (!this.#lost && (await this.#isHeld())) await unlessMissing(() => disk.unlink(this.#lock))
    } catch (error) {
      debug('%s stays: %s', this.#lock, error)
    }
  }

  /** Deletes what has not been published. */
  async #drop(): Promise<void> {
    const fd = this.#fd
    this.#fd = undefined
    if (fd !== undefined) await disk.close(fd)
    if (!this.#published) await unlessMissing(() => disk.unlink(this.#next))
  }
}

/** Makes a file, and its folder where that is missing; undefined: it is, and stays. */
async function make(path: string, create: boolean): Promise<number | undefined> {
  for (let tries = 0; ; tries++) {
    try {
      return await patiently(() => disk.open(path, 'wx'))
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || tries > 2) throw error
      if (!create) return undefined
      await disk.mkdir(dirname(path))
    }
  }
}

export interface Terms {
  readonly lanes: Lanes
  readonly encoding?: BufferEncoding
  /** Makes the folder where it is missing. */
  readonly create?: boolean
  /** Waits for the lock; the default. */
  readonly patient?: boolean
}

/**
 * Does `work` while no other process changes `file`, and again where the lock was lost over it. Undefined: there is no
 * such folder, or somebody else has the lock.
 * @throws SessionError `ERR_SESSION_STORE` when the lock cannot be had in half a minute.
 */
export async function exclusively<T>(
  file: string,
  terms: Terms,
  work: (lock: Lock) => Promise<T>,
): Promise<T | undefined> {
  const { lanes, patient = true } = terms
  let pause = 1
  for (let looks = 0; ; ) {
    const done = await lanes.run(() => attempt(file, terms, work))
    if (done === 'missing') return undefined
    if (typeof done === 'object') return done.value
    if (done === 'lost') continue
    if (!patient) return undefined

    let before: string | undefined
    for (let unchanged = 0; ; unchanged++) {
      const writer = await lanes.run(() => writerOf(file + LOCK))
      if (++looks > PATIENCE) {
        throw new SessionError('ERR_SESSION_STORE', `the lock of a session cannot be had: ${file}${LOCK}, of ${writer}`)
      }
      if (writer === undefined) break
      if (writer !== before) unchanged = 0
      before = writer
      if (unchanged >= STALE || (unchanged > 0 && (await isDead(writer)))) {
        await takeAway(file, writer, lanes)
        break
      }
      await sleep(pause * (0.5 + Math.random()))
      pause = Math.min(2 * pause, PAUSE)
    }
  }
}

async function attempt<T>(
  file: string,
  terms: Terms,
  work: (lock: Lock) => Promise<T>,
): Promise<{ value: T } | 'taken' | 'missing' | 'lost'> {
  try {
    const lock = await Lock.take(file, terms)
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

/** Takes a lock away that `writer` had, unless that has changed. */
async function takeAway(file: string, writer: string, lanes: Lanes): Promise<void> {
  const path = file + LOCK
  await exclusively(path, { lanes }, async (lock) => {
    if ((await writerOf(path)) !== writer) return
    const next = nextOf(file, writer)
    if (next) await unlessMissing(() => disk.unlink(next))
    await lock.confirm()
    await unlessMissing(() => disk.unlink(path))
  })
}

/** Deletes what a writer has left of its work on `file`, if the writer is dead or it is as old as `isOld` says. */
export async function tidy(path: string, isOld: boolean, lanes: Lanes): Promise<void> {
  if (path.endsWith(NEXT)) {
    if (isOld) await lanes.run(() => unlessMissing(() => disk.unlink(path)))
    return
  }
  const writer = await lanes.run(() => writerOf(path))
  if (writer !== undefined && (isOld || (await isDead(writer))))
    await takeAway(path.slice(0, -LOCK.length), writer, lanes)
}

/** Has the disk confirm that a name has changed; Windows does that by itself. */
export async function flushFolder(file: string): Promise<void> {
  if (process.platform === 'win32') return
  const fd = await disk.open(dirname(file), 'r')
  try {
    await disk.fsync(fd)
  } finally {
    await disk.close(fd)
  }
}
