// What becomes of an app while Redis is away, and of a store's own client.

import { connect, createServer, type Socket } from 'node:net'
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
        cookie: { maxAge: 3_600_000 },
      }),
    ),
  )
}

const spawned = (env: NodeJS.ProcessEnv) => spawnServer(bun as string, ['test/stores/fixture/redis-serve.ts'], env)

interface Answer {
  /** Whether Redis was there when the request was sent. */
  readonly reachable: boolean
  readonly status: number
  readonly n: number | undefined
  readonly ids: string[]
}

/** The ids that an answer gives the browser. */
const idsOf = (setCookies: string[]) =>
  setCookies.map((line) => /=s:([^.]+)\./.exec(decodeURIComponent(line))?.[1] as string)

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

    let reachable = true
    /** Has each browser send one request after the other, until all of them have had such an answer. */
    const load = async (isLast: (answer: Answer, earlier: readonly Answer[]) => boolean): Promise<Answer[][]> => {
      const waiting = new Set(browsers)
      return Promise.all(
        browsers.map(async (browser) => {
          const answers: Answer[] = []
          while (waiting.size > 0) {
            const asked = reachable
            const { status, text, setCookies } = await browser.get('/saved')
            const n = status === 200 ? JSON.parse(text).n : undefined
            const answer = { reachable: asked, status, n, ids: idsOf(setCookies) }
            if (isLast(answer, answers)) waiting.delete(browser)
            answers.push(answer)
            await sleep(20)
          }
          return answers
        }),
      )
    }

    const before = await load(({ status }, earlier) => status === 200 && earlier.length > 2)
    reachable = false
    // They do not stop while it goes, nor while it comes back.
    const [during] = await Promise.all([
      load((_, earlier) => earlier.filter(({ status }) => status === 500).length > 5),
      server.kill(),
    ])
    const [after] = await Promise.all([
      load((answer) => answer.reachable && answer.status === 200),
      server.restart().then(() => {
        reachable = true
      }),
    ])

    for (const [index, id] of ids.entries()) {
      const answers = [before, during, after].flatMap((part) => part[index] as Answer[])
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 500]))
      // What was acknowledged is still there whenever the session is seen again, and nobody is given another id.
      const acknowledged = answers.flatMap(({ n }) => n ?? [])
      expect(acknowledged.filter((n, at) => at > 0 && n <= (acknowledged[at - 1] as number))).toEqual([])
      expect([...new Set(answers.flatMap((answer) => answer.ids))]).toEqual([id])
      const seen = (await (browsers[index] as Browser).get('/')).json
      expect(seen).toMatchObject({ id, user: 'ann', n: acknowledged.at(-1) })
    }
    expect(await command(server.port, 'DBSIZE')).toMatch(new RegExp(`:${browsers.length}\\b`))
  })
})

/** A way to a server that can be shut: then it accepts connections and ends them. Or its answers are held up. */
async function openGate(port: number, { onTestFinished }: TestContext) {
  const sockets = new Set<Socket>()
  const ways: [Socket, Socket][] = []
  let isShut = false
  let refused = 0
  const gate = createServer((socket) => {
    if (isShut) {
      refused++
      return void socket.destroy()
    }
    const server = connect(port, '127.0.0.1')
    for (const each of [socket, server]) {
      sockets.add(each)
      each.on('error', () => {}).on('close', () => sockets.delete(each))
    }
    ways.push([server, socket])
    socket.pipe(server).pipe(socket)
  })
  const end = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  await new Promise<void>((resolve) => gate.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    end()
    gate.close()
  })
  return {
    url: `redis://127.0.0.1:${(gate.address() as { port: number }).port}`,
    shut(): void {
      isShut = true
      end()
    },
    open(): void {
      isShut = false
    },
    hold(): void {
      for (const [server, socket] of ways) server.unpipe(socket)
    },
    release(): void {
      for (const [server, socket] of ways) server.pipe(socket)
    },
    /** Somebody comes and finds it shut. */
    async refusal(): Promise<void> {
      for (const before = refused; refused === before; ) await sleep(1)
    },
  }
}

describe.skipIf(redisMissing)('a store that Redis leaves', () => {
  it('fails slowly at most once, then at once, and works again with the first command after', async (context) => {
    const server = await started(context)
    const store = new RedisStore({ url: server.url })
    await store.length()
    await server.kill()
    const fail = () =>
      expect(store.get('one')).rejects.toMatchObject({
        code: 'ERR_SESSION_STORE',
        message: expect.stringMatching(/^Redis cannot be reached: .*ECONNREFUSED/),
        cause: expect.any(Error),
      })
    await expect.poll(() => store.get('one').catch((error: Error) => error.message)).toContain('ECONNREFUSED')
    await fail()
    // Another store, which has just come, still waits for Redis when that has failed three times more.
    const newcomer = new RedisStore({ url: server.url })
    let waits = true
    const first = newcomer.get('one').then(
      () => (waits = false),
      () => (waits = false),
    )
    for (let n = 0; n < 3; n++) await fail()
    expect(waits).toBe(true)
    await server.restart()
    expect(await store.length()).toBe(0)
    await first
    await Promise.all([store.close(), newcomer.close()])
  })

  it('does not let anybody notice when it is back at once', async (context) => {
    const server = await started(context)
    const gate = await openGate(server.port, context)
    const store = new RedisStore({ url: gate.url })
    await store.length()
    // The time that a machine takes does not count: it is the store's own turns that do.
    const clock = vi.spyOn(process, 'uptime').mockReturnValue(1)
    context.onTestFinished(() => clock.mockRestore())
    gate.shut()
    // Until the client, too, knows.
    await sleep(100)
    const counted = store.length()
    await gate.refusal()
    gate.open()
    expect(await counted).toBe(0)
    await store.close()
  })

  it('does not miss an answer because the process was held up, more than once', async (context) => {
    const server = await started(context)
    const gate = await openGate(server.port, context)
    const client = await createClient({ url: gate.url }).connect()
    context.onTestFinished(() => client.destroy())
    gate.hold()
    const found = new RedisStore({ client }).get('one')
    for (let times = 0; times < 2; times++) {
      await new Promise(setImmediate)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_600)
    }
    await new Promise(setImmediate)
    gate.release()
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
    await expect(store.get('one')).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  })

  it('fails the command when it did before', async (context) => {
    const server = await started(context)
    const client = await createClient({ url: server.url }).connect()
    context.onTestFinished(() => client.destroy())
    const store = new RedisStore({ client })
    await client.sendCommand(['CLIENT', 'PAUSE', '3600000'])
    await expect(store.get('one')).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: 'Redis does not answer',
    })
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
