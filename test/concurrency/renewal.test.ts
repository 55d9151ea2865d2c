// An id that is renewed while other requests use the session: nothing is lost by it, and nothing comes back.

import { once } from 'node:events'
import { inspect } from 'node:util'
import type { ErrorRequestHandler } from 'express'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { SessionEvents, SessionOptions } from '../../lib/index.ts'
import { MemoryStore, session } from '../../lib/index.ts'
import { DRIVER, type Driver } from '../../lib/port/slot.ts'
import { isFull, ROUNDS } from '../support/form.ts'
import { Browser, type Reply } from '../support/jar.ts'
import { type AnyStore, kinds, type StoreCase } from './fixture/kinds.ts'
import { PromiseStore } from './fixture/stores.ts'
import { open, openOn, type Site, secret, tab, times } from './support.ts'
import { lookUp, type Opened, Stores } from './table.ts'

const opened = new Stores()

const RENEW_AFTER = 600_000
const GRACE = 30_000
const options: SessionOptions = { renewAfter: RENEW_AFTER, renewGrace: GRACE, cookie: { maxAge: 86_400_000 } }

// Only the date is faked: stores and servers keep their timers.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
})
afterEach(() => {
  vi.useRealTimers()
})
const pass = (ms: number): unknown => vi.setSystemTime(Date.now() + ms)

interface Scene {
  readonly store: Opened
  readonly site: Site
  /** Two tabs of a visitor whose id is old. */
  readonly one: Browser
  readonly other: Browser
  readonly id: string
}

/** Runs `test` on a store. */
async function play(kind: StoreCase, test: (scene: Scene) => Promise<void>): Promise<void> {
  const store = await opened.open(kind)
  const site = await open(store.store, options)
  const { browser, id } = await site.visitor()
  pass(RENEW_AFTER)
  await test({ store, site, one: browser, other: tab(browser, site.url), id })
  await site.stop()
}

/** A request that is held after it has its session, and goes on when `meanwhile` is done. */
async function during(site: Site, browser: Browser, path: string, meanwhile: () => Promise<unknown>): Promise<Reply> {
  const hold = `${path} ${Math.random()}`
  const arrived = site.arrival(hold)
  const pending = browser.get(`${path}?hold=${hold}`)
  await arrived
  await meanwhile()
  site.release(hold)
  return pending
}

/** Every way to end a session, by a process that renews ids and by one that does not. */
const enders = ['/logout', '/unset', '/renew', '/renew-keep', '/store-destroy', '/store-regenerate'].flatMap((end) =>
  [true, false].map((renews) => [renews ? end : `${end} without renewAfter`, end, renews] as const),
)

/** When a session is ended, as the request that renews its id sees it. `npm test` plays half of them for each store and way. */
const moments = ['before', 'between', 'after', 'after two'] as const
const momentsOf = (kind: StoreCase, way: number) =>
  moments.filter((_, n) => isFull || (n + way + kinds.indexOf(kind)) % 2 === 0)

const look = async (browser: Browser): Promise<{ id: string; data: object }> => (await browser.get('/look')).json

