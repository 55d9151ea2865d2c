// The sessions of each user, in memory.

import { type IndexEntry, RESERVED_MS, type UserIndex } from '../../lib/port/slot.ts'
import { Buckets } from './buckets.ts'

interface Entry extends IndexEntry {
  readonly user: string
  isReserved: boolean
  /** When it leaves, in ms since the epoch; undefined: when it is dropped. */
  until: number | undefined
  /** When it is looked at next, in ms since the epoch; undefined: never. */
  due: number | undefined
}

/**
 * The index of a MemoryStore. An entry whose session is not there leaves after {@link RESERVED_MS}, whatever its date:
 * a session without a date may be removed at any time, and nobody drops its entry then.
 */
export class MemoryUserIndex implements UserIndex {
  readonly #users = new Map<string, Map<string, Entry>>()
  /** All entries of a key: a session may be signed in for a second user while its first has not dropped it. */
  readonly #byKey = new Map<string, Entry[]>()
  readonly #buckets: Buckets<Entry>
  readonly #holds: (key: string) => boolean

  /** `interval`: how often entries are freed, in ms. `holds`: whether the store has something under a key. */
  constructor(interval: number, holds: (key: string) => boolean) {
    this.#buckets = new Buckets(interval, (entry) => this.#free(entry))
    this.#holds = holds
  }

  /** The number of keys in the index, expired ones that are not freed yet included. */
  get size(): number {
    return this.#byKey.size
  }

  reserve(user: string, key: string, limit?: number): boolean {
    if (this.#live(user, key)) return true
    if (limit !== undefined && this.list(user).length >= limit) return false
    this.#add(user, key, true, Date.now() + RESERVED_MS)
    return true
  }

  confirm(user: string, key: string, until: number | undefined): boolean {
    const entry = this.#live(user, key)
    if (!entry) return false
    entry.isReserved = false
    entry.until = until
    this.#wait(entry)
    return true
  }

  move(user: string, from: string, to: string): boolean {
    const entry = this.#live(user, from)
    if (!entry) return false
    this.#remove(entry)
    this.#removeAt(user, to)
    this.#add(user, to, entry.isReserved, entry.until)
    return true
  }

  list(user: string): IndexEntry[] {
    const entries = [...(this.#users.get(user)?.values() ?? [])].filter(isLive)
    return entries.map(({ key, isReserved }) => ({ key, isReserved }))
  }

  drop(user: string, keys: readonly string[]): void {
    for (const key of keys) this.#removeAt(user, key)
  }

  /** The store no longer has the session, but whoever removed it may still have something to do with its entry. */
  release(key: string): void {
    for (const entry of this.#byKey.get(key) ?? []) this.#wait(entry)
  }

  /** The store had no place for the session, and nobody else knows that. */
  forget(key: string): void {
    for (const entry of this.#byKey.get(key) ?? []) this.#remove(entry)
  }

  clear(): void {
    this.#users.clear()
    this.#byKey.clear()
    this.#buckets.clear()
  }

  #live(user: string, key: string): Entry | undefined {
    const entry = this.#users.get(user)?.get(key)
    if (!entry || isLive(entry)) return entry
    this.#remove(entry)
    return undefined
  }

  #add(user: string, key: string, isReserved: boolean, until: number | undefined): void {
    const entry: Entry = { user, key, isReserved, until, due: undefined }
    const entries = this.#users.get(user) ?? new Map<string, Entry>()
    this.#users.set(user, entries.set(key, entry))
    this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), entry])
    this.#wait(entry)
  }

  #removeAt(user: string, key: string): void {
    const entry = this.#users.get(user)?.get(key)
    if (entry) this.#remove(entry)
  }

  #remove(entry: Entry): void {
    const { user, key, due } = entry
    const entries = this.#users.get(user)
    if (entries?.delete(key) && entries.size === 0) this.#users.delete(user)
    const others = this.#byKey.get(key)?.filter((other) => other !== entry) ?? []
    if (others.length > 0) this.#byKey.set(key, others)
    else this.#byKey.delete(key)
    if (due !== undefined) this.#buckets.delete(entry, due)
  }

  /** Says when an entry is looked at next: at its date, or soon where its session is not there. */
  #wait(entry: Entry): void {
    const { key, until = Infinity, due } = entry
    if (due !== undefined) this.#buckets.delete(entry, due)
    const next = this.#holds(key) ? until : Math.min(until, Date.now() + RESERVED_MS)
    entry.due = next === Infinity ? undefined : next
    if (entry.due !== undefined) this.#buckets.add(entry, entry.due)
  }

  #free(entry: Entry): void {
    if (isLive(entry) && this.#holds(entry.key)) this.#wait(entry)
    else this.#remove(entry)
  }
}

function isLive({ until }: Entry): boolean {
  return until === undefined || until > Date.now()
}
