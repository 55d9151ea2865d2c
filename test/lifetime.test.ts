// How long sessions live, on every store: each write gives a session its full lifetime from then on.

import type { Request, RequestHandler } from 'express'
import express from 'express'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Session, type SessionOptions, session } from '../lib/index.ts'
import { type AnyStore, kinds, type StoreCase } from './concurrency/fixture/kinds.ts'
import { Stores } from './concurrency/table.ts'
import { Browser } from './support/jar.ts'
import { serve } from './support/serve.ts'

const MINUTE = 60_000
const stores = new Stores()

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

const later = (ms: number): void => void vi.setSystemTime(Date.now() + ms)

// biome-ignore lint/suspicious/noExplicitAny: what the routes put there
type Loose = any

const routes: Record<string, (req: Request) => unknown> = {
  login: (req) => {
    ;(req.session as Loose).user = 'ann'
  },
  read: () => {},
  save: async (req) => {
    ;(req.session as Loose).n = 1
    await req.session.save()
  },
  'save by callback': (req) => {
    ;(req.session as Loose).n = 1
    return new Promise((resolve) => req.session.save(resolve))
  },
  'renew and save': async (req) => {
    await req.session.regenerate({ keep: true })
    ;(req.session as Loose).n = 1
    await req.session.save()
  },
  'renew, which nobody waits for': (req) => {
    void req.session.regenerate({ keep: true })
    ;(req.session as Loose).n = 1
  },
  'reload and save': async (req) => {
    await req.session.reload()
    ;(req.session as Loose).n = 1
    await req.session.save()
  },
  write: (req) => {
    ;(req.session as Loose).n = 1
  },
}

async function visit(
  kind: StoreCase,
  options: SessionOptions = {},
): Promise<{ browser: Browser; store: AnyStore } | undefined> {
  const opened = await stores.open(kind)
  if (!opened) return undefined
  const app = express()
  // What only reads must be written where there is no other way to extend it.
  const resave = typeof opened.store.touch !== 'function'
  const base = { secret: 'a secret of these tests, long enough', resave, saveUninitialized: false }
  app.use(session({ ...base, cookie: { maxAge: MINUTE }, store: opened.store, ...options }) as RequestHandler)
  app.get('/:route', async (req, res) => {
    const { maxAge } = req.session.cookie
    await routes[req.params.route as string]?.(req)
    const { cookie: _, __lastAccess, ...data } = req.session as Loose
    res.json({ data, id: req.sessionID, maxAge })
  })
  const { url } = await serve(app)
  const browser = new Browser(url)
  await browser.get('/login')
  return { browser, store: opened.store }
}

describe.each(kinds.map((kind) => [kind.name, kind] as const))('a session on %s', (_, kind) => {
  /** It is read for longer than its lifetime, and never left alone for so long. */
  const keepAlive = async (browser: Browser): Promise<void> => {
    for (let n = 0; n < 4; n++) {
      later(MINUTE * 0.7)
      const { data, maxAge } = (await browser.get('/read')).json
      expect([n, data]).toEqual([n, { user: 'ann' }])
      expect(maxAge).toBeGreaterThan(0)
    }
    later(MINUTE * 0.7)
  }

  const writes = Object.keys(routes).filter((route) => route !== 'login' && route !== 'read')
  it.each(writes)('that was only read for longer than its lifetime is there after: %s', async (route) => {
    const site = await visit(kind, { rolling: true })
    if (!site) return
    const { browser } = site
    await keepAlive(browser)
    expect((await browser.get(`/${encodeURIComponent(route)}`)).json.data).toEqual({ user: 'ann', n: 1 })
    later(MINUTE * 0.9)
    expect((await browser.get('/read')).json.data).toEqual({ user: 'ann', n: 1 })
  })

  it('that a socket reloads and saves long after its handshake is there', async () => {
    const site = await visit(kind, { rolling: true })
    if (!site) return
    const { browser, store } = site
    const { id } = (await browser.get('/read')).json
    const loaded = await new Promise<Session>((resolve, reject) => {
      if (typeof store.load !== 'function') return resolve(undefined as never)
      store.load(id, (error: unknown, session: Session) => (error ? reject(error) : resolve(session)))
    })
    // Promise-style stores have no load().
    if (!loaded) return
    await keepAlive(browser)
    await loaded.save()
    later(MINUTE * 0.9)
    expect((await browser.get('/read')).json.data).toEqual({ user: 'ann' })
  })
})

describe.each(kinds.filter((kind) => kind.bundled).map((kind) => [kind.name, kind] as const))('%s', (_, kind) => {
  it.each([
    ['a Date', (ms: number) => new Date(ms)],
    ['ISO text', (ms: number) => new Date(ms).toISOString()],
    ['UTC text', (ms: number) => new Date(ms).toUTCString()],
    ['milliseconds', (ms: number) => ms],
  ])('takes the date of a record as %s', async (_, dateOf) => {
    const { store } = (await stores.open(kind)) ?? {}
    if (!store) return
    const record = (ms: number) => ({ cookie: { expires: dateOf(Date.now() + ms), originalMaxAge: MINUTE } })
    await store.set('ended', record(-MINUTE))
    expect(await store.get('ended')).toBeUndefined()
    await store.set('lives', record(MINUTE))
    expect(await store.get('lives')).toBeDefined()
    // Redis has a clock of its own.
    if (store.client) return
    later(MINUTE * 1.1)
    expect(await store.get('lives')).toBeUndefined()
  })

  it('gives callbacks no error where there is none', async () => {
    const { store } = (await stores.open(kind)) ?? {}
    if (!store) return
    const errorOf = (method: string, ...args: unknown[]): Promise<unknown> =>
      new Promise((resolve) => store[method](...args, (...given: unknown[]) => resolve(given.length && given[0])))
    const record = { cookie: { originalMaxAge: null, expires: null } }
    expect(await errorOf('set', 'one', record)).toBe(0)
    expect(await errorOf('touch', 'one', record)).toBe(0)
    expect(await errorOf('get', 'one')).toBeNull()
    expect(await errorOf('destroy', 'one')).toBe(0)
    if (!store.client?.scan && store.client) return
    expect(await errorOf('length')).toBeNull()
    expect(await errorOf('clear')).toBe(0)
  })
})
