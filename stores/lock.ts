// The lock of a file that several processes replace: `<file>.lock`, made with O_EXCL, is the lock and the new content
// in one. Renaming it over the file publishes the content and gives the lock up in a single step, so a writer that is
// killed leaves the file as it was. A lock that has been taken away makes the rename fail, and its owner starts again.

import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { dirname } from 'node:path'
import { SessionError } from '../lib/errors.ts'
import { now, sleep } from '../lib/timers.ts'
import {
  blocking,
  codeOf,
  type Disk,
  isBusy,
  patiently,
  pooled,
  type Steps,
  unlessMissing,
  wait,
  writeText,
} from './disk.ts'

/** A lock that is held. `since`: a moment of the monotonic clock before which it had not changed. */
export interface Lock {
  readonly fd: number
  readonly path: string
  since: number
}

export const SUFFIX = '.lock'

/** Milliseconds for which a lock must be seen not to change before a waiting writer takes it away. */
const STALE = 3_000
/** For how long its owner may count on it: less, for the calls that it still makes. */
const SAFE = STALE / 2
/** Milliseconds after which a waiting writer looks whether the owner is alive. */
const SUSPECT = 25
/** Milliseconds after which a waiting writer gives up. */
const PATIENCE = 30_000
/** Milliseconds for which Windows may refuse to make a lock, as it does while the last one is being deleted. */
const BUSY = 1_000
/** Milliseconds of a call in the thread pool that mean its queue is long. */
const QUEUED = 250

/**
 * Names this process in what it writes: its pid, and the machine and pid namespace in which that is its pid, where
 * they can be told apart (Linux). Of any other process nobody can say that it is dead.
 */
export const WRITER: string = `${process.pid}@${pidSpace()}`

function pidSpace(): string {
  try {
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1')
    const namespace = fs.readlinkSync('/proc/self/ns/pid')
    return createHash('sha256').update(`${boot} ${namespace}`).digest('hex').slice(0, 12)
  } catch {
    return '?'
  }
}

/** What every content must begin with, so that the owner of a lock can be known. */
export const SIGNATURE: string = `{"writer":"${WRITER}",`

/**
 * Takes the lock of `file`. Undefined: its folder is missing, and `create` does not ask to make it; or somebody else
 * holds the lock, and `patient` is false.
 * @throws SessionError `ERR_SESSION_STORE` when it cannot be had in half a minute.
 */
export function* acquire(
  disk: Disk,
  file: string,
  { create = false, patient = true }: { create?: boolean; patient?: boolean } = {},
): Steps<Lock | undefined> {
  const path = file + SUFFIX
  const start = now()
  let watched: Watched | undefined
  for (let delay = 1; ; ) {
    const since = now()
    try {
      return { fd: yield* wait(disk.open(path, 'wx', 0o600)), path, since }
    } catch (error) {
      const code = codeOf(error)
      if (code === 'ENOENT') {
        if (!create) return undefined
        yield* wait(disk.mkdir(dirname(file)))
        continue
      }
      const waited = since - start
      if (code !== 'EEXIST' && !(isBusy(error) && waited < BUSY)) throw error
      if (!patient) return undefined
      if (waited > PATIENCE) {
        throw new SessionError('ERR_SESSION_STORE', `the lock of a session cannot be had: ${path}`, { cause: error })
      }
    }
    watched = watch(path, watched)
    yield sleep(delay * (0.5 + Math.random()))
    delay = Math.min(delay * 2, 16)
  }
}

interface Watched {
  readonly state: string
  readonly since: number
}

/**
 * Looks at a lock that somebody else holds, and takes it away when it has been left behind. It goes by what has been
 * seen to pass, not by the file's date: the wall clock may jump.
 */
function watch(path: string, before: Watched | undefined): Watched | undefined {
  try {
    const { ino, ctimeMs, size } = fs.statSync(path)
    const state = `${ino} ${ctimeMs} ${size}`
    if (before?.state !== state) return { state, since: now() }
    const unchanged = now() - before.since
    if (unchanged < STALE && !(unchanged > SUSPECT && ownerIsDead(path))) return before
    // At once, with nothing awaited in between: the next lock of this name is a live one.
    fs.unlinkSync(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' && !isBusy(error)) throw error
  }
  return undefined
}

function ownerIsDead(path: string): boolean {
  const head = Buffer.alloc(128)
  const fd = fs.openSync(path, 'r')
  try {
    fs.readSync(fd, head, 0, head.length, 0)
  } finally {
    fs.closeSync(fd)
  }
  // Of UTF-16, the first bytes of each pair.
  const text = head.toString('latin1').replaceAll('\0', '')
  const [, pid, space] = /^\{"writer":"(\d+)@([0-9a-f]+)",/.exec(text) ?? []
  if (!pid || !WRITER.endsWith(`@${space}`)) return false
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
}

/** Whether the lock's file is still the one that was made when it was taken. */
function isOurs({ fd, path }: Lock): boolean {
  try {
    const [held, there] = [fs.fstatSync(fd, { bigint: true }), fs.statSync(path, { bigint: true })]
    return held.ino === there.ino && held.dev === there.dev
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || isBusy(error)) return false
    throw error
  }
}

/**
 * Makes `text`, with `time` (in seconds) as its mtime, the content of `file`, and gives the lock up.
 * False: the lock was lost, `file` has not been changed, and what was made of its content under the lock is void.
 */
export function* publish(
  disk: Disk,
  lock: Lock,
  file: string,
  { text, encoding, time, sync }: { text: string; encoding: BufferEncoding; time: number; sync: boolean },
): Steps<boolean> {
  try {
    yield* writeText(disk, lock.fd, text, encoding)
    yield* wait(disk.futimes(lock.fd, time))
    if (sync) yield* wait(disk.fsync(lock.fd))
    if (now() - lock.since > SAFE / 2) renew(lock, time)
  } catch (error) {
    yield* release(disk, lock)
    throw error
  }
  // Two that wait may both see that a lock was left behind, and the later of them take away what is ours by now.
  const ours = isOurs(lock)
  const closing = now()
  yield* wait(disk.close(lock.fd))
  if (!ours) return false
  const closed = now()
  if (closed - lock.since > SAFE) return false
  try {
    // Not into a long queue: when its turn came, the lock could be another's, and unfinished.
    const prompt = closed - closing < QUEUED ? disk : blocking
    yield* patiently(() => prompt.rename(lock.path, file))
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    yield* unlessMissing(() => disk.unlink(lock.path))
    throw error
  }
  if (sync) yield* flushFolder(file)
  return true
}

/** Shows whoever waits for the lock that its owner is at work. */
function renew(lock: Lock, time: number): void {
  const since = now()
  fs.futimesSync(lock.fd, time, time)
  if (isOurs(lock)) lock.since = since
  else lock.since = -Infinity
}

/** Gives the lock up with nothing published. False: it had been taken away, so what was done under it may not hold. */
export function* release(disk: Disk, lock: Lock): Steps<boolean> {
  const ours = now() - lock.since < SAFE || isOurs(lock)
  yield* wait(disk.close(lock.fd))
  if (!ours) return false
  try {
    yield* patiently(() => disk.unlink(lock.path))
    return true
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
}

/** Has the disk confirm that a name has changed; Windows does that by itself. */
export function* flushFolder(file: string): Steps<void> {
  if (process.platform === 'win32') return
  const fd = yield* wait(pooled.open(dirname(file), 'r'))
  try {
    yield* wait(pooled.fsync(fd))
  } finally {
    yield* wait(pooled.close(fd))
  }
}
