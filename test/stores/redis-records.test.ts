// What RedisStore keeps, in what form, and with how many commands.

import { once } from 'node:events'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { createClient as createClient5 } from 'redis5'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { Cookie } from '../../lib/cookie.ts'
import { Pointer } from '../../lib/port/pointer.ts'
import { DRIVER, type Driver, type Version } from '../../lib/port/slot.ts'
import { Outgoing } from '../../lib/snapshot.ts'
import { RedisStore, type RedisStoreClient, redisStore } from '../../stores/redis.ts'
import { ROUNDS } from '../support/form.ts'
import {
  command,
  lifetimeOf,
  nameOf,
  type RedisCluster,
  type RedisServer,
  redisMissing,
  startCluster,
  startRedis,
  type Watch,
  watch,
} from '../support/redis.ts'
import { bun } from '../support/serve.ts'
import { clusters, minimal, type Opened, singles } from './fixture/redis-clients.ts'
import { runScript } from './fixture/redis-process.ts'

let server: RedisServer
let cluster: RedisCluster
let client: ReturnType<typeof createClient>

beforeAll(async () => {
  if (redisMissing) return
  ;[server, cluster] = await Promise.all([startRedis(), startCluster()])
  client = createClient({ url: server.url })
  await client.connect()
})
afterAll(async () => {
  client?.destroy()
  await Promise.all([server?.stop(), cluster?.stop()])
})
beforeEach(async () => void (await client?.flushAll()))

const driverOf = (store: RedisStore) => store[DRIVER]() as Driver

const outgoing = (data: object, maxAge: number | null = 3_600_000) => {
  const session = { cookie: new Cookie({ maxAge }), ...data }
  return new Outgoing(session.cookie, () => session)
}

const plain = (data: object, maxAge: number | null = 3_600_000) => outgoing(data, maxAge).session

const parsed = (version: Version | undefined) => {
  const record = version?.record
  return typeof record === 'string' ? JSON.parse(record) : record
}

/** What one more of `n` makes of a record. */
const increment = (current: Version) => outgoing({ n: (parsed(current).n as number) + 1 })

let watched: Watch | undefined
const counted = async (work: () => unknown): Promise<string[]> => {
  watched ??= await watch(server.port)
  const before = (await watched.commands()).length
  await work()
  return (await watched.commands()).slice(before)
}
afterEach(() => {
  watched?.stop()
  watched = undefined
})

const names = (commands: string[]) => commands.map(nameOf)

describe.skipIf(redisMissing)('the records of RedisStore', () => {
  it.each([
    ['a cookie with a date', { maxAge: 3_600_000 }],
    ['a cookie that ends in parts of a second', { maxAge: 600_001 }],
    ['a cookie of the browser session', { maxAge: null }],
    ['a cookie with more attributes', { maxAge: 600_000, secure: true, sameSite: 'lax' as const, domain: 'a.example' }],
  ])('are those of connect-redis, and live as long: %s', async (_, cookie) => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const theirs = new ConnectRedisStore({ client })
    const session = { cookie: new Cookie(cookie), user: 'größer 🎁', nested: { a: [1, null] } }
    const [set] = await counted(() => theirs.set('one', session as never))
    expect(set).toMatch(/^"SET" "sess:one" .* "EX" "\d+"$/)
    expect(await counted(() => new RedisStore({ client }).set('two', session))).toEqual([
      set?.replace('sess:one', 'sess:two'),
    ])
    expect(await theirs.get('two')).toEqual(await new RedisStore({ client }).get('one'))
    vi.useRealTimers()
  })

  it('live for ttl seconds without a date, under the prefix', async () => {
    await new RedisStore({ client, ttl: 100, prefix: 'app:' }).set('one', { user: 'ann' })
    expect(await lifetimeOf(server.port, 'app:one')).toBe(100)
    await new RedisStore({ client }).set('one', { user: 'ann' })
    expect(await lifetimeOf(server.port, 'sess:one')).toBe(86_400)
  })

  it('go when their date has passed', async () => {
    const store = new RedisStore({ client })
    await store.set('one', plain({}))
    await store.set('one', plain({}, -1))
    expect(await client.exists('sess:one')).toBe(0)
    await store.set('one', plain({}))
    await store.touch('one', plain({}, -1))
    expect(await client.exists('sess:one')).toBe(0)
  })

  it('are missing, and said to be corrupt, when they are not JSON', async () => {
    const store = new RedisStore({ client })
    const corrupt = vi.fn()
    store.on('corrupt', corrupt)
    await client.set('sess:bad', '{"cookie":')
    await client.set('sess:worse', '"text"')
    await client.set('sess:worst', 'null')
    expect(await store.get('bad')).toBeUndefined()
    expect(corrupt).toHaveBeenCalledExactlyOnceWith('bad', expect.any(SyntaxError))
    await store.set('good', plain({}))
    expect((await store.all()).map(({ id }) => id)).toEqual(['good'])
  })
})

