// The stores of these tests, opened and closed with the file that uses them.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, vi } from 'vitest'
import { command, type RedisServer, startRedis } from '../support/redis.ts'
import type { AnyStore, Place, StoreCase } from './fixture/kinds.ts'
import { PromiseStore } from './fixture/stores.ts'

export interface Opened {
  readonly store: AnyStore
  readonly place: Place
  /** Whether the store has the session. */
  has(sid: string): Promise<boolean>
  /** Whether the store has the session in `ms`: by the date, which is faked, or as Redis says, whose clock is its own. */
  lasts(sid: string, ms: number): Promise<boolean>
  /** Redis ends these sessions as it does when their time has come. */
  runOut(sids: readonly string[]): Promise<void>
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

  async open(kind: StoreCase): Promise<Opened> {
    if (kind.needsRedis) this.#redis ??= startRedis()
    const redis = kind.needsRedis && (await this.#redis)
    const folder = await mkdtemp(join(tmpdir(), 'sessions-'))
    const place = { folder, url: redis?.url }
    const store = await kind.open(place)
    this.#closers.push(async () => {
      await kind.close?.(store)
      await rm(folder, { recursive: true, force: true })
    })
    const has = async (sid: string): Promise<boolean> => (await lookUp(store, sid)) !== undefined
    return {
      store,
      place,
      has,
      async lasts(sid, ms) {
        if (redis) {
          const left = Number(/^:(-?\d+)/.exec(await command(redis.port, `PTTL sess:${sid}`))?.[1])
          return left === -1 || left > ms
        }
        const now = Date.now()
        vi.setSystemTime(now + ms)
        const found = await has(sid)
        vi.setSystemTime(now)
        return found
      },
      async runOut(sids) {
        if (redis) await Promise.all(sids.map((sid) => command(redis.port, `PEXPIRE sess:${sid} 0`)))
      },
    }
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
