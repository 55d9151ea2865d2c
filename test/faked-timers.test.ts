// What a test of an app does to clocks and timers stops no request: no store, no host, no callback.

import fs from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import express, { type NextFunction, type Request, type Response } from 'express'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { session as routerSession } from '../lib/bun-router.ts'
import { session as bunwaySession } from '../lib/bunway.ts'
import { Cookie, FileStore, MemoryStore, RedisStore, type Session, session } from '../lib/index.ts'
import { bunway } from './hosts/standin/bunway.ts'
import { type Browser, serve } from './support/app.ts'
import { whileClocksStand } from './support/clocks.ts'
import { type RedisServer, redisMissing, startRedis } from './support/redis.ts'

const options = { secret: 'keyboard cat', resave: false, saveUninitialized: false }
const data = (): { cookie: Cookie; user: string } => ({ cookie: new Cookie({ maxAge: 60_000 }), user: 'ann' })

let redis: RedisServer | undefined
let folder: string
const closers: (() => unknown)[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sessions-'))
  redis = redisMissing ? undefined : await startRedis()
})
afterEach(() => vi.restoreAllMocks())
afterAll(async () => {
  for (const close of closers.splice(0)) await close()
  await redis?.stop()
  await rm(folder, { recursive: true })
})

/** A client in the memory of this process. */
const redisLike = () => {
  const records = new Map<string, string>()
  return {
    get: async (key: string) => records.get(key) ?? null,
    set: async (key: string, value: string) => void records.set(key, value),
    del: async (key: string) => Number(records.delete(key)),
    scan: async () => ({ cursor: '0', keys: [...records.keys()] }),
  }
}

type Bundled = MemoryStore | FileStore | RedisStore

/** Those that need no socket; `nextTick` can be faked, too. */
const stores: [string, () => Bundled][] = [
  ['MemoryStore', () => new MemoryStore()],
  ['FileStore', () => new FileStore({ path: join(folder, 'files') })],
  ['FileStore in the thread pool', () => new FileStore({ path: join(folder, 'synced'), sync: true })],
  ['RedisStore', () => new RedisStore({ client: redisLike() })],
]

/** Each of a store's methods, with a callback and without. */
async function useAll(store: Bundled): Promise<void> {
  const called = (call: (done: (error?: unknown, value?: unknown) => void) => void): Promise<unknown> =>
    new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))))
  await store.set('one', data())
  await called((done) => store.set('two', data(), done))
  await store.touch('one', data())
  await called((done) => store.touch('one', data(), done))
  expect(await store.get('one')).toMatchObject({ user: 'ann' })
  expect(await called((done) => store.get('two', done))).toMatchObject({ user: 'ann' })
  expect(await store.length()).toBe(2)
  expect(await called((done) => store.length(done))).toBe(2)
  for (const all of [await store.all(), await called((done) => store.all(done))]) {
    expect(Object.keys(all as object)).toHaveLength(2)
  }
  await store.destroy('one')
  await called((done) => store.destroy('two', done))
  expect(await called((done) => store.get('two', done))).toBeUndefined()
  await store.clear()
  await called((done) => store.clear(done))
}

describe.each(stores)('%s, with all of them faked', (_, open) => {
  it('answers', () => whileClocksStand(() => useAll(open()), { ticks: true }))

  it('serves an app over HTTP', async () => {
    const browser = await site(open())
    await whileClocksStand(() => visit(browser))
  })
})

describe.skipIf(redisMissing)('RedisStore on a server, with timers faked', () => {
  // The package `redis` sends by setImmediate.
  const needed: Record<string, 'setImmediate'> = { 'its own client': 'setImmediate', redis: 'setImmediate' }
  const open: Record<string, () => RedisStore> = {
    'its own client': () => {
      const store = new RedisStore({ url: redis?.url })
      closers.push(() => store.close())
      return store
    },
    redis: () => {
      const client = createClient({ url: redis?.url as string })
      closers.push(() => client.destroy())
      void client.connect()
      return new RedisStore({ client })
    },
    ioredis: () => {
      const client = new Redis(redis?.url as string)
      closers.push(() => client.disconnect())
      return new RedisStore({ client })
    },
  }

  it.each(Object.keys(open))('over %s, which is connecting, serves an app', async (client) => {
    const store = (open[client] as () => RedisStore)()
    await whileClocksStand(async () => visit(await site(store)), { but: needed[client] })
  })

  it('says so when there is no server', async () => {
    const store = new RedisStore({ url: 'redis://127.0.0.1:1' })
    await whileClocksStand(() => expect(store.get('one')).rejects.toThrow(/Redis cannot be reached/))
  })

  it('says so when the server does not answer any more', async () => {
    const client = { ...redisLike(), get: () => new Promise(() => {}) }
    await whileClocksStand(async () => {
      await expect(new RedisStore({ client }).get('one')).rejects.toThrow(/Redis does not answer/)
    })
  })
})

/** An app that uses the session in every way, by promises and by callbacks. */
async function site(store: Bundled): Promise<Browser> {
  const app = express()
  app.use(session({ ...options, store, cookie: { maxAge: 60_000 }, rolling: true }))
  app.get('/in', (req, res, next) => {
    req.session.regenerate((error) => {
      if (error) return next(error)
      Object.assign(req.session, { user: 'ann' })
      req.session.save((error) => (error ? next(error) : res.send('in')))
    })
  })
  app.get('/again', async (req, res) => {
    await req.session.reload()
    Object.assign(req.session, { visits: 1 })
    await req.session.save()
    res.send('again')
  })
  app.get('/look', (req, res) => void res.json({ ...req.session, cookie: undefined }))
  app.get('/out', (req, res, next) => {
    req.session.destroy((error) => (error ? next(error) : res.send('out')))
  })
  app.get('/bad', (req) => {
    Object.assign(req.session, { big: 1n })
    req.res?.send('never')
  })
  // Express itself needs timers for an error that nobody handles.
  app.use((error: Error, _req: Request, res: Response, _next: NextFunction) => {
    res.status(500).send(error.message)
  })
  return serve(app)
}