const updating: [string, () => Promise<Opened>][] = [
  ['node-redis', () => (singles['node-redis 6'] as never as (url: string) => Promise<Opened>)(server.url)],
  ['ioredis', () => (singles['ioredis 6'] as never as (url: string) => Promise<Opened>)(server.url)],
  [
    'a cluster',
    () => (clusters['a cluster of ioredis 6'] as never as (n: unknown) => Promise<Opened>)(cluster.rootNodes),
  ],
  [
    'a minimal client',
    async () => ({ store: (options) => new RedisStore({ client: minimal(client), ...options }), close() {} }),
  ],
]

describe.skipIf(redisMissing).each(updating)('update over %s', (name, open) => {
  let opened: Opened
  let store: RedisStore
  let driver: Driver
  let sid = 'one'
  beforeAll(async () => {
    opened = await open()
  })
  afterAll(() => opened.close())
  beforeEach(async () => {
    store = opened.store()
    driver = driverOf(store)
    sid = `id-${Math.random()}`
    await store.set(sid, plain({ n: 1 }))
  })

  it('replaces a record that nobody has changed', async () => {
    const from = (await driver.read(sid)) as Version
    const make = vi.fn(increment)
    const held = await driver.update(sid, from, make)
    expect(make).toHaveBeenCalledExactlyOnceWith(from)
    expect(parsed(held)).toMatchObject({ n: 2 })
    expect((await driver.read(sid))?.record).toEqual(held?.record)
    expect(parsed(await driver.update(sid, held as Version, increment))).toMatchObject({ n: 3 })
    expect(make).toHaveBeenCalledOnce()
  })

  it('lets the caller make it anew of what another has written', async () => {
    const from = (await driver.read(sid)) as Version
    await opened.store().set(sid, plain({ n: 10 }))
    const make = vi.fn(increment)
    expect(parsed(await driver.update(sid, from, make))).toMatchObject({ n: 11 })
    expect(make).toHaveBeenCalledTimes(2)
    expect(await store.get(sid)).toMatchObject({ n: 11 })
  })

  it('writes nothing where the session is gone', async () => {
    const from = (await driver.read(sid)) as Version
    await opened.store().destroy(sid)
    expect(await driver.update(sid, from, increment)).toBeUndefined()
    expect(await store.get(sid)).toBeUndefined()
  })

  it('ends a session whose cookie has expired', async () => {
    const from = (await driver.read(sid)) as Version
    await driver.update(sid, from, () => outgoing({}, -1))
    expect(await store.get(sid)).toBeUndefined()
  })

  it('loses none of many at once', async () => {
    const from = (await driver.read(sid)) as Version
    await Promise.all(Array.from({ length: 200 }, () => driver.update(sid, from, increment)))
    expect(await store.get(sid)).toMatchObject({ n: 201 })
  })

  it('goes on after one whose session could not be made', async () => {
    const from = (await driver.read(sid)) as Version
    const results = await Promise.allSettled([
      driver.update(sid, from, () => {
        throw new Error('a cycle')
      }),
      driver.update(sid, from, increment),
    ])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
    expect(await store.get(sid)).toMatchObject({ n: 2 })
  })

  const backwards = {
    parse: (text: string) => JSON.parse([...text].reverse().join('')),
    stringify: (session: object) => [...JSON.stringify(session)].reverse().join(''),
  }

  it.each([{}, { serializer: backwards }])(
    'leaves a pointer that is neither counted nor listed (%#)',
    async (options) => {
      store = opened.store({ ...options, prefix: `${sid}:` })
      driver = driverOf(store)
      for (const id of ['one', 'two']) await store.set(id, plain({ n: 1 }))
      const at = Date.now() + 60_000
      const pointer = new Pointer({ id: 'elsewhere', until: at }, 'one', ['secret'], at)
      expect(await driver.update('one', (await driver.read('one')) as Version, () => pointer)).toMatchObject({
        record: pointer.json,
      })
      expect(await driver.read('one')).toMatchObject({ record: pointer.json })
      expect(await store.get('one')).toBeUndefined()
      const loaded = { originalMaxAge: 60_000 }
      expect(await driver.touch('one', outgoing({}), Date.now() + 120_000, loaded)).toBe('moved')
      if (name !== 'a minimal client') {
        expect(await store.length()).toBe(1)
        expect(await store.ids()).toEqual(['two'])
        expect((await store.all()).map(({ id }) => id)).toEqual(['two'])
      }
      expect(await driver.take('one')).toMatchObject({ record: pointer.json })
      expect(await driver.take('one')).toMatchObject({ record: pointer.json })
      await driver.remove('one')
      expect(await driver.read('one')).toBeUndefined()
    },
  )
})