describe.each(kinds)('on $name an id that is renewed', (kind) => {
  it.each(['/untouched', '/read', '/set/a'])('by %s keeps the data and tells the browser', (path) =>
    play(kind, async ({ one, store, id }) => {
      const before = one.header
      expect((await one.get(path)).setCookies).toHaveLength(1)
      expect(one.header).not.toBe(before)
      const { id: now, data } = await look(one)
      expect(now).not.toBe(id)
      expect(data).toEqual({ user: 'ann', box: { first: 0 }, ...(path === '/set/a' && { a: 'a' }) })
      expect((await one.get(path)).setCookies).toEqual([])
      expect(await store.has(now)).toBe(true)
    }),
  )

  it('is good for its grace: the session is the same, and its new cookie is sent again', () =>
    play(kind, async ({ one, other }) => {
      await one.get('/set/a')
      pass(GRACE - 1_000)
      const reply = await other.get('/nested/late')
      expect(reply.setCookies).toHaveLength(1)
      expect(other.header).toBe(one.header)
      expect(await look(one)).toMatchObject({ data: { a: 'a', box: { first: 0, late: 'late' } } })
    }))

  it('is refused afterwards', () =>
    play(kind, async ({ one, other, id }) => {
      await one.get('/set/a')
      pass(GRACE + 1_000)
      const { id: another, data } = await look(other)
      expect([another === id, data]).toEqual([false, {}])
      expect(await look(one)).toMatchObject({ data: { user: 'ann' } })
    }))

  it('leaves what tells neither the data nor the new id', () =>
    play(kind, async ({ one, store, id }) => {
      await one.get('/set/a')
      const { id: now } = await look(one)
      const driver: Driver | undefined = store.store[DRIVER]?.()
      const left = JSON.stringify(await (driver ? driver.read(id) : lookUp(store.store, id)))
      expect(left).toContain('cookie')
      for (const secret of ['ann', now]) expect(left).not.toContain(secret)
    }))

  it('leaves a session to nobody', () =>
    play(kind, async ({ one, store: { store }, id, site }) => {
      const bystander = await site.visitor()
      const counts = kind.bundled && kind.name !== 'redis without scripts'
      const length = counts && (await store.length())
      await one.get('/set/a')
      const { id: second } = await look(one)
      pass(RENEW_AFTER)
      await one.get('/set/b')
      const { id: now } = await look(one)
      const ids = [bystander.id, now].sort()
      const known = (listed: string[]): string[] =>
        listed.filter((sid) => [bystander.id, id, second, now].includes(sid)).sort()

      const load = (sid: string): Promise<{ id: string } | undefined> =>
        new Promise((resolve, reject) => {
          store.load(sid, (error: unknown, found?: { id: string }) => (error ? reject(error) : resolve(found)))
        })
      if (store.load) {
        expect([await load(id), (await load(second))?.id, (await load(now))?.id]).toEqual([undefined, now, now])
      }
      if (!kind.bundled) return
      expect([await store.get(id), await store.get(second)]).toEqual([undefined, undefined])
      if (!counts) return
      expect(await store.length()).toBe(length)
      const all = await store.all()
      expect(known(Array.isArray(all) ? all.map((entry) => entry.id) : Object.keys(all))).toEqual(ids)
      if (store.ids) expect(known(await store.ids())).toEqual(ids)
      if (store.sessions) expect([store.size, known(Object.keys(store.sessions))]).toEqual([2, ids])
      await store.clear()
      expect((await look(tab(one, site.url))).data).toEqual({})
      if (kind.name === 'redis') expect(await store.client.keys('*')).toEqual([])
    }))

  it('takes along what another request stores at that moment, and what one stores under it afterwards', () =>
    play(kind, async ({ one, other, site }) => {
      await during(site, one, '/set/mine', () =>
        during(site, other, '/nested/theirs', () => tab(one, site.url).get('/set/first')),
      )
      expect(other.header).toBe(one.header)
      expect((await look(one)).data).toEqual({
        user: 'ann',
        box: { first: 0, theirs: 'theirs' },
        mine: 'mine',
        first: 'first',
      })
    }))

  it('keeps the lifetime that the request gave it which renewed it, whoever visits meanwhile', () =>
    play(kind, async ({ one, other, site }) => {
      await during(site, other, '/read', () => one.get('/lifetime/7200000'))
      expect((await one.get('/look')).json.lifetime).toBe(7_200_000)
      expect((await other.get('/look')).json.lifetime).toBe(7_200_000)
    }))

  it('is renewed once by requests at the same time, and all of their changes are there', () =>
    play(kind, async ({ one, site }) => {
      const tabs = times(20, () => tab(one, site.url))
      await Promise.all(tabs.map((browser, n) => browser.get(`/${n % 2 ? 'set' : 'nested'}/k${n}?wait=${n % 7}`)))
      expect(new Set(tabs.map(({ header }) => header)).size).toBe(1)
      const { data } = (await look(tabs[0] as Browser)) as { data: Record<string, unknown> & { box: object } }
      const keys = [...Object.keys(data), ...Object.keys(data.box)].filter((key) => key.startsWith('k'))
      expect(keys.sort()).toEqual(times(20, (n) => `k${n}`).sort())
    }))

  it('tells of its use after the grace, and lets the listener end the session, wherever it is by then', async () => {
    const store = await opened.open(kind)
    const sessions = session({ secret, store: store.store, resave: false, saveUninitialized: false, ...options })
    const uses: SessionEvents['reuse'][0][] = []
    sessions.on('reuse', (use) => uses.push(use))
    const site = await openOn(sessions as never)
    const { browser, id } = await site.visitor()
    const bystander = await site.visitor()
    const ids = [id]
    const renew = async (): Promise<void> => {
      pass(RENEW_AFTER)
      await browser.get('/read')
      ids.push((await look(browser)).id)
    }
    const old = tab(browser, site.url)
    await renew()
    await tab(old, site.url).get('/read')
    expect(uses).toEqual([])

    await renew()
    expect((await tab(old, site.url).get('/look')).json.data).toEqual({})
    expect(uses).toEqual([{ id: expect.stringMatching(/^[\w-]{43}$/), end: expect.any(Function) }])
    const [use] = uses as [SessionEvents['reuse'][0]]
    expect(use.req).toMatchObject({ url: '/look' })
    for (const known of ids) expect(inspect(use, { depth: 9, showHidden: false })).not.toContain(known)
    expect((await look(browser)).data).toMatchObject({ user: 'ann' })

    // As a listener may that first asks somebody.
    await renew()
    await use.end()
    expect((await look(browser)).data).toEqual({})
    expect(await store.has(ids.at(-1) as string)).toBe(false)
    expect((await look(bystander.browser)).data).toMatchObject({ user: 'ann' })
    await use.end()
    await site.stop()
  })

  it.each(enders)('does not outlive %s, whoever is first', (way, end, renewing) =>
    play(kind, async ({ store, site }) => {
      // What is done to a third-party store past `req.session` is its own business.
      if (end.startsWith('/store') && !kind.bundled) return
      const ender = await open(store.store, { ...(renewing ? options : {}), cookie: options.cookie, unset: 'destroy' })

      for (const moment of momentsOf(
        kind,
        enders.findIndex(([name]) => name === way),
      )) {
        const { browser, id } = await site.visitor()
        pass(RENEW_AFTER)
        const old = tab(browser, ender.url)
        const renew = (): Promise<unknown> => browser.get('/set/late')
        if (moment === 'before') await during(site, browser, '/set/late', () => tab(old, ender.url).get(end))
        else if (moment === 'between')
          await during(site, browser, '/set/late', () => during(ender, tab(old, ender.url), end, renew))
        else
          await during(ender, tab(old, ender.url), end, async () => {
            await renew()
            if (moment === 'after two') pass(RENEW_AFTER)
            if (moment === 'after two') await renew()
          })
        expect([moment, (await look(browser)).data]).toEqual([moment, {}])
        expect([moment, (await look(old)).data]).toEqual([moment, {}])
        expect(await store.has(id)).toBe(false)
      }
      await ender.stop()
    }),
  )

  it('does not outlive a logout at the same moment', () =>
    play(kind, async ({ site }) => {
      const visitors = await Promise.all(times(ROUNDS, () => site.visitor()))
      pass(RENEW_AFTER)
      await Promise.all(
        visitors.map(async ({ browser }, n) => {
          const [other, old] = [tab(browser, site.url), tab(browser, site.url)]
          await Promise.all([browser.get(`/set/a?wait=${n % 4}`), other.get(`/logout?wait=${(n * 3) % 5}`)])
          expect((await look(browser)).data).toEqual({})
          expect((await look(old)).data).toEqual({})
        }),
      )
    }))
})

