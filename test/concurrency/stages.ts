// The stores of the table as stages for played requests: every call to the store waits for its turn and is watched.

import type { Awaitable } from '../../lib/awaitable.ts'
import { MemoryStore } from '../../lib/index.ts'
import type { Driver, Version } from '../../lib/port/slot.ts'
import { DRIVER } from '../../lib/port/slot.ts'
import { FileStore } from '../../stores/file.ts'
import { RedisStore } from '../../stores/redis.ts'
import type { AnyStore, StoreCase } from './fixture/kinds.ts'
import type { SetStage, Watcher } from './play.ts'
import { lookUp } from './table.ts'

/** The driver behind a store of ours. */
const driverOf = (store: AnyStore): Driver => store[DRIVER]()

/** Nothing comes between the call and the answer, so requests meet between their own steps only. */
export const memoryAtOnce: SetStage = (watcher) => {
  const store = new MemoryStore()
  const driver = driverOf(store)
  const sync =
    <A extends unknown[], T>(method: (sid: string, ...args: A) => T, reads = false) =>
    (sid: string, ...args: A): T =>
      watcher.watchSync(sid, reads, () => method(sid, ...args))
  withDriver(store, {
    read: sync(driver.read, true),
    write: sync(driver.write),
    add: sync(driver.add),
    update: sync(driver.update),
    touch: sync(driver.touch),
    take: sync(driver.take, true),
    remove: sync(driver.remove),
  })
  return { stores: [store], peek: (sid) => parse((driver.read(sid) as Version | undefined)?.record as string) }
}

/** The same records, but far away. */
export const memoryFarAway: SetStage = (watcher) => {
  const store = new MemoryStore()
  const driver = driverOf(store)
  withDriver(store, farAway(driver, watcher))
  return { stores: [store], peek: (sid) => parse((driver.read(sid) as Version | undefined)?.record as string) }
}

/** Two processes on one folder. */
export const file =
  (path: string): SetStage =>
  (watcher) => {
    const stores = [1, 2].map(() => new FileStore({ path, reapInterval: Number.POSITIVE_INFINITY }))
    const [plain] = stores.map(driverOf) as [Driver]
    for (const store of stores) withDriver(store, farAway(driverOf(store), watcher))
    return { stores, peek: async (sid) => parse((await plain.read(sid))?.record as string | undefined) }
  }

/** Two processes on one Redis; it is the commands that wait for their turns. */
export const redis =
  (client: AnyStore): SetStage =>
  (watcher) => {
    const stores = [1, 2].map(() => new RedisStore({ client: watchClient(client, watcher) }))
    return { stores, trusts: true, peek: async (sid) => parse(await client.get(`sess:${sid}`)) }
  }

/** Any other store: its methods wait for their turns. */
export const foreign =
  (kind: StoreCase, plain: AnyStore): SetStage =>
  (watcher) => {
    // Our own view of the store is kept per store, so each scene has one of its own.
    const store = Object.create(plain, { on: { value: undefined } })
    const isPromise = kind.name === 'promises'
    const ask = (method: string, sid: string, ...args: unknown[]): Promise<unknown> =>
      isPromise
        ? plain[method](sid, ...args)
        : new Promise((resolve, reject) => {
            plain[method](sid, ...args, (error: { code?: string } | null, value: unknown) =>
              error && error.code !== 'ENOENT' ? reject(error) : resolve(value),
            )
          })
    const call = (method: string, sid: string, session?: object): Promise<unknown> => {
      // As it is now: a store reads it at once.
      const args = session ? [JSON.parse(JSON.stringify(session))] : []
      const work = (): Promise<unknown> => watcher.watch(sid, method === 'get', () => ask(method, sid, ...args))
      return watcher.schedule.call(`${watcher.caller}: ${method} ${sid}`, work)
    }
    const answer = (work: Promise<unknown>, done: (error: unknown, value?: unknown) => void): void => {
      work.then((value) => done(null, value), done)
    }
    if (isPromise) {
      store.get = (sid: string) => call('get', sid)
      store.set = (sid: string, session: object) => call('set', sid, session)
      store.destroy = (sid: string) => call('destroy', sid)
    } else {
      store.get = (sid: string, done: () => void) => answer(call('get', sid), done)
      store.set = (sid: string, session: object, done: () => void) => answer(call('set', sid, session), done)
      store.touch = (sid: string, session: object, done: () => void) => answer(call('touch', sid, session), done)
      store.destroy = (sid: string, done: () => void) => answer(call('destroy', sid), done)
    }
    return { stores: [store], peek: (sid) => lookUp(plain, sid) }
  }

function withDriver(store: AnyStore, driver: Driver): void {
  store[DRIVER] = () => driver
}

function farAway(driver: Driver, watcher: Watcher): Driver {
  const call =
    <A extends unknown[], T>(name: string, method: (sid: string, ...args: A) => Awaitable<T>) =>
    (sid: string, ...args: A): Promise<T> =>
      watcher.schedule.call(`${watcher.caller}: ${name} ${sid}`, () =>
        watcher.watch(sid, name === 'read' || name === 'take', async () => method(sid, ...args)),
      )
  return {
    read: call('read', driver.read),
    write: call('write', driver.write),
    add: call('add', driver.add),
    update: call('update', driver.update),
    touch: call('touch', driver.touch),
    take: call('take', driver.take),
    remove: call('remove', driver.remove),
  }
}

function watchClient(client: AnyStore, watcher: Watcher): AnyStore {
  const call =
    (name: string) =>
    (key: string, ...args: AnyStore[]): Promise<unknown> => {
      const sid = (name === 'eval' ? args[0].keys[0] : key).slice('sess:'.length)
      // The script that takes a record needs nothing but its key.
      const reads = name === 'get' || (name === 'eval' && args[0].arguments.length === 0)
      const work = (): Promise<unknown> => client[name](key, ...args)
      // What tells those who count that an id was renewed: the model does not count.
      const watched = sid.endsWith(':renewed') ? work : () => watcher.watch(sid, reads, work)
      return watcher.schedule.call(`${watcher.caller}: ${name} ${sid}`, watched)
    }
  return Object.fromEntries(['get', 'set', 'del', 'expire', 'eval'].map((name) => [name, call(name)]))
}

function parse(json: string | null | undefined): object | undefined {
  return json ? JSON.parse(json) : undefined
}
