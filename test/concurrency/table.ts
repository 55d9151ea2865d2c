// The stores of these tests, opened and closed with the file that uses them.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { type RedisServer, redisMissing, startRedis } from '../support/redis.ts'
import type { AnyStore, Place, StoreCase } from './fixture/kinds.ts'
import { PromiseStore } from './fixture/stores.ts'

export interface Opened {
  readonly store: AnyStore
  readonly place: Place
  /** Whether the store has the session. */
  has(sid: string): Promise<boolean>
}

/** The stores of one test file, which are closed with it; one Redis server for all of them. */
export class Stores {
  #redis: Promise<RedisServer> | undefined
  readonly #closers: (() => unknown)[] = []

  constructor() {
    afterAll(async () => {
      await Promise.all(this.#closers.splice(0).map((close) => close()))
      await (await this.#redis)?.stop()
    })
  }

  /** Undefined where this machine lacks what the store needs. */
  async open(kind: StoreCase, Base?: unknown): Promise<Opened | undefined> {
    if (kind.needsRedis && redisMissing) return undefined
    if (kind.needsRedis) this.#redis ??= startRedis()
    const folder = await mkdtemp(join(tmpdir(), 'sessions-'))
    const place = { folder, url: kind.needsRedis && (await this.#redis)?.url }
    const store = await kind.open(place, Base)
    this.#closers.push(async () => {
      await kind.close?.(store)
      await rm(folder, { recursive: true, force: true })
    })
    return { store, place, has: async (sid) => (await lookUp(store, sid)) !== undefined }
  }
}

/** What the store answers for `sid`, in whichever dialect. */
export async function lookUp(store: AnyStore, sid: string): Promise<object | undefined> {
  const found = await new Promise((resolve, reject) => {
    const returned = store.get(sid, (error: { code?: string } | null, session: unknown) => {
      if (error && error.code !== 'ENOENT') reject(error)
      else resolve(error ? undefined : session)
    })
    if (store instanceof PromiseStore) resolve(returned)
  })
  return (found as object | null) ?? undefined
}
