import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import connectPgSimple from 'connect-pg-simple'
import { RedisStore } from 'connect-redis'
import express from 'express'
import memorystore from 'memorystore'
import { createClient, createCluster } from 'redis'
import sessionFileStore from 'session-file-store'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { atEnd, serve, sessions } from '../support/app.ts'
import { startPostgres } from '../support/postgres.ts'
import { redisMissing, startCluster, startRedis } from '../support/redis.ts'
import { session } from '../support/session.ts'

interface Opened {
  // biome-ignore lint/suspicious/noExplicitAny: third-party stores extend the Store of another package
  store: any
  /** When the store will drop the record, or anything else that grows with its life. */
  expiry(sid: string): Promise<number>
  close(): unknown
}

/** Undefined when this machine does not have what the store needs. */
type Open = () => Promise<Opened | undefined>

const stores: [string, Open][] = [
  [
    'memorystore',
    async () => {
      const store = new (memorystore(session as never))({
        checkPeriod: 86_400_000,
      })
      const lru = (store as unknown as { store: { dump(): { k: string; e: number }[] } }).store
      return {
        store,
        expiry: async (sid) => lru.dump().find(({ k }) => k === sid)?.e ?? 0,
        close: () => store.stopInterval(),
      }
    },
  ],
  [
    'session-file-store',
    async () => {
      const FileStore = sessionFileStore(session)
      const path = await mkdtemp(join(tmpdir(), 'sessions-'))
      const store = new FileStore({ path, retries: 1, minTimeout: 1, logFn() {}, reapInterval: -1 })
      return {
        store,
        expiry: async (sid) => JSON.parse(await readFile(join(path, `${sid}.json`), 'utf8')).__lastAccess,
        close: () => rm(path, { recursive: true }),
      }
    },
  ],
  [
    'connect-redis',
    async () => {
      if (redisMissing) return undefined
      const server = await startRedis()
      const client = await createClient({ url: server.url }).connect()
      return {
        store: new RedisStore({ client }),
        expiry: (sid) => client.pExpireTime(`sess:${sid}`),
        async close() {
          client.destroy()
          await server.stop()
        },
      }
    },
  ],
  [
    'connect-redis on a cluster',
    async () => {
      if (redisMissing) return undefined
      const { rootNodes, stop } = await startCluster()
      const client = await createCluster({ rootNodes }).connect()
      return {
        store: new RedisStore({ client }),
        expiry: (sid) => client.pExpireTime(`sess:${sid}`),
        async close() {
          client.destroy()
          await stop()
        },
      }
    },
  ],
  [
    'connect-pg-simple',
    async () => {
      const PgStore = connectPgSimple(session)
      const postgres = await startPostgres()
      if (!postgres) return undefined
      const { pool, schema } = postgres
      const store = new PgStore({
        pool,
        schemaName: schema,
        createTableIfMissing: true,
        pruneSessionInterval: false,
      })
      return {
        store,
        async expiry(sid) {
          const { rows } = await pool.query(
            `SELECT extract(epoch FROM expire) AS at FROM ${schema}.session WHERE sid = $1`,
            [sid],
          )
          return Number(rows[0].at)
        },
        async close() {
          await store.close()
          await postgres.stop()
        },
      }
    },
  ],
]

/** `store` is `any`: third-party stores extend the Store of another package. */
// biome-ignore lint/suspicious/noExplicitAny: see above
async function site(store: any, maxAge = 60_000) {
  const app = express()
  app.use(sessions({ store, cookie: { maxAge } }))
  app.get('/', (req, res) => {
    res.json({
      user: req.session.user ?? null,
      cart: req.session.cart ?? null,
    })
  })
  app.get('/cart', (req, res) => {
    req.session.cart = { items: ['book'], note: 'größer 🎁' }
    res.send('ok')
  })
  app.get('/login', (req, res, next) => {
    req.session.regenerate((error) => {
      if (error) return next(error)
      req.session.user = 'ann'
      req.session.save((error) => (error ? next(error) : res.json(req.session.id)))
    })
  })
  app.get('/reload', (req, res, next) => {
    req.session.user = 'never saved'
    req.session.reload((error) => (error ? next(error) : res.json(req.session.user)))
  })
  app.get('/logout', (req, res, next) => {
    req.session.destroy((error) => (error ? next(error) : res.send('bye')))
  })
  return serve(app)
}

describe.concurrent.each(stores)('%s', (_, open) => {
  let opened: Opened | undefined

  beforeAll(async () => {
    opened = await open()
  })
  afterAll(() => opened?.close())

  /** What the store itself says about an id; a store may call a missing record an error. */
  const record = (sid: string) =>
    new Promise<{ user?: string } | null>((resolve, reject) => {
      ;(opened as Opened).store.get(sid, (error: NodeJS.ErrnoException | null, found: unknown) => {
        if (error && error.code !== 'ENOENT') reject(error)
        else resolve((found as { user?: string }) ?? null)
      })
    })

  beforeEach((context) => context.skip(!opened, 'what this store needs is not here'))

  test('data is there on the next request, and nowhere else', async () => {
    const browser = await site(opened?.store)
    await browser.get('/cart')
    expect((await browser.get('/')).json.cart).toEqual({
      items: ['book'],
      note: 'größer 🎁',
    })
    expect((await browser.another().get('/')).json.cart).toBeNull()
  })

  test('regenerate moves to a new record and removes the old one', async () => {
    const browser = await site(opened?.store)
    await browser.get('/cart')
    const before = browser.id as string
    expect((await browser.get('/login')).json).toBe(browser.id)
    expect(browser.id).not.toBe(before)
    expect(await record(before)).toBeNull()
    expect(await record(browser.id as string)).toMatchObject({ user: 'ann' })
    expect((await browser.get('/')).json).toMatchObject({
      user: 'ann',
      cart: null,
    })
  })

  test('reload brings back what is stored', async () => {
    const browser = await site(opened?.store)
    await browser.get('/login')
    expect((await browser.get('/reload')).json).toBe('ann')
  })

  test('destroy removes the record, and its cookie is worth nothing', async () => {
    const browser = await site(opened?.store)
    await browser.get('/login')
    const id = browser.id as string
    await browser.get('/logout')
    expect(await record(id)).toBeNull()
    expect((await browser.get('/')).json).toMatchObject({ user: null })
  })

  test('a request that only reads prolongs the record and changes nothing in it', async ({ expect }) => {
    const browser = await site(opened?.store)
    await browser.get('/login')
    const id = browser.id as string
    const first = await opened?.expiry(id)
    await expect
      .poll(async () => {
        expect((await browser.get('/')).json).toMatchObject({ user: 'ann' })
        return opened?.expiry(id)
      })
      .toBeGreaterThan(first as number)
    expect(browser.id).toBe(id)
  })

  test('a session that nobody uses ends', async ({ expect }) => {
    const browser = await site(opened?.store, 1000)
    await browser.get('/login')
    const id = browser.id as string
    await expect.poll(() => record(id)).toBeNull()
    expect((await browser.get('/')).json.user).toBeNull()
  })
})

test.skipIf(redisMissing)(
  'connect-redis: everybody is still logged in after a crash and a restart of the server',
  async () => {
    const server = await startRedis({
      args: ['--appendonly', 'yes', '--appendfsync', 'always'],
    })
    atEnd(() => server.stop())
    const client = createClient({ url: server.url })
    client.on('error', () => {})
    await client.connect()
    atEnd(() => client.destroy())
    const browser = await site(new RedisStore({ client }))
    await browser.get('/login')

    await server.kill()
    await server.restart()

    expect((await browser.get('/')).json.user).toBe('ann')
  },
)
