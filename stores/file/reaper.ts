// Deletes the files of expired sessions, and what dead writers have left.

import { debug } from '../../lib/diagnostics.ts'
import { inBackground } from '../../lib/timers.ts'
import { LONGEST_DELAY } from '../driver.ts'
import { disk, unlessMissing } from './disk.ts'
import { tidy } from './lock.ts'
import { load } from './record.ts'
import type { SessionFolder } from './session-folder.ts'

/** Milliseconds that an expired session is left where it is: a touch may extend it in that very moment. */
const GRACE = 1_000
/** Milliseconds after which what a writer has left is deleted, though nobody can say that the writer is dead. */
const ABANDONED = 60_000

/** What is reaped. */
export interface Reaped {
  readonly folder: SessionFolder
  /** A record that cannot be read. */
  damaged(file: string, damage: SyntaxError): Promise<unknown>
}

/** Reaps every `interval` ms, as long as the store is in use. */
export function startReaping<S extends object>(store: S, interval: number, reapedOf: (store: S) => Reaped): void {
  if (interval === Infinity) return
  const pause = Math.min(interval, LONGEST_DELAY)
  // Held by its timer, a store that nobody uses any more would live for ever.
  const ref = new WeakRef(store)
  const schedule = (delay: number): void => {
    inBackground(delay, () => {
      const held = ref.deref()
      if (!held) return
      reap(reapedOf(held), Math.min(pause, GRACE))
        .catch((error: unknown) => debug('expired sessions cannot be deleted: %s', error))
        .then(() => schedule(pause))
    })
  }
  // Soon for the first time, as some processes never get old; not in all processes at once.
  schedule(pause * 0.2 * Math.random())
}

/** Deletes what expired more than `grace` ms ago. */
async function reap(reaped: Reaped, grace: number): Promise<void> {
  const { folder } = reaped
  await folder.walk(1, async (file, isRecord) => {
    try {
      const stats = await folder.reads.run(() => unlessMissing(() => disk.stat(file)))
      if (!stats) return
      if (!isRecord) await tidy(file, stats.ctimeMs < Date.now() - ABANDONED, folder.writes)
      else if (stats.mtimeMs < Date.now() - grace) await bury(reaped, file, grace)
    } catch (error) {
      debug('%s cannot be reaped: %s', file, error)
    }
  })
}

/** Deletes a record that has expired, unless a writer is at it or the date inside is a later one. */
async function bury(reaped: Reaped, file: string, grace: number): Promise<void> {
  const damage = await reaped.folder.change(file, { patient: false }, async (lock) => {
    const found = await load(file)
    if (found?.damage) return found.damage
    await lock.confirm()
    if (found && found.content.expires < Date.now() - grace) await unlessMissing(() => disk.unlink(file))
    return undefined
  })
  if (damage) await reaped.damaged(file, damage)
}
