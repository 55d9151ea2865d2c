// The entries for bunWay and bun-router, and mocked sessions on their hosts, as far as they need no Bun.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { fileStore, MemoryStore as RouterStore, session as routerSession } from '../../lib/bun-router.ts'
import { FileStore, fromExpressStore, MemoryStore, session } from '../../lib/bunway.ts'
import { RedisStore, MemoryStore as Store } from '../../lib/index.ts'
import { mockSession, storeContract } from '../../lib/testing.ts'
import { bunway } from './standin/bunway.ts'

const secret = 'a secret of these tests, long enough'
const path = mkdtempSync(join(tmpdir(), 'entries-'))
afterAll(() => rmSync(path, { recursive: true }))

// biome-ignore lint/suspicious/noExplicitAny: whatever the host and its middlewares make of it
type Anything = any

/** A Redis of three commands. */
const fakeRedis = () => {
  const records = new Map<string, string>()
  return {
    get: async (key: string) => records.get(key) ?? null,
    set: async (key: string, value: string) => void records.set(key, value),
    del: async (key: string) => records.delete(key),
  }
}

/** Seconds for which a browser keeps the cookie of a response. */
const lifetimeOf = (response: Response): number => {
  const expires = /Expires=([^;]+)/.exec(response.headers.get('set-cookie') ?? '')?.[1]
  return Math.round((Date.parse(expires ?? '') - Date.now()) / 10_000) * 10
}

it('what a renewal leaves under the old id is a session to nobody who asks the stores of the entries', async () => {
  const folder = (name: string) => ({ path: join(path, name), reapInterval: Infinity })
  const stores = [new MemoryStore(), new FileStore(folder('bunway')), new RouterStore(), fileStore(folder('router'))]
  for (const store of stores) {
    const sessions = routerSession({ secret, store, renew: true, renewAfter: Number.MIN_VALUE })
    const ids: string[] = []
    const ask = (cookie: string): Promise<Response> =>
      sessions(new Request('http://host/', { headers: { cookie } }), (req) => {
        ids.push(req.sessionID)
        req.session.n = ids.length
        return new Response('done')
      })
    const cookie = (await ask('')).headers.get('set-cookie')?.split(';')[0] as string
    expect((await ask(cookie)).headers.get('set-cookie')).not.toContain(cookie)
    expect((await store.get(ids[0] as string)) ?? null).toBe(null)
    expect(await (store as Anything).length()).toBe(1)
    const all: object = await store.all()
    expect(Object.values(all)).toMatchObject([{ n: 2 }])
  }
})

