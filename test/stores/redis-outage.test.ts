// What becomes of an app while Redis is away, and of a store's own client.

import { createServer, type Socket } from 'node:net'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { describe, expect, it, type TestContext, vi } from 'vitest'
import { session } from '../../lib/index.ts'
import { RedisStore, type RedisStoreClient } from '../../stores/redis.ts'
import { Browser } from '../support/jar.ts'
import { command, type RedisServer, redisMissing, startRedis } from '../support/redis.ts'
import { bun, type Running, serve, spawnServer } from '../support/serve.ts'
import { createApp } from './fixture/redis-app.ts'
import { runScript } from './fixture/redis-process.ts'

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function started({ onTestFinished }: TestContext, args: string[] = []): Promise<RedisServer> {
  const server = await startRedis({ args })
  onTestFinished(() => server.stop())
  return server
}

/** Clients as an app makes them that read no more than the first page of their documentation. */
const apps: [string, (url: string) => Promise<Running & { close?(): unknown }>][] = [
  [
    'node-redis',
    async (url) => {
      const client = createClient({ url })
      await client.connect()
      return { ...(await inProcess(client)), close: () => client.destroy() }
    },
  ],
  [
    'ioredis',
    async (url) => {
      const client = new Redis(url)
      client.on('error', () => {})
      return { ...(await inProcess(client)), close: () => client.disconnect() }
    },
  ],
  ['its own client on Node', (url) => inProcess(undefined, url)],
  ...(bun
    ? ([
        ['its own client on Bun', (url) => spawned({ REDIS_URL: url })],
        ['the client of Bun', (url) => spawned({ REDIS_URL: url, CLIENT: 'bun' })],
      ] as [string, (url: string) => Promise<Running>][])
    : []),
]

function inProcess(client: RedisStoreClient | undefined, url?: string): Promise<Running> {
  const store = new RedisStore({ client, url })
  return serve(
    createApp(
      session({
        secret: 'keyboard cat',
        resave: false,
        saveUninitialized: false,
        store,
        cookie: { maxAge: 60_000 },
      }),
    ),
  )
}

const spawned = (env: NodeJS.ProcessEnv) => spawnServer(bun as string, ['test/stores/fixture/redis-serve.ts'], env)

interface Answer {
  readonly at: number
  readonly ms: number
  readonly status: number
  readonly n: number | undefined
  readonly ids: string[]
}

/** The ids that an answer gives the browser. */
const idsOf = (setCookies: string[]) =>
  setCookies.map((line) => /=s:([^.]+)\./.exec(decodeURIComponent(line))?.[1] as string)

/** Counts by how much this process runs late: what else the machine does is not the store's fault. */
function lateness(context: TestContext): () => number {
  let late = 0
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    late += Math.max(0, now - last - 60)
    last = now
  }, 50)
  context.onTestFinished(() => clearInterval(timer))
  return () => late
}

describe.skipIf(redisMissing).concurrent('while Redis is away', () => {
  it.for(apps)('every request is answered, and afterwards all is as it was: %s', async ([, open], context) => {
    const server = await started(context, ['--appendonly', 'yes', '--appendfsync', 'always'])
    const app = await open(server.url)
    context.onTestFinished(async () => {
      await app.stop()
      await app.close?.()
    })
    const browsers = Array.from({ length: 3 }, () => new Browser(app.url))
    const ids: string[] = []
    for (const browser of browsers) ids.push((await browser.get('/login')).json)

    const late = lateness(context)
    const loads: Answer[][] = browsers.map(() => [])
    const ask = async (browser: Browser): Promise<Answer> => {
      const at = Date.now()
      const { status, text, setCookies } = await browser.get('/saved')
      const n = status === 200 ? JSON.parse(text).n : undefined
      return { at, ms: Date.now() - at, status, n, ids: idsOf(setCookies) }
    }
    let over = false
    context.onTestFinished(() => {
      over = true
    })
    const load = Promise.all(
      browsers.map(async (browser, index) => {
        while (!over) {
          loads[index]?.push(await ask(browser))
          await sleep(20)
        }
      }),
    )
    load.catch(() => {})

    await sleep(300)
    await server.kill()
    const killed = Date.now()
    await sleep(2_500)
    const restarting = Date.now()
    await server.restart()
    const back = Date.now()
    const isBack = (answers: Answer[]) => answers.some(({ at, ms, status }) => status === 200 && at + ms > restarting)
    while (!loads.every(isBack) && Date.now() < back + 10_000) await sleep(20)
    expect(Date.now() - back).toBeLessThan(3_000 + late())
    await sleep(200)
    over = true
    await load

    const all = loads.flat()
    expect(new Set(all.map(({ status }) => status))).toEqual(new Set([200, 500]))
    expect(Math.max(...all.map(({ ms }) => ms))).toBeLessThan(2_000 + late())
    // Once it is clear that Redis is away, nobody waits for it any more.
    const missing = all.filter(({ at }) => at > killed + 1_600 + late() && at < restarting - 100)
    expect(missing.filter(({ status, ms }) => status !== 500 || ms > 500 + late())).toEqual([])
    for (const [index, answers] of loads.entries()) {
      expect(answers.at(-1)?.status).toBe(200)
      // What was acknowledged is still there whenever the session is seen again, and nobody is given another id.
      const acknowledged = answers.flatMap(({ n }) => n ?? [])
      expect(acknowledged.filter((n, at) => at > 0 && n <= (acknowledged[at - 1] as number))).toEqual([])
      expect([...new Set(answers.flatMap((answer) => answer.ids))]).toEqual([ids[index]])
      const seen = (await (browsers[index] as Browser).get('/')).json
      expect(seen).toMatchObject({ id: ids[index], user: 'ann', n: acknowledged.at(-1) })
    }
    expect(await command(server.port, 'DBSIZE')).toMatch(new RegExp(`:${browsers.length}\\b`))
  })
})

