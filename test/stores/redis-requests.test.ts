// RedisStore behind session() in an Express app: what requests cost, who shares sessions with whom.

import { RedisStore as ConnectRedisStore } from 'connect-redis'
import originalSession from 'express-session'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { session } from '../../lib/index.ts'
import { RedisStore } from '../../stores/redis.ts'
import { Browser } from '../support/jar.ts'
import {
  commandStats,
  lifetimeOf,
  nameOf,
  type RedisServer,
  redisMissing,
  startRedis,
  watch,
} from '../support/redis.ts'
import { nodeArgs } from '../support/run.ts'
import { bun, type Running, serve, spawnServer } from '../support/serve.ts'
import { createApp } from './fixture/redis-app.ts'

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const options = { secret: 'keyboard cat', resave: false, saveUninitialized: false }

let server: RedisServer
let client: ReturnType<typeof createClient>
const running: Running[] = []

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
afterEach(() => Promise.all(running.splice(0).map((app) => app.stop())))

async function site(sessions: unknown): Promise<Running> {
  const app = await serve(createApp(sessions))
  running.push(app)
  return app
}

describe.skipIf(redisMissing)('requests', () => {
  afterEach(() => void vi.useRealTimers())

  /** Runs `requests` requests, spread over a minute by the clock, and says what Redis was sent for them. */
  async function measured(browser: Browser, path: string, requests: number): Promise<Record<string, number>> {
    const seen = await watch(server.port)
    const before = await commandStats(server.port)
    vi.useFakeTimers({ toFake: ['Date'] })
    for (let n = 0; n < requests; n++) {
      expect((await browser.get(path)).status).toBe(200)
      vi.setSystemTime(Date.now() + 60_000 / requests)
    }
    vi.useRealTimers()
    const sent: Record<string, number> = {}
    for (const command of await seen.commands()) {
      const name = nameOf(command).toLowerCase()
      sent[name] = (sent[name] ?? 0) + 1
    }
    seen.stop()
    // Redis itself has counted the same; each script begins with a GET.
    const after = await commandStats(server.port)
    expect((after.get ?? 0) - (before.get ?? 0)).toBe((sent.get ?? 0) + (sent.eval ?? 0))
    return sent
  }

  it.each<[string, () => { client?: unknown; url?: string }, (opened: { client?: unknown }) => void]>([
    ['node-redis', () => ({ client }), () => {}],
    ['ioredis', () => ({ client: new Redis(server.url) }), ({ client }) => (client as Redis).disconnect()],
    ['its own client', () => ({ url: server.url }), () => {}],
  ])('that only read cost one command, that write two: %s', async (_, open, close) => {
    const opened = open()
    const store = new RedisStore(opened as never)
    const { url } = await site(session({ ...options, store, cookie: { maxAge: 86_400_000 } }))
    const browser = new Browser(url)
    await browser.get('/login')

    for (const path of ['/', '/untouched']) {
      const { get, eval: touches = 0, ...others } = await measured(browser, path, 100)
      expect([get, others]).toEqual([100, {}])
      expect(touches).toBeLessThanOrEqual(1)
    }
    expect(await measured(browser, '/count', 50)).toEqual({ get: 50, eval: 50 })
    expect(await measured(new Browser(url), '/untouched', 5)).toEqual({})
    close(opened)
    await store.close()
  })

  it('that only read cost little more with a lifetime of a minute', async () => {
    const store = new RedisStore({ client })
    const { url } = await site(session({ ...options, store, cookie: { maxAge: 60_000 } }))
    const browser = new Browser(url)
    await browser.get('/login')
    const { get, eval: touches } = await measured(browser, '/', 240)
    expect(get).toBe(240)
    expect(touches).toBeLessThanOrEqual(20)
  })
})

