// When sessions end, and which requests extend them: absoluteTimeout, idleTimeout, touchAfter and touch, on every store.

import { type Request, Router } from 'express'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Cookie, type SessionOptions, session } from '../lib/index.ts'
import { DRIVER, type Driver } from '../lib/port/slot.ts'
import { type AnyStore, kinds, type StoreCase } from './concurrency/fixture/kinds.ts'
import { open, type Site, secret, tab } from './concurrency/support.ts'
import { Stores } from './concurrency/table.ts'
import type { Browser } from './support/jar.ts'
import { originalSession } from './support/required.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const stores = new Stores()
const sites: Site[] = []

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(async () => {
  vi.useRealTimers()
  for (const site of sites.splice(0)) await site.stop()
})

const later = (ms: number): void => void vi.setSystemTime(Date.now() + ms)

async function siteOn(store: AnyStore, options: SessionOptions): Promise<Site> {
  const site = await open(store, options)
  sites.push(site)
  return site
}

async function visitor(kind: StoreCase, options: SessionOptions) {
  const opened = await stores.open(kind)
  const site = await siteOn(opened.store, options)
  return { ...opened, site, ...(await site.visitor()) }
}

const isSignedIn = async (browser: Browser): Promise<boolean> => (await browser.get('/look')).json.data.user === 'ann'

/** Counts what changes a store from now on. */
function countWrites(store: AnyStore): { writes: number } {
  const count = { writes: 0 }
  const counted = (target: AnyStore, names: string[]): AnyStore => {
    const copy: AnyStore = {}
    for (const name of names) {
      const method = target[name]
      if (typeof method !== 'function') continue
      copy[name] = (...args: unknown[]) => {
        count.writes++
        return method.apply(target, args)
      }
    }
    return copy
  }
  const driver: Driver | undefined = store[DRIVER]?.()
  if (driver) {
    const copy = { ...driver, ...counted(driver, ['write', 'add', 'update', 'touch', 'take', 'remove']) }
    store[DRIVER] = () => copy
  } else Object.assign(store, counted(store, ['set', 'touch', 'destroy']))
  return count
}

/** Lets what changes a session in a store fail, until the function that it returns is called. */
function failChanges(store: AnyStore): () => void {
  const fail = (): never => {
    throw new Error('the disk is full')
  }
  const name = store[DRIVER] ? DRIVER : 'set'
  const before = store[name]
  const driver: Driver | undefined = store[DRIVER]?.()
  store[name] = driver ? () => ({ ...driver, update: fail }) : fail
  return () => {
    store[name] = before
  }
}

