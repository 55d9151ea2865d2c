// What goes wrong with sessions on bunWay elsewhere does not go wrong with these. The apps: fixture/bunway-documented.ts.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sign, unsign } from 'cookie-signature'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { FileStore, session } from '../../lib/bunway.ts'
import { sessionCookie } from '../../lib/testing.ts'
import { bun, type Running } from '../support/serve.ts'
import { lifetimeOf, secret, startApps, Visitor } from './fixture/visitor-documented.ts'

const kinds = ['memory', 'file', 'own', 'adapted', 'callbacks']
const cookieOf = (id: string, key = secret): string => `connect.sid=${encodeURIComponent(`s:${sign(id, key)}`)}`

describe.skipIf(!bun)('on bunWay', () => {
  let server: Running
  const visit = (app: string): Visitor => new Visitor(server, app)

  beforeAll(async () => {
    server = await startApps('bunway-documented.ts')
  })
  afterAll(async () => {
    try {
      expect(await visit('memory').ask('uncaught')).toEqual([])
    } finally {
      await server.stop()
    }
  })

  describe('a session that is destroyed', () => {
    it.each([...kinds, 'slowToSave'])('stays so when the same handler wrote to it before (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.login()
      const cookie = visitor.header
      expect((await visitor.get('/out-after-write')).json).toBe('out')
      expect(await visitor.data(cookie)).toEqual({})
    })

    it.each(kinds)('stays so when a slow request writes to it afterwards (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.login()
      const cookie = visitor.header
      const [slow] = await visitor.hold('/slow/write')
      await visitor.post('/logout')
      await visitor.ask('open')
      expect((await slow)?.status).toBe(200)
      expect(await visitor.data(cookie)).toEqual({})
    })

    it.each(['modern', 'memory'])('is not created again by save() (%s)', async (kind) => {
      for (const isNew of [true, false]) {
        const visitor = visit(kind)
        if (!isNew) await visitor.get('/set?n=1')
        const others = (await visitor.ids()).filter((id) => !visitor.header.includes(id.replace('sess:', '')))
        expect((await visitor.get('/save-after-destroy')).json).toBe('gone')
        expect((await visitor.ids()).toSorted()).toEqual(others.toSorted())
      }
    })

    it('takes the cookie away that it has set, though nobody waited for the store', async () => {
      const visitor = visit('slow')
      await visitor.login()
      const cookie = visitor.header
      await visitor.ask('done')
      const { setCookies, json } = await visitor.get('/ignoring/destroy')
      expect(json).toBe('at once')
      expect(await visitor.ask('done')).toEqual(['get', 'del'])
      expect(setCookies).toEqual([
        'connect.sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax',
      ])
      expect(await visitor.data(cookie)).toEqual({})
    })

    it('takes a __Host- cookie away with the attributes that browsers ask for', async () => {
      const visitor = visit('host')
      const headers = { 'x-forwarded-proto': 'https' }
      await visitor.get('/set?n=1', { headers })
      const cookie = visitor.header
      const { setCookies } = await visitor.get('/bare/destroy', { headers: { ...headers, cookie } })
      expect(setCookies).toEqual([expect.stringMatching(/^__Host-sid=; Path=\/; Expires=Thu, 01 .*; Secure/)])
    })
  })

  describe('an id that was replaced', () => {
    it.each([...kinds, 'slowToSave'])('is dead, and leaves no second record (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.login()
      const before = await visitor.ids()
      const old = visitor.header
      expect((await visitor.get('/renew-after-write')).json).toBe('renewed')
      expect((await visitor.ids()).length).toBe(before.length)
      expect(await visitor.data(old)).toEqual({})
    })

    it('leaves one cookie in the response that replaces it, on a first visit, too', async () => {
      const visitor = visit('memory')
      const { setCookies } = await visitor.login()
      expect(setCookies).toHaveLength(1)
      expect((await visitor.login()).setCookies).toHaveLength(1)
    })
  })

  describe('an answer given in a callback', () => {
    it.each(['slow', 'memory'])('is not lost to an empty one (%s)', async (kind) => {
      for (const path of ['/login', '/login-sync']) {
        const visitor = visit(kind)
        const { status, json, setCookies } = await visitor.login(path)
        expect([path, status, json, setCookies.length]).toEqual([path, 200, { success: true }, 1])
        expect(await visitor.data()).toMatchObject({ userId: 1 })
      }
    })
  })

  describe('what one request has set', () => {
    it('is there for the next, however slow the store is', async () => {
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          const visitor = visit('slow')
          expect((await visitor.post('/login-saved')).status).toBe(302)
          expect(await visitor.data()).toEqual({ userId: 1 })
        }),
      )
    })

    it.each(['modern', ...kinds])('is kept when it is nested (%s)', async (kind) => {
      const visitor = visit(kind)
      for (let n = 1; n <= 3; n++) await visitor.get('/nested')
      expect(await visitor.data()).toEqual({ cart: { n: 3, items: ['x', 'x', 'x'] } })
    })

    it.each(kinds)('goes with the request when its handler throws and nobody handles that (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.get('/nested')
      expect((await visitor.get('/nested-then-throw')).status).toBe(500)
      expect((await visitor.get('/throw')).status).toBe(500)
      expect(await visitor.data()).toEqual({ cart: { n: 1, items: ['x'] } })
    })

    it.each(kinds)('is not reverted by a slow request that only reads (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.get('/set?n=1')
      const [slow] = await visitor.hold('/slow/read')
      await visitor.get('/set?n=2')
      await visitor.ask('open')
      expect((await slow)?.json).toEqual({ n: '1' })
      expect(await visitor.data()).toEqual({ n: '2' })
    })

    it.each(kinds)('is not shared with a request that runs beside it before it is saved (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.get('/set?n=1')
      const [slow] = await visitor.hold('/slow/write')
      expect(await visitor.data()).toEqual({ n: '1' })
      await visitor.ask('open')
      await slow
      expect(await visitor.data()).toEqual({ n: 'slow' })
    })
  })

  describe('a store that fails', () => {
    const fail = async (app: string, command: string): Promise<Visitor> => {
      const visitor = visit(app)
      await visitor.get('/set?n=1')
      await visitor.ask('fail', command)
      return visitor
    }
    afterEach(async () => {
      for (const app of ['handled', 'modern', 'middleware']) await visit(app).ask('fail')
    })

    it.each([
      ['get', '/data'],
      ['setex', '/set?n=2'],
      ['setex', '/bare/save'],
      ['setex', '/awaited/save'],
      ['setex', '/passed/save'],
      ['del', '/bare/destroy'],
      ['del', '/awaited/destroy'],
      ['del', '/passed/destroy'],
      ['del', '/bare/regenerate'],
      ['del', '/awaited/regenerate'],
      ['del', '/passed/regenerate'],
    ])('to %s is an error of GET %s, and of that alone', async (command, path) => {
      for (const app of ['handled', 'modern']) {
        const visitor = await fail(app, command)
        const cookie = visitor.header
        const { status, text, setCookies } = await visitor.get(path)
        const handled = app === 'handled'
        expect([status, text]).toEqual(
          handled ? [503, `{"handled":"${command} failed"}`] : [500, '{"error":"Internal Server Error"}'],
        )
        // As in express-session, the new session is there even when the old one could not be destroyed.
        if (!path.includes('regenerate')) expect(setCookies).toEqual([])
        await visitor.ask('fail')
        expect(await visitor.data(cookie)).toEqual({ n: '1' })
        await visit(app).get('/set?n=3', { headers: { cookie } })
        expect(await visitor.data(cookie)).toEqual({ n: '3' })
      }
    })

    it.each([
      ['setex', 'save'],
      ['del', 'destroy'],
      ['del', 'regenerate'],
    ])('to %s tells the callback of %s(), once', async (command, method) => {
      for (const form of ['callback', 'promise']) {
        const visitor = await fail('handled', command)
        expect((await visitor.get(`/${form}/${method}`)).json).toEqual({ error: `${command} failed` })
      }
    })

    it('does not keep passport’s adapter waiting', async () => {
      const visitor = await fail('handled', 'setex')
      expect((await visitor.get('/passport/login')).json).toEqual({ error: 'setex failed' })
    })

    it('is answered with a 500 where a middleware has answered, which no error handler hears of', async () => {
      for (const path of ['/answered', '/answered-and-saved', '/prefixed']) {
        const visitor = await fail('middleware', 'setex')
        visitor.cookies.clear()
        expect(await visitor.get(path)).toMatchObject({
          status: 500,
          text: '{"error":"Internal Server Error"}',
          setCookies: [],
        })
      }
    })
  })

  describe('reload()', () => {
    it('of a session that the store does not hold is an error', async () => {
      for (const form of ['callback', 'promise']) {
        expect((await visit('modern').get(`/${form}/reload`)).json).toEqual({ error: 'failed to load session' })
      }
    })

    it.each(kinds)('changes the session that the handler holds, and nothing of what it offers (%s)', async (kind) => {
      const visitor = visit(kind)
      await visitor.get('/set?n=1')
      await visitor.post('/failed-login?reason=bad')
      const { json } = await visitor.get('/reload-held')
      expect(json).toEqual({ same: true, keys: ['cookie', 'n', 'flash'], error: 'bad' })
      expect(await visitor.data()).toEqual({ n: '1', after: true, flash: {} })
    })
  })

  describe('a flash message', () => {
    it.each([...kinds, 'expiring', 'modern'])(
      'is read once, and by nothing else than reading it (%s)',
      async (kind) => {
        const visitor = visit(kind)
        await visitor.post('/failed-login?reason=bad')
        for (const path of ['/untouched', '/data', '/set?n=1', '/bare/touch']) await visitor.get(path)
        const seen = [await visitor.get('/login'), await visitor.get('/login'), await visitor.get('/login')]
        expect(seen.map(({ json }) => json.errors)).toEqual(['bad', undefined, undefined])
      },
    )
  })

  it('a rolling cookie is in each answer, with a store that cannot touch, too', async () => {
    const visitor = visit('rollingWithoutTouch')
    for (const path of ['/untouched', '/data', '/set?n=1', '/untouched']) {
      expect((await visitor.get(path)).setCookies).toHaveLength(1)
    }
  })

  it.each(['own', 'modern', 'memory'])(
    'no visitor leaves a session where nothing answers for it (%s)',
    async (kind) => {
      const before = await visit(kind).ids()
      for (const [path, method, status] of [
        ['/nowhere', 'GET', 404],
        ['/data', 'POST', 405],
        ['/throw', 'GET', 500],
        ['/next-error', 'GET', 500],
        ['/silent', 'GET', 200],
      ] as const) {
        const replies = await Promise.all(Array.from({ length: 20 }, () => visit(kind).get(path, { method })))
        expect(replies.map((reply) => reply.status)).toEqual(Array(20).fill(status))
        expect(replies.flatMap(({ setCookies }) => setCookies)).toEqual([])
      }
      expect(await visit(kind).ids()).toEqual(before)
    },
  )

  it('a session shows its data and its cookie, and never its id', async () => {
    const visitor = visit('memory')
    await visitor.get('/set?user=ann&cart=full')
    const { json, text } = await visitor.get('/whole')
    expect(json.keys).toEqual(['cookie', 'user', 'cart'])
    expect(json.inherited).toEqual(json.keys)
    expect(json.session).toMatchObject({ user: 'ann', cart: 'full', cookie: { httpOnly: true } })
    const id = /s%3A([\w-]+)\./.exec(visitor.header)?.[1]
    expect(id).toHaveLength(32)
    expect(text).not.toContain(id)
  })

  it('records have the cookie that express-session needs of them, and are read with it', async () => {
    const visitor = visit('callbacks')
    await visitor.get('/set?n=1')
    const records = Object.values(await visitor.ask('records')).map((json) => JSON.parse(json as string))
    for (const record of records) expect(record.cookie).toMatchObject({ path: '/', expires: expect.any(String) })
    const id = 'from-express'
    const cookie = { originalMaxAge: 60_000, expires: new Date(Date.now() + 60_000), httpOnly: true, path: '/' }
    await visitor.ask('put', JSON.stringify([id, JSON.stringify({ cookie, passport: { user: 7 } })]))
    expect(await visitor.data(cookieOf(id))).toEqual({ passport: { user: 7 } })
  })

  it('cookies are signed as cookie-signature signs them', async () => {
    const sessions = session({ secret })
    for (let n = 0; n < 200; n++) {
      const value = decodeURIComponent((await sessionCookie(sessions, { n })).split('=')[1] ?? '')
      expect(unsign(value.slice(2), secret)).toHaveLength(32)
    }
  })

  describe('without a secret', () => {
    it.each(['unsigned', 'empty'])('no request is served (%s)', async (app) => {
      const { status, json, setCookies } = await visit(app).get('/set?n=1')
      expect([status, json, setCookies]).toEqual([503, { handled: 'secret option required for sessions' }, []])
      expect(await visit(app).ids()).toEqual([])
    })

    it('a list is refused at once', async () => {
      const { json } = await visit('setup').get('/')
      expect(json.list).toBe('secret option array must contain one or more strings')
    })
  })

  describe('a cookie', () => {
    it('has the lifetime that the session was given, and so has the record', async () => {
      const visitor = visit('modern')
      const { setCookies } = await visitor.get('/lifetime?ms=3600000')
      expect(lifetimeOf(setCookies[0])).toEqual(expect.closeTo(3_600_000, -5))
      expect(await visitor.ask('ttls')).toContain(3600)
    })

    it('has no date when maxAge is null', async () => {
      expect((await visit('browser').get('/set?n=1')).setCookies[0]).toMatch(/; Path=\/; HttpOnly; SameSite=Lax$/)
    })

    it('has the other attributes of express-session', async () => {
      const { setCookies } = await visit('domain').get('/set?n=1')
      for (const part of ['; Domain=example.org', '; Priority=High', '; Partitioned']) {
        expect(setCookies[0]).toContain(part)
      }
    })

    it('is secure where the request is, with secure: "auto"', async () => {
      expect((await visit('auto').get('/set?n=1')).setCookies[0]).not.toContain('; Secure')
      const headers = { 'x-forwarded-proto': 'https' }
      expect((await visit('auto').get('/set?n=1', { headers })).setCookies[0]).toContain('; Secure')
    })

    it('may be made for each request', async () => {
      const headers = { 'x-remember': '1' }
      const [short, long] = [await visit('made').get('/set?n=1'), await visit('made').get('/set?n=1', { headers })]
      expect(lifetimeOf(long.setCookies[0])).toEqual(expect.closeTo(3_600_000, -5))
      expect(lifetimeOf(short.setCookies[0])).toEqual(expect.closeTo(86_400_000, -5))
    })

    it('that is good is used, whichever other of its name stands before or after it', async () => {
      const visitor = visit('modern')
      await visitor.get('/set?n=1')
      const good = visitor.header
      const bad = 'connect.sid=s%3Aforged.signature'
      const unknown = cookieOf('unknown')
      for (const cookie of [`${bad}; ${good}`, `${good}; ${bad}`, `${unknown}; ${good}`, `a=%ZZ; ${good}`]) {
        expect(await visitor.data(cookie)).toEqual({ n: '1' })
      }
    })

    it('whose id the store does not know is not taken over', async () => {
      const { text, setCookies } = await visit('modern').get('/set?n=1', { headers: { cookie: cookieOf('planted') } })
      expect([text, setCookies[0]]).toEqual(['"set"', expect.not.stringContaining('planted')])
    })
  })

  it('ids that look alike, or like a path, are sessions of their own in a folder', async () => {
    const path = mkdtempSync(join(tmpdir(), 'sessions-'))
    try {
      const store = new FileStore({ path: join(path, 'sessions') })
      const ids = ['user_1', 'user1', 'u.s.e.r.1', '../user1', '__proto__', 'USER1']
      for (const id of ids) await store.set(id, { id })
      for (const id of ids) expect(await store.get(id)).toMatchObject({ id })
      expect(await store.length()).toBe(ids.length)
    } finally {
      rmSync(path, { recursive: true, force: true })
    }
  })

  it('signing in by passport’s adapter can be made safe: a new id, the data kept, the old id dead', async () => {
    const visitor = visit('modern')
    await visitor.get('/set?cart=full')
    const old = visitor.header
    expect((await visitor.get('/passport/safe-login')).json).toEqual({ error: null })
    expect(visitor.header).not.toBe(old)
    expect(await visitor.data()).toEqual({ cart: 'full', passport: { user: 7 } })
    expect(await visitor.data(old)).toEqual({})
  })
})
