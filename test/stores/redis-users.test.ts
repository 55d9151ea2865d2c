// The index of users in Redis: its keys, what else is under the prefix, and what it costs.

import { RedisStore as ConnectRedisStore } from 'connect-redis'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { Cookie } from '../../lib/cookie.ts'
import { DRIVER, type Driver, RESERVED_MS, type UserIndex, type Version } from '../../lib/port/slot.ts'
import { Outgoing } from '../../lib/snapshot.ts'
import { RedisStore, type RedisStoreClient } from '../../stores/redis.ts'
import {
  command,
  commandStats,
  lifetimeOf,
  nameOf,
  type RedisCluster,
  type RedisServer,
  redisMissing,
  startCluster,
  startRedis,
  watch,
} from '../support/redis.ts'
import { clusters, minimal } from './fixture/redis-clients.ts'
import { userIndexContract, userOf } from './user-index.ts'

let server: RedisServer
let client: ReturnType<typeof createClient>

beforeAll(async () => {
  if (redisMissing) return
  server = await startRedis()
  client = createClient({ url: server.url })
  await client.connect()
})
afterAll(async () => {
  client?.destroy()
  await server?.stop()
})
beforeEach(async () => void (await client?.flushAll()))
afterEach(() => void vi.useRealTimers())

const ann = userOf('ann')
const INDEX = `sess:${ann}:user-sessions`
const HOUR = 3_600_000

const driverOf = (store: RedisStore) => store[DRIVER]() as Driver
const usersOf = (store: RedisStore) => driverOf(store).users as UserIndex
const keysOf = async (users: UserIndex) => (await users.list(ann)).map(({ key }) => key).sort()
const outgoing = (data: object) => {
  const session = { cookie: new Cookie({ maxAge: HOUR }), ...data }
  return new Outgoing(session.cookie, () => session)
}

/** A store over a client, of a server that refuses EVAL if `refuses`. */
type Open = (options?: { prefix?: string }) => Promise<RedisStore>

const limited = async (): Promise<string> => {
  await client.sendCommand(['ACL', 'SETUSER', 'plain', 'on', '>secret', '~*', '+@all', '-eval'])
  vi.spyOn(process, 'emitWarning').mockReturnValue()
  return server.url.replace('redis://', 'redis://plain:secret@')
}
const overNode = async (url: string, options?: object): Promise<RedisStore> => {
  const opened = await createClient({ url }).connect()
  onTestFinished(() => opened.destroy())
  return new RedisStore({ client: opened, ...options })
}
const overIo = (url: string, options?: object): RedisStore => {
  const opened = new Redis(url)
  onTestFinished(() => opened.disconnect())
  return new RedisStore({ client: opened, ...options })
}
const ways: [string, Open][] = [
  ['by scripts', async (options) => new RedisStore({ client, ...options })],
  ['without EVAL, node-redis', async (options) => overNode(await limited(), options)],
  ['without EVAL, ioredis', async (options) => overIo(await limited(), options)],
]

