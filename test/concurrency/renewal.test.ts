// An id that is renewed while other requests use the session: nothing is lost by it, and nothing comes back.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { SessionOptions } from '../../lib/index.ts'
import { session } from '../../lib/index.ts'
import { Browser, type Reply } from '../support/jar.ts'
import { kinds, type StoreCase } from './fixture/kinds.ts'
import { open, openOn, ROUNDS, type Site, secret, tab, times } from './support.ts'
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

/** Runs `test` on a store; it is over at once where the store cannot be had. */
async function play(kind: StoreCase, test: (scene: Scene) => Promise<void>): Promise<void> {
  const store = await opened.open(kind)
  if (!store) return
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

  it('leaves a record that tells neither the data nor the new id', () =>
    play(kind, async ({ one, store, id }) => {
      await one.get('/set/a')
      const { id: now } = await look(one)
      const left = JSON.stringify(await lookUp(store.store, id))
      expect(left).toContain('cookie')
      for (const secret of ['ann', now]) expect(left).not.toContain(secret)
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

  it('is renewed once by requests at the same time, and all of their changes are there', () =>
    play(kind, async ({ one, site }) => {
      const tabs = times(20, () => tab(one, site.url))
      await Promise.all(tabs.map((browser, n) => browser.get(`/${n % 2 ? 'set' : 'nested'}/k${n}?wait=${n % 7}`)))
      expect(new Set(tabs.map(({ header }) => header)).size).toBe(1)
      const { data } = (await look(tabs[0] as Browser)) as { data: Record<string, unknown> & { box: object } }
      const keys = [...Object.keys(data), ...Object.keys(data.box)].filter((key) => key.startsWith('k'))
      expect(keys.sort()).toEqual(times(20, (n) => `k${n}`).sort())
    }))

  it.each(['/logout', '/renew'])('does not outlive %s, whoever is first', (end) =>
    play(kind, async ({ one, other, site, store, id }) => {
      // The end comes while the request is under way that renews.
      const late = await during(site, one, '/set/late', () => other.get(end))
      expect(late.setCookies).toEqual([])
      expect(await store.has(id)).toBe(false)

      // The end comes from a request that has the old id.
      const { browser, id: second } = await site.visitor()
      pass(RENEW_AFTER)
      const slow = tab(browser, site.url)
      await during(site, slow, end, () => browser.get('/set/a'))
      expect((await look(browser)).data).toEqual({})
      expect(await store.has(second)).toBe(false)
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
    const store = (await opened.open(memory)) as Opened
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

  it('tells of its use after the grace, with where the session is now', async () => {
    const store = (await opened.open(memory)) as Opened
    const sessions = session({ secret, store: store.store, resave: false, saveUninitialized: false, ...options })
    const reused: unknown[] = []
    sessions.on('reuse', (event) => reused.push(event))
    const site = await openOn(sessions as never)
    const { browser, id } = await site.visitor()
    pass(RENEW_AFTER)
    const thief = tab(browser, site.url)
    await browser.get('/read')
    await tab(thief, site.url).get('/read')
    expect(reused).toEqual([])
    pass(GRACE + 1)
    await thief.get('/look')
    const { id: successor } = await look(browser)
    expect(reused).toEqual([{ id, successor, req: expect.objectContaining({ url: '/look' }) }])
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

  it.each([
    [{ renewAfter: 0 }, 'renewAfter option must be a number of milliseconds above 0'],
    [{ renewAfter: '1h' as never }, 'renewAfter option must be a number of milliseconds above 0'],
    [{ renewAfter: 1, renewGrace: -1 }, 'renewGrace option must be a number of milliseconds from 0'],
    [{ renewAfter: 1, concurrency: 'overwrite' as const }, 'renewAfter option needs concurrency: "merge"'],
  ])('is not to be had with %o', (wrong, message) => {
    expect(() => session({ secret, resave: false, saveUninitialized: false, ...wrong })).toThrow(message)
  })
})