describe('unisession/bunway', () => {
  storeContract({ describe, it, expect }, () => ({ store: new MemoryStore() as never }))

  it('has stores that answer as bunWay documents', async () => {
    for (const store of [new MemoryStore(), new FileStore({ path, reapInterval: Infinity })]) {
      expect(await store.get('unknown')).toBeNull()
      await store.set('one', { user: 'ann' })
      expect(await store.all()).toMatchObject([{ user: 'ann', id: 'one' }])
      await store.clear()
    }
    const memory = new MemoryStore()
    await memory.set('one', { user: 'ann' })
    expect(JSON.stringify(await memory.all())).toBe('[{"user":"ann"}]')
    const adapted = fromExpressStore(new Store()) as Anything
    expect(adapted.on('connect', () => {})).toBe(adapted)
  })

  it('uses its own MemoryStore when it is given none', async () => {
    const app = bunway() as Anything
    app.use(session({ secret }))
    app.get('/', async (req: Anything, res: Anything) => res.json(await req.sessionStore.all()))
    expect(await (await app.handle(new Request('http://localhost/'))).json()).toEqual([])
  })

  it('lets sessions live as long as their store keeps them, unless the app says otherwise', async () => {
    const ask = async (options: object): Promise<number> => {
      const app = bunway() as Anything
      app.use(session({ secret, ...options }))
      app.get('/', (_: unknown, res: Anything) => res.json(1))
      return lifetimeOf(await app.handle(new Request('http://localhost/')))
    }
    const redis = () => new RedisStore({ client: fakeRedis(), ttl: 600 })
    expect(await ask({ store: new FileStore({ path, ttl: 300_000 }) })).toBe(300)
    expect(await ask({ store: redis() })).toBe(600)
    expect(await ask({ store: redis(), cookie: { maxAge: 120_000 } })).toBe(120)
  })

  it.each([
    ['left out', undefined, ['set', 'get', 'touch']],
    ['true', true, ['set', 'get', 'get', 'set']],
    ['false', false, ['set', 'get', 'touch']],
  ])('resave %s: what is written where nothing changed', async (_, resave, expected) => {
    const calls: string[] = []
    const memory = new Store()
    const noted = (name: 'get' | 'set' | 'touch' | 'destroy') => {
      return async (sid: string, second: never) => {
        calls.push(name)
        return memory[name](sid, second)
      }
    }
    const { get, ...rest } = Object.fromEntries(
      (['get', 'set', 'touch', 'destroy'] as const).map((name) => [name, noted(name)]),
    ) as Anything
    const store = { ...rest, get: (sid: string) => get(sid) }
    const app = bunway() as Anything
    app.use(session({ secret, store, ...(resave !== undefined && { resave }) }))
    app.get('/', (_: unknown, res: Anything) => res.json(1))
    const first: Response = await app.handle(new Request('http://localhost/'))
    const cookie = first.headers.get('set-cookie')?.split(';', 1)[0] as string
    await app.handle(new Request('http://localhost/', { headers: { cookie } }))
    expect(calls).toEqual(expected)
  })

  it('answers a failed save with 500 where it is mounted on a route, and tells of it', async () => {
    const store = { get: async () => null, set: () => Promise.reject(new Error('disk full')), destroy: async () => {} }
    const sessions = session({ secret, store: store as never })
    const errors: unknown[] = []
    sessions.on('error', (error) => errors.push(error))
    const app = bunway() as Anything
    app.get('/', sessions, (req: Anything, res: Anything) => {
      req.session.n = 1
      res.json('ok')
    })
    const response = await app.handle(new Request('http://localhost/'))
    expect([response.status, await response.json()]).toEqual([500, { error: 'Internal Server Error' }])
    expect(errors).toMatchObject([{ message: 'disk full' }])
  })

  it('lets no answer out whose save failed, also where the error handlers leave it to bunWay', async () => {
    const store = { get: async () => null, set: () => Promise.reject(new Error('disk full')), destroy: async () => {} }
    const app = bunway() as Anything
    const logged: unknown[] = []
    app.use(session({ secret, store: store as never }))
    app.get('/', (req: Anything, res: Anything) => {
      req.session.n = 1
      res.set('etag', '"of the answer"').json('ok')
    })
    app.use((error: unknown, _req: unknown, _res: unknown, next: (error: unknown) => void) => {
      logged.push(error)
      next(error)
    })
    const response = await app.handle(new Request('http://localhost/'))
    expect([response.status, await response.json()]).toEqual([500, { error: 'Internal Server Error' }])
    expect([response.headers.get('etag'), logged]).toMatchObject([null, [{ message: 'disk full' }]])
    app.use((error: Error, _req: unknown, res: Anything, _next: unknown) => res.send(error.message))
    const page = await app.handle(new Request('http://localhost/'))
    expect([page.status, await page.text(), page.headers.get('etag')]).toEqual([500, 'disk full', null])
    expect(page.headers.get('content-type')).toContain('text/html')
  })

  it('waits for callbacks also in an app that writes stacks its own way', async () => {
    const app = bunway() as Anything
    const records = fakeRedis()
    app.use(session({ secret, store: new RedisStore({ client: records }) }))
    app.get('/', async (req: Anything, res: Anything) => {
      req.session.regenerate(() => res.json({ success: true }))
    })
    const { prepareStackTrace } = Error
    Error.prepareStackTrace = (_, frames) => frames
    try {
      const response = await app.handle(new Request('http://localhost/'))
      expect([response.status, await response.text()]).toEqual([200, '{"success":true}'])
      expect(typeof Error.prepareStackTrace).toBe('function')
    } finally {
      Error.prepareStackTrace = prepareStackTrace
    }
  })
})