describe.skipIf(redisMissing).each(ways)('the key of a user %s', (name, open) => {
  afterEach(() => void vi.restoreAllMocks())

  it('expires with the last of its entries, whatever their order', async () => {
    const users = usersOf(await open())
    await users.reserve(ann, 'one')
    expect(await lifetimeOf(server.port, INDEX)).toBe(100)
    await users.confirm(ann, 'one', Date.now() + 2 * HOUR)
    expect(await lifetimeOf(server.port, INDEX)).toBe(7_200)
    await users.reserve(ann, 'two')
    await users.confirm(ann, 'two', Date.now() + HOUR)
    expect(await lifetimeOf(server.port, INDEX)).toBe(7_200)
    await users.move(ann, 'one', 'three')
    expect(await lifetimeOf(server.port, INDEX)).toBe(7_200)
    await users.confirm(ann, 'three', Date.now() + HOUR / 2)
    expect(await lifetimeOf(server.port, INDEX)).toBe(3_600)
    await users.drop(ann, ['two'])
    await users.reserve(ann, 'four')
    expect(await lifetimeOf(server.port, INDEX)).toBe(1_800)
    await users.confirm(ann, 'four', undefined)
    expect(await lifetimeOf(server.port, INDEX)).toBeGreaterThan(1e12)
    await users.drop(ann, ['three', 'four'])
    expect(await client.exists(INDEX)).toBe(0)
  })

  it('keeps its time to live when its only entry moves', async () => {
    const users = usersOf(await open())
    await users.reserve(ann, 'one')
    await users.confirm(ann, 'one', Date.now() + HOUR)
    expect(await users.move(ann, 'one', 'two')).toBe(true)
    expect(await lifetimeOf(server.port, INDEX)).toBe(3_600)
  })

  it('loses what has expired with the next change, confirmed or reserved', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const users = usersOf(await open())
    for (const key of ['one', 'two', 'three']) await users.reserve(ann, key)
    await users.confirm(ann, 'one', Date.now() + HOUR)
    await users.confirm(ann, 'two', Date.now() + 2 * HOUR)
    vi.setSystemTime(Date.now() + RESERVED_MS)
    expect(await keysOf(users)).toEqual(['one', 'two'])
    expect(await users.confirm(ann, 'three', Date.now() + HOUR)).toBe(false)
    expect(await client.zCard(INDEX)).toBe(2)
    vi.setSystemTime(Date.now() + HOUR)
    expect(await keysOf(users)).toEqual(['two'])
    await users.reserve(ann, 'four')
    expect(await client.zRange(INDEX, 0, -1)).toEqual(['four', 'two'])
  })

  it('is no longer there when all its dates have passed', async () => {
    const users = usersOf(await open())
    await users.reserve(ann, 'one')
    await users.confirm(ann, 'one', Date.now() - 1)
    expect(await users.list(ann)).toEqual([])
    expect(await users.confirm(ann, 'one', Date.now() + HOUR)).toBe(false)
    expect(await client.exists(INDEX)).toBe(0)
  })

  it('is no session, whatever the prefix, and goes with all sessions', async () => {
    const store = await open()
    const users = usersOf(store)
    await store.set('one', outgoing({ n: 1 }).session)
    await users.reserve(ann, 'one')
    const bare = await open({ prefix: '' })
    await usersOf(bare).reserve(ann, 'two')
    for (const [each, id] of [
      [store, 'one'],
      [bare, 'sess:one'],
    ] as const) {
      expect(await each.length()).toBe(1)
      expect(await each.ids()).toEqual([id])
      expect(await each.all()).toMatchObject([{ id, n: 1 }])
    }
    await store.clear()
    expect(await client.keys('*')).toEqual([`${ann}:user-sessions`])
    await bare.clear()
    expect(await client.keys('*')).toEqual([])
  })

  it('is that of no session, whatever the id', async () => {
    const store = await open()
    const driver = driverOf(store)
    const users = usersOf(store)
    await users.reserve(ann, 'one')
    const ids = [`${ann}:user-sessions`, `${ann}:user-sessions~`, ':user-sessions', `${ann}:user-sessions:more`, ann]
    for (const id of ids) {
      expect(await store.get(id)).toBeUndefined()
      expect(await driver.touch(id, outgoing({}), Date.now() + HOUR, { originalMaxAge: HOUR })).toBe('gone')
      expect(await driver.take(id)).toBeUndefined()
      await driver.remove(id)
      await driver.add(id, outgoing({ id }), Date.now() + HOUR)
    }
    for (const id of ids) {
      const from = (await driver.read(id)) as Version
      await driver.update(id, from, () => outgoing({ id, n: 2 }))
      expect(await store.get(id)).toMatchObject({ id, n: 2 })
    }
    expect(await store.length()).toBe(ids.length)
    expect((await store.ids()).sort()).toEqual([...ids].sort())
    expect((await store.all()).map(({ id }) => id).sort()).toEqual([...ids].sort())
    expect(await keysOf(users)).toEqual(['one'])
    for (const id of ids) await store.destroy(id)
    expect(await client.keys('*')).toEqual([INDEX])
    for (const id of ids) await store.set(id, outgoing({}).session)
    await store.clear()
    expect(await client.keys('*')).toEqual([])
  })

  it('begins with the prefix of the client too', async () => {
    const url = name === 'by scripts' ? server.url : await limited()
    const node = await createClient({ url, keyPrefix: 'app:' } as never).connect()
    const io = new Redis(url, { keyPrefix: 'app:' })
    for (const prefixed of [node, io] as RedisStoreClient[]) {
      const store = new RedisStore({ client: prefixed })
      const users = usersOf(store)
      await users.reserve(ann, 'one')
      expect(await users.confirm(ann, 'one', Date.now() + HOUR)).toBe(true)
      expect(await users.move(ann, 'one', 'two')).toBe(true)
      expect(await users.list(ann)).toEqual([{ key: 'two', isReserved: false }])
      expect(await client.keys('*')).toEqual([`app:${INDEX}`])
      await store.clear()
      expect(await client.keys('*')).toEqual([])
    }
    node.destroy()
    io.disconnect()
  })

  it('holds exactly what many at once have left', async () => {
    const stores = [await open(), await open(), new RedisStore({ client })]
    const [first, second, third] = stores.map(usersOf) as [UserIndex, UserIndex, UserIndex]
    const ids = Array.from({ length: 60 }, (_, n) => `id-${n}`)
    const until = (n: number) => Date.now() + HOUR + n * 60_000
    await Promise.all(ids.map((id, n) => (n % 2 ? first : third).reserve(ann, id)))
    const dropped = ids.filter((_, n) => n % 3 === 0)
    const [confirmed, moved] = await Promise.all([
      Promise.all(ids.map((id, n) => (n % 2 ? second : third).confirm(ann, id, until(n)))),
      Promise.all(ids.map((id, n) => n % 3 === 1 && first.move(ann, id, `new-${id}`))),
      third.drop(ann, dropped),
    ])
    const expected = ids.flatMap((id, n) => (n % 3 === 0 ? [] : n % 3 === 1 ? [`new-${id}`] : [id]))
    expect(await keysOf(first)).toEqual(expected.sort())
    expect(ids.filter((_, n) => n % 3 === 2 && !confirmed[n])).toEqual([])
    expect(ids.filter((_, n) => n % 3 === 1 && !moved[n])).toEqual([])
    const last = Math.max(...(await client.zRangeWithScores(INDEX, 0, -1)).map(({ score }) => score))
    expect(await lifetimeOf(server.port, INDEX)).toBe(Math.ceil((last - Date.now()) / 100_000) * 100)
  })
})

