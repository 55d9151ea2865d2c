// What apps and stores do that were written for express-session, and must not notice.

import { createHmac } from 'node:crypto'
import express, { type RequestHandler } from 'express'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { MemoryStore, type SessionOptions, Store, session } from '../../lib/index.ts'
import { sessionCookie, storeContract } from '../../lib/testing.ts'
import { Browser, type Reply } from '../support/jar.ts'
import { type Running, serve } from '../support/serve.ts'

// biome-ignore lint/suspicious/noExplicitAny: apps and stores as they come, without types
type Anything = any

const secret = 'a secret of these tests, long enough'
const base: SessionOptions = { secret, resave: false, saveUninitialized: false }

const running: Running[] = []
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop()
  vi.restoreAllMocks()
})

type Routes = Record<string, (req: Anything, res: Anything) => unknown>

/** A browser of an app with these routes. */
async function open(routes: Routes, options: SessionOptions = {}): Promise<Browser> {
  const app = express()
  app.use(session({ ...base, ...options }) as RequestHandler)
  for (const [path, handler] of Object.entries(routes)) app.get(path, handler)
  const server = await serve(app)
  running.push(server)
  return new Browser(server.url)
}

const login: Routes = {
  '/login': (req, res) => {
    req.session.user = 'ann'
    res.json(req.sessionID)
  },
  '/look': (req, res) => res.json(req.session.user ?? 'nobody'),
}

const user = async (browser: Browser): Promise<unknown> => (await browser.get('/look')).json

/** A store that takes its time. */
const slowly = <S extends object>(store: S): S => {
  for (const method of ['get', 'set', 'destroy'] as const) {
    const original = (store as Anything)[method]
    Object.defineProperty(store, method, {
      writable: true,
      value: Object.defineProperty(
        (...args: unknown[]) => setTimeout(() => Reflect.apply(original, store, args), 2),
        'length',
        { value: original.length },
      ),
    })
  }
  return store
}

describe('a store', () => {
  it.each([false, null, undefined] as const)('that is %s is a MemoryStore', async (store) => {
    const browser = await open(login, { store })
    await browser.get('/login')
    expect(await user(browser)).toBe('ann')
  })

  it('of callbacks may be wrapped by functions that return promises of nothing', async () => {
    const store = slowly(new MemoryStore())
    for (const method of ['get', 'set', 'touch', 'destroy'] as const) {
      const original = (store as Anything)[method]
      ;(store as Anything)[method] = async (...args: unknown[]) => {
        Reflect.apply(original, store, args)
      }
    }
    const browser = await open(login, { store })
    await browser.get('/login')
    expect(await user(browser)).toBe('ann')
  })

  it('may extend Store and answer by promises', async () => {
    class Promising extends Store {
      readonly records = new Map<string, string>()
      readonly times: unknown[] = []
      override get(sid: string): Anything {
        return Promise.resolve(JSON.parse(this.records.get(sid) ?? 'null'))
      }
      override async set(sid: string, data: object, ttl?: Anything): Promise<void> {
        this.times.push(ttl)
        this.records.set(sid, JSON.stringify(data))
      }
      override async destroy(sid: string): Promise<void> {
        this.records.delete(sid)
      }
    }
    const store = new Promising()
    const browser = await open(login, { store, cookie: { maxAge: 3_600_000 } })
    await browser.get('/login')
    expect(await user(browser)).toBe('ann')
    expect(store.times).toEqual([expect.closeTo(3_600_000, -5)])
  })

  it('may copy the session by other means than JSON, flash messages included', async () => {
    class Cloning extends Store {
      readonly records = new Map<string, object>()
      override get(sid: string, done: Anything): void {
        done(null, this.records.get(sid))
      }
      override set(sid: string, data: Anything, done: Anything): void {
        this.records.set(sid, structuredClone({ ...data, cookie: data.cookie.toJSON() }))
        done()
      }
      override destroy(sid: string, done: Anything): void {
        this.records.delete(sid)
        done()
      }
    }
    const routes: Routes = {
      '/login': (req, res) => {
        req.session.user = 'ann'
        req.session.flash('info', 'Welcome')
        res.end()
      },
      '/look': (req, res) => res.json([req.session.user, req.session.flash('info')]),
    }
    const browser = await open(routes, { store: new Cloning() as Anything })
    await browser.get('/login')
    expect(await user(browser)).toEqual(['ann', ['Welcome']])
    expect(await user(browser)).toEqual(['ann', []])
  })
})

describe('a new session', () => {
  it('that the app saves and reloads has its cookie', async () => {
    const browser = await open({
      '/': async (req, res) => {
        req.session.user = 'ann'
        await req.session.save()
        await req.session.reload()
        res.json(req.session.user)
      },
    })
    expect((await browser.get('/')).setCookies).toHaveLength(1)
  })

  it('has the id that it was given, whatever the app puts into req.sessionID', async () => {
    const store = new MemoryStore()
    const browser = await open(
      {
        '/': (req, res) => {
          req.sessionID = 'chosen-by-an-attacker'
          req.session.user = 'ann'
          res.end()
        },
      },
      { store },
    )
    const { setCookies } = await browser.get('/')
    expect(Object.keys(store.sessions)).toEqual([expect.stringMatching(/^[\w-]{32}$/)])
    expect(setCookies.join()).not.toContain('attacker')
    expect(setCookies.join()).toContain(Object.keys(store.sessions)[0])
  })
})

it.each(['regenerate', 'reload', 'save', 'destroy'])(
  'the response waits for the callback of %s(), and for what it changes',
  async (method) => {
    let called = false
    const browser = await open(
      {
        ...login,
        '/change': (req, res) => {
          req.session[method](() => {
            called = true
            if (req.session) req.session.user = 'bob'
          })
          res.end()
        },
      },
      { store: slowly(new MemoryStore()) },
    )
    await browser.get('/login')
    await browser.get('/change')
    expect(called).toBe(true)
    expect(await user(browser)).toBe(method === 'destroy' ? 'nobody' : 'bob')
  },
)

it('a cookie whose value is quoted is read as without the quotes', async () => {
  const browser = await open(login)
  await browser.get('/login')
  const [[name, value]] = [...browser.cookies] as [[string, string]]
  const quoted: Reply = await browser.get('/look', { headers: { cookie: `${name}="${value}"` } })
  expect(quoted.json).toBe('ann')
})

it('sessionCookie works with options that look at the request’s headers', async () => {
  const sessions = session({
    ...base,
    genid: (req) => req.headers['x-id'] ?? 'made-here',
    cookie: (req) => ({ secure: req.headers['x-secure'] === 'yes' }),
  })
  const signature = createHmac('sha256', secret).update('made-here').digest('base64').replace(/=+$/, '')
  expect(decodeURIComponent(await sessionCookie(sessions, {}))).toBe(`connect.sid=s:made-here.${signature}`)
})

describe('a promise-style store, without a touch,', () => {
  class Table {
    readonly rows = new Map<string, string>()
    async get(sid: string) {
      const session = JSON.parse(this.rows.get(sid) ?? 'null')
      return session?.cookie.expires && Date.parse(session.cookie.expires) <= Date.now() ? null : session
    }
    async set(sid: string, data: object, _ttl?: number) {
      this.rows.set(sid, JSON.stringify(data))
    }
    async destroy(sid: string) {
      this.rows.delete(sid)
    }
  }
  storeContract({ describe, it, expect }, () => ({ store: new Table() as never }))
})