describe.skipIf(redisMissing)('the commands of RedisStore', () => {
  it('are one for each thing it is asked, and one for each of many updates at once', async () => {
    const store = new RedisStore({ client })
    const driver = driverOf(store)
    expect(names(await counted(() => store.set('one', plain({ n: 0 }))))).toEqual(['SET'])
    expect(names(await counted(() => store.get('one')))).toEqual(['GET'])
    const from = (await driver.read('one')) as Version
    expect(names(await counted(() => driver.update('one', from, increment)))).toEqual(['EVAL'])
    expect(await counted(() => store.touch('one', plain({})))).toEqual([])
    const now = (await driver.read('one')) as Version
    const many = () => Promise.all(Array.from({ length: 50 }, () => driver.update('one', now, increment)))
    expect(await counted(many)).toHaveLength(50)
    expect(await store.get('one')).toMatchObject({ n: 51 })
    expect(names(await counted(() => store.destroy('one')))).toEqual(['EVAL'])
  })

  it('send the value that an update replaces as a digest', async () => {
    const driver = driverOf(new RedisStore({ client }))
    await driver.write('one', outgoing({ n: 1, text: 'x'.repeat(20_000) }), undefined)
    const from = (await driver.read('one')) as Version
    const [command] = await counted(() => driver.update('one', from, increment))
    expect(command?.length).toBeLessThan(1_500)
  })

  it('of two processes that update one session are exact', async () => {
    const times = 60 * ROUNDS
    await new RedisStore({ client }).set('shared', plain({ n: 0 }))
    const env = { REDIS_URL: server.url, SESSION: 'shared', TIMES: String(times) }
    const script = 'test/stores/fixture/redis-increment.ts'
    const ended = await Promise.all([runScript(undefined, [script], env), runScript(bun, [script], env)])
    expect(ended.map(({ code, stderr }) => ({ code, stderr }))).toEqual([
      { code: 0, stderr: '' },
      { code: 0, stderr: '' },
    ])
    const tries = ended.map(({ stdout }) => Number(stdout))
    expect(Math.max(...tries)).toBeGreaterThan(times)
    expect(await new RedisStore({ client }).get('shared')).toMatchObject({ n: 2 * times })
  })

  it('are plain ones where EVAL is refused, and then take their turns in this process', async () => {
    await client.sendCommand(['ACL', 'SETUSER', 'plain', 'on', '>secret', '~*', '+@all', '-eval'])
    const url = server.url.replace('redis://', 'redis://plain:secret@')
    const limited = await createClient({ url }).connect()
    const warned = vi.spyOn(process, 'emitWarning').mockReturnValue()
    const store = new RedisStore({ client: limited })
    const driver = driverOf(store)
    await store.set('one', plain({ n: 0 }))
    const from = (await driver.read('one')) as Version
    await Promise.all(Array.from({ length: 20 }, () => driver.update('one', from, increment)))
    expect(await store.get('one')).toMatchObject({ n: 20 })
    expect(await driver.touch('one', outgoing({}, 5_000), Date.now() + 5_000, { originalMaxAge: 9 })).toBe('changed')
    const [taken, late] = await Promise.all([driver.take('one'), driver.update('one', from, increment)])
    expect([parsed(taken).n, late]).toEqual([20, undefined])
    expect(await client.exists('sess:one')).toBe(0)
    expect(warned).toHaveBeenCalledExactlyOnceWith(
      expect.stringContaining('Redis refuses EVAL'),
      expect.objectContaining({ code: 'WARN_SESSION_REDIS_EVAL' }),
    )
    warned.mockRestore()
    limited.destroy()
  })

  it('keep their order while the client connects', async () => {
    const late = createClient({ url: server.url })
    const store = new RedisStore({ client: late })
    const setting = store.set('one', plain({}))
    while (!late.isReady) await new Promise((resolve) => setImmediate(resolve))
    await Promise.all([setting, store.destroy('one')])
    expect(await client.exists('sess:one')).toBe(0)
    late.destroy()
  })

  it('change a session once, also when the client sends them again because it missed the answer', async () => {
    const { eval: run } = client
    const twice = async (...args: Parameters<typeof run>): Promise<unknown> => {
      await run.apply(client, args)
      return run.apply(client, args)
    }
    const driver = driverOf(new RedisStore({ client: { ...minimal(client), eval: twice } as RedisStoreClient }))
    await driver.write('one', outgoing({ n: 0 }), undefined)
    const from = (await driver.read('one')) as Version
    expect(parsed(await driver.update('one', from, increment)).n).toBe(1)
  })

  it('need a serializer that answers with a string', async () => {
    const serializer = { parse: JSON.parse, stringify: async () => '{}' }
    const store = new RedisStore({ client, serializer: serializer as never })
    await expect(store.set('one', plain({}))).rejects.toThrow('serializer.stringify() of RedisStore')
  })

  it('an update gives up, and says so, when it never finds what it saw', async () => {
    let n = 0
    const restless = {
      get: async () => 'unused',
      set: async () => 'OK',
      del: async () => 1,
      eval: async () => [JSON.stringify({ cookie: {}, n: ++n }), `digest ${n}`],
    }
    const driver = driverOf(new RedisStore({ client: restless }))
    await expect(driver.update('one', { record: '{"cookie":{},"n":0}' }, increment)).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringContaining('1000 times'),
    })
  })
})

