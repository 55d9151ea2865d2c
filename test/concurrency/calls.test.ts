// What the promise costs: how often a store is called.

import { EventEmitter, once } from 'node:events'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { watchCommands } from '../../bench/redis.mjs'
import { session as routerSession } from '../../lib/bun-router.ts'
import { type SessionOptions, Store, session } from '../../lib/index.ts'
import { portOf } from '../../lib/port/port.ts'
import type { Version } from '../../lib/port/slot.ts'
import { redisMissing } from '../support/redis.ts'
import { originalSession } from '../support/required.ts'
import { type AnyStore, find } from './fixture/kinds.ts'
import { callbackStore, PromiseStore } from './fixture/stores.ts'
import { open, openOn, type Site, secret, tab } from './support.ts'
import { lookUp, Stores } from './table.ts'

const opened = new Stores()

/** Has every call of a store noted: the method, and with `details` what it was given. */
function note(store: AnyStore, details = false): string[] {
  const calls: string[] = []
  const ids: string[] = []
  for (const method of ['get', 'set', 'touch', 'destroy']) {
    const original = store[method]
    if (!original) continue
    const noted = function (this: unknown, ...args: [string, unknown]): unknown {
      const [sid, session] = args
      if (!ids.includes(sid)) ids.push(sid)
      calls.push(details ? `${method} ${ids.indexOf(sid)} ${undated(session)}` : method)
      return original.apply(this, args)
    }
    store[method] = Object.defineProperty(noted, 'length', { value: original.length })
  }
  return calls
}

/** A session as JSON without what the clock says; express-session lets it take a millisecond off a lifetime, too. */
function undated(session: unknown): string {
  if (typeof session !== 'object') return ''
  return JSON.stringify(session)
    .replace(/"expires":"[^"]+"/, '"expires":"…"')
    .replace(/"originalMaxAge":(\d+)/, (_, ms) => `"originalMaxAge":${Math.round(Number(ms) / 1000)}`)
}

const take = (calls: string[]): string[] => calls.splice(0)

/** A writer, beside which another request does what `path` says, before it writes. */
async function overlap(
  site: Site,
  browser: Parameters<typeof tab>[0],
  path: string,
  late = '/set/late',
): Promise<void> {
  const arrived = site.arrival('hold')
  const pending = tab(browser, site.url).get(`${late}?hold=hold`)
  await arrived
  await tab(browser, site.url).get(path)
  site.release('hold')
  await pending
}