describe.skipIf(redisMissing).each(ways)('%s', (_, open) => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
  afterEach(() => void vi.restoreAllMocks())

  userIndexContract(
    async () => ({
      store: await open(),
      other: usersOf(await open()),
      async pass(ms) {
        vi.setSystemTime(Date.now() + ms)
        const keys = await client.keys('*')
        await Promise.all(keys.map(async (key) => client.pExpire(key, (await client.pTTL(key)) - ms)))
      },
      async left() {
        const sizes = (await client.keys('*:user-sessions')).map((key) => client.zCard(key))
        return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
      },
    }),
    { time: true, many: 60 },
  )
})

describe.skipIf(redisMissing)('the index of users', () => {
  it('costs one command for each thing it is asked', async () => {
    const users = usersOf(new RedisStore({ client }))
    const seen = await watch(server.port)
    await users.reserve(ann, 'one')
    await users.confirm(ann, 'one', Date.now() + HOUR)
    await users.move(ann, 'one', 'two')
    await users.list(ann)
    await users.drop(ann, ['two', 'three'])
    await users.drop(ann, [])
    const sent = await seen.commands()
    seen.stop()
    expect(sent.map(nameOf)).toEqual(Array(5).fill('EVAL'))
    expect(sent.filter((line) => !line.includes(`"1" "${INDEX}"`))).toEqual([])
  })

  it('does as much for a user with many sessions as for one with few, and removes any number', async () => {
    const users = usersOf(new RedisStore({ client }))
    const signIn = async (key: string) => {
      const before = await commandStats(server.port)
      await users.reserve(ann, key)
      await users.confirm(ann, key, Date.now() + HOUR)
      await users.move(ann, key, `new ${key}`)
      const after = await commandStats(server.port)
      const commands = Object.keys(after).filter((name) => name !== 'info')
      return commands.map((name) => [name, (after[name] ?? 0) - (before[name] ?? 0)]).filter(([, n]) => n)
    }
    await signIn('zero')
    const few = await signIn('one')
    const many = Array.from({ length: 9_000 }, (_, n) => ({ score: Date.now() + HOUR, value: `id-${n}` }))
    await client.zAdd(INDEX, many)
    expect(await signIn('two')).toEqual(few)
    expect(await users.list(ann)).toHaveLength(9_003)
    await users.drop(
      ann,
      many.map(({ value }) => value),
    )
    expect(await keysOf(users)).toEqual(['new one', 'new two', 'new zero'])
  })

  it('is there for clients that can send its commands', async () => {
    const can = (more: object) => usersOf(new RedisStore({ client: { ...minimal(client), ...more } as never }))
    expect(can({})).toBeUndefined()
    const methods = [
      { eval: client.eval.bind(client) },
      { sendCommand: client.sendCommand.bind(client) },
      // As behind a sentinel.
      { sendCommand: (_: boolean, words: string[]) => client.sendCommand(words), getSentinelNode() {} },
    ]
    for (const users of methods.map(can)) {
      await users.reserve(ann, 'one')
      expect(await users.confirm(ann, 'one', Date.now() + HOUR)).toBe(true)
      expect(await users.list(ann)).toEqual([{ key: 'one', isReserved: false }])
      await users.drop(ann, ['one'])
    }
    expect(usersOf(new RedisStore())).toBeDefined()
  })

  it('moves an entry once, also when the client sends the script again because it missed the answer', async () => {
    const twice = async (...args: Parameters<typeof client.eval>): Promise<unknown> => {
      await client.eval(...args)
      return client.eval(...args)
    }
    const users = usersOf(new RedisStore({ client: { ...minimal(client), eval: twice } as never }))
    await users.reserve(ann, 'one')
    expect(await users.confirm(ann, 'one', Date.now() + HOUR)).toBe(true)
    expect(await users.move(ann, 'one', 'two')).toBe(true)
    expect(await users.list(ann)).toEqual([{ key: 'two', isReserved: false }])
    await users.drop(ann, ['one', 'two'])
    expect(await users.move(ann, 'one', 'two')).toBe(false)
  })

  it('says what it needs where EVAL is refused and there is nothing else', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockReturnValue()
    const refused = async () => {
      throw new Error("ERR unknown command 'EVAL'")
    }
    const users = usersOf(new RedisStore({ client: { ...minimal(client), eval: refused } as never }))
    await expect(users.list(ann)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    warned.mockRestore()
  })

  it('does not disturb connect-redis under the same prefix', async () => {
    const store = new RedisStore({ client })
    await usersOf(store).reserve(ann, 'one')
    const theirs = new ConnectRedisStore({ client })
    await theirs.set('one', outgoing({ n: 1 }).session as never)
    expect(await theirs.get('one')).toMatchObject({ n: 1 })
    expect(await theirs.all()).toMatchObject([{ id: 'one', n: 1 }])
    await theirs.clear()
    expect(await client.keys('*')).toEqual([])
  })
})