describe.skipIf(redisMissing)('touch of RedisStore', () => {
  const start = Date.now()
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: start }))
  afterEach(() => void vi.useRealTimers())

  const later = (ms: number) => vi.setSystemTime(Date.now() + ms)

  it.each([
    ['a day', 86_400_000, 60_000],
    ['ten minutes', 600_000, 30_000],
    ['a minute', 60_000, 3_000],
  ])('is sent when it adds something: a lifetime of %s', async (_, maxAge, slack) => {
    const store = new RedisStore({ client })
    await store.set('one', plain({}, maxAge))
    const touch = () => counted(() => store.touch('one', plain({}, maxAge)))
    expect(await touch()).toEqual([])
    later(slack - 1)
    expect(await touch()).toEqual([])
    later(1)
    expect(names(await touch())).toEqual(['EXPIRE'])
    later(slack - 1)
    expect(await touch()).toEqual([])
  })

  it('is sent once by many requests at once, and by a store that knows nothing yet', async () => {
    await new RedisStore({ client }).set('one', plain({}))
    const store = new RedisStore({ client })
    const touch = () => store.touch('one', plain({}))
    expect(await counted(() => Promise.all([touch(), touch(), touch()]))).toHaveLength(1)
  })

  it('is always sent when it takes something away', async () => {
    const store = new RedisStore({ client })
    await store.set('one', plain({}, 60_000))
    expect(names(await counted(() => store.touch('one', plain({}, 59_999))))).toEqual(['EXPIRE'])
    await store.touch('one', plain({}, 30_000))
    expect(await client.ttl('sess:one')).toBeLessThanOrEqual(30)
  })

  it('counts for sessions without a date too', async () => {
    const store = new RedisStore({ client, ttl: 100 })
    await store.set('one', plain({}, null))
    expect(await counted(() => store.touch('one', plain({}, null)))).toEqual([])
    later(5_000)
    expect(names(await counted(() => store.touch('one', plain({}, null))))).toEqual(['EXPIRE'])
    expect(await lifetimeOf(server.port, 'sess:one')).toBe(100)
  })

  it('tells that a session is gone, and does not bring it back', async () => {
    const driver = driverOf(new RedisStore({ client }))
    expect(await driver.touch('one', outgoing({}), Date.now() + 60_000)).toBe('gone')
    expect(await driver.touch('one', outgoing({}), Date.now() + 60_000, { originalMaxAge: 60_000 })).toBe('gone')
    expect(await client.exists('sess:one')).toBe(0)
  })

  it('leaves the lifetime alone that another request has given the session', async () => {
    const driver = driverOf(new RedisStore({ client }))
    await driver.write('one', outgoing({}, 200_000), Date.now() + 200_000)
    const loaded = { originalMaxAge: 200_000 }
    await new RedisStore({ client }).set('one', plain({}, 600_000))
    later(30_000)
    expect(await driver.touch('one', outgoing({}), Date.now() + 200_000, loaded)).toBe('changed')
    expect(await lifetimeOf(server.port, 'sess:one')).toBe(600)
    await driver.touch('one', outgoing({}), Date.now() + 200_000, { originalMaxAge: 600_000 })
    expect(await lifetimeOf(server.port, 'sess:one')).toBe(200)
  })

  it('is sent again when it has failed', async () => {
    const expire = vi.fn().mockRejectedValueOnce(new Error('READONLY')).mockResolvedValue(1)
    const store = new RedisStore({ client: { ...minimal(client), expire } as RedisStoreClient })
    await expect(store.touch('one', plain({}))).rejects.toThrow('READONLY')
    await store.touch('one', plain({}))
    expect(expire).toHaveBeenCalledTimes(2)
  })
})