// One after the other: they look at the clock.
describe.skipIf(redisMissing)('a store that Redis leaves', () => {
  const killed = async (context: TestContext) => {
    const server = await started(context)
    const store = new RedisStore({ url: server.url })
    await store.length()
    await server.kill()
    await expect.poll(() => store.get('one').catch((error: Error) => error.message)).toMatch(/cannot be reached|closed/)
    return { server, store }
  }

  it('fails slowly at most once, then at once, and works again with the first command after', async (context) => {
    const { server, store } = await killed(context)
    const failing = async () => {
      const start = Date.now()
      await expect(store.get('one')).rejects.toMatchObject({
        code: 'ERR_SESSION_STORE',
        message: expect.stringMatching(/^Redis cannot be reached: .*ECONNREFUSED/),
        cause: expect.any(Error),
      })
      return Date.now() - start
    }
    await failing()
    const late = lateness(context)
    expect(await failing()).toBeLessThan(200 + late())
    await server.restart()
    expect(await store.length()).toBe(0)
    await store.close()
  })

  it('does not let anybody notice when it is back at once', async (context) => {
    const server = await started(context)
    const store = new RedisStore({ url: server.url })
    await store.length()
    await server.kill()
    // Until the client, too, knows.
    await sleep(100)
    const [count] = await Promise.all([store.length(), sleep(200).then(() => server.restart())])
    expect(count).toBe(0)
    await store.close()
  })

  it('does not miss an answer that waits to be read because the process was held up', async (context) => {
    const server = await started(context)
    const client = await createClient({ url: server.url }).connect()
    context.onTestFinished(() => client.destroy())
    const found = new RedisStore({ client }).get('one')
    await new Promise(setImmediate)
    for (const until = Date.now() + 3_200; Date.now() < until; );
    expect(await found).toBeUndefined()
  })
})

describe.skipIf(redisMissing).concurrent('a server that says nothing', () => {
  it('fails the command when it never did', async (context) => {
    const sockets: Socket[] = []
    const deaf = createServer((socket) => void sockets.push(socket))
    await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve))
    context.onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      deaf.close()
    })
    const { port } = deaf.address() as { port: number }
    const store = new RedisStore({ url: `redis://127.0.0.1:${port}` })
    const late = lateness(context)
    const start = Date.now()
    await expect(store.get('one')).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    expect(Date.now() - start).toBeLessThan(4_000 + late())
  })

  it('fails the command when it did before', async (context) => {
    const server = await started(context)
    const client = await createClient({ url: server.url }).connect()
    context.onTestFinished(() => client.destroy())
    const store = new RedisStore({ client })
    await client.sendCommand(['CLIENT', 'PAUSE', '15000'])
    const late = lateness(context)
    const start = Date.now()
    await expect(store.get('one')).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: 'Redis does not answer',
    })
    expect(Date.now() - start).toBeLessThan(4_000 + late())
  })
})

const runtimes: [string, string | undefined][] = [
  ['Node', undefined],
  ...(bun ? [['Bun', bun] as [string, string]] : []),
]

describe.skipIf(redisMissing).concurrent("the store's own client", () => {
  it.for(runtimes)('goes to REDIS_URL, and keeps no process alive: %s', async ([, path], context) => {
    const server = await started(context)
    const ended = await runScript(path, ['test/stores/fixture/redis-script.ts'], { REDIS_URL: server.url })
    expect(ended).toMatchObject({ code: 0, stdout: 'found ann 1\n', stderr: '' })
  })

  it.for(runtimes)('keeps none alive either when there is no Redis: %s', async ([, path]) => {
    const env = { REDIS_URL: 'redis://127.0.0.1:1' }
    const ended = await runScript(path, ['test/stores/fixture/redis-script.ts'], env)
    expect(ended).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^ERR_SESSION_STORE Redis cannot be reached/),
      stderr: '',
    })
  })

  it("is closed by close(), which leaves the app's alone", async (context) => {
    const server = await started(context)
    const clients = async () => Number(/connected_clients:(\d+)/.exec(await command(server.port, 'INFO clients'))?.[1])
    const before = await clients()
    const own = new RedisStore({ url: server.url })
    await own.length()
    expect(await clients()).toBe(before + 1)
    await own.close()
    await own.close()
    await context.expect.poll(clients).toBe(before)
    await expect(own.get('one')).rejects.toThrow('this RedisStore is closed')
    await new RedisStore({ url: server.url }).close()

    const client = await createClient({ url: server.url }).connect()
    const store = new RedisStore({ client })
    await store.close()
    expect(await store.length()).toBe(0)
    client.destroy()
  })
})

it('a store that needs the package redis says so', async () => {
  vi.doMock('redis', () => {
    throw new Error("Cannot find package 'redis'")
  })
  const store = new RedisStore()
  for (let n = 0; n < 2; n++) {
    await expect(store.get('one')).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringMatching(
        /^RedisStore needs the package redis to connect, .*; or give it a client option$/s,
      ),
      cause: expect.any(Error),
    })
  }
  vi.doUnmock('redis')
})
