// What bunWay's documentation shows of sessions, on its stand-in under Bun. The apps: fixture/bunway-documented.ts.

import { createHmac } from 'node:crypto'
import { sign } from 'cookie-signature'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { bun, type Running } from '../support/serve.ts'
import { lifetimeOf, secret, startApps, Visitor } from './fixture/visitor-documented.ts'

const DAY = 86_400_000
/** A lifetime, whatever time has passed since it began. */
const near = (ms: number) => expect.closeTo(ms, -5)

describe.skipIf(!bun)('sessions as bunWay documents them', () => {
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

  describe.each(['memory', 'file', 'own', 'adapted', 'callbacks'])('with a store of the kind "%s"', (kind) => {
    let visitor: Visitor

    beforeEach(() => {
      visitor = visit(kind)
    })

    it('count visits', async () => {
      for (const views of [1, 2, 3]) expect((await visitor.get('/profile')).json).toEqual({ views })
      expect((await visit(kind).get('/profile')).json).toEqual({ views: 1 })
    })

    it('send a cookie named connect.sid for 24 hours, and answer with the id and the store', async () => {
      const { setCookies, json } = await visitor.get('/data')
      expect(setCookies).toEqual([
        expect.stringMatching(/^connect\.sid=s%3A[\w-]{32}\.[^;]+; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Lax$/),
      ])
      expect(lifetimeOf(setCookies[0])).toEqual(near(DAY))
      expect(setCookies[0]).toContain(json.id)
      expect(json).toMatchObject({ data: {}, stored: true })
      expect((await visitor.get('/data')).json.id).toBe(json.id)
    })

    it('sign in by a callback inside an async handler', async () => {
      await visitor.get('/set?theme=dark')
      const old = visitor.header
      const { status, json, setCookies } = await visitor.login()
      expect([status, json, setCookies.length]).toEqual([200, { success: true }, 1])
      expect(visitor.header).not.toBe(old)
      expect(await visitor.data()).toEqual({ userId: 1, username: 'ann' })
      expect(await visitor.data(old)).toEqual({})
      expect((await visitor.get('/dashboard')).json).toEqual({ user: 'ann' })
    })

    it('sign in by a callback inside a sync handler, by two in a row, and on a held session', async () => {
      for (const path of ['/login-sync', '/login-saved']) {
        const first = visit(kind)
        const { status, setCookies } = await first.post(path)
        expect([path, status, setCookies.length]).toEqual([path, path === '/login-saved' ? 302 : 200, 1])
        expect(await first.data()).toEqual({ userId: 1 })
      }
      const { json } = await visitor.post('/login-held')
      expect(json).toEqual({ same: true, id: true, keys: ['cookie', 'userId'] })
      expect(await visitor.data()).toEqual({ userId: 1 })
    })

    it('refuse a wrong sign-in and a page that asks for one', async () => {
      expect((await visitor.post('/login', { username: 'eve' })).status).toBe(401)
      expect((await visitor.get('/dashboard')).status).toBe(401)
      expect(await visitor.get('/admin')).toMatchObject({ status: 403, text: '{"error":"Forbidden"}' })
    })

    it('sign out by a callback: the record is gone, the cookie is cleared', async () => {
      await visitor.login()
      const cookie = visitor.header
      const { status, json, setCookies } = await visitor.post('/logout')
      expect([status, json]).toEqual([200, { success: true }])
      expect(setCookies).toEqual([
        'connect.sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax',
      ])
      expect(await visitor.data(cookie)).toEqual({})
    })

    it('answer when all methods are called in a row and nobody waits for them', async () => {
      await visitor.login()
      const cookie = visitor.header
      const { status, json } = await visitor.get('/user')
      expect([status, json]).toEqual([200, { userId: 1 }])
      expect(await visitor.data(cookie)).toEqual({})
    })

    it.each(['regenerate', 'destroy', 'reload', 'save'])('offer %s() in every form', async (method) => {
      for (const form of ['callback', 'promise', 'awaited', 'passed']) {
        await visitor.get('/set?n=1')
        const { status, json } = await visitor.get(`/${form}/${method}`)
        expect([form, status, json]).toEqual([form, 200, { error: null }])
      }
      for (const form of ['ignoring', 'bare']) {
        await visitor.get('/set?n=1')
        const { status, json } = await visitor.get(`/${form}/${method}`)
        expect([form, status, json]).toEqual([form, 200, 'at once'])
      }
      expect(await visitor.data()).toEqual(method === 'regenerate' || method === 'destroy' ? {} : { n: '1' })
    })

    it('offer touch(), which may be ignored', async () => {
      await visitor.get('/set?n=1')
      expect((await visitor.get('/bare/touch')).json).toBe('at once')
      expect(await visitor.data()).toEqual({ n: '1' })
    })

    it('flash messages: one is a string, more are a list, none is undefined, each is read once', async () => {
      const { status } = await visitor.post('/failed-login?reason=bad')
      expect(status).toBe(302)
      await visitor.get('/untouched')
      await visitor.get('/set?n=1')
      expect((await visitor.get('/login')).json).toEqual({ errors: 'bad' })
      for (let i = 0; i < 2; i++) expect((await visitor.get('/login')).json).toEqual({})
      await visitor.post('/failed-login?reason=bad&reason=worse')
      expect((await visitor.get('/login')).json).toEqual({ errors: ['bad', 'worse'] })
      expect((await visitor.get('/login')).json).toEqual({})
    })

    it('keep nested changes', async () => {
      await visitor.get('/nested')
      expect((await visitor.get('/nested')).json).toEqual({ n: 2, items: ['x', 'x'] })
      expect(await visitor.data()).toEqual({ cart: { n: 2, items: ['x', 'x'] } })
    })
  })

  describe('options', () => {
    it('rolling: each response sends the cookie anew and keeps the session alive', async () => {
      const visitor = visit('expiring')
      await visitor.get('/set?n=1')
      const id = visitor.header
      const { setCookies } = await visitor.get('/untouched')
      expect(setCookies).toEqual([expect.stringMatching(/; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Strict$/)])
      expect(lifetimeOf(setCookies[0])).toEqual(near(1_800_000))
      expect(visitor.header).toBe(id)
    })

    it('name and genid', async () => {
      const { setCookies, json } = await visit('named').get('/set?n=1')
      expect([json, setCookies[0]]).toEqual(['set', expect.stringMatching(/^sid=s%3Amade-at-set-\d+\./)])
    })

    it('secret as a list: the first signs, each verifies', async () => {
      const visitor = visit('rotated')
      await visitor.ask('put', JSON.stringify(['sess:old', JSON.stringify({ userId: 1 })]))
      visitor.cookies.set('connect.sid', encodeURIComponent(`s:${sign('old', secret)}`))
      expect(await visitor.data()).toEqual({ userId: 1 })
      await visitor.get('/set?n=1')
      const newer = 'a newer secret that is just as long'
      expect(visitor.header).toBe(`connect.sid=${encodeURIComponent(`s:${sign('old', newer)}`)}`)
    })

    it('saveUninitialized: on by default, and off; resave writes only where the store has no touch()', async () => {
      const visitor = visit('modern')
      expect((await visitor.get('/data')).setCookies).toEqual([])
      await visitor.get('/set?n=1')
      await visitor.ask('done')
      await visitor.get('/data')
      expect(await visitor.ask('done')).toEqual(['get', 'expire'])
      const other = visit('own')
      expect((await other.get('/untouched')).setCookies).toHaveLength(1)
      await other.ask('done')
      await other.get('/untouched')
      expect(await other.ask('done')).toEqual(['get', 'expire'])
    })

    it('a FileStore’s own ttl is the lifetime of its sessions and of their cookie', async () => {
      const { setCookies } = await visit('shortLived').get('/data')
      expect(lifetimeOf(setCookies[0])).toEqual(near(60_000))
    })

    it('a store of the app’s own is told the time in milliseconds', async () => {
      const visitor = visit('modern')
      await visitor.get('/set?n=1')
      expect(new Set(await visitor.ask('ttls'))).toEqual(new Set([DAY / 1000]))
    })
  })

  it('stores can be used by themselves', async () => {
    const { json } = await visit('direct').get('/')
    for (const name of ['memory', 'file']) {
      expect(json[name]).toMatchObject({
        found: { userId: 1 },
        missing: null,
        expired: null,
        all: expect.arrayContaining([expect.objectContaining({ userId: 1 }), expect.objectContaining({ userId: 2 })]),
        lists: true,
        length: 2,
        left: 1,
        cleared: 0,
      })
    }
    expect(json.size).toBe(0)
  })

  describe('sessions that bunWay’s own middleware has made', () => {
    const record = JSON.stringify({ userId: 7, _flash: { error: ['bad'] } })
    const signedIn = async (id: string): Promise<Visitor> => {
      const visitor = visit('modern')
      await visitor.ask('put', JSON.stringify([`sess:${id}`, record]))
      const signature = createHmac('sha256', secret).update(id).digest('base64url')
      visitor.cookies.set('connect.sid', encodeURIComponent(`s:${id}.${signature}`))
      return visitor
    }

    it('go on, whatever characters their signature has', async () => {
      for (let n = 0; n < 12; n++)
        expect(await (await signedIn(`${n}`.padEnd(48, 'a'))).data()).toMatchObject({ userId: 7 })
    })

    it('keep their flash messages, and get a cookie of ours when they change', async () => {
      const visitor = await signedIn('b'.repeat(48))
      const { json, setCookies } = await visitor.get('/login')
      expect(json).toEqual({ errors: 'bad' })
      expect(setCookies).toHaveLength(1)
      expect(visitor.header).toBe(`connect.sid=${encodeURIComponent(`s:${sign('b'.repeat(48), secret)}`)}`)
      expect((await visitor.get('/login')).json).toEqual({})
      expect(await visitor.data()).toMatchObject({ userId: 7 })
    })
  })

  describe('an answer', () => {
    it('that streams has its cookie and its session', async () => {
      for (const path of ['/stream', '/stream-in-callback']) {
        const visitor = visit('modern')
        const { text, setCookies } = await visitor.get(path)
        expect([path, text, setCookies.length]).toEqual([path, 'one two', 1])
        expect(await visitor.data()).toEqual({ streamed: true })
      }
    })

    it('given twice is the last one, with one cookie', async () => {
      const { status, json, setCookies } = await visit('modern').get('/twice')
      expect([status, json, setCookies.length]).toEqual([201, 'second', 1])
    })

    it('may be built by others who wrap it, above and below', async () => {
      const visitor = visit('wrapped')
      const { headers, setCookies } = await visitor.login()
      expect([headers.has('x-response-time'), headers.get('x-waited'), setCookies.length]).toEqual([true, '1', 1])
      expect(await visitor.data()).toEqual({ userId: 1, username: 'ann' })
    })

    it('of a callback may come late, and what the callback throws is an error', async () => {
      expect((await visit('handled').get('/late-callback')).json).toBe('late')
      expect(await visit('handled').get('/throwing-callback')).toMatchObject({
        status: 503,
        text: '{"handled":"the callback threw"}',
      })
    })

    it('of the next handler is not skipped for a callback that is on its way', async () => {
      expect((await visit('modern').get('/chain')).json).toBe('the handler ran')
      expect((await visit('modern').get('/save-then-next')).status).toBe(200)
    })

    it('of a middleware carries the cookie, too', async () => {
      for (const path of ['/answered', '/answered-and-saved', '/prefixed']) {
        const visitor = visit('middleware')
        expect((await visitor.get(path)).setCookies).toHaveLength(1)
        expect(await visitor.data()).toEqual({ n: 1 })
      }
    })
  })

  it('work in a router that mounts them, and only there', async () => {
    const visitor = visit('routers')
    expect((await visitor.get('/bare/kind')).json).toBe('undefined')
    await visitor.login('/sub/login')
    expect((await visitor.get('/sub/data')).json.data).toEqual({ userId: 1, username: 'ann' })
    expect(await visitor.data()).toEqual({ userId: 1, username: 'ann' })
  })

  describe('passport’s adapter', () => {
    it('mounted above hides the headers, and does no harm', async () => {
      const visitor = visit('shim')
      await visitor.login()
      expect(await visitor.data()).toEqual({ userId: 1, username: 'ann' })
    })

    it('signs in and out on the session that it holds', async () => {
      const visitor = visit('modern')
      await visitor.get('/set?n=1')
      expect((await visitor.get('/passport/login')).json).toEqual({ error: null })
      expect(await visitor.data()).toEqual({ n: '1', passport: { user: 7 } })
      expect((await visitor.get('/passport/logout')).json).toEqual({ error: null })
      expect(await visitor.data()).toEqual({ n: '1' })
    })
  })

  describe('a WebSocket', () => {
    it('reads its session, and saves it when told to', async () => {
      const visitor = visit('sockets')
      await visitor.login()
      const data = { userId: 1, username: 'ann' }
      expect((await visitor.get('/talk?say=look&say=save&say=look')).json).toEqual([
        data,
        { ...data, heard: 1 },
        { ...data, heard: 1 },
      ])
      expect(await visitor.data()).toEqual({ ...data, heard: 1 })
    })

    it('is refused to those who have not signed in, and leaves no session behind', async () => {
      const visitor = visit('sockets')
      const before = await visitor.ids()
      expect((await visitor.get('/talk')).json).toBe('refused')
      expect(await visitor.ids()).toEqual(before)
    })
  })
})