async function visit(browser: Browser): Promise<void> {
  for (const path of ['/in', '/again']) expect((await browser.get(path)).text).toBe(path.slice(1))
  expect((await browser.get('/look')).json).toEqual({ user: 'ann', visits: 1 })
  const replies = await Promise.all(['/again', '/again', '/look'].map((path) => browser.get(path)))
  expect(replies.map(({ status }) => status)).toEqual([200, 200, 200])
  expect((await browser.get('/bad')).status).toBe(500)
  expect((await browser.get('/out')).text).toBe('out')
  expect((await browser.get('/look')).json).toEqual({})
}

describe('a host without sockets, with all of them faked', () => {
  /** Signs in by callbacks, and answers from there. */
  const signIn = (session: Session, answer: (error?: unknown) => void): void => {
    session.regenerate((error) => {
      if (error) return answer(error)
      session.save(answer)
    })
  }

  it('connect', async () => {
    const sessions = session({ ...options, saveUninitialized: true, store: openSlow() })
    const cookies = await whileClocksStand(
      () =>
        new Promise((resolve, reject) => {
          const headers = new Map<string, unknown>()
          const res = {
            headersSent: false,
            getHeader: (name: string) => headers.get(name),
            setHeader: (name: string, value: unknown) => headers.set(name, value),
            writeHead(_status: number) {},
            write() {},
            end() {
              res.writeHead(200)
              resolve(headers.get('Set-Cookie'))
            },
          }
          const req = { url: '/', headers: {} } as never as { session: Session }
          sessions(req as never, res as never, (error) => {
            if (error) reject(error)
            else signIn(req.session, (error) => (error ? reject(error) : res.end()))
          })
        }),
      { ticks: true },
    )
    expect(cookies).toHaveLength(1)
  })

  it('bunWay', async () => {
    const app = bunway()
    app.use(bunwaySession({ secret: options.secret, store: openSlow() }) as never)
    app.get('/', (req, res) => signIn(req.session, (error) => res.send(error ? 'failed' : 'in')))
    const response = await whileClocksStand(() => app.handle(new globalThis.Request('http://host/')), { ticks: true })
    expect(await response.text()).toBe('in')
    expect(response.headers.getSetCookie()).toHaveLength(1)
  })

  it('bun-router', async () => {
    const sessions = routerSession({ secret: options.secret, store: openSlow() })
    const handle = async (req: { session: Session }): Promise<globalThis.Response> => {
      await new Promise<void>((resolve, reject) => {
        signIn(req.session, (error) => (error ? reject(error) : resolve()))
      })
      return new globalThis.Response('in')
    }
    const answer = (): Promise<globalThis.Response> => sessions(new globalThis.Request('http://host/'), handle)
    const response = await whileClocksStand(answer, { ticks: true })
    expect(response.headers.getSetCookie()).toHaveLength(1)
  })

  /** Never answers at once. */
  const openSlow = (): FileStore => new FileStore({ path: join(folder, 'slow'), sync: true })
})

it('what a callback throws is an uncaught exception, faked or not', async () => {
  const others = process.rawListeners('uncaughtException') as NodeJS.UncaughtExceptionListener[]
  process.removeAllListeners('uncaughtException')
  try {
    const caught = (): Promise<unknown> => {
      const message = new Promise((resolve) => process.once('uncaughtException', ({ message }) => resolve(message)))
      new MemoryStore().get('one', () => {
        throw new Error('from the callback')
      })
      return message
    }
    expect(await caught()).toBe('from the callback')
    expect(await whileClocksStand(caught, { ticks: true })).toBe('from the callback')
  } finally {
    for (const listener of others) process.on('uncaughtException', listener)
  }
})

it('FileStore waits its turn at a lock that another process holds', async () => {
  const store = new FileStore({ path: join(folder, 'locked') })
  await store.set('one', data())
  const [name] = fs.readdirSync(store.path, { recursive: true, encoding: 'utf8' }).filter((name) => /json$/.test(name))
  const file = join(store.path, name as string)
  const lock = `${file}.lock`
  await writeFile(
    lock,
    (await readFile(file, 'utf8')).replace(/"writer":"\d+/, `"writer":"${process.ppid}`).slice(0, -9),
  )
  const { statSync } = fs
  const look = vi.spyOn(fs, 'statSync').mockImplementation(((...args: Parameters<typeof statSync>) => {
    if (look.mock.calls.filter(([path]) => path === lock).length === 3) fs.unlinkSync(lock)
    return statSync(...args)
  }) as typeof statSync)
  await whileClocksStand(() => store.set('one', { ...data(), user: 'bob' }), { ticks: true })
  expect(await store.get('one')).toMatchObject({ user: 'bob' })
})

it('in a runtime whose timers are numbers, and that has no setImmediate, as jsdom, everything works', async () => {
  const { setTimeout } = globalThis
  const timers = new Map<unknown, NodeJS.Timeout>()
  vi.stubGlobal('setImmediate', undefined)
  vi.stubGlobal('setTimeout', (...args: Parameters<typeof setTimeout>) => {
    timers.set(timers.size + 1, setTimeout(...args))
    return timers.size
  })
  try {
    for (const [, open] of stores) {
      const store = open()
      await useAll(store)
      await visit(await site(store))
    }
  } finally {
    vi.unstubAllGlobals()
    for (const timer of timers.values()) clearTimeout(timer)
  }
})