it.skipIf(redisMissing).each(['null', '5', '"text"', '{"cookie":'])(
  'a record that is %s is missing, and said to be corrupt',
  async (record) => {
    const store = new RedisStore({ client })
    const corrupt = vi.fn()
    store.on('corrupt', corrupt)
    const { url } = await site(session({ ...options, store }))
    const browser = new Browser(url)
    const id = (await browser.get('/login')).json
    await client.set(`sess:${id}`, record)
    expect(await browser.get('/')).toMatchObject({ status: 200, json: { user: null } })
    expect(corrupt).toHaveBeenCalledExactlyOnceWith(id, expect.any(SyntaxError))
  },
)

describe.skipIf(redisMissing)('a running app', () => {
  const cookie = { maxAge: 600_000 }
  const theirs = () =>
    originalSession({ ...options, cookie, store: new ConnectRedisStore({ client, prefix: 'app:' }) as never })
  const ours = () => session({ ...options, cookie, store: new RedisStore({ client, prefix: 'app:' }) })

  it.each([
    ['from connect-redis to RedisStore', theirs, ours],
    ['from RedisStore to connect-redis', ours, theirs],
  ])('keeps everybody logged in when it goes %s', async (_, from, to) => {
    const before = new Browser((await site(from())).url)
    const id = (await before.get('/login')).json
    await before.get('/count')
    expect(await client.keys('*')).toEqual([`app:${id}`])
    expect(await lifetimeOf(server.port, `app:${id}`)).toBe(600)
    const record = JSON.parse((await client.get(`app:${id}`)) as string)

    const after = new Browser((await site(to())).url)
    for (const [name, value] of before.cookies) after.cookies.set(name, value)
    expect((await after.get('/')).json).toMatchObject({ id, user: 'ann', n: 1 })
    expect((await after.get('/count')).json).toEqual({ id, n: 2 })
    expect(await client.keys('*')).toEqual([`app:${id}`])
    expect(await lifetimeOf(server.port, `app:${id}`)).toBe(600)
    const now = JSON.parse((await client.get(`app:${id}`)) as string)
    expect(Object.keys(now)).toEqual(Object.keys(record))
    expect(Object.keys(now.cookie)).toEqual(Object.keys(record.cookie))
    expect((await before.get('/count')).json).toEqual({ id, n: 3 })
  })
})

describe.skipIf(redisMissing || !bun)('Node and Bun with one Redis', () => {
  it('share sessions, lose no change of either, and bring back nothing that is gone', async () => {
    const script = 'test/stores/fixture/redis-serve.ts'
    const env = { REDIS_URL: server.url }
    const apps = await Promise.all([
      spawnServer(process.execPath, nodeArgs(script), env),
      spawnServer(bun as string, [script], env),
      spawnServer(bun as string, [script], { ...env, CLIENT: 'bun' }),
    ])
    running.push(...apps)
    const [first, ...others] = apps.map(({ url }) => new Browser(url)) as [Browser, ...Browser[]]
    const id = (await first.get('/login')).json
    for (const other of others) for (const [name, value] of first.cookies) other.cookies.set(name, value)

    let n = 0
    for (const browser of [first, ...others, first]) expect((await browser.get('/count')).json).toEqual({ id, n: ++n })

    /** A request that is under way in each of these, until `meanwhile` is over. */
    const during = async (browsers: Browser[], path: (index: number) => string, meanwhile: () => unknown) => {
      const slow = browsers.map((browser, index) => browser.get(path(index)))
      for (const browser of browsers) while ((await browser.get('/waiting')).json === 0) await sleep(5)
      await meanwhile()
      await Promise.all(browsers.map((browser) => browser.get('/go')))
      await Promise.all(slow)
    }
    await during(
      [first, ...others],
      (index) => `/slow/key${index}`,
      () => {},
    )
    expect((await first.get('/')).json.keys).toEqual(expect.arrayContaining(['key0', 'key1', 'key2', 'user']))

    await during(
      others,
      () => '/slow/late',
      () => first.get('/logout'),
    )
    expect(await client.keys('*')).toEqual([])
  })
})
