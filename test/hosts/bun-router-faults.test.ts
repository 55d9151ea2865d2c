// What goes wrong with sessions on bun-router elsewhere does not go wrong with these.
// The apps: fixture/bun-router-documented.ts. What the router has no part in is tested on plain functions, on Node.

import { sign, unsign } from 'cookie-signature'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { MemoryStore, type SessionOptions, session } from '../../lib/bun-router.ts'
import { sessionCookie } from '../../lib/testing.ts'
import { bun, type Running } from '../support/serve.ts'
import { lifetimeOf, secret, startApps, Visitor } from './fixture/visitor-documented.ts'

const cookieOf = (id: string, key = secret): string => `bun_session=${encodeURIComponent(`s:${sign(id, key)}`)}`
const kinds = ['memory', 'file', 'own', 'callbacks']

describe.skipIf(!bun)('on bun-router', () => {
  let server: Running

  beforeAll(async () => {
    server = await startApps('bun-router-documented.ts')
  })
  afterAll(async () => {
    try {
      expect(await new Visitor(server, 'memory').ask('uncaught')).toEqual([])
    } finally {
      await server.stop()
    }
  })

  describe.each([
    ['of 2025', ''],
    ['of today', 'newer-'],
  ])('%s', (_, prefix) => {
    const visit = (app: string): Visitor => new Visitor(server, prefix + app)

    describe('an id', () => {
      it('that was replaced at sign-in is dead, and one that is unknown is never taken over', async () => {
        for (const kind of kinds) {
          const visitor = visit(kind)
          await visitor.get('/set?n=1')
          const planted = visitor.header
          await visitor.post('/secure-login')
          expect(await visitor.data()).toMatchObject({ n: '1', userId: 1 })
          expect(await visitor.data(planted)).toEqual({})
          for (const cookie of ['bun_session=planted', cookieOf('planted'), cookieOf('planted', 'another secret')]) {
            const { setCookies } = await visit(kind).get('/set?n=1', { headers: { cookie } })
            expect(setCookies).toEqual([expect.not.stringContaining('planted')])
          }
        }
      })

      it('that is replaced, or ended, without anybody waiting for it is so when the answer leaves', async () => {
        const visitor = visit('slow')
        await visitor.get('/set?n=1')
        const old = visitor.header
        expect((await visitor.get('/bare/regenerateSession')).setCookies).toHaveLength(1)
        expect(await visitor.data(old)).toEqual({})
        expect(await visitor.data()).toEqual({ n: '1' })
        const last = visitor.header
        expect((await visitor.get('/bare/destroySession')).setCookies).toHaveLength(1)
        expect(await visitor.data(last)).toEqual({})
      })
    })

    it('visitors without a cookie leave nothing behind', async () => {
      for (const kind of kinds) {
        const before = await visit(kind).ids()
        const paths = ['/data', '/untouched', '/nowhere', '/profile', '/api/protected']
        const replies = await Promise.all(
          paths.flatMap((path) => Array.from({ length: 20 }, () => visit(kind).get(path))),
        )
        expect(replies.flatMap(({ setCookies }) => setCookies)).toEqual([])
        expect(await visit(kind).ids()).toEqual(before)
      }
    })

    describe('a handler that throws', () => {
      it.each(kinds)('changes nothing, and makes no session (%s)', async (kind) => {
        const visitor = visit(kind)
        await visitor.get('/set?balance=10')
        const before = await visitor.ids()
        for (const path of ['/throw', '/reject']) {
          expect((await visitor.get(path)).status).toBe(500)
          expect((await visit(kind).get(path)).setCookies).toEqual([])
        }
        expect(await visitor.data()).toEqual({ balance: '10' })
        expect(await visitor.ids()).toEqual(before)
      })

      it('is heard by the app’s own error handler, with the error as it was', async () => {
        expect(await visit('handled').get('/throw')).toMatchObject({ status: 503, text: 'the handler threw' })
      })
    })

    it.each(kinds)('requests that run at once see and keep only their own changes (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.get('/set?n=1')
      const [slow] = await visitor.hold('/slow/write')
      await visitor.get('/set?m=2')
      expect(await visitor.data()).toEqual({ n: '1', m: '2' })
      await visitor.ask('open')
      expect((await slow)?.json).toEqual({ n: '1' })
      expect(await visitor.data()).toEqual({ n: 'slow', m: '2' })
    })

    it.each(kinds)('a session that is ended stays so when a slow request writes to it (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.get('/set?n=1')
      const cookie = visitor.header
      const [slow] = await visitor.hold('/slow/write')
      await visitor.post('/account/delete')
      await visitor.ask('open')
      expect((await slow)?.status).toBe(200)
      expect(await visitor.data(cookie)).toEqual({})
    })

    it.each(['null', 'undefined', 'number'])('req.session = %s poisons nothing', async (value) => {
      const visitor = visit('own')
      await visitor.get('/set?n=1')
      expect((await visitor.get(`/assign/${value}`)).text).toBe('assigned')
      expect(await visitor.data()).toEqual({ n: '1' })
      expect((await visit('own').get(`/assign/${value}`)).setCookies).toEqual([])
    })

    it('a cookie that cannot be decoded harms no other', async () => {
      const visitor = visit('own')
      await visitor.get('/set?n=1')
      for (const cookie of ['foo=%ZZ', ';;;', '=', 'bun_session', 'bun_session=%E0%A4%A']) {
        expect(await visitor.data(`${cookie}; ${visitor.header}`)).toEqual({ n: '1' })
        expect(await visitor.data(cookie)).toEqual({})
      }
    })

    it('two routers keep their sessions apart, unless they share a store', async () => {
      const visitor = visit('byName')
      await visitor.get('/set?n=1')
      expect(await visit('another').data(visitor.header)).toEqual({})
      const sharing = visit('shared')
      await sharing.get('/set?n=1')
      expect(await visit('sharedToo').data(sharing.header)).toEqual({ n: '1' })
    })

    describe('a cookie', () => {
      it('is HttpOnly, SameSite=Lax and lasts a day, and goes only when it has to', async () => {
        const visitor = visit('own')
        const { setCookies } = await visitor.get('/set?n=1')
        expect(setCookies[0]).toMatch(/; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Lax$/)
        expect(lifetimeOf(setCookies[0])).toEqual(expect.closeTo(86_400_000, -5))
        for (const path of ['/untouched', '/data']) expect((await visitor.get(path)).setCookies).toEqual([])
      })
    })

    describe('a store that fails', () => {
      afterEach(() => visit('handled').ask('fail'))

      it.each([
        ['get', '/data'],
        ['setex', '/set?n=2'],
        ['setex', '/save'],
        ['del', '/bare/destroySession'],
        ['del', '/bare/regenerateSession'],
        ['del', '/me'],
      ])('to %s is an error of GET %s, and of that alone', async (command, path) => {
        const visitor = visit('handled')
        await visitor.get('/set?n=1&userId=1')
        const cookie = visitor.header
        await visitor.ask('fail', command)
        const { status, text, setCookies } = await visitor.get(path)
        expect([status, text, setCookies]).toEqual([503, `${command} failed`, []])
        await visitor.ask('fail')
        expect(await visitor.data(cookie)).toEqual({ n: '1', userId: '1' })
        await visitor.get('/set?n=3')
        expect(await visitor.data(cookie)).toEqual({ n: '3', userId: '1' })
      })
    })

    it('without a secret no request is served', async () => {
      const { status, text, setCookies } = await visit('unsigned').get('/set?n=1')
      expect([status, text, setCookies]).toEqual([503, 'secret option required for sessions', []])
    })
  })
})