describe.skipIf(redisMissing)('all sessions of RedisStore', () => {
  const single = (options: object) => new RedisStore({ client, ...options })

  it('are found among others, whatever the prefix, each once, and never by KEYS', async () => {
    const prefix = 'a*b?[c]\\^x-:'
    const store = single({ prefix, scanCount: 7 })
    const others = ['aXb?[c]\\^x-:1', 'a*bY[c]\\^x-:2', 'a*b?c\\^x-:3', 'sess:4', 'a*b?[c]\\']
    await Promise.all(others.map((key) => client.set(key, '{}')))
    const ids = Array.from({ length: 500 }, (_, n) => `id-${n}`)
    await Promise.all(ids.map((id, n) => store.set(id, plain({ n }))))
    const commands = await counted(async () => {
      expect(await store.length()).toBe(500)
      expect((await store.ids()).sort()).toEqual([...ids].sort())
      const all = await store.all()
      expect(all.map(({ id, n }) => [id, n]).sort()).toEqual(ids.map((id, n) => [id, n]).sort())
      await store.clear()
      expect(await store.length()).toBe(0)
    })
    expect(commands.length).toBeGreaterThan(500)
    expect(names(commands)).not.toContain('KEYS')
    expect(names(commands)).not.toContain('FLUSHDB')
    expect((await client.keys('*')).sort()).toEqual([...others].sort())
  })

  it.each(Object.entries(clusters))('are asked for where their slots are: %s', async (_, open) => {
    /** How often a node had to say that a key is elsewhere. */
    const misses = async (): Promise<number> => {
      const stats = await Promise.all(cluster.nodes.map(({ port }) => command(port, 'INFO errorstats')))
      return stats.reduce((sum, text) => sum + Number(/errorstat_MOVED:count=(\d+)/.exec(text)?.[1] ?? 0), 0)
    }
    const opened = await open(cluster.rootNodes)
    const store = opened.store({ prefix: 'asked:' })
    const driver = driverOf(store)
    const before = await misses()
    for (let n = 0; n < 20; n++) {
      await store.set(`id-${n}`, plain({ n }))
      await driver.update(`id-${n}`, (await driver.read(`id-${n}`)) as Version, increment)
      await driver.touch(`id-${n}`, outgoing({}, 600_000), Date.now() + 600_000, { originalMaxAge: 3_600_000 })
      expect(await store.get(`id-${n}`)).toMatchObject({ n: n + 1 })
      await store.destroy(`id-${n}`)
    }
    expect(await misses()).toBe(before)
    await opened.close()
  })

  it('are found on every master of a cluster', async () => {
    for (const open of Object.values(clusters)) {
      const opened = await open(cluster.rootNodes)
      const store = opened.store({ prefix: 'scan:', scanCount: 5 })
      await Promise.all(Array.from({ length: 90 }, (_, n) => store.set(`id-${n}`, plain({ n }))))
      const watches = await Promise.all(cluster.nodes.map(({ port }) => watch(port)))
      expect(await store.length()).toBe(90)
      expect((await store.all()).map(({ n }) => n as number).sort((a, b) => a - b)[89]).toBe(89)
      await store.clear()
      expect(await store.ids()).toEqual([])
      for (const { commands, stop } of watches) {
        const sent = names(await commands())
        expect(sent).toContain('SCAN')
        expect(sent).toContain('DEL')
        expect(sent).not.toContain('KEYS')
        stop()
      }
      await opened.close()
    }
  })

  it('are found with a client that has a prefix of its own', async () => {
    const node = await createClient({ url: server.url, keyPrefix: 'app*:' } as never).connect()
    const io = new Redis(server.url, { keyPrefix: 'app*:' })
    for (const prefixed of [node, io] as RedisStoreClient[]) {
      await client.set('appX:sess:other', '{}')
      const store = new RedisStore({ client: prefixed })
      await store.set('one', plain({ n: 1 }))
      const driver = driverOf(store)
      await driver.update('one', (await driver.read('one')) as Version, increment)
      expect(await client.get('app*:sess:one')).toContain('"n":2')
      expect(await store.all()).toMatchObject([{ id: 'one', n: 2 }])
      await store.clear()
      expect(await client.keys('*')).toEqual(['appX:sess:other'])
    }
    node.destroy()
    io.disconnect()
  })

  it('need a client that has scan()', async () => {
    const store = new RedisStore({ client: minimal(client) })
    await expect(store.length()).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringContaining('no scan()'),
    })
  })

  it('answer callbacks as well as promises', async () => {
    const store = single({})
    await store.set('one', plain({ n: 1 }))
    const ask = (method: 'all' | 'ids' | 'length' | 'clear' | 'close') =>
      new Promise((resolve, reject) => {
        const returned = store[method](((error: unknown, value: unknown) =>
          error ? reject(error) : resolve(value)) as never)
        expect(returned).toBeUndefined()
      })
    expect(await ask('ids')).toEqual(['one'])
    expect(await ask('length')).toBe(1)
    expect(await ask('all')).toMatchObject([{ id: 'one', n: 1 }])
    await ask('clear')
    await ask('close')
    expect(await store.length()).toBe(0)
  })
})