describe.each(kinds.map((kind) => [kind.name, kind] as const))('on %s', (_, kind) => {
  describe('absoluteTimeout', () => {
    it('ends a session at that age, however active it is', async () => {
      const { browser, store, id, has } = await visitor(kind, { absoluteTimeout: HOUR, rolling: true })
      for (let minute = 0; minute < 55; minute += 5) {
        later(5 * MINUTE)
        await browser.get(minute % 2 ? '/set/a' : '/untouched')
      }
      later(5 * MINUTE - 1)
      expect(await isSignedIn(browser)).toBe(true)
      later(1)
      const { json } = await browser.get('/look')
      expect([json.id === id, json.data]).toEqual([false, {}])
      expect(await has(id)).toBe(false)
      void store
    })

    it('keeps its date when the id is renewed, and starts anew with regenerate()', async () => {
      const { browser } = await visitor(kind, { absoluteTimeout: HOUR, renewAfter: 10 * MINUTE })
      for (let n = 0; n < 5; n++) {
        later(11 * MINUTE)
        await browser.get('/set/a')
      }
      later(5 * MINUTE - 1)
      expect(await isSignedIn(browser)).toBe(true)
      await browser.get('/renew-keep')
      later(HOUR - 1)
      expect(await isSignedIn(browser)).toBe(true)
      later(1)
      expect(await isSignedIn(browser)).toBe(false)
    })

    it('ends a session whose app gives it another cookie at each request', async () => {
      const { browser, site } = await visitor(kind, { absoluteTimeout: HOUR })
      const cookies = [
        () => new Cookie({ maxAge: 2 * HOUR }),
        () => new originalSession.Cookie({ maxAge: 2 * HOUR }),
        () => ({ maxAge: 2 * HOUR }),
        () => undefined,
      ]
      site.express.get('/cookie/:way', (req, res) => {
        req.session.cookie = cookies[Number(req.params.way)]?.() as never
        res.json({ cookie: req.session.cookie })
      })
      for (let way = 0; way < cookies.length; way++) {
        later(10 * MINUTE)
        await browser.get(`/cookie/${way}`)
        await browser.get(`/set/k${way}`)
      }
      later(20 * MINUTE - 1)
      expect(await isSignedIn(browser)).toBe(true)
      later(1)
      expect(await isSignedIn(browser)).toBe(false)
    })

    it('counts from the first load of a session that was stored without it', async () => {
      const { browser, store } = await visitor(kind, {})
      later(HOUR / 2)
      const site = await siteOn(store, { absoluteTimeout: HOUR, touch: false })
      const other = tab(browser, site.url)
      expect(await isSignedIn(other)).toBe(true)
      later(HOUR - 1)
      expect(await isSignedIn(other)).toBe(true)
      later(1)
      expect(await isSignedIn(other)).toBe(false)
    })
  })

  describe('idleTimeout', () => {
    it('ends a session that long after the last request that extended it', async () => {
      const { browser } = await visitor(kind, { idleTimeout: HOUR })
      for (const path of ['/untouched', '/read', '/set/a', '/save/b']) {
        later(HOUR - 1)
        await browser.get(path)
        expect(await isSignedIn(browser)).toBe(true)
      }
      later(HOUR)
      expect(await isSignedIn(browser)).toBe(false)
    })

    it('is not extended by polling that touch excludes, which writes nothing', async () => {
      const touch = (req: Request): boolean => req.path !== '/untouched'
      const { browser, store } = await visitor(kind, { idleTimeout: HOUR, touch, rolling: true })
      const count = countWrites(store)
      for (let minute = 1; minute < 60; minute++) {
        later(MINUTE)
        const { status, setCookies } = await browser.get('/untouched')
        expect([status, setCookies]).toEqual([200, []])
      }
      expect(count.writes).toBe(0)
      expect((await tab(browser, sites.at(-1)?.url as string).get('/untouched')).status).toBe(200)
      later(MINUTE)
      expect(await isSignedIn(browser)).toBe(false)
    })

    it('is recorded at most every twentieth of it', async () => {
      const { browser, store } = await visitor(kind, { idleTimeout: HOUR })
      const driver: Driver | undefined = store[DRIVER]?.()
      const target: AnyStore = driver ?? store
      const method = driver ? 'update' : 'set'
      const spy = vi.spyOn(target, method)
      for (let n = 0; n < 60; n++) {
        later(MINUTE)
        await browser.get('/read')
      }
      // A browser's session has no date, so a touch by itself changes no record.
      expect(spy.mock.calls.length).toBe(20)
      spy.mockRestore()
    })

    it('withholds no answer where its date cannot be recorded', async () => {
      const { browser, store } = await visitor(kind, { idleTimeout: HOUR, onSaveError: 'fail' })
      const restore = failChanges(store)
      later(30 * MINUTE)
      const { status, json } = await browser.get('/look')
      expect([status, json.data.user]).toEqual([200, 'ann'])
      expect((await browser.get('/set/a')).status).toBe(500)
      restore()
      later(30 * MINUTE - 1)
      expect(await isSignedIn(browser)).toBe(true)
    })

    it('counts from the first load of a session that was stored without it', async () => {
      const { browser, store } = await visitor(kind, {})
      later(HOUR / 2)
      const site = await siteOn(store, { idleTimeout: HOUR })
      const other = tab(browser, site.url)
      expect(await isSignedIn(other)).toBe(true)
      later(HOUR)
      expect(await isSignedIn(other)).toBe(false)
    })
  })

  it('touchAfter lets one write in that time extend a session, and sends a rolling cookie no oftener', async () => {
    const options = { touchAfter: 10 * MINUTE, rolling: true, cookie: { maxAge: HOUR } }
    const { browser, store } = await visitor(kind, options)
    const count = countWrites(store)
    let cookies = 0
    for (let minute = 1; minute <= 60; minute++) {
      later(MINUTE)
      cookies += (await browser.get(minute % 2 ? '/untouched' : '/read')).setCookies.length
    }
    expect([count.writes, cookies]).toEqual([6, 6])
    later(5 * MINUTE)
    expect((await browser.get('/set/a')).setCookies).toHaveLength(1)
    later(5 * MINUTE)
    expect((await browser.get('/read')).setCookies).toHaveLength(0)
    expect(count.writes).toBe(7)
    later(HOUR - 5 * MINUTE - 1)
    expect(await isSignedIn(browser)).toBe(true)
  })

  it('polling for two hours with touch: () => false keeps nothing alive and writes nothing', async () => {
    const { browser, store, id, lasts } = await visitor(kind, { touch: () => false, cookie: { maxAge: 3 * HOUR } })
    const count = countWrites(store)
    for (let minute = 1; minute <= 120; minute++) {
      later(MINUTE)
      const { json, setCookies } = await browser.get('/look')
      expect([json.id, setCookies]).toEqual([id, []])
    }
    expect(count.writes).toBe(0)
    // Redis and some third-party stores have clocks of their own.
    if (kind.bundled && !kind.needsRedis)
      expect([await lasts(id, HOUR - 1), await lasts(id, HOUR)]).toEqual([true, false])
  })

  it('touch sees the URL as the middleware does, though a router has cut it when the response ends', async () => {
    const touch = (req: Request): boolean => !req.path.startsWith('/poll')
    const { browser, site } = await visitor(kind, { touch, cookie: { maxAge: HOUR }, rolling: true })
    site.express.use(
      '/poll',
      Router().get('/', (req, res) => void res.json(Object.keys(req.session))),
    )
    expect((await browser.get('/poll')).setCookies).toEqual([])
    expect((await browser.get('/read')).setCookies).toHaveLength(1)
  })

  it('with touch: false a change is saved, and extends', async () => {
    const { browser } = await visitor(kind, { touch: false, cookie: { maxAge: HOUR } })
    later(30 * MINUTE)
    expect((await browser.get('/set/a')).setCookies).toHaveLength(1)
    later(HOUR - 1)
    expect(await isSignedIn(browser)).toBe(true)
  })
})

