// Express on Node, bunWay and bun-router on Bun: three processes, one store, one session.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { RedisStore as ConnectRedis } from 'connect-redis'
import { createClient } from 'redis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Browser } from '../support/jar.ts'
import { type RedisServer, redisMissing, startRedis } from '../support/redis.ts'
import { originalSession } from '../support/required.ts'
import { bun, type Running, serve, spawnServer } from '../support/serve.ts'
import { createExpressApp, type Kind } from './fixture/together-documented.ts'

const secret = 'a secret that is long enough for everybody'
const script = 'test/hosts/fixture/together-documented.ts'

describe.skipIf(!bun).each<Kind>(redisMissing ? ['file'] : ['file', 'redis'])('with sessions in one %s', (kind) => {
  const servers = new Map<string, Running>()
  let folder: string
  let redis: RedisServer | undefined
  let client: { close(): Promise<void> } | undefined

  beforeAll(async () => {
    folder = await mkdtemp(`${tmpdir()}/sessions-`)
    redis = kind === 'redis' ? await startRedis() : undefined
    const env = { ...process.env, SESSIONS: folder, REDIS_URL: redis?.url }
    const started = await Promise.all([
      serve(createExpressApp(kind, env)),
      spawnServer(bun as string, [script, 'bunway', kind], env),
      spawnServer(bun as string, [script, 'bun-router', kind], env),
    ])
    ;['Express', 'bunWay', 'bun-router'].forEach((name, n) => {
      servers.set(name, started[n] as Running)
    })
    if (redis) {
      const connected = await createClient({ url: redis.url }).connect()
      client = connected
      const store = new ConnectRedis({ client: connected })
      const original = originalSession({ secret, store, resave: false, saveUninitialized: false })
      servers.set('express-session', await serve(createExpressApp(kind, env, original)))
    }
  })
  afterAll(async () => {
    for (const server of servers.values()) await server.stop()
    await client?.close()
    await redis?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  /** A browser that takes its cookies from one server to the next. */
  class Traveller {
    readonly cookies = new Map<string, string>()

    // biome-ignore lint/suspicious/noExplicitAny: whatever the app answers
    async get(host: string, path: string): Promise<any> {
      const browser = new Browser(servers.get(host)?.url ?? '')
      for (const [name, value] of this.cookies) browser.cookies.set(name, value)
      const { json } = await browser.get(path)
      this.cookies.clear()
      for (const [name, value] of browser.cookies) this.cookies.set(name, value)
      return json
    }

    /** A second browser with the same cookies. */
    copy(): Traveller {
      const other = new Traveller()
      for (const [name, value] of this.cookies) other.cookies.set(name, value)
      return other
    }
  }

  const hosts = ['Express', 'bunWay', 'bun-router', ...(kind === 'redis' ? ['express-session'] : [])]
  const pairs = hosts.flatMap((first) => hosts.map((second) => [first, second] as const))

  it.each(pairs)('signed in on %s, signed out on %s: so it is everywhere', async (first, second) => {
    const traveller = new Traveller()
    const { id } = await traveller.get(first, '/sign-in')
    for (const host of hosts) expect(await traveller.get(host, '/look')).toEqual({ id, data: { user: 'ann' } })
    for (const host of hosts) await traveller.get(host, '/count')
    const stolen = traveller.copy()
    expect(await stolen.get(second, '/look')).toEqual({ id, data: { user: 'ann', n: hosts.length } })
    await traveller.get(second, '/sign-out')
    for (const host of hosts) {
      expect((await traveller.get(host, '/look')).data).toEqual({})
      expect((await stolen.copy().get(host, '/look')).data).toEqual({})
    }
  })

  it.each(hosts.filter((host) => host !== 'express-session'))(
    'a message left on %s is read once, anywhere',
    async (first) => {
      for (const [second, told, none] of [
        ['Express', ['told'], []],
        ['bunWay', 'told', undefined],
        ['bun-router', ['told'], []],
      ] as const) {
        const traveller = new Traveller()
        await traveller.get(first, '/tell')
        expect((await traveller.get(second, '/listen')).told).toEqual(told)
        expect((await traveller.get(second, '/listen')).told).toEqual(none)
      }
    },
  )

  it('a new id on one host is the death of the old one on all', async () => {
    for (const host of hosts) {
      const traveller = new Traveller()
      await traveller.get('Express', '/count')
      const old = traveller.copy()
      await traveller.get(host, '/sign-in')
      for (const other of hosts) {
        expect((await traveller.get(other, '/look')).data).toEqual({ user: 'ann' })
        expect((await old.copy().get(other, '/look')).data).toEqual({})
      }
    }
  })
})