describe('unisession/bun-router', () => {
  it('lets sessions live as long as their store keeps them, unless the app says otherwise', async () => {
    const ask = async (options: object): Promise<number> => {
      const sessions = routerSession({ secret, ...options })
      const request = new Request('http://localhost/')
      return lifetimeOf(
        await sessions(request, (req) => {
          req.session.n = 1
          return new Response('ok')
        }),
      )
    }
    expect(await ask({ store: fileStore({ path, ttl: 300_000 }) })).toBe(300)
    expect(await ask({ store: new RedisStore({ client: fakeRedis(), ttl: 600 }) })).toBe(600)
    expect(await ask({ store: fileStore({ path, ttl: 300_000 }), maxAge: 120_000 })).toBe(120)
  })

  it.each([
    ['ends a session this long after its last change', {}, false],
    ['ends a session this long after its last request, with rolling', { rolling: true }, true],
    [
      'ends a session this long after its last change, also where its id is renewed',
      { renew: true, renewAfter: 1 },
      false,
    ],
  ])('maxAge %s', async (_, options, lives) => {
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const sessions = routerSession({ secret, maxAge: 86_400_000, ...options })
      let cookie = ''
      const ask = async (change = false): Promise<unknown> => {
        const response = await sessions(new Request('http://localhost/', { headers: { cookie } }), (req) => {
          if (change) req.session.user = 'ann'
          return Response.json(req.session.user ?? null)
        })
        cookie = response.headers.get('set-cookie')?.split(';', 1)[0] ?? cookie
        return response.json()
      }
      await ask(true)
      for (const hours of [12, 11]) {
        vi.setSystemTime(Date.now() + hours * 3_600_000)
        expect(await ask()).toBe('ann')
      }
      vi.setSystemTime(Date.now() + 2 * 3_600_000)
      expect(await ask()).toBe(lives ? 'ann' : null)
    } finally {
      vi.useRealTimers()
    }
  })

  it('serves one Request as often as it is handled', async () => {
    const sessions = routerSession({ secret })
    const count = async (req: Request): Promise<string> => {
      const response = await sessions(req, (req) => {
        req.session.n = (req.session.n ?? 0) + 1
        return new Response(String(req.session.n))
      })
      return response.text()
    }
    const cookies = await sessions(new Request('http://localhost/'), (req) => {
      req.session.n = 0
      return new Response()
    })
    const headers = { cookie: cookies.headers.get('set-cookie')?.split(';', 1)[0] as string }
    const request = new Request('http://localhost/', { headers })
    expect([await count(request), await count(request), await count(request)]).toEqual(['1', '2', '3'])
    expect(await count(new Request('http://localhost/', { headers }))).toBe('4')
  })
})

describe('mockSession', () => {
  it('has on fetch-style hosts what their sessions have', async () => {
    const response = await (mockSession({ user: 'ann' })(new Request('http://localhost/'), async (req: Anything) => {
      req.flash('info', 'hello')
      const before = req.sessionID
      await req.regenerateSession()
      return Response.json([req.session.get('user'), req.flash('info'), req.sessionID === before])
    }) as Promise<Response>)
    expect(await response.json()).toEqual(['ann', ['hello'], false])
    expect(response.headers.get('set-cookie')).toBeNull()
  })

  it('has on bunWay what its sessions have', async () => {
    const app = bunway() as Anything
    app.use(mockSession({ user: 'ann' }))
    app.get('/', (req: Anything, res: Anything) => {
      req.session.flash('info', 'hello')
      const message = req.session.flash('info')
      req.session.regenerate(() => res.json([message, req.session.user ?? null]))
    })
    const response = await app.handle(new Request('http://localhost/'))
    expect(await response.json()).toEqual(['hello', null])
  })

  it('stands in for a session() further on', async () => {
    const sessions = routerSession({ secret })
    const mock = mockSession({ user: 'ann' })
    const answer = (await mock(new Request('http://localhost/'), (req: Request) =>
      sessions(req, ({ session }) => Response.json(session.user)),
    )) as Response
    expect(await answer.json()).toBe('ann')
  })
})
