// What expires, by the interval in which it does. Nothing here knows what that is.

import { inBackground, LONGEST_DELAY } from '../../lib/timers.ts'

/** How many items are freed at a time; requests come in between. */
const BATCH = 5_000

/** Frees items when their date has passed, by a timer that keeps no process alive. */
export class Buckets<T> {
  readonly #interval: number
  readonly #free: (item: T) => void
  /** Bucket `n` can be freed at the time `n` × interval. */
  readonly #buckets = new Map<number, Set<T>>()
  /** The last bucket that has been freed. */
  #reaped: number
  /** The timer of the next reaping is running. It runs only while there is something to free. */
  #isScheduled = false

  /** `free` is called for each item at most `interval` ms after its date; it is in no bucket any more. */
  constructor(interval: number, free: (item: T) => void) {
    this.#interval = interval
    this.#free = free
    this.#reaped = Math.floor(Date.now() / interval)
  }

  /** `date`: in ms since the epoch. An item is in one bucket at a time. */
  add(item: T, date: number): void {
    const bucket = this.#bucketOf(date)
    const items = this.#buckets.get(bucket)
    if (items) items.add(item)
    else this.#buckets.set(bucket, new Set([item]))
    this.#schedule()
  }

  /** `date`: the one with which it was added. */
  delete(item: T, date: number): void {
    this.#deleteFrom(this.#bucketOf(date), item)
  }

  clear(): void {
    this.#buckets.clear()
  }

  #deleteFrom(bucket: number, item: T): void {
    const items = this.#buckets.get(bucket)
    if (items?.delete(item) && items.size === 0) this.#buckets.delete(bucket)
  }

  /** Never one that has been freed already. */
  #bucketOf(date: number): number {
    return Math.max(Math.ceil(date / this.#interval), this.#reaped + 1)
  }

  #schedule(): void {
    if (!this.#isScheduled) this.#reapIn(Math.min(this.#interval, LONGEST_DELAY))
  }

  #reapIn(ms: number): void {
    this.#isScheduled = true
    inBackground(ms, () => this.#reap())
  }

  /** The last bucket up to `due` such that all buckets up to it are empty. */
  #lastEmptyBucket(due: number): number {
    let last = due
    for (const bucket of this.#buckets.keys()) last = Math.min(last, bucket - 1)
    return last
  }

  /** Frees the buckets that are due. The work is in proportion to what has expired, not to what is kept. */
  #reap(): void {
    let budget = BATCH
    const due = Math.floor(Date.now() / this.#interval)
    while (this.#reaped < due && budget > 0) {
      const bucket = this.#reaped + 1
      for (const item of this.#buckets.get(bucket) ?? []) {
        if (budget-- === 0) break
        this.#deleteFrom(bucket, item)
        this.#free(item)
      }
      if (this.#buckets.has(bucket)) continue
      // After a long sleep, more buckets are due than there are with an item: skip the empty ones.
      const gap = due - bucket > this.#buckets.size
      this.#reaped = gap ? this.#lastEmptyBucket(due) : bucket
    }
    this.#isScheduled = false
    if (this.#reaped < due) this.#reapIn(1)
    else if (this.#buckets.size > 0) this.#schedule()
  }
}
