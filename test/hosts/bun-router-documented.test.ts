// What bun-router's documentation shows of sessions, on its stand-in under Bun. The apps: fixture/bun-router-documented.ts.

import { randomUUID } from 'node:crypto'
import { sign } from 'cookie-signature'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type RedisServer, redisMissing, startRedis } from '../support/redis.ts'
import { bun, type Running } from '../support/serve.ts'
import { lifetimeOf, secret, startApps, Visitor } from './fixture/visitor-documented.ts'

const DAY = 86_400_000
/** A lifetime, whatever time has passed since it began. */
const near = (ms: number) => expect.closeTo(ms, -5)
const kinds = ['memory', 'file', 'own', 'callbacks', ...(redisMissing ? [] : ['redis', 'redisClient'])]

describe.skipIf(!bun)('sessions as bun-router documents them', () => {
  let server: Running
  let redis: RedisServer | undefined

  beforeAll(async () => {
    redis = redisMissing ? undefined : await startRedis()
    server = await startApps('bun-router-documented.ts', { REDIS_URL: redis?.url })
  })
  afterAll(async () => {
    try {
      expect(await new Visitor(server, 'memory').ask('uncaught')).toEqual([])
    } finally {
      await server?.stop()
      await redis?.stop()
    }
  })

  describe.each([
    ['the router of 2025', ''],
    ['the router of today', 'newer-'],
  ])('on %s', (_, prefix) => {
    const visit = (app: string): Visitor => new Visitor(server, prefix + app)

    describe.each(kinds)('with a store of the kind "%s"', (kind) => {
      let visitor: Visitor

      beforeEach(() => {
        visitor = visit(kind)
      })

      it('count visits', async () => {
        for (const n of [1, 2, 3]) {
          expect((await visitor.get('/visits')).text).toBe(`You have visited this page ${n} times.`)
        }
      })

      it('send a cookie named bun_session for one day, once there is something to keep', async () => {
        expect((await visitor.get('/data')).setCookies).toEqual([])
        const { setCookies } = await visitor.get('/visits')
        expect(setCookies).toEqual([
          expect.stringMatching(/^bun_session=s%3A[\w-]{32}\.[^;]+; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Lax$/),
        ])
        expect(lifetimeOf(setCookies[0])).toEqual(near(DAY))
        expect((await visitor.get('/data')).setCookies).toEqual([])
      })

      it('are written, read and deleted from', async () => {
        expect((await visitor.get('/profile')).status).toBe(401)
        expect((await visitor.post('/login', { username: 'eve' })).status).toBe(401)
        expect((await visitor.login()).json).toEqual({ success: true })
        expect((await visitor.get('/profile')).json).toEqual({ username: 'ann', lastActive: expect.any(String) })
        expect((await visitor.post('/logout')).text).toBe('Logged out')
        expect((await visitor.get('/profile')).status).toBe(401)
        expect(await visitor.data()).toEqual({})
      })

      it('get a new id and keep their data by req.regenerateSession()', async () => {
        await visitor.get('/set?cart=full')
        for (const [path, data] of [
          ['/password/change', { cart: 'full' }],
          ['/secure-login', { cart: 'full', userId: 1, lastActive: expect.any(String) }],
        ] as const) {
          const old = visitor.header
          const { status, setCookies } = await visitor.post(path)
          expect([status, setCookies.length]).toEqual([200, 1])
          expect(await visitor.data()).toEqual(data)
          expect(await visitor.data(old)).toEqual({})
        }
      })

      it('end by req.destroySession(), the cookie with them', async () => {
        for (const [path, method, status] of [
          ['/account/delete', 'POST', 302],
          ['/me', 'GET', 404],
        ] as const) {
          await visitor.post('/secure-login')
          const old = visitor.header
          const reply = await visitor.get(path, { method })
          expect(reply.status).toBe(status)
          expect(reply.setCookies).toEqual([
            'bun_session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax',
          ])
          expect(await visitor.data(old)).toEqual({})
        }
        expect((await visitor.get('/me')).status).toBe(401)
      })

      it('carry flash messages over a redirect, once', async () => {
        await visitor.post('/articles')
        await visitor.get('/untouched')
        const all = { success: ['Article created successfully!'] }
        expect((await visitor.get('/articles')).json).toEqual({ all, success: [] })
        expect((await visitor.get('/articles')).json).toEqual({ all: {}, success: [] })
        await visitor.post('/articles')
        expect((await visitor.get('/success')).json).toEqual(all.success)
        expect((await visitor.get('/success')).json).toEqual([])
        expect((await visitor.get('/flash')).json).toBe(1)
        expect((await visitor.get('/articles')).json.all).toEqual({ info: ['hello ann'] })
      })

      it('live longer when their cookie is told so', async () => {
        const { setCookies } = await visitor.post('/remember')
        expect(lifetimeOf(setCookies[0])).toEqual(near(30 * DAY))
        expect(setCookies[0]).toMatch(/; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Lax$/)
        expect(await visitor.data()).toEqual({ userId: 1 })
        await visitor.get('/visits')
        expect(lifetimeOf((await visitor.get('/visits')).setCookies[0])).toEqual(near(30 * DAY))
      })

      it('have get(), set(), has() and forget(), whatever keys the data has', async () => {
        expect((await visitor.get('/methods')).json).toEqual({ before: null, has: [true, false] })
        expect((await visitor.get('/methods')).json).toEqual({ before: 7, has: [true, false] })
        expect(await visitor.data()).toMatchObject({ userId: 7 })
        expect((await visitor.get('/reload')).json).toEqual([7, null])
      })
    })

    it('a state kept before a redirect is there when the browser comes back', async () => {
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const visitor = visit('slow')
          expect((await visitor.get('/oauth')).status).toBe(302)
          expect((await visitor.get('/oauth/callback')).json).toEqual({ oauthState: 'state' })
          expect(await visitor.data()).toEqual({})
        }),
      )
    })

    it('requests that carry a token and no cookie have no session, and cost the store nothing', async () => {
      const visitor = visit('own')
      await visitor.ask('done')
      const headers = { authorization: 'Bearer token' }
      const { json, setCookies } = await visitor.get('/api/protected', { headers })
      expect([json, setCookies]).toEqual([{ token: 'token' }, []])
      expect((await visitor.get('/dashboard')).headers.get('location')).toBe('/login')
      expect(await visitor.ask('done')).toEqual([])
    })

    it('without rolling, a request that changes nothing extends nothing', async () => {
      const visitor = visit('own')
      await visitor.post('/remember')
      for (const path of ['/untouched', '/data']) {
        await visitor.ask('done')
        expect((await visitor.get(path)).setCookies).toEqual([])
        expect(await visitor.ask('done')).toEqual(['get'])
      }
    })

    it('a store of the app’s own is told its times in seconds', async () => {
      const visitor = visit('ownRolling')
      await visitor.get('/set?n=1')
      expect(await visitor.ask('ttls')).toContain(DAY / 1000)
      await visitor.post('/remember')
      await visitor.ask('done')
      await visitor.get('/untouched')
      expect(await visitor.ask('done')).toEqual(['get', 'expire'])
      expect(await visitor.ask('ttls')).toContain(30 * (DAY / 1000))
    })

    describe('options', () => {
      it('name, maxAge, cookie and genid', async () => {
        const { setCookies } = await visit('named').get('/set?n=1')
        expect(setCookies[0]).toMatch(/^my_app_session=s%3Amade-\d+\..*; Domain=example.com; .*; SameSite=Strict$/)
        expect(lifetimeOf(setCookies[0])).toEqual(near(7 * DAY))
      })

      it('cookie.secure: over HTTPS only, behind a proxy that is trusted, too', async () => {
        expect((await visit('secure').get('/set?n=1')).setCookies).toEqual([])
        const { setCookies } = await visit('secure').get('/set?n=1', { headers: { 'x-forwarded-proto': 'https' } })
        expect(setCookies[0]).toContain('; Secure')
      })

      it('autoCommit: false stores and sends what is saved by hand, and nothing else', async () => {
        const visitor = visit('byHand')
        await visitor.ask('done')
        for (const path of ['/set?n=2', '/answer/null', '/untouched']) {
          expect((await visitor.get(path)).setCookies).toEqual([])
        }
        expect(await visitor.ask('done')).toEqual([])
        expect((await visitor.get('/save')).setCookies).toHaveLength(1)
        await visitor.get('/set?n=2')
        expect(await visitor.data()).toEqual({ n: 1 })
        expect((await visitor.post('/account/delete')).setCookies).toHaveLength(1)
        expect(await visitor.ids()).toEqual([])
      })

      it('rolling: each response sends the cookie anew', async () => {
        const visitor = visit('rolling')
        expect((await visitor.get('/untouched')).setCookies).toEqual([])
        await visitor.get('/set?n=1')
        const { header } = visitor
        for (const path of ['/untouched', '/data']) {
          expect(lifetimeOf((await visitor.get(path)).setCookies[0])).toEqual(near(1_800_000))
        }
        expect(visitor.header).toBe(header)
      })

      describe('renew', () => {
        let visitor: Visitor
        let old: string

        /** A visitor whose id was issued two hours ago. */
        beforeEach(async () => {
          visitor = visit('renewed')
          const id = randomUUID()
          const now = Date.now()
          const cookie = { originalMaxAge: DAY, issuedAt: now - 7_200_000, expires: new Date(now + DAY), path: '/' }
          await visitor.ask('put', JSON.stringify([id, JSON.stringify({ cookie, n: 1 })]))
          visitor.cookies.set('bun_session', encodeURIComponent(`s:${sign(id, secret)}`))
          old = visitor.header
        })

        it('gives a session whose id is old another one, the data kept', async () => {
          expect((await visitor.get('/untouched')).setCookies).toHaveLength(1)
          expect(visitor.header).not.toBe(old)
          expect(await visitor.data()).toEqual({ n: 1 })
          expect((await visitor.get('/untouched')).setCookies).toEqual([])
        })

        it('lets requests with the old id go on for half a minute, and tells them the new one', async () => {
          await visitor.get('/untouched')
          const { setCookies, json } = await visitor.get('/data', { headers: { cookie: old } })
          expect(json.data).toEqual({ n: 1 })
          expect(setCookies).toHaveLength(1)
        })

        it('keeps what the request itself has changed', async () => {
          await visitor.get('/answer/text')
          expect(visitor.header).not.toBe(old)
          expect(await visitor.data()).toEqual({ n: 2 })
        })

        it('waits for a response that can tell the browser', async () => {
          expect((await visitor.get('/throw')).status).toBe(500)
          expect(await visitor.data(old)).toEqual({ n: 1 })
        })

        it('loses no session when the store fails', async () => {
          await visitor.ask('fail', 'setex')
          const { status, setCookies } = await visitor.get('/untouched')
          await visitor.ask('fail')
          expect([status, setCookies]).toEqual([500, []])
          expect((await visitor.get('/data')).json.data).toEqual({ n: 1 })
        })

        it('leaves a session alone that its handler ends, or that has a new id already', async () => {
          expect((await visitor.post('/secure-login')).setCookies).toHaveLength(1)
          expect(await visitor.data()).toMatchObject({ n: 1, userId: 1 })
          expect(await visitor.data(old)).toEqual({})
          expect((await visitor.post('/account/delete')).setCookies).toHaveLength(1)
          expect(visitor.header).toBe('')
        })

        it('comes when renewAfter has passed', async () => {
          const soon = visit('renewedSoon')
          await soon.get('/set?n=1')
          const first = soon.header
          await new Promise((resolve) => setTimeout(resolve, 30))
          await soon.get('/untouched')
          expect(soon.header).not.toBe(first)
          expect((await soon.get('/data')).json.data).toEqual({ n: '1' })
        })
      })
    })

    describe('an app’s own req.session', () => {
      it.each([
        ['mocked', { userId: 123 }],
        ['mockedEmpty', {}],
      ])('is left alone, and kept nowhere (%s)', async (app, data) => {
        const visitor = visit(app)
        expect((await visitor.get('/set?n=1')).setCookies).toEqual([])
        expect(await visitor.data()).toEqual(data)
        expect(await visitor.ids()).toEqual([])
      })

      it('empties the session when a middleware below assigns {}', async () => {
        const visitor = visit('fetchesUser')
        await visitor.get('/set?n=1&m=2')
        await visitor.get('/untouched?reset')
        expect(await visitor.data()).toEqual({})
      })

      it('becomes the session’s data when a handler assigns it', async () => {
        const visitor = visit('own')
        await visitor.get('/set?n=1')
        const { header } = visitor
        await visitor.get('/replace')
        expect(visitor.header).toBe(header)
        expect(await visitor.data()).toEqual({ user: 'bob', flash: { info: ['replaced'] } })
      })
    })

    describe('an answer', () => {
      it.each([
        ['text', 200, 'text'],
        ['json', 200, '{"a":1}'],
        ['null', prefix ? 204 : 200, ''],
        ['undefined', prefix ? 204 : 200, ''],
        ['redirect', 302, ''],
        ['stream', 200, 'one two'],
      ])('of the kind "%s" arrives whole, with its cookie', async (kind, status, text) => {
        const visitor = visit('own')
        const reply = await visitor.get(`/answer/${kind}`)
        expect([reply.status, reply.text, reply.setCookies.length]).toEqual([status, text, 1])
        expect(await visitor.data()).toEqual({ n: 1 })
      })

      it.each(['shared', 'away'])('that is one object for all (%s) carries nobody else’s cookie', async (kind) => {
        const visitors = [visit('own'), visit('own')]
        for (const visitor of visitors) expect((await visitor.get(`/answer/${kind}`)).setCookies).toHaveLength(1)
        for (const visitor of visitors) expect((await visitor.get(`/answer/${kind}`)).setCookies).toHaveLength(1)
        expect(visitors[0]?.header).not.toBe(visitors[1]?.header)
        for (const visitor of visitors) expect(await visitor.data()).toEqual({ n: 2 })
        for (const app of ['byHand', 'sessionless']) {
          expect((await visit(app).get(`/answer/${kind}`)).setCookies).toEqual([])
        }
      })

      it('keeps the cookies that the app sets', async () => {
        const { setCookies } = await visit('own').get('/answer/cookies')
        expect(setCookies.map((cookie) => cookie.split('=')[0])).toEqual(['own', 'other', 'bun_session', 'queued'])
      })

      it('of a plain text keeps its type', async () => {
        // The router of 2025 wraps each answer anew, and Bun then knows its type no more.
        const type = prefix ? /^text\/plain/ : /^application\/octet-stream/
        expect((await visit('own').get('/answer/text')).headers.get('content-type')).toMatch(type)
      })

      it('can be changed by a middleware above, which sees the session, too', async () => {
        const visitor = visit('wrapped')
        const { headers, setCookies } = await visitor.get('/answer/redirect')
        expect([headers.get('x-outer'), setCookies.length]).toEqual(['object', 1])
        const { headers: after } = await visitor.post('/account/delete')
        expect(after.get('x-outer')).toBe('undefined')
      })
    })

    it('after req.destroySession() there is no session, none to renew, and none to end', async () => {
      const visitor = visit('own')
      await visitor.get('/set?n=1')
      const old = visitor.header
      const { json } = await visitor.get('/after-destroy')
      expect(json).toEqual(['undefined', 'string', 'this request has no session any more'])
      expect(await visitor.data(old)).toEqual({})
    })
  })
})