describe('an id that is renewed', () => {
  const memory = kinds[0] as StoreCase

  it('waits for a response whose head has not left yet', () =>
    play(memory, async ({ one, site }) => {
      site.express.get('/stream', (req, res) => {
        res.write('head, ')
        Object.assign(req.session, { streamed: true })
        res.end('body')
      })
      const before = one.header
      expect(await one.get('/stream')).toMatchObject({ text: 'head, body', setCookies: [] })
      expect(await look(tab(one, site.url))).toMatchObject({ data: { streamed: true } })
      await one.get('/read')
      expect(one.header).not.toBe(before)
    }))

  it('waits for a connection that its cookie may be sent over', async () => {
    const store = await opened.open(memory)
    const site = await open(store.store, { ...options, cookie: { secure: true }, proxy: true })
    const https = { headers: { 'x-forwarded-proto': 'https' } }
    const jar = new Browser(site.url)
    const { id } = (await jar.get('/login', https)).json
    pass(RENEW_AFTER)
    expect((await jar.get('/read')).json.id).toBe(id)
    await jar.get('/read', { headers: { ...https.headers, cookie: jar.header } })
    expect((await look(jar)).id).not.toBe(id)
    await site.stop()
  })

  it('takes no place of a session in a store of limited size', async () => {
    const store = new MemoryStore({ max: 3 })
    const site = await open(store, options)
    const [one, ...others] = (await Promise.all(times(3, () => site.visitor()))).map(({ browser }) => browser)
    for (let n = 0; n < 5; n++) {
      pass(RENEW_AFTER)
      await (one as Browser).get('/set/a')
    }
    expect(store.size).toBe(3)
    for (const other of others) expect((await look(other)).data).toMatchObject({ user: 'ann' })
    await site.stop()
  })

  it.each([false, true])(
    'that a listener cannot end is an error of the request, unless it looks (%s)',
    async (looks) => {
      const store = new MemoryStore()
      const sessions = session({ secret, store, resave: false, saveUninitialized: false, ...options })
      const failures: unknown[] = []
      sessions.on('reuse', (use) => {
        const ended = use.end()
        if (looks) ended.catch((error) => failures.push(error))
      })
      const site = await openOn(sessions as never)
      const errors: unknown[] = []
      site.express.use(((error, _req, _res, next) => {
        errors.push(error)
        next(error)
      }) as ErrorRequestHandler)
      const { browser } = await site.visitor()
      pass(RENEW_AFTER)
      const old = tab(browser, site.url)
      await browser.get('/read')
      pass(GRACE + 1)
      const driver: Driver = (store as AnyStore)[DRIVER]()
      const failure = new Error('take failed')
      ;(store as AnyStore)[DRIVER] = () => ({ ...driver, take: () => Promise.reject(failure) })
      await old.get('/untouched')
      expect({ failures, errors }).toEqual(
        looks ? { failures: [failure], errors: [] } : { failures: [], errors: [failure] },
      )
      await site.stop()
    },
  )

  it.each([
    ['the older', [secret]],
    ['the newer', ['a newer secret, long enough too']],
  ])('does not outlive a logout by a process that knows but %s of the secrets', async (_, known) => {
    const store = new MemoryStore()
    const both = await open(store, { ...options, secret: ['a newer secret, long enough too', secret] })
    const one = await open(store, { secret: known })
    const { browser } = await one.visitor()
    pass(RENEW_AFTER)
    await during(one, tab(browser, one.url), '/logout', () => tab(browser, both.url).get('/set/a'))
    expect(await store.length()).toBe(0)
    await both.stop()
    await one.stop()
  })

  it('is found through a store whose methods somebody has replaced', async () => {
    const store = new MemoryStore()
    const { get } = store
    store.get = ((sid: string, callback: never) => Reflect.apply(get, store, [sid, callback])) as never
    const site = await open(store, options)
    const { browser } = await site.visitor()
    pass(RENEW_AFTER)
    const old = tab(browser, site.url)
    await browser.get('/set/a')
    expect((await look(old)).data).toMatchObject({ user: 'ann', a: 'a' })
    await during(site, tab(old, site.url), '/logout', async () => {
      pass(RENEW_AFTER)
      await browser.get('/set/b')
    })
    expect((await look(browser)).data).toEqual({})
    await site.stop()
  })

  it('comes by its age, for one that was issued by a process that did not renew ids', () =>
    play(memory, async ({ store }) => {
      const plain = await open(store.store)
      const { browser, id } = await plain.visitor()
      await plain.stop()
      const site = await open(store.store, options)
      const there = tab(browser, site.url)
      await there.get('/read')
      expect((await look(there)).id).not.toBe(id)
      await site.stop()
    }))

  it.each(kinds)('reaches a request that is held meanwhile and does not look at it, on $name', async (kind) => {
    const { store } = await opened.open(kind)
    // Without a date, the cookie is sent for no other reason.
    const site = await open(store, { ...options, cookie: {} })
    site.express.get('/held', async (_req, res) => {
      const over = once(site.express, 'over')
      site.express.emit('held')
      await over
      res.send('ok')
    })
    const { browser } = await site.visitor()
    pass(RENEW_AFTER)
    const [held, other] = [once(site.express, 'held'), tab(browser, site.url)]
    const pending = other.get('/held')
    await held
    await browser.get('/read')
    site.express.emit('over')
    await pending
    expect(other.header).toBe(browser.header)
    await site.stop()
  })

  it('gives the session its full lifetime, also where nobody looks at it and the store cannot extend it', async () => {
    const store = new PromiseStore(() => 0)
    const site = await open(store, options)
    site.express.get('/blind', (_req, res) => void res.send('ok'))
    const { browser } = await site.visitor()
    pass(RENEW_AFTER)
    const { setCookies } = await browser.get('/blind')
    expect(setCookies).toEqual([expect.stringContaining(new Date(Date.now() + 86_400_000).toUTCString())])
    expect(await lookUp(store, (await look(browser)).id)).toMatchObject({
      cookie: { expires: new Date(Date.now() + 86_400_000).toISOString() },
    })
    await site.stop()
  })

  it('is not that of a session which the app has handed over itself', () =>
    play(memory, async ({ store, site }) => {
      site.express.get('/handed-over', (req, res) => {
        const data = { cookie: { originalMaxAge: null, path: '/' }, user: 'bob' }
        store.store.createSession?.(req, data as never)
        res.json(req.sessionID)
      })
      const browser = new Browser(site.url)
      const { json: id, setCookies } = await browser.get('/handed-over')
      expect([setCookies, await store.has(id)]).toEqual([[], true])
    }))

  it.each([
    [{ renewAfter: 0 }, 'renewAfter option must be a number of milliseconds above 0'],
    [{ renewAfter: '1h' as never }, 'renewAfter option must be a number of milliseconds above 0'],
    [{ renewAfter: 1, renewGrace: -1 }, 'renewGrace option must be a number of milliseconds from 0'],
    [{ renewAfter: 1, concurrency: 'overwrite' as const }, 'renewAfter option needs concurrency: "merge"'],
  ])('is not to be had with %o', (wrong, message) => {
    expect(() => session({ secret, resave: false, saveUninitialized: false, ...wrong })).toThrow(message)
  })
})