describe.skipIf(redisMissing)('a serializer of RedisStore', () => {
  const reversed = {
    parse: (text: string) => JSON.parse([...text].reverse().join('')),
    stringify: (session: object) => [...JSON.stringify(session)].reverse().join(''),
  }
  const later = { ...reversed, parse: async (text: string) => reversed.parse(text) }

  it.each([
    ['at once', reversed],
    ['in a promise', later],
  ])('has its own form, and answers %s', async (_, serializer) => {
    const store = new RedisStore({ client, serializer })
    await store.set('one', plain({ n: 1 }))
    expect(await client.get('sess:one')).toMatch(/^}.*{$/)
    expect(await store.get('one')).toMatchObject({ n: 1 })
    expect(await store.all()).toMatchObject([{ id: 'one', n: 1 }])

    const driver = driverOf(store)
    const from = (await driver.read('one')) as Version
    const first = vi.fn(increment)
    const held = (await driver.update('one', from, first)) as Version
    expect(first).toHaveBeenCalledOnce()
    const second = vi.fn(increment)
    await driver.update('one', held, second)
    expect(second).toHaveBeenCalledOnce()
    await driver.update('one', from, increment)
    expect(await store.get('one')).toMatchObject({ n: 4 })
    await driver.update('one', { record: '{"cookie":{},"n":0}' }, increment)
    expect(await store.get('one')).toMatchObject({ n: 5 })
    await store.destroy('one')
    expect(await driver.update('one', from, increment)).toBeUndefined()
  })

  it.each([
    ['throws', reversed],
    ['rejects', later],
  ])('that %s makes a record missing, and corrupt', async (_, serializer) => {
    const store = new RedisStore({ client, serializer })
    const corrupt = vi.fn()
    store.on('corrupt', corrupt)
    await client.set('sess:one', 'abc')
    expect(await store.get('one')).toBeUndefined()
    expect(corrupt).toHaveBeenCalledExactlyOnceWith('one', expect.any(SyntaxError))
  })
})