describe('sessions for (request, next)', () => {
  // biome-ignore lint/suspicious/noExplicitAny: a request as the handler sees it
  type Handler = (req: any) => unknown
  const request = (headers: HeadersInit = {}): Request => new Request('http://host/', { headers })

  function mount(handler: Handler, options: SessionOptions = {}) {
    const store = new MemoryStore()
    const sessions = session({ secret, store, ...options })
    return { store, sessions, ask: (headers?: HeadersInit) => sessions(request(headers), handler) }
  }

  it('are signed as cookie-signature signs, under ids that Math.random has no part in', async () => {
    const random = vi.spyOn(Math, 'random').mockReturnValue(0.5)
    const { sessions } = mount(() => null)
    const ids = new Set<unknown>()
    for (let n = 0; n < 200; n++) {
      const value = decodeURIComponent((await sessionCookie(sessions, { n })).split('=')[1] ?? '')
      ids.add(unsign(value.slice(2), secret))
    }
    random.mockRestore()
    expect(ids.size).toBe(200)
    for (const id of ids) expect(id).toMatch(/^[\w-]{32}$/)
  })

  it('are freed when they have run out, and bounded when they are told so', async () => {
    vi.useFakeTimers()
    try {
      const store = new MemoryStore({ max: 100 })
      const { ask } = mount(
        (req) => {
          req.session.n = 1
          return new Response('set')
        },
        { store, maxAge: 60_000 },
      )
      for (let n = 0; n < 1000; n++) await ask()
      expect(store.size).toBe(100)
      await vi.advanceTimersByTimeAsync(180_000)
      expect(store.size).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  describe('an answer', () => {
    const writing =
      (answer: () => unknown): Handler =>
      (req) => {
        req.session.n = 1
        return answer()
      }

    it('that is immutable is copied for the cookie, with all it had', async () => {
      const redirect = Response.redirect('http://host/elsewhere', 303)
      expect(() => redirect.headers.append('a', 'b')).toThrow()
      const { ask } = mount(writing(() => redirect))
      for (let n = 0; n < 2; n++) {
        const response = await ask()
        expect([response.status, response.headers.get('location')]).toEqual([303, 'http://host/elsewhere'])
        expect(response.headers.getSetCookie()).toHaveLength(1)
      }
      expect(redirect.headers.getSetCookie()).toEqual([])
    })

    it('that has a body and is immutable keeps it', async () => {
      const fetched = new Response('fetched', { status: 201, statusText: 'Made', headers: { 'x-own': '1' } })
      Object.defineProperty(fetched.headers, 'append', {
        value() {
          throw new TypeError('immutable')
        },
      })
      const response = await mount(writing(() => fetched)).ask()
      expect([response.status, response.statusText, response.headers.get('x-own')]).toEqual([201, 'Made', '1'])
      expect(await response.text()).toBe('fetched')
      expect(response.headers.getSetCookie()).toHaveLength(1)
    })

    it('that is none becomes an empty one, and any that can carry no cookie is passed on', async () => {
      for (const none of [null, undefined]) {
        const response = await mount(writing(() => none)).ask()
        expect([response.status, await response.text()]).toEqual([200, ''])
        expect(response.headers.getSetCookie()).toHaveLength(1)
        expect(await mount(() => none).ask()).toBe(none)
      }
      for (const other of ['text', { a: 1 }, Response.error(), 0]) {
        expect(await mount(writing(() => other)).ask()).toBe(other)
      }
    })

    it('of another class of Response carries the cookie, too', async () => {
      const headers = new Headers()
      const other = { status: 200, headers, body: null }
      expect(await mount(writing(() => other)).ask()).toBe(other)
      expect(headers.getSetCookie()).toHaveLength(1)
    })

    it('that is shared is given no second cookie, and keeps those that are its own', async () => {
      const shared = new Response(null, { headers: { 'Set-Cookie': 'own=1' } })
      const { ask } = mount(writing(() => shared))
      const untouched = mount(() => shared)
      const seen: string[] = []
      for (const one of [ask, ask, untouched.ask, ask]) {
        const cookies = (await one()).headers.getSetCookie()
        expect(cookies.filter((cookie) => cookie === 'own=1')).toHaveLength(1)
        seen.push(...cookies.filter((cookie) => cookie !== 'own=1'))
      }
      expect([seen.length, new Set(seen).size]).toEqual([3, 3])
    })
  })

  it('take next() as it is: plain, thrown or rejected', async () => {
    const plain = new Response('plain')
    expect(await mount(() => plain).ask()).toBe(plain)
    const error = new Error('thrown')
    await expect(
      mount(() => {
        throw error
      }).ask(),
    ).rejects.toBe(error)
    await expect(mount(() => Promise.reject(error)).ask()).rejects.toBe(error)
  })

  it('hand the request on as it is, and are mounted once', async () => {
    const { sessions } = mount(() => null)
    const sent = request()
    await sessions(sent, (req) => {
      expect(req).toBe(sent)
      const { session } = req
      return sessions(req, (again) => {
        expect(again.session).toBe(session)
        return null
      })
    })
  })

  it('report what fails after a handler has thrown to the error event', async () => {
    const store = new MemoryStore()
    const { sessions, ask } = mount(
      (req) => {
        req.session.save()
        throw new Error('thrown')
      },
      { store },
    )
    const failed = vi.fn()
    sessions.on('error', failed)
    store.set = (() => Promise.reject(new Error('set failed'))) as never
    await expect(ask()).rejects.toThrow('thrown')
    expect(failed).toHaveBeenCalledExactlyOnceWith(new Error('set failed'))
  })

  it('have options that are checked at once', () => {
    const wrong: [object, string][] = [
      [{ store: 'redis' }, 'store option must be "memory" or a store'],
      [{ store: {} }, 'store option must be a session store: it has no get()'],
      [{ renew: true, renewAfter: -1 }, 'renewAfter option must be a number of milliseconds above 0'],
      [{ renew: true, autoCommit: false }, 'renew option needs autoCommit'],
      [{ genid: 'id' }, 'genid option must be a function'],
      [{ secret: [] }, 'secret option array must contain one or more strings'],
    ]
    for (const [options, message] of wrong) expect(() => session({ secret, ...options })).toThrow(message)
  })

  it('warn of a lifetime that was meant in seconds, by the name under which it was given', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    session({ secret, cookie: { maxAge: 60 * 60 * 24 * 7 } })
    session({ secret, maxAge: 60 * 60 * 24 })
    expect(warned.mock.calls.map(([message]) => String(message).split(' milliseconds')[0])).toEqual([
      'cookie.maxAge is 604800',
      'maxAge is 86400',
    ])
    warned.mockRestore()
  })

  it('have defaults for options that are undefined', async () => {
    const { ask, store } = mount(() => new Response(''), {
      name: undefined,
      saveUninitialized: undefined,
      resave: undefined,
      maxAge: undefined,
      cookie: { maxAge: undefined, sameSite: undefined },
    })
    expect((await ask()).headers.getSetCookie()).toEqual([])
    expect(store.size).toBe(0)
  })
})