describe('a store of somebody else', () => {
  const foreign = {
    callbacks: () => new (callbackStore({ Store }))(() => 0),
    promises: () => new PromiseStore(() => 0),
  }

  it.each(Object.entries(foreign))('with %s is called no more often than need be', async (name, make) => {
    const store = make()
    const calls = note(store)
    const site = await open(store)
    // The first request shows how the store answers.
    await site.visitor()
    take(calls)
    const { browser } = await site.visitor()
    const touch = name === 'callbacks' ? ['touch'] : []
    expect(take(calls)).toEqual(['set'])
    for (const path of ['/set/a', '/nested/b', '/delete/a', '/lifetime/90000', '/flash/hello']) {
      await browser.get(path)
      expect([path, ...take(calls)]).toEqual([path, 'get', 'set'])
    }
    for (const path of ['/read', '/untouched']) {
      await browser.get(path)
      expect([path, ...take(calls)]).toEqual([path, 'get', ...touch])
    }

    await overlap(site, browser, '/set/b')
    expect(take(calls)).toEqual(['get', 'get', 'set', 'set'])
    await overlap(site, browser, '/logout')
    expect(take(calls)).toEqual(['get', 'get', 'destroy'])
    await site.stop()
  })

  it('is asked to touch again when another process has given the session another lifetime', async () => {
    const store = foreign.callbacks()
    const site = await open(store, { rolling: true, cookie: { maxAge: 90_000 } })
    const { browser, id } = await site.visitor()
    const record = (await lookUp(store, id)) as { cookie: { originalMaxAge: number } }
    record.cookie.originalMaxAge = 60_000
    await new Promise((resolve) => store.set(id, record as never, resolve))
    const calls = note(store)
    for (let visit = 0; visit < 3; visit++) await browser.get('/read')
    expect(take(calls)).toEqual(['get', 'touch', 'get', 'touch', 'get', 'touch'])
    await site.stop()
  })

  it('that answers with JSON text is read again, and keeps what another process has written', async () => {
    const store = foreign.promises()
    const get = store.get.bind(store)
    let meanwhile: (() => Promise<void>) | undefined
    Object.defineProperty(store, 'get', {
      value: async (sid: string) => {
        const before = meanwhile
        meanwhile = undefined
        await before?.()
        const found = await get(sid)
        return found && JSON.stringify(found)
      },
    })
    const site = await open(store, { concurrency: 'reread' })
    const { browser, id } = await site.visitor()
    meanwhile = async () => {
      await tab(browser, site.url).get('/set/beside')
      await store.set(id, { ...(await get(id)), theirs: 1 })
    }
    await browser.get('/set/mine')
    expect(await get(id)).toMatchObject({ user: 'ann', beside: 'beside', theirs: 1, mine: 'mine' })
    await site.stop()
  })

  it('is given its times in the unit of each entry that uses it', async () => {
    // Only the date is faked, and stands still.
    vi.useFakeTimers({ toFake: ['Date'] })
    onTestFinished(() => void vi.useRealTimers())
    const store = foreign.promises()
    const times: unknown[] = []
    const { set } = store
    store.set = (sid, data, ttl) => {
      times.push(ttl)
      return Reflect.apply(set, store, [sid, data, ttl])
    }
    const options = {
      secret,
      store: store as never,
      saveUninitialized: true,
      resave: false,
      cookie: { maxAge: 60_000 },
    }
    for (const make of [session, routerSession]) {
      const site = await openOn(make(options) as RequestHandler)
      await site.visitor()
      await site.stop()
    }
    expect(times).toEqual([60_000, 60])
  })

  it.each([undefined, 'merge'] as const)('is read no further with concurrency: %o', async (concurrency) => {
    const store = foreign.callbacks()
    const calls = note(store)
    const site = await open(store, { concurrency })
    const { browser } = await site.visitor()
    take(calls)
    await browser.get('/set/a')
    expect(take(calls)).toEqual(['get', 'set'])
    await overlap(site, browser, '/set/b')
    expect(take(calls)).toEqual(['get', 'get', 'set', 'set'])
    await site.stop()
  })

  it("is read again before each write with concurrency: 'reread'", async () => {
    const store = foreign.callbacks()
    const calls = note(store)
    const site = await open(store, { concurrency: 'reread' })
    const { browser } = await site.visitor()
    take(calls)
    await browser.get('/set/a')
    expect(take(calls)).toEqual(['get', 'get', 'set'])
    await browser.get('/read')
    expect(take(calls)).toEqual(['get', 'touch'])
    await overlap(site, browser, '/set/b')
    expect(take(calls)).toEqual(['get', 'get', 'get', 'set', 'get', 'set'])
    await site.stop()
  })

  it("is not asked with concurrency: 'overwrite' whether a session has run out during the request", async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    onTestFinished(() => void vi.useRealTimers())
    const store = foreign.callbacks()
    const site = await open(store, { concurrency: 'overwrite', cookie: { maxAge: 60_000 } })
    site.express.get('/long', (_req, res) => {
      vi.setSystemTime(Date.now() + 60_000)
      res.send('ok')
    })
    const { browser } = await site.visitor()
    const calls = note(store)
    await browser.get('/long')
    expect(calls).toEqual(['get', 'touch'])
    await site.stop()
  })

  it("has not changed for concurrency: 'reread' where it answers with the same text", async () => {
    const text = JSON.stringify({ cookie: { originalMaxAge: null, expires: null }, user: 'ann' })
    const store = { get: async (_id: string) => text, set: async () => {}, destroy: async () => {} }
    const use = { unit: 'ms', concurrency: 'reread', renews: false, timeout: undefined } as const
    const slot = portOf(store, use).slot('id')
    const version = (await slot.read()) as Version
    let current: Version | undefined
    await slot.update(version, (held) => {
      current = held
      return undefined
    })
    expect(current).toBe(version)
  })

  it('extends a session that the app has put away after its answer, while the store was busy', async () => {
    const store = foreign.callbacks()
    const { set } = store
    const site = await open(store)
    const { browser } = await site.visitor()
    const steps = new EventEmitter()
    const [writing, putAway, goOn] = ['writing', 'put away', 'go on'].map((step) => once(steps, step))
    const errors: unknown[] = []
    site.express.get('/put-away', (req, res) => {
      res.send('ok')
      req.session = null as never
      steps.emit('put away')
    })
    site.express.use(((error, _req, _res, _next) => errors.push(error)) as ErrorRequestHandler)
    store.set = ((...args) => {
      steps.emit('writing')
      goOn?.then(() => Reflect.apply(set, store, args))
    }) as typeof set
    const calls = note(store)
    const writer = tab(browser, site.url).get('/set/a')
    await writing
    const answer = browser.get('/put-away')
    await putAway
    steps.emit('go on')
    expect((await answer).status).toBe(200)
    await writer
    expect([calls.at(-1), errors]).toEqual(['touch', []])
    await site.stop()
  })

  const plain = { resave: false, saveUninitialized: false }
  const variants: SessionOptions[] = [
    plain,
    { ...plain, rolling: true },
    { ...plain, unset: 'destroy' },
    { ...plain, resave: true, saveUninitialized: true, cookie: { maxAge: 600_000 } },
  ]
  it.each(variants)("is called exactly as by express-session with concurrency: 'overwrite' and %o", async (options) => {
    const [expected, actual] = await Promise.all([
      live(originalSession, options),
      live(session as never, { ...options, concurrency: 'overwrite' }),
    ])
    expect(actual).toEqual(expected)
  })

  /** The life of two sessions: every call of the store, in order, with what it was given, and every answer. */
  async function live(implementation: typeof originalSession, options: object): Promise<unknown[]> {
    const { Store: Base = Store } = implementation
    const store = new (callbackStore({ Store: Base }))(() => 0)
    const calls = note(store, true)
    const site = await openOn(implementation({ secret, store, ...options }) as RequestHandler)
    const { browser } = await site.visitor()
    const story: unknown[] = []
    const tell = async (path: string): Promise<void> => {
      const { status, setCookies } = await browser.get(path)
      story.push(path, status, setCookies.length, take(calls))
    }
    const quiet = ['/set/a', '/nested/b', '/read', '/untouched', '/delete/a', '/lifetime/90000', '/save/a', '/save/b']
    for (const path of [...quiet, '/set/a', '/unset', '/look', '/set/c', '/renew', '/set/d', '/logout', '/look']) {
      await tell(path)
    }
    for (const [other, late] of [
      ['/set/b', '/set/late'],
      ['/set/b', '/read'],
      ['/lifetime/70000', '/untouched'],
      ['/logout', '/set/late'],
      ['/logout', '/read'],
      ['/renew', '/nested/late'],
      ['/unset', '/set/late'],
    ] as const) {
      await browser.get('/login')
      take(calls)
      await overlap(site, browser, other, late)
      story.push(other, late, take(calls))
    }
    await site.stop()
    return story
  }
})

describe.skipIf(redisMissing)('RedisStore', () => {
  it('takes two commands for a write, one for a visit, and one more when somebody interferes', async () => {
    const [one, other] = await Promise.all([opened.open(find('redis')), opened.open(find('redis'))])
    if (!one || !other) return
    const port = Number(new URL(one.place.url as string).port)
    const site = await open(one.store)
    const elsewhere = await open(other.store)
    const { browser } = await site.visitor()
    const commands = (work: () => Promise<unknown>): Promise<Record<string, number>> => watchCommands(port, work)

    expect(await commands(() => browser.get('/set/a'))).toEqual({ get: 1, eval: 1 })
    expect(await commands(() => browser.get('/read'))).toEqual({ get: 1 })
    expect(await commands(() => overlap(site, browser, '/set/b'))).toEqual({ get: 2, eval: 3 })

    const arrived = site.arrival('hold')
    const interfered = await commands(async () => {
      const pending = tab(browser, site.url).get('/set/later?hold=hold')
      await arrived
      await tab(browser, elsewhere.url).get('/set/c')
      site.release('hold')
      await pending
    })
    expect(interfered).toEqual({ get: 2, eval: 3 })
    await Promise.all([site.stop(), elsewhere.stop()])
  })
})
