// The reaper of FileStore: deletes the files of expired sessions, their users' entries of them, and files that a dead
// writer has left behind.

import { debug } from '../../lib/diagnostics.ts'
import { inBackground, LONGEST_DELAY } from '../../lib/timers.ts'
import { disk, unlessMissing } from './disk.ts'
import { removeLeftover } from './lock.ts'
import { load } from './record.ts'
import type { SessionFolder } from './session-folder.ts'
import type { UserFiles } from './user-index.ts'

/** Milliseconds for which an expired session is kept: a touch may be extending it at this moment. */
const GRACE_MS = 1_000
/** Age in milliseconds above which a lock or a `.next` file is deleted even if its writer may still be alive. */
const ABANDONED_MS = 60_000

export interface ReapTarget {
  readonly folder: SessionFolder
  readonly users: UserFiles
  /** Called for a record that cannot be read. */
  onDamage(file: string, damage: SyntaxError): Promise<unknown>
}

/** Reaps every `interval` ms until the store is garbage-collected. */
export function startReaping<S extends object>(store: S, interval: number, targetOf: (store: S) => ReapTarget): void {
  if (interval === Infinity) return
  const pause = Math.min(interval, LONGEST_DELAY)
  // A timer that holds the store itself would keep it in memory for ever.
  const ref = new WeakRef(store)
  const schedule = (delay: number): void => {
    inBackground(delay, () => {
      const current = ref.deref()
      if (!current) return
      reap(targetOf(current), Math.min(pause, GRACE_MS))
        .catch((error: unknown) => debug('expired sessions cannot be deleted: %s', error))
        .then(() => schedule(pause))
    })
  }
  // The first time comes early, as some processes live shorter than one interval; and at random, as several may start together.
  schedule(pause * 0.2 * Math.random())
}

/** Deletes the sessions that expired more than `grace` ms ago. */
async function reap(target: ReapTarget, grace: number): Promise<void> {
  const { folder, users } = target
  await folder.walk(1, async (file, isRecord) => {
    try {
      const stats = await folder.readers.run(() => unlessMissing(() => disk.stat(file)))
      if (!stats) return
      if (!isRecord) await removeLeftover(file, stats.ctimeMs < Date.now() - ABANDONED_MS, folder.writers)
      else if (stats.mtimeMs < Date.now() - grace) await deleteIfExpired(target, file, grace)
    } catch (error) {
      debug('%s cannot be reaped: %s', file, error)
    }
  })
  await users.reap()
}

/** Deletes a record, unless a writer is changing it or the date inside of the file is later than its mtime. */
async function deleteIfExpired(target: ReapTarget, file: string, grace: number): Promise<void> {
  const damage = await target.folder.change(file, { waits: false }, async (lock) => {
    const loaded = await load(file)
    if (loaded?.damage) return loaded.damage
    await lock.confirm()
    if (loaded && loaded.record.expires < Date.now() - grace) await unlessMissing(() => disk.unlink(file))
    return undefined
  })
  if (damage) await target.onDamage(file, damage)
}
