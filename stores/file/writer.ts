// Who writes: each writer has a name by which other processes can find out whether it is dead.
//
//   <pid>@<pidSpace>.<startTime>/<copy>-<number>
//
// They can find out only within the same pid space: on the same machine since its last start, and in the same container.

import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { hostname } from 'node:os'
import { codeOf, pooled } from './disk.ts'

/** Tells the writers of one process from each other, which may come from several threads or copies of this module. */
const COPY = randomBytes(6).toString('hex')
let count = 0

/** A name for the next writer of this process. */
export async function newWriter(): Promise<string> {
  const { pidSpace, startTime } = await identify()
  return `${process.pid}@${pidSpace}.${startTime}/${COPY}-${++count}`
}

interface ProcessIdentity {
  /** A hash of the machine's boot id and of the pid namespace, within which a pid is unique. */
  readonly pidSpace: string
  /** By which a process is told from a later one with the same pid. */
  readonly startTime: string
}

let thisProcess: Promise<ProcessIdentity> | undefined

function identify(): Promise<ProcessIdentity> {
  thisProcess ??= readIdentity()
  return thisProcess
}

async function readIdentity(): Promise<ProcessIdentity> {
  const [bootId, namespace, { startTime }] = await Promise.all([
    fromProc((done) => fs.readFile('/proc/sys/kernel/random/boot_id', 'latin1', done)),
    fromProc((done) => fs.readlink('/proc/self/ns/pid', done)),
    statusOf(process.pid),
  ])
  const place = bootId && namespace ? bootId + namespace : hostname()
  return { pidSpace: createHash('sha256').update(place).digest('hex').slice(0, 12), startTime }
}

/** Reads from /proc; undefined where there is none, or where the process may not read it. */
function fromProc(call: Parameters<typeof pooled<string>>[0]): Promise<string | undefined> {
  return pooled(call).catch(() => undefined)
}

/** The start of a process, '' where that is unknown; and whether it has ended, though its parent has not noticed yet. */
async function statusOf(pid: number): Promise<{ startTime: string; hasEnded: boolean }> {
  const text = await fromProc((done) => fs.readFile(`/proc/${pid}/stat`, 'latin1', done))
  // The second field is the command's name in parentheses, which may contain spaces and parentheses.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  return { startTime: fields?.[19] ?? '', hasEnded: /^[ZX]$/.test(fields?.[0] ?? '') }
}

/** Whether the process of a writer is known to be dead. */
export async function isDead(writer: string): Promise<boolean> {
  const [, pid, pidSpace, startTime] = /^(\d+)@(\w+)\.(\d*)\//.exec(writer) ?? []
  if (pid === undefined || pidSpace !== (await identify()).pidSpace) return false
  try {
    process.kill(Number(pid), 0)
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
  const status = await statusOf(Number(pid))
  // Another process may have been given the same pid.
  return status.hasEnded || (status.startTime !== '' && startTime !== '' && status.startTime !== startTime)
}