it.each<[SessionOptions, string]>([
  [{ absoluteTimeout: 0 }, 'absoluteTimeout option must be a number of milliseconds above 0'],
  [{ idleTimeout: '1h' as never }, 'idleTimeout option must be a number of milliseconds above 0'],
  [{ absoluteTimeout: 1, idleTimeout: 2 }, 'idleTimeout option must not be longer than absoluteTimeout'],
  [{ touchAfter: 10, idleTimeout: 10 }, 'touchAfter option must be shorter than idleTimeout'],
  [{ touchAfter: 10, cookie: { maxAge: 10 } }, 'touchAfter option must be shorter than cookie.maxAge'],
  [{ touch: 'no' as never }, 'touch option must be true, false, or a function of the request'],
  [{ touch: false, rolling: true }, 'touch option false contradicts rolling'],
  [{ onStoreError: 'ignore' as never }, 'onStoreError option must be "fail" or "anonymous"'],
])('%o is refused at set-up', (options, message) => {
  expect(() => session({ secret, resave: false, saveUninitialized: false, ...options })).toThrow(message)
})

it('touchAfter takes any cookie option that express-session does', () => {
  for (const cookie of [null, false, undefined, {}, () => ({ maxAge: 10 })]) {
    const options = { secret, resave: false, saveUninitialized: false, touchAfter: 10, cookie: cookie as never }
    expect(session(options)).toBeInstanceOf(Function)
  }
})