describe.skipIf(redisMissing)('the index of users in a cluster', () => {
  let cluster: RedisCluster
  beforeAll(async () => {
    cluster = await startCluster()
  })
  afterAll(() => cluster?.stop())

  const nodes = async (line: string) => Promise.all(cluster.nodes.map(({ port }) => command(port, line)))
  const misses = async (): Promise<number> =>
    (await nodes('INFO errorstats')).reduce(
      (sum, text) => sum + Number(/errorstat_MOVED:count=(\d+)/.exec(text)?.[1] ?? 0),
      0,
    )

  it.each(
    Object.entries(clusters).flatMap(([name, open]) => [[name, open, true] as const, [name, open, false] as const]),
  )('asks the node that has it: %s (scripts: %s)', async (_, open, hasScripts) => {
    if (!hasScripts) await nodes('ACL SETUSER default -eval')
    const warned = vi.spyOn(process, 'emitWarning').mockReturnValue()
    const opened = await open(cluster.rootNodes)
    onTestFinished(async () => {
      warned.mockRestore()
      await nodes('ACL SETUSER default +eval')
      await opened.close()
    })
    const store = opened.store({ prefix: 'asked:' })
    const users = usersOf(store)
    const before = await misses()
    for (let n = 0; n < 5; n++) {
      const user = userOf(String(n))
      await users.reserve(user, 'one')
      await users.reserve(user, 'two')
      expect(await users.confirm(user, 'one', Date.now() + HOUR)).toBe(true)
      expect(await users.move(user, 'one', 'three')).toBe(true)
      await users.drop(user, ['two'])
      expect(await users.list(user)).toEqual([{ key: 'three', isReserved: false }])
    }
    expect(await misses()).toBe(before)
    expect(await store.length()).toBe(0)
    await store.clear()
    expect((await nodes('DBSIZE')).filter((size) => !size.includes(':0'))).toEqual([])
  })
})