describe.skipIf(redisMissing)('a client that the app has not connected', () => {
  interface Idle {
    readonly isOpen: boolean
    destroy(): void
  }
  const clients: Record<string, (options: { url: string }) => Idle> = {
    'node-redis 6': createClient,
    'node-redis 5': createClient5,
  }
  it.each(Object.entries(clients))('is connected by the first command, once: %s', async (_, create) => {
    const idle = create({ url: server.url })
    const connect = vi.spyOn(Object.getPrototypeOf(idle), 'connect')
    const store = new RedisStore({ client: idle as unknown as RedisStoreClient })
    expect(idle.isOpen).toBe(false)
    await Promise.all([store.set('one', plain({ n: 1 })), store.get('two'), store.length()])
    expect(connect).toHaveBeenCalledOnce()
    expect(await store.get('one')).toMatchObject({ n: 1 })
    idle.destroy()
  })

  it('is left to the app that is about it', async () => {
    const idle = createClient({ url: server.url })
    const store = new RedisStore({ client: idle })
    const connecting = idle.connect()
    await Promise.all([store.set('one', plain({ n: 1 })), connecting])
    expect(await store.get('one')).toMatchObject({ n: 1 })
    idle.destroy()
  })

  it('fails the command when it cannot be connected', async () => {
    const lost = createClient({ url: 'redis://127.0.0.1:1', socket: { reconnectStrategy: false } })
    const store = new RedisStore({ client: lost })
    // It has waited long at each look at its watch.
    let now = process.uptime()
    const clock = vi.spyOn(process, 'uptime').mockImplementation(() => ++now)
    onTestFinished(() => clock.mockRestore())
    await expect(store.get('one')).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringContaining('ECONNREFUSED'),
    })
  })

  it('is not opened again when the app has closed it', async () => {
    const used = await createClient({ url: server.url }).connect()
    const store = new RedisStore({ client: used })
    await store.get('one')
    await used.close()
    await expect(store.get('one')).rejects.toThrow(/closed/)
    expect(used.isOpen).toBe(false)
  })

  it('may be an ioredis that connects lazily', async () => {
    const lazy = new Redis(server.url, { lazyConnect: true, enableOfflineQueue: false })
    const store = new RedisStore({ client: lazy })
    await store.set('one', plain({ n: 1 }))
    expect(await store.get('one')).toMatchObject({ n: 1 })
    lazy.disconnect()
    await once(lazy, 'end')
    await expect(store.get('one')).rejects.toThrow(/closed/)
  })
})

describe('the options of RedisStore', () => {
  it.each([
    [{ client: {} }, /client option of RedisStore must be a client/],
    [{ client: null }, /client option of RedisStore must be a client/],
    [{ client: Promise.resolve() }, /client option .* await it/],
    [{ client: { get() {}, set() {}, del() {}, internal_send_command() {} } }, /client option .* redis 4 or later/],
    [{ url: 6379 }, /url option .* redis:\/\/localhost:6379/],
    [{ url: 'http://localhost' }, /url option/],
    [{ url: '' }, /url option/],
    [{ prefix: 1 }, /prefix option of RedisStore must be a string/],
    [{ ttl: 0 }, /ttl option of RedisStore must be a number of seconds above 0/],
    [{ ttl: '60' }, /ttl option/],
    [{ ttl: Number.POSITIVE_INFINITY }, /ttl option/],
    [{ serializer: { parse() {} } }, /serializer option/],
    [{ serializer: null }, /serializer option/],
    [{ scanCount: 0 }, /scanCount option/],
    [{ scanCount: 1.5 }, /scanCount option/],
  ])('are refused by name when they make no sense: %o', (options, message) => {
    const made = () => new RedisStore(options as never)
    expect(made).toThrow(TypeError)
    expect(made).toThrow(message)
  })

  it('may be missing', () => {
    for (const store of [new RedisStore(), redisStore(), new RedisStore({}), redisStore(undefined)]) {
      expect(store).toBeInstanceOf(RedisStore)
      expect(store).toMatchObject({ prefix: 'sess:', ttl: 86_400, scanCount: 100, client: undefined })
    }
  })

  it('name REDIS_URL when that is wrong, unless they give another or a client', () => {
    vi.stubEnv('REDIS_URL', 'localhost')
    expect(() => new RedisStore()).toThrow(/REDIS_URL must be/)
    expect(new RedisStore({ url: 'redis://localhost' })).toBeInstanceOf(RedisStore)
    expect(new RedisStore({ client: { get() {}, set() {}, del() {} } })).toBeInstanceOf(RedisStore)
    vi.unstubAllEnvs()
  })
})
