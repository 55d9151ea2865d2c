// One table of behaviour that every host must show.

import { sign } from 'cookie-signature'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Browser, type Reply } from '../support/jar.ts'
import type { Running } from '../support/serve.ts'
import { cookieChanges } from './fixture/routes.ts'

const secret = 'a secret that is long enough for everybody'
const signed = (id: string, key = secret): string => encodeURIComponent(`s:${sign(id, key)}`)

export interface HostTraits {
  /** A failing save that nothing of the response waited for: the answer goes out and the host's error handler hears of it. */
  readonly answersBeforeErrors: boolean
  /** A handler that throws has its session saved, because its error page is a response like any other. */
  readonly savesWhatThrows: boolean
  /** One session object for the whole request, and flash messages in bunWay's shape. */
  readonly bunway?: boolean
}

export function describeHost(name: string, start: () => Promise<Running>, traits: HostTraits): void {
  describe(`sessions on ${name}`, () => {
    let server: Running
    let browser: Browser

    beforeAll(async () => {
      server = await start()
    })
    afterAll(() => server?.stop())
    beforeEach(() => {
      browser = new Browser(server.url)
    })

    const calls = async (configuration: string): Promise<string[]> =>
      (await new Browser(server.url).get(`/${configuration}/calls`)).json.calls
    const errors = async (): Promise<string[]> => (await new Browser(server.url).get('/plain/errors')).json

    /** Waits until the held store keeps a call back, and for the answer not to be there by then. */
    const untilHeld = async (pending: Promise<Reply>): Promise<void> => {
      let answered = false
      pending.finally(() => {
        answered = true
      })
      const other = new Browser(server.url)
      while ((await other.get('/held/calls')).json.waiting === 0) expect(answered).toBe(false)
      for (let i = 0; i < 3; i++) await other.get('/held/calls')
      expect(answered).toBe(false)
    }

    describe('a visit', () => {
      it('that puts nothing into the session stores nothing and sends no cookie', async () => {
        await calls('plain')
        for (const route of ['untouched', 'look']) {
          expect((await browser.get(`/plain/${route}`)).setCookies).toEqual([])
        }
        expect(await calls('plain')).toEqual([])
      })

      it('is remembered: what one request sets, the next one sees, under the same id', async () => {
        const first = await browser.get('/plain/set?user=ann')
        expect(first.setCookies).toHaveLength(1)
        expect(first.setCookies[0]).toMatch(/^connect\.sid=s%3A[\w-]{32}\.[^;]+; Path=\/; Expires=[^;]+; HttpOnly$/)
        const second = await browser.get('/plain/look')
        expect(second.json).toMatchObject({
          id: first.json.id,
          data: { user: 'ann' },
        })
        expect(second.setCookies).toEqual([])
      })

      it('with saveUninitialized gets a session even when nobody looks at it', async () => {
        await calls('eager')
        expect((await browser.get('/eager/untouched')).setCookies).toHaveLength(1)
        expect(await calls('eager')).toEqual(['set'])
        await browser.get('/eager/untouched')
        expect(await calls('eager')).toEqual(['get', 'set'])
      })

      it('that only reads touches the store and does not write', async () => {
        await browser.get('/plain/set?user=ann')
        await calls('plain')
        await browser.get('/plain/look')
        await browser.get('/plain/untouched')
        expect(await calls('plain')).toEqual(['get', 'touch', 'get', 'touch'])
      })

      it('saves nested changes', async () => {
        await browser.get('/plain/count')
        await browser.get('/plain/count')
        expect((await browser.get('/plain/count')).json.data.nested.n).toBe(3)
      })

      it('that was saved by hand is not saved again', async () => {
        await calls('plain')
        await browser.get('/plain/saveTwice')
        expect(await calls('plain')).toEqual(['set'])
      })

      it('survives a store that answers twice', async () => {
        await browser.get('/twice/set?user=ann')
        expect((await browser.get('/twice/look')).json.data).toEqual({
          user: 'ann',
        })
      })

      it('without a Max-Age has a cookie for the life of the browser', async () => {
        expect((await browser.get('/browser/set?user=ann')).setCookies[0]).toMatch(/; Path=\/; HttpOnly$/)
      })

      it('renews its cookie when something changed, and on each visit with rolling', async () => {
        await browser.get('/plain/set?n=1')
        expect((await browser.get('/plain/set?n=2')).setCookies).toHaveLength(1)
        await browser.get('/rolling/set?n=1')
        const cookie = browser.header
        expect((await browser.get('/rolling/untouched')).setCookies).toHaveLength(1)
        expect(browser.header).toBe(cookie)
      })

      it('can be given another lifetime', async () => {
        const before = Date.now()
        const { setCookies } = await browser.get('/plain/lifetime?ms=3600000')
        const start = Date.parse(/Expires=([^;]+)/.exec(setCookies[0] ?? '')?.[1] ?? '') - 3_600_000
        // The cookie's date is in whole seconds.
        expect(start).toBeGreaterThan(before - 1_000)
        expect(start).toBeLessThanOrEqual(Date.now())
      })

      it('that ran out is over', async () => {
        await browser.get('/plain/lifetime?ms=1')
        const header = browser.header || 'none=1'
        expect((await browser.get('/plain/look', { headers: { cookie: header } })).json.data).toEqual({})
      })
    })

    describe('who may keep the answer', () => {
      const cacheControl = async (path: string): Promise<string | null> => {
        const { headers } = await browser.get(path)
        return headers.get('cache-control')
      }

      it('is the browser alone where the answer carries a cookie, and nobody says otherwise', async () => {
        expect(await cacheControl('/plain/cached')).toBe('private')
        expect(await cacheControl('/plain/cached?as=max-age=60')).toBe('max-age=60, private')
        expect(await cacheControl('/plain/cached?as=no-cache')).toBe('no-cache, private')
        expect(await cacheControl('/plain/cached?as=no-store')).toBe('no-store')
        expect(await cacheControl('/plain/cached?as=private,max-age=60')).toBe('private,max-age=60')
        expect(await cacheControl('/plain/cached?as=public,max-age=60')).toBe('public,max-age=60')
        expect(await cacheControl('/plain/look')).toBeNull()
        expect(await cacheControl('/uncached/cached')).toBeNull()
      })

      it("is nobody with 'no-store' where the handler looked at the session", async () => {
        expect(await cacheControl('/noStore/cached?as=public,max-age=60')).toBe('no-store')
        expect(await cacheControl('/noStore/look')).toBe('no-store')
        expect(await cacheControl('/noStore/untouched')).toBeNull()
        const headers = { 'sec-fetch-site': 'cross-site' }
        const visitors = await browser.get('/visitorsNoStore/look', { method: 'POST', headers })
        expect(visitors.headers.get('cache-control')).toBe('no-store')
      })

      it('and what the browser keeps of the site is cleared with the cookie', async () => {
        await browser.get('/siteData/set?user=ann')
        const { headers, setCookies } = await browser.get('/siteData/logout')
        expect(setCookies[0]).toContain('Expires=Thu, 01 Jan 1970')
        expect(headers.get('clear-site-data')).toBe('"storage", "cookies"')
        expect(headers.get('cache-control')).toBe('private')
        expect((await browser.get('/siteData/look')).headers.get('clear-site-data')).toBeNull()
      })
    })

    it("whose session cannot be loaded is served without one with onStoreError: 'anonymous'", async () => {
      await browser.get('/plain/set?user=ann')
      await errors()
      const { status, json, setCookies } = await browser.get('/anonymous/look')
      expect([status, json, setCookies]).toEqual([200, { data: {} }, []])
      expect(await errors()).toHaveLength(1)
      expect((await browser.get('/plain/look')).json.data).toEqual({ user: 'ann' })
    })

    describe('a request with an unsafe method', () => {
      const own = (): string => server.url
      const cases: [string, (url: string) => Record<string, string>, boolean][] = [
        ['of no browser', () => ({}), true],
        ['of the same origin', () => ({ 'sec-fetch-site': 'same-origin' }), true],
        ['of the user', () => ({ 'sec-fetch-site': 'none' }), true],
        ['of another site', () => ({ 'sec-fetch-site': 'cross-site' }), false],
        ['of a sister domain', () => ({ 'sec-fetch-site': 'same-site' }), false],
        ['of an older browser on the same origin', (url) => ({ origin: url }), true],
        ['of an older browser on another site', () => ({ origin: 'https://evil.example' }), false],
        ['of an older browser on another port', () => ({ origin: 'http://127.0.0.1:1' }), false],
        ['of an older browser in a sandbox', () => ({ origin: 'null' }), false],
        ['with an Origin that is none', () => ({ origin: '://' }), false],
        ['of another site with a matching Origin', (url) => ({ 'sec-fetch-site': 'cross-site', origin: url }), false],
        ['of a trusted origin', () => ({ 'sec-fetch-site': 'cross-site', origin: 'https://friend.example' }), true],
      ]

      it.each(cases)('%s', async (_, headers, isAllowed) => {
        await browser.get('/refusing/set?user=ann')
        const { status, json } = await browser
          .get('/refusing/set?n=1', { method: 'POST', headers: { ...headers(own()), cookie: browser.header } })
          .then((reply) => ({ status: reply.status, json: reply.status === 200 ? reply.json : undefined }))
        expect(status).toBe(isAllowed ? 200 : 403)
        if (isAllowed) expect(json.data).toMatchObject({ user: 'ann', n: '1' })
        expect((await browser.get('/refusing/look')).json.data.n).toBe(isAllowed ? '1' : undefined)
      })

      it('is compared with the host that a proxy was asked for, where the proxy is trusted', async () => {
        const statusOf = async (configuration: string, origin: string, forwarded: string): Promise<number> => {
          const headers = { origin, 'x-forwarded-host': forwarded }
          return (await browser.get(`/${configuration}/look`, { method: 'POST', headers })).status
        }
        const shop = 'https://shop.example'
        expect(await statusOf('refusingProxied', shop, 'shop.example')).toBe(200)
        expect(await statusOf('refusingProxied', shop, 'Shop.Example:443, inner.example')).toBe(200)
        expect(await statusOf('refusingProxied', shop, 'inner.example, shop.example')).toBe(403)
        expect(await statusOf('refusingProxied', own(), 'shop.example')).toBe(403)
        expect(await statusOf('refusing', shop, 'shop.example')).toBe(403)
        expect(await statusOf('refusing', own(), 'shop.example')).toBe(200)
      })

      it('from another site is served where the options except it, and where it is safe', async () => {
        await browser.get('/refusing/set?user=ann')
        const headers = { 'sec-fetch-site': 'cross-site', cookie: browser.header }
        expect((await browser.get('/refusing/look?webhook', { method: 'POST', headers })).json.data).toEqual({
          user: 'ann',
        })
        expect((await browser.get('/refusing/look', { headers })).json.data).toEqual({ user: 'ann' })
        expect((await browser.get('/plain/look', { method: 'POST', headers })).status).toBe(200)
      })

      it("from another site has an empty session with 'anonymous', of which nothing is kept", async () => {
        const { json } = await browser.get('/visitors/set?user=ann')
        await calls('visitors')
        const headers = { 'sec-fetch-site': 'cross-site', cookie: browser.header }
        for (const route of ['look', 'set?n=1', 'everything', 'logout', 'setAndRedirect']) {
          const reply = await browser.get(`/visitors/${route}`, { method: 'POST', headers })
          expect([route, reply.status < 400, reply.setCookies]).toEqual([route, true, []])
          if (route === 'look') expect(reply.json.data).toEqual({})
        }
        expect(await calls('visitors')).toEqual([])
        expect((await browser.get('/visitors/look')).json).toMatchObject({ id: json.id, data: { user: 'ann' } })
      })
    })

    describe('the answer', () => {
      it('leaves only after the store has acknowledged the save', async () => {
        for (const route of ['setAndRedirect', 'saveUnawaited']) {
          const visitor = new Browser(server.url)
          const pending = visitor.get(`/held/${route}`)
          await untilHeld(pending)
          await visitor.get('/held/release')
          expect(await pending).toMatchObject({
            status: 302,
            headers: expect.anything(),
          })
          expect((await visitor.get('/held/calls')).json.waiting).toBe(0)
          const reading = visitor.get('/held/look')
          await untilHeld(reading)
          await visitor.get('/held/release')
          expect((await reading).json.data).toEqual({ user: 'ann' })
        }
      })

      it('leaves only after a destroy that nobody waited for', async () => {
        const login = browser.get('/held/setAndRedirect')
        await untilHeld(login)
        await browser.get('/held/release')
        await login
        const logout = browser.get('/held/logoutUnawaited')
        await untilHeld(logout)
        await browser.get('/held/release')
        expect((await logout).status).toBe(302)
        expect((await browser.get('/held/look')).json.data).toEqual({})
      })

      it('is whole: large, streamed, HEAD', async () => {
        await browser.get('/plain/set?user=ann')
        expect((await browser.get('/plain/large')).text).toHaveLength(200_000)
        const head = await browser.get('/plain/look', { method: 'HEAD' })
        expect([head.status, head.text]).toEqual([200, ''])
        const streamed = await new Browser(server.url).get('/plain/stream')
        expect(streamed.text).toBe('one two three')
        expect(streamed.setCookies).toHaveLength(1)
      })

      it('that streams has its session saved at its end', async () => {
        await browser.get('/plain/stream')
        expect((await browser.get('/plain/look')).json.data).toEqual({
          user: 'ann',
        })
      })
    })

    describe('signing in and out', () => {
      for (const route of ['login', 'loginByCallback']) {
        it(`${route}: a new id, and the old one is dead`, async () => {
          const before = await browser.get('/plain/set?user=guest')
          const old = browser.header
          const after = await browser.get(`/plain/${route}`)
          expect(after.json.id).not.toBe(before.json.id)
          expect(after.setCookies).toHaveLength(1)
          expect((await browser.get('/plain/look')).json.data).toEqual({
            user: 'ann',
          })
          expect((await browser.get('/plain/look', { headers: { cookie: old } })).json.data).toEqual({})
        })
      }

      it('can keep the data under the new id', async () => {
        const before = await browser.get('/plain/set?user=ann&k1=v')
        const after = await browser.get('/plain/renew')
        expect(after.json).toMatchObject({ data: { user: 'ann', k1: 'v' } })
        expect(after.json.id).not.toBe(before.json.id)
        expect((await browser.get('/plain/look')).json.data).toEqual({
          user: 'ann',
          k1: 'v',
        })
      })

      it('out: the session is gone from the request and from the store', async () => {
        await browser.get('/plain/login')
        const { json, setCookies } = await browser.get('/plain/logout')
        expect([json, setCookies]).toEqual([traits.bunway ? 'object' : 'undefined', []])
        expect((await browser.get('/plain/look')).json.data).toEqual({})
      })

      it('by setting req.session to null, as the unset option says', async () => {
        await browser.get('/unset/set?user=ann')
        await browser.get('/unset/unset')
        expect((await browser.get('/unset/look')).json.data).toEqual({})
        await browser.get('/plain/set?user=ann')
        await browser.get('/plain/unset')
        expect((await browser.get('/plain/look')).json.data).toEqual({
          user: 'ann',
        })
      })
    })

    it('a session that its store kept alive has time left, and is written with its full lifetime', async () => {
      const aMinuteFrom = (start: number, expires: string): void => {
        expect(Date.parse(expires)).toBeGreaterThanOrEqual(start + 60_000)
      }
      for (const route of ['saveTwice', 'renewAndSave', 'reloadAndSave', 'count']) {
        const visitor = new Browser(server.url)
        await visitor.get('/keptAlive/set?user=ann')
        const start = Date.now()
        aMinuteFrom(start, (await visitor.get('/keptAlive/look')).json.expires)
        expect((await visitor.get(`/keptAlive/${route}`)).status).toBe(200)
        expect([route, (await visitor.get('/keptAlive/look')).json.data]).toMatchObject([route, { user: 'ann' }])
      }
    })

    for (const way of Object.keys(cookieChanges)) {
      it(`the configured attributes and the request’s changes hold where the cookie ${way}`, async () => {
        const https = { 'x-forwarded-proto': 'https' }
        const start = Date.now()
        const first = await browser.get('/attributes/set?user=eve', { headers: https })
        const cookie = browser.header
        const attributesOf = ({ setCookies }: Reply): string =>
          String(setCookies[0]?.replace(/Expires=[^;]+/, 'Expires'))
        for (const user of ['ann', 'bob']) {
          const path = `/attributes/changeCookie?way=${encodeURIComponent(way)}&user=${user}`
          const changed = await browser.get(path, { headers: { ...https, cookie } })
          expect([changed.status, attributesOf(changed)]).toEqual([200, attributesOf(first)])
          const seen = await browser.get('/attributes/look', { headers: { ...https, cookie } })
          expect(seen.json.data).toEqual({ user })
          expect(Date.parse(seen.json.expires)).toBeGreaterThan(start + 30_000)
        }
      })
    }

    it('a cookie’s path counts by segment', async () => {
      expect((await browser.get('/outside/look')).json).toEqual({ data: {} })
      expect((await browser.get('/inside/look')).json.id).toEqual(expect.any(String))
    })

    for (const configuration of ['emptyId', 'noId', 'numberedId', 'promisedId']) {
      it(`genid that answers with no id (${configuration}) is an error`, async () => {
        await errors()
        const reply = await browser.get(`/${configuration}/setAndRedirect`)
        expect([reply.status, reply.setCookies]).toEqual([500, []])
        expect(reply.text).toMatch(/^genid option must return a non-empty string/)
        expect(await errors()).toEqual([reply.text])
        expect(await calls(configuration)).toEqual([])
      })
    }

    for (const [configuration, option] of [
      ['promisedException', 'crossSite.except'],
      ['promisedTouch', 'touch'],
    ] as const) {
      it(`${option} that answers with a promise, which would count as true, is an error`, async () => {
        await errors()
        const headers = { 'sec-fetch-site': 'cross-site' }
        const reply = await browser.get(`/${configuration}/set?user=ann`, { method: 'POST', headers })
        expect([reply.status, reply.setCookies]).toEqual([500, []])
        expect(reply.text).toBe(`${option} option must return true or false, at once; it returned a promise`)
        expect(await errors()).toEqual([reply.text])
        expect(await calls(configuration)).toEqual([])
      })
    }

    it('genid that fails at a sign-in is an error, and ends nothing', async () => {
      await browser.get('/oneId/set?user=guest')
      for (const route of ['login', 'renew']) {
        expect((await browser.get(`/oneId/${route}`)).status).toBe(500)
      }
      expect((await browser.get('/oneId/look')).json.data).toEqual({ user: 'guest' })
    })

    for (const configuration of ['plain', 'held']) {
      it(`regenerate that nobody waits for gives the new session at once (store: ${configuration})`, async () => {
        const done = async (pending: Promise<Reply>): Promise<Reply> => {
          let answered = false
          pending.finally(() => {
            answered = true
          })
          while (!answered) await new Browser(server.url).get('/held/release')
          return pending
        }
        const { json } = await done(browser.get(`/${configuration}/set?user=guest&k1=v`))
        const old = browser.header
        const kept = await done(browser.get(`/${configuration}/renewUnawaited`))
        expect(kept.json.data).toEqual({ user: 'guest', k1: 'v', n: 5 })
        expect(kept.json.id).not.toBe(json.id)
        const next = await done(browser.get(`/${configuration}/look`))
        expect(next.json).toMatchObject({ id: kept.json.id, data: { user: 'guest', k1: 'v', n: 5 } })
        await done(browser.get(`/${configuration}/loginUnawaited`))
        expect((await done(browser.get(`/${configuration}/look`))).json.data).toEqual({ user: 'ann' })
        const late = await done(browser.get(`/${configuration}/look`, { headers: { cookie: old } }))
        expect(late.json.data).toEqual({})
      })
    }

    it('callbacks are given no error where there is none', async () => {
      await browser.get('/plain/set?user=ann')
      expect((await browser.get('/plain/callbacks')).json).toEqual(['none', 'none', 'none', 'none'])
    })

    it('an object assigned to req.session has the session’s methods at once, and data under no name of theirs', async () => {
      await browser.get('/plain/set?user=ann&k2=v')
      expect((await browser.get('/plain/replaceAndUse')).json).toEqual({ id: true, secure: true })
      expect((await browser.get('/plain/look')).json.data).toEqual({
        user: 'bob',
        k1: 'v',
        flash: { info: ['hello'] },
      })
      await browser.get('/plain/replaceAndFill')
      expect((await browser.get('/plain/look')).json.data).toEqual({ user: 'bob', n: 1 })
    })

    for (const way of ['', '?awaited']) {
      it(`an object assigned to req.session after a destroy${way} is a new session`, async () => {
        const { id } = (await browser.get('/plain/set?user=ann')).json
        const old = browser.header
        await browser.get(`/plain/logoutAndReplace${way}`)
        const { json } = await browser.get('/plain/look')
        expect([json.data, json.id === id]).toEqual([{ user: 'guest' }, false])
        expect((await browser.get('/plain/look', { headers: { cookie: old } })).json.data).toEqual({})
      })
    }

    describe('the middleware, run again on a request whose session was taken away,', () => {
      it('loads what the store has', async () => {
        await browser.get('/plain/set?user=ann')
        const again = await browser.get('/plain/unsetAndAgain')
        expect([again.json, again.setCookies.length]).toEqual([{ user: 'ann' }, 1])
        expect((await browser.get('/plain/look')).json.data).toEqual({ user: 'ann', n: 1 })
      })

      for (const way of ['', '?awaited']) {
        it(`starts a new session after a destroy${way}`, async () => {
          await browser.get('/plain/set?user=ann')
          const old = browser.header
          const again = await browser.get(`/plain/logoutAndAgain${way}`)
          expect([again.json, again.setCookies.length]).toEqual([{ same: false }, 1])
          expect((await browser.get('/plain/look')).json.data).toEqual({ n: 1 })
          expect((await browser.get('/plain/look', { headers: { cookie: old } })).json.data).toEqual({})
        })
      }
    })

    it('takes an object assigned to req.session as its new data', async () => {
      const { json } = await browser.get('/plain/set?user=ann&k1=v')
      await browser.get('/plain/replace')
      expect((await browser.get('/plain/look')).json).toMatchObject({
        id: json.id,
        data: { user: 'bob' },
      })
    })

    it('reload drops unsaved changes', async () => {
      await browser.get('/plain/set?user=ann')
      expect((await browser.get('/plain/reload')).json.data).toEqual({
        user: 'ann',
      })
    })

    describe('flash messages', () => {
      it('survive a redirect and are read once', async () => {
        await browser.get('/plain/flashAndRedirect')
        expect((await browser.get('/plain/messages')).json).toEqual({
          info: ['saved'],
        })
        expect((await browser.get('/plain/messages')).json).toEqual({})
      })

      it('wait through requests that do not read them, are counted and formatted', async () => {
        const counts = [await browser.get('/plain/flash?name=ann')]
        await browser.get('/plain/set?user=ann')
        counts.push(await browser.get('/plain/flash?name=bob'))
        expect(counts.map(({ text }) => text)).toEqual(traits.bunway ? ['', ''] : ['1', '2'])
        expect((await browser.get('/plain/messagesOf')).json).toEqual(['hello ann', 'hello bob'])
      })

      it('that nobody left make no session', async () => {
        expect((await browser.get('/plain/messages')).setCookies).toEqual([])
      })
    })

    describe('a cookie', () => {
      it('that was not signed here grants nothing and is answered normally', async () => {
        const { json } = await browser.get('/plain/set?user=ann')
        const { id } = json
        const good = signed(id)
        const bad = {
          unsigned: id,
          'unsigned with prefix': `s%3A${id}`,
          'signed with another secret': signed(id, 'another secret'),
          'cut short': good.slice(0, -3),
          'with a byte changed': good.replace(id.slice(0, 3), id.slice(0, 3) === 'AAA' ? 'BBB' : 'AAA'),
          empty: '',
          'no id': signed('').slice(0, 20),
          'not decodable': 's%3A%E0%A4%A',
          'not UTF-8': `${good}%FF`,
          oversized: good + 'x'.repeat(6000),
          quoted: `"${id}"`,
          'a prototype key': signed('__proto__'),
          dots: 's%3A...',
        }
        for (const [kind, value] of Object.entries(bad)) {
          const reply = await browser.get('/plain/look', {
            headers: { cookie: `connect.sid=${value}` },
          })
          expect([kind, reply.status, reply.json.data]).toEqual([kind, 200, {}])
        }
        for (const cookie of [';;;', '=', 'connect.sid', 'connect.sid=;connect.sid', '%ZZ=%ZZ', 'a=b; =c;d']) {
          expect([cookie, (await browser.get('/plain/look', { headers: { cookie } })).status]).toEqual([cookie, 200])
        }
      })

      it('for an id that the store does not know is never adopted', async () => {
        const reply = await browser.get('/plain/set?user=ann', {
          headers: { cookie: `connect.sid=${signed('chosen-by-an-attacker')}` },
        })
        expect(reply.json.id).not.toBe('chosen-by-an-attacker')
      })

      it('of several, the first valid one whose session exists is used', async () => {
        const { json } = await browser.get('/plain/set?user=ann')
        const good = `connect.sid=${signed(json.id)}`
        const unsigned = 'connect.sid=s%3Abroken.cookie'
        const unknown = `connect.sid=${signed('unknown')}`
        for (const cookie of [`${unsigned}; ${good}`, `${good}; ${unsigned}`, `${unknown}; ${unsigned}; ${good}`]) {
          expect((await browser.get('/plain/look', { headers: { cookie } })).json.data).toEqual({ user: 'ann' })
        }
      })

      it('signed with an older secret of the list is still good', async () => {
        const { json } = await browser.get('/rotated/set?user=ann')
        const cookie = `connect.sid=${signed(json.id)}`
        expect((await browser.get('/rotated/look', { headers: { cookie } })).json.data).toEqual({ user: 'ann' })
      })

      it('that is secure is sent over https only, as the proxy option tells it', async () => {
        const https = { headers: { 'x-forwarded-proto': 'https,http' } }
        expect((await browser.get('/secure/set?user=ann', https)).setCookies).toEqual([])
        expect((await browser.get('/proxied/set?user=ann')).setCookies).toEqual([])
        expect((await browser.get('/proxied/set?user=ann', https)).setCookies[0]).toMatch(/; Secure/)
        expect((await browser.get('/auto/set?user=ann', https)).setCookies[0]).toMatch(/; Secure; SameSite=None$/)
        expect(
          (
            await browser.get('/auto/set?user=ann', {
              headers: { cookie: 'none=1' },
            })
          ).setCookies[0],
        ).toMatch(/; HttpOnly; SameSite=Lax$/)
      })
    })

    it('a callback that nobody waits for is called before the session is saved', async () => {
      await browser.get('/plain/loginByCallbackUnawaited')
      expect((await browser.get('/plain/look')).json.data).toEqual({ user: 'ann' })
    })

    it('an id that the app puts into req.sessionID is not adopted', async () => {
      const { setCookies } = await browser.get('/plain/chooseId')
      expect(setCookies.join()).not.toContain('attacker')
      const { json } = await browser.get('/plain/look')
      expect(json.data).toEqual({ user: 'ann' })
      expect(json.id).not.toContain('attacker')
    })

    it('an id that is old is replaced, the data kept, and is good for its grace', async () => {
      const { id } = (await browser.get('/renewing/set?user=ann')).json
      const old = browser.header
      await new Promise((resolve) => setTimeout(resolve, 5))
      expect((await browser.get('/renewing/untouched')).setCookies).toHaveLength(1)
      expect(browser.header).not.toBe(old)
      const { json } = await browser.get('/renewing/look')
      expect([json.id === id, json.data]).toEqual([false, { user: 'ann' }])
      const late = await browser.get('/renewing/look', { headers: { cookie: old } })
      expect(late.json.data).toEqual({ user: 'ann' })
      expect(late.setCookies).toHaveLength(1)
    })

    it.each(['logout', 'logoutUnawaited', 'unset', 'login', 'renew'])(
      'an id that is renewed does not outlive the session: %s, by a request that has the old one',
      async (route) => {
        await browser.get('/renewing/set?user=ann')
        const old = browser.header
        const late = new Browser(server.url).get(`/renewing/late?route=${route}`, { headers: { cookie: old } })
        const other = new Browser(server.url)
        while ((await other.get('/renewing/calls')).json.waiting === 0)
          await new Promise((resolve) => setTimeout(resolve, 1))
        while (browser.header === old) await browser.get('/renewing/untouched')
        await other.get('/renewing/release')
        await late
        expect((await browser.get('/renewing/look')).json.data).toEqual({})
        expect((await other.get('/renewing/look', { headers: { cookie: old } })).json.data).toEqual({})
      },
    )

    describe('a store that fails', () => {
      it('to load is an error, and replaces no cookie', async () => {
        const cookie = `connect.sid=${signed('some-id')}`
        const reply = await browser.get('/failingGet/look', {
          headers: { cookie },
        })
        expect([reply.status, reply.text, reply.setCookies]).toEqual([500, 'get failed', []])
      })

      for (const [configuration, message] of [
        ['failingSet', 'set failed'],
        ['throwing', 'set threw'],
      ] as const) {
        it(`to save (${configuration}) reaches the error handler, and nothing hangs`, async () => {
          await errors()
          const reply = await browser.get(`/${configuration}/setAndRedirect`)
          expect(reply.status).toBe(traits.answersBeforeErrors ? 302 : 500)
          await expect.poll(errors).toEqual([message])
        })
      }

      it('to touch withholds no answer, and is told', async () => {
        await browser.get('/failingTouch/set?user=ann')
        await errors()
        for (const [route, answer] of [
          ['look', { data: { user: 'ann' } }],
          ['untouched', 'untouched'],
        ] as const) {
          expect(await browser.get(`/failingTouch/${route}`)).toMatchObject({ status: 200, json: answer })
          const told = traits.answersBeforeErrors ? 'touch failed' : 'event: touch failed'
          await expect.poll(errors).toEqual([told])
        }
      })

      it('to destroy rejects what the app waits for', async () => {
        await browser.get('/failingDestroy/set?user=ann')
        expect(await browser.get('/failingDestroy/logout')).toMatchObject({
          status: 500,
          text: 'destroy failed',
        })
        await expect.poll(errors).toEqual(['destroy failed'])
      })

      it('to destroy is the app’s own business when the app catches it', async () => {
        await browser.get('/failingDestroy/set?user=ann')
        await errors()
        expect(await browser.get('/failingDestroy/logoutCaught')).toMatchObject({ status: 200, json: 'caught' })
        expect(await errors()).toEqual([])
      })

      for (const [configuration, message] of [
        ['failingDestroy', 'destroy failed'],
        ['throwingDestroy', 'destroy threw'],
      ] as const) {
        it(`to destroy (${configuration}) when nobody waits reaches the error handler`, async () => {
          await browser.get(`/${configuration}/set?user=ann`)
          await errors()
          const reply = await browser.get(`/${configuration}/logoutUnawaited`)
          expect(reply.status).toBe(traits.answersBeforeErrors ? 302 : 500)
          await expect.poll(errors).toEqual([message])
        })
      }
    })

    describe('with onSaveError "fail" a store that fails', () => {
      const misbehave = (mode: string, configuration = 'unsaved'): Promise<Reply> =>
        new Browser(server.url).get(`/${configuration}/misbehave?mode=${mode}`)

      afterEach(async () => {
        for (const configuration of ['unsaved', 'unsavedRenewal']) await misbehave('late', configuration)
        await errors()
      })

      it.each(['failing set', 'throwing'])('to save withholds the answer (%s)', async (mode) => {
        await browser.get('/unsaved/set?user=ann')
        await misbehave(mode)
        await errors()
        for (const route of ['set?user=bob', 'setAndRedirect?', 'described']) {
          const message = mode === 'throwing' ? 'set threw' : 'set failed'
          for (const visitor of [browser, new Browser(server.url)]) {
            // What is not changed is not saved.
            if (route === 'setAndRedirect?' && visitor === browser) continue
            const reply = await visitor.get(`/unsaved/${route}`)
            expect([route, reply.status, reply.text, reply.setCookies]).toEqual([route, 500, message, []])
            const ofTheAnswer = [...reply.headers].filter(([name, value]) =>
              /json|public|of the answer/.test(name + value),
            )
            expect(ofTheAnswer).toEqual([])
            for (const name of ['content-disposition', 'content-language', 'expires', 'last-modified', 'location']) {
              expect([name, reply.headers.get(name)]).toEqual([name, null])
            }
            expect(await errors()).toEqual([message])
          }
        }
        await misbehave('late')
        expect((await browser.get('/unsaved/look')).json.data).toEqual({ user: 'ann' })
      })

      it('to destroy what was unset withholds the answer', async () => {
        await browser.get('/unsaved/set?user=ann')
        await misbehave('failing destroy')
        expect(await browser.get('/unsaved/unset')).toMatchObject({ status: 500, text: 'destroy failed' })
        expect(await errors()).toEqual(['destroy failed'])
        await misbehave('late')
        expect((await browser.get('/unsaved/look')).json.data).toEqual({ user: 'ann' })
      })

      it('to renew an id withholds the answer', async () => {
        await browser.get('/unsavedRenewal/set?user=ann')
        const { header } = browser
        await misbehave('failing set', 'unsavedRenewal')
        await expect
          .poll(async () => (await browser.get('/unsavedRenewal/untouched')).text, { interval: 1 })
          .toBe('set failed')
        expect(browser.header).toBe(header)
        await errors()
        await misbehave('late', 'unsavedRenewal')
        expect((await browser.get('/unsavedRenewal/look')).json.data).toEqual({ user: 'ann' })
      })

      it('to touch withholds no answer, and is told', async () => {
        for (const configuration of ['unsaved', 'unsavedRenewal']) {
          await browser.get(`/${configuration}/set?user=ann`)
          await misbehave('failing touch', configuration)
          await errors()
          expect((await browser.get(`/${configuration}/look`)).json.data).toEqual({ user: 'ann' })
          const told = traits.answersBeforeErrors ? 'touch failed' : 'event: touch failed'
          await expect.poll(errors).toEqual([told])
        }
      })

      it('at the end takes back nothing that was stored before', async () => {
        await browser.get('/unsaved/set?user=guest')
        const reply = await browser.get('/unsaved/loginAndMore')
        expect([reply.status, reply.text]).toEqual([500, 'set failed'])
        await misbehave('late')
        // Where the error page is made outside of the middleware, the new id is lost with the answer.
        const { data } = (await browser.get('/unsaved/look')).json
        expect(data).toEqual(traits.answersBeforeErrors || traits.bunway ? { user: 'ann' } : {})
      })
    })

    for (const configuration of ['users', 'indexed']) {
      describe(`whose session it is (${configuration})`, () => {
        const to = (route: string): string => `/${configuration}/${route}`
        const with_ = (cookie: string): { headers: { cookie: string } } => ({ headers: { cookie } })
        /** The events since the last time, each with its name; none shows more of a session than its hashed id. */
        const events = async (): Promise<Record<string, unknown>[]> => {
          const { text, json } = await new Browser(server.url).get(to('events'))
          const secrets = [...browser.seen].filter((shown) => text.includes(shown))
          expect(secrets).toEqual([])
          return json.map(({ name, json, hasRequest }: { name: string; json: object; hasRequest: boolean }) => {
            expect([name, hasRequest]).toEqual([name, name !== 'revoke'])
            return { name, ...json }
          })
        }
        const names = async (): Promise<unknown[]> => (await events()).map(({ name, reason }) => reason ?? name)
        const listed = async (user: string): Promise<{ id: string; current?: boolean }[]> =>
          (await browser.get(to(`list?user=${user}`))).json
        let user: string

        beforeEach(async () => {
          user = `ann-${Math.random()}`
          await events()
          await errors()
        })

        it.each(['', 'save', 'regenerate', 'keep'])(
          'a cookie that was planted before a sign-in is nobody’s after it (how: %s)',
          async (how) => {
            await browser.get(to('set?k1=v'))
            const planted = browser.header
            expect(await names()).toEqual(['create'])
            const { setCookies, json } = await browser.get(to(`signIn?user=${user}&how=${how}`))
            expect(setCookies).toHaveLength(1)
            expect(browser.header).not.toBe(planted)
            expect(await names()).toEqual([how.startsWith('r') || how === 'keep' ? 'regenerate' : 'signin', 'signin'])
            const seen = (await browser.get(to('look'))).json
            expect(seen.data).toEqual(how === 'regenerate' ? { user } : { user, k1: 'v' })
            if (how) expect(json.id).toBe(seen.id)
            expect((await browser.get(to('look'), with_(planted))).json.data).toEqual({})
            expect(await listed(user)).toMatchObject([{ about: { by: 'signIn' }, current: true }])
            await browser.get(to(`signIn?user=${user}&how=${how}`))
            expect(await listed(user)).toHaveLength(1)
          },
        )

        it.each(['', 'save'])(
          'a sign-out by taking the user away is one for the cookie, too (how: %s)',
          async (how) => {
            await browser.get(to(`set?user=${user}&k1=v`))
            const old = browser.header
            expect(await names()).toEqual(['create', 'signin'])
            expect((await browser.get(to(`signOut?how=${how}`))).setCookies).toHaveLength(1)
            expect(await names()).toEqual(['signout', 'signout'])
            expect((await browser.get(to('look'))).json.data).toEqual({ k1: 'v' })
            expect((await browser.get(to('look'), with_(old))).json.data).toEqual({})
            expect(await listed(user)).toEqual([])
          },
        )

        it.each(['untouched', 'count', 'confirm', 'signIn', 'signOut'])(
          'a slow request with the id from before a sign-in does not bring that back: %s',
          async (route) => {
            await browser.get(to(`set?k1=v${route === 'confirm' ? `&user=eve-${user}` : ''}`))
            const old = browser.header
            const slow = new Browser(server.url)
            const late = slow.get(to(`late?route=${route}&user=eve-${user}`), with_(old))
            while ((await slow.get(to('calls'))).json.waiting === 0);
            await browser.get(to(`signIn?user=${user}`))
            await slow.get(to('release'))
            await late
            expect((await browser.get(to('look'))).json.data).toEqual({ user, k1: 'v' })
            expect((await browser.get(to('look'), with_(old))).json.data).toEqual({})
            expect(await listed(user)).toHaveLength(1)
            // Who signs in at the same time on the same cookie has a session of their own.
            const theirs = route === 'signIn' ? { user: `eve-${user}`, k1: 'v' } : {}
            expect((await slow.get(to('look'))).json.data).toEqual(theirs)
          },
        )

        it('whoever is signed in can see where else, and sign out there', async () => {
          const [phone, laptop] = [new Browser(server.url), new Browser(server.url)]
          for (const one of [phone, browser, laptop]) await one.get(to(`signIn?user=${user}`))
          await events()
          const list = await listed(user)
          expect(list.map(({ current }) => current === true)).toEqual(expect.arrayContaining([false, true, false]))
          const { id } = (await phone.get(to(`list?user=${user}`))).json.find(
            (session: { current?: true }) => session.current,
          )
          expect((await browser.get(to(`revoke?user=${user}&id=nobodys`))).text).toBe('0')
          expect((await browser.get(to(`revoke?user=another&id=${id}`))).text).toBe('0')
          expect((await browser.get(to(`revoke?user=${user}&id=`))).status).toBe(500)
          expect(await events()).toEqual([])
          expect((await browser.get(to(`revoke?user=${user}&id=${id}`))).text).toBe('1')
          expect(await events()).toEqual([{ name: 'revoke', user, ids: [id], id }])
          expect((await phone.get(to('look'))).json.data).toEqual({})
          expect((await laptop.get(to('look'))).json.data).toEqual({ user })
          expect((await browser.get(to(`revoke?user=${user}&others`))).text).toBe('1')
          expect((await laptop.get(to('look'))).json.data).toEqual({})
          expect((await browser.get(to('look'))).json.data).toEqual({ user })
          // The request that ends its own session leaves nothing of it behind.
          expect((await browser.get(to(`revoke?user=${user}`))).setCookies).toEqual([])
          expect((await browser.get(to('look'))).json.data).toEqual({})
        })

        it('what is known of a session is said without looking at it', async () => {
          const visit = await browser.get(to('info'))
          expect([visit.json, visit.setCookies]).toEqual([{}, []])
          const before = Date.now()
          await browser.get(to(`set?user=${user}`))
          const { json, setCookies } = await browser.get(to('info'))
          expect([json.user, setCookies]).toEqual([user, []])
          for (const date of [json.createdAt, json.lastSeen, json.authenticatedAt]) {
            expect(Date.parse(date)).toBeGreaterThanOrEqual(before)
          }
        })

        it('what needs a proof that is recent lets nobody else pass', async () => {
          const answer = async (query: string): Promise<unknown[]> => {
            const { status, text } = await browser.get(to(`proven?${query}`))
            return [status, text]
          }
          const refused = [403, 'prove again who you are: the last proof is too old']
          expect(await answer('ms=60000')).toEqual(refused)
          await browser.get(to(`set?user=${user}`))
          expect(await answer('ms=60000')).toEqual([200, '"proven"'])
          await expect.poll(() => answer('ms=0'), { interval: 1 }).toEqual(refused)
          expect(await answer('ms=0&onStale')).toEqual([401, 'prove it'])
          expect(await answer('ms=60000&onStale')).toEqual([200, '"proven"'])
          const told = traits.answersBeforeErrors || traits.bunway ? refused.slice(1) : []
          expect(new Set(await errors())).toEqual(new Set(told))
        })

        it('a user who is confirmed has a new id, and the old one is dead', async () => {
          const visitor = await browser.get(to('confirm'))
          expect([visitor.status, visitor.text]).toEqual([500, 'nobody is signed in who could be confirmed'])
          await browser.get(to(`set?user=${user}&k1=v`))
          const [old, before] = [browser.header, (await browser.get(to('info'))).json.authenticatedAt]
          await expect.poll(() => Date.now(), { interval: 1 }).toBeGreaterThan(Date.parse(before))
          await events()
          const { json, setCookies } = await browser.get(to('confirm'))
          expect([json.data, setCookies.length]).toEqual([{ user, k1: 'v', n: 1, k2: 'v' }, 1])
          expect(await names()).toEqual(['confirm'])
          expect((await browser.get(to('look'))).json).toMatchObject({ id: json.id, data: json.data })
          expect((await browser.get(to('look'), with_(old))).json.data).toEqual({})
          const known = (await browser.get(to('info'))).json
          for (const date of [known.createdAt, known.authenticatedAt]) expect(date > before).toBe(true)
          expect(await listed(user)).toMatchObject([{ about: { by: 'confirm' } }])
        })

        it('each act is one event, in their order', async () => {
          const current = async (): Promise<unknown> => (await listed(user)).find(({ current }) => current)?.id
          await browser.get(to('untouched'))
          await browser.get(to('look'))
          await browser.get(to('set?k1=v'))
          await browser.get(to('look'))
          const [create, ...more] = await events()
          expect([create, more]).toEqual([{ name: 'create', id: expect.any(String) }, []])
          await browser.get(to(`signIn?user=${user}`))
          const signedIn = await current()
          expect(await events()).toEqual([
            { name: 'renew', id: signedIn, previous: create?.id, reason: 'signin' },
            { name: 'signin', id: signedIn },
          ])
          await browser.get(to(`signIn?user=${user}&how=regenerate`))
          const regenerated = await current()
          expect(await events()).toEqual([
            { name: 'regenerate', id: regenerated, previous: signedIn },
            { name: 'signout', id: signedIn },
            { name: 'signin', id: regenerated },
          ])
          await browser.get(to('signOut'))
          const [renew, ...others] = await events()
          expect(renew).toMatchObject({ name: 'renew', previous: regenerated, reason: 'signout' })
          expect(others).toEqual([{ name: 'signout', id: regenerated }])
          await browser.get(to('logout'))
          expect(await events()).toEqual([{ name: 'destroy', id: renew?.id }])
          await browser.get(to(`signIn?user=${user}`))
          const again = await current()
          for (const route of ['unset', 'logout', 'logout', 'untouched']) await browser.get(to(route))
          expect(await events()).toEqual([
            { name: 'create', id: again },
            { name: 'signin', id: again },
            { name: 'destroy', id: again },
            { name: 'signout', id: again },
          ])
        })

        it('who signs in after the head has left is told by an event, and nothing of it is saved', async () => {
          await browser.get(to('set?k1=v'))
          const planted = browser.header
          const { text } = await browser.get(to(`streamThenSet?saveUnawaited`))
          expect(text).toBe('one two')
          if (traits.bunway) expect(await errors()).toEqual([])
          else {
            await expect
              .poll(errors)
              .toEqual([expect.stringMatching(/^event: somebody signed in or out after the head/)])
            expect(browser.header).toBe(planted)
          }
          expect((await browser.get(to('look'), with_(planted))).json.data).toEqual(traits.bunway ? {} : { k1: 'v' })
        })
      })
    }

    describe.each(['oneOnly', 'indexedOneOnly'])('a user who has as many sessions as may be (%s)', (configuration) => {
      it.each(['', 'save', 'saveUnawaited', 'regenerate'])(
        'is told of none that is refused, and the visitor keeps theirs (how: %s)',
        async (how) => {
          const user = `ann-${Math.random()}`
          const refusal = 'the user has 1 sessions, as many as the maxSessions option allows'
          await new Browser(server.url).get(`/${configuration}/signIn?user=${user}`)
          await browser.get(`/${configuration}/set?k1=v`)
          await errors()
          const { header } = browser
          for (const visitor of [browser, new Browser(server.url)]) {
            const refused = await visitor.get(`/${configuration}/signIn?user=${user}&how=${how}`)
            expect([refused.status, refused.text]).toEqual([403, refusal])
            expect(await errors()).toEqual([refusal])
            const { json } = await visitor.get(`/${configuration}/look`)
            expect(json.data).toEqual(visitor === browser && how !== 'regenerate' ? { k1: 'v' } : {})
          }
          if (how !== 'regenerate') expect(browser.header).toBe(header)
          expect((await browser.get(`/${configuration}/list?user=${user}`)).json).toHaveLength(1)
        },
      )
    })

    it('data that is not JSON is an error to the app, not a hang', async () => {
      for (const [route, reason] of [
        ['bigint', /BigInt/],
        ['cycle', /circular|cyclic/i],
      ] as const) {
        const reply = await browser.get(`/plain/${route}`)
        expect([reply.status, reply.setCookies]).toEqual([500, []])
        expect(reply.text).toMatch(reason)
        expect(await errors()).toHaveLength(1)
      }
    })

    it('timers that a test has faked stop no request', async () => {
      await browser.get('/plain/fakeTimers')
      try {
        await browser.get('/plain/set?user=guest')
        for (const route of ['look', 'untouched', 'login', 'loginByCallback', 'reload', 'renew', 'saveTwice']) {
          expect([route, (await browser.get(`/plain/${route}`)).status]).toEqual([route, 200])
        }
        await browser.get('/plain/loginByCallbackUnawaited')
        await Promise.all([browser.get('/plain/count'), browser.get('/plain/set?k1=v')])
        expect((await browser.get('/plain/look')).json.data).toEqual({ user: 'ann', nested: { n: 1 }, k1: 'v' })
        expect((await browser.get('/plain/bigint')).status).toBe(500)
        expect(await errors()).toHaveLength(1)
        await browser.get('/plain/logout')
        expect((await browser.get('/plain/look')).json.data).toEqual({})
      } finally {
        await browser.get('/plain/realTimers')
      }
    })

    it('a handler that throws is the host’s error', async () => {
      expect((await browser.get('/plain/throwing')).status).toBe(500)
      expect(await errors()).toEqual(['handler failed'])
      expect((await browser.get('/plain/look')).json.data).toEqual(traits.savesWhatThrows ? { user: 'ann' } : {})
    })

    describe('what cannot work is said by a warning:', () => {
      type Warning = [code: string, message: string]
      const warnings = async (): Promise<Warning[]> => (await new Browser(server.url).get('/plain/warnings')).json
      const codes = async (): Promise<string[]> => (await warnings()).map(([code]) => code)

      // Where a stream is held until its session is saved, the cookie leaves with it.
      for (const [what, route] of [
        ['data was first put into a session', 'streamThenSet?saved'],
        ['a session was given a new id', 'streamThenLogin'],
      ] as const) {
        it(`${what} when the head of the response had left`, async () => {
          await calls('plain')
          const { text, setCookies } = await browser.get(`/plain/${route}`)
          expect(text).toBe('one two')
          if (traits.bunway) {
            expect(setCookies).toHaveLength(1)
            expect((await browser.get('/plain/look')).json.data).toEqual({ user: 'ann' })
          } else {
            expect(setCookies).toEqual([])
            expect(await warnings()).toContainEqual(['WARN_SESSION_HEAD_SENT', expect.stringContaining(what)])
          }
        })
      }

      it('a session was changed after its response', async () => {
        for (const way of ['?saved', '']) {
          await browser.get('/plain/keep')
          await browser.get(`/plain/changeKept${way}`)
          await browser.get('/plain/untouched')
          if (way) expect(await codes()).not.toContain('WARN_SESSION_CHANGED_LATE')
        }
        expect(await codes()).toContain('WARN_SESSION_CHANGED_LATE')
      })

      it('a store failed when nobody waited for it any more', async () => {
        await browser.get('/unheard/keep')
        await browser.get('/unheard/changeKept?saved')
        await expect.poll(codes).toContain('WARN_SESSION_LATE_ERROR')
      })

      it('an id was made that is too long for a cookie', async () => {
        const { json } = await browser.get('/long/set?user=ann')
        expect((await browser.get('/long/look')).json.id).not.toBe(json.id)
        expect(await codes()).toContain('WARN_SESSION_COOKIE_TOO_LONG')
      })

      it('a request came to two session middlewares, but not to one twice', async () => {
        await browser.get('/plain/twice')
        expect(await codes()).not.toContain('WARN_SESSION_SECOND')
        await browser.get('/plain/second')
        expect(await codes()).toContain('WARN_SESSION_SECOND')
      })

      it('a secure cookie met a proxy that is not trusted', async () => {
        await browser.get('/secure/set?user=ann', { headers: { 'x-forwarded-proto': 'https' } })
        expect(await warnings()).toContainEqual([
          'WARN_SESSION_COOKIE_NOT_SENT',
          expect.stringContaining('proxy is not trusted'),
        ])
      })

      it('and nothing else is, in all that this table does', async () => {
        const expected = [
          ...[
            'CACHE_PUBLIC',
            'CHANGED_LATE',
            'COOKIE_NOT_SENT',
            'COOKIE_TOO_LONG',
            'HEAD_SENT',
            'LATE_ERROR',
            'SECOND',
          ],
        ].map((name) => `WARN_SESSION_${name}`)
        expect((await warnings()).filter(([code]) => !expected.includes(code))).toEqual([])
      })
    })
  })
}
