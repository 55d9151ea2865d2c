// An answer that the app has given reaches the client, whatever the app, its framework or the store does after it.

import { once } from 'node:events'
import { Agent, type IncomingMessage, type RequestListener, request } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, connect as connectSocket } from 'node:net'
import connect from 'connect'
import express from 'express'
import express4 from 'express4'
import polka from 'polka'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { bun, type Running, serve, spawnServer } from '../support/serve.ts'
import { Answers, BODY, failures, type State, streamFailures } from './fixture/answers.ts'

process.env.NODE_ENV = 'test'

interface Reply {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
  /** The client's port: another one is another connection. */
  readonly port: number
}

/** A client that has one connection and keeps it. */
class Client {
  readonly #url: string
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  cookie = ''

  constructor(url: string) {
    this.#url = url
  }

  get(path: string, init: { method?: string; signal?: AbortSignal } = {}): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const headers = this.cookie ? { cookie: this.cookie } : {}
      const sent = request(new URL(encodeURI(path), this.#url), { ...init, headers, agent: this.#agent })
      sent.on('error', reject).on('response', (response) => {
        const port = response.socket.localPort as number
        const [set] = response.headers['set-cookie'] ?? []
        if (set) this.cookie = set.split(';', 1)[0] as string
        let text = ''
        response.on('error', reject).on('data', (data) => {
          text += data
        })
        response.on('end', () => {
          resolve({ status: response.statusCode as number, headers: response.headers, text, port })
        })
      })
      sent.end()
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

const app = (mount: (answers: Answers) => RequestListener) => (): Promise<Running> => serve(mount(new Answers()))

const hosts: [name: string, start: (() => Promise<Running>) | undefined][] = [
  ['Express 5', app((answers) => answers.mount(express()))],
  ['Express 4', app((answers) => answers.mount(express4()))],
  ['connect', app((answers) => answers.mount(connect()))],
  [
    'polka',
    app((answers) => {
      const onError = (error: unknown, _: unknown, res: { end(text: string): void; statusCode: number }): void => {
        answers.note(error)
        res.statusCode = 500
        res.end('polka’s error page')
      }
      // What a handler throws is not polka's.
      const handler = (req: never, res: never, next: (error?: unknown) => void): void => {
        try {
          answers.handler(req, res, next)
        } catch (error) {
          next(error)
        }
      }
      return polka({ onError }).use(answers.control, answers.sessions, handler).handler as RequestListener
    }),
  ],
  ['node:http', app((answers) => answers.listener)],
  ['Express 5 on Bun', bun && (() => spawnServer(bun as string, ['test/hosts/fixture/serve.ts', 'answers']))],
]

describe.each(hosts)('an answer that is held on %s', (name, start) => {
  let server: Running
  let client: Client
  let observer: Client

  beforeAll(async () => {
    if (start) server = await start()
  })
  afterAll(() => server?.stop())
  beforeEach(async ({ skip }) => {
    if (!start) return skip('needs Bun')
    client = new Client(server.url)
    observer = new Client(server.url)
    await state('/release')
    return () => {
      client.close()
      observer.close()
    }
  })

  const state = async (path = '/state'): Promise<State> => JSON.parse((await observer.get(path)).text)

  /** Waits for the store to hold a write; then lets go what the app has put off, too. */
  const untilHeld = async (): Promise<void> => {
    await expect.poll(async () => (await state()).waiting, { interval: 1 }).toBe(1)
    await state()
  }

  for (const [route, ways] of [
    ['answer', Object.keys(failures)],
    ['streamed', ['throw', 'second answer', 'req.socket.destroy', 'res.destroy']],
  ] as const) {
    for (const failure of ways) {
      it(`reaches the client as it is: ${route}, then ${failure}`, async () => {
        const pending = client.get(`/${route}/${failure}`)
        await untilHeld()
        await state('/release')
        const reply = await pending
        expect([reply.status, reply.text, reply.headers['set-cookie']?.length]).toEqual([200, BODY, 1])
        const look = client.get('/look')
        await untilHeld()
        await state('/release')
        expect((await look).text).toBe('1')
      })
    }
  }

  it.each(['throw', 'second answer', 'rejection', 'next(error)', 'late next(error)', 'pipeline'])(
    'and the app hears of its own error, once: %s',
    async (failure) => {
      const pending = client.get(`/answer/${failure}`)
      const errors: string[] = []
      await expect
        .poll(
          async () => {
            const { waiting, errors: heard } = await state()
            errors.push(...heard)
            return waiting === 1 && errors.length
          },
          { interval: 1 },
        )
        .toBe(1)
      await state('/release')
      await pending
      errors.push(...(await state()).errors)
      const words: Record<string, RegExp> = {
        throw: /^thrown$/,
        'second answer': /headers.*sent/i,
        rejection: /^rejected$/,
        pipeline: /write after end/,
      }
      expect(errors).toEqual([expect.stringMatching(words[failure] ?? /^passed on$/)])
    },
  )

  it('says that the connection closes, where the app has wanted that', async () => {
    for (const failure of ['req.socket.destroy', 'req.socket.end', 'res.destroy', 'throw']) {
      const pending = client.get(`/answer/${failure}`)
      await untilHeld()
      await state('/release')
      const closes = failure !== 'throw' || name !== 'polka'
      expect([failure, (await pending).headers.connection]).toEqual([failure, closes ? 'close' : 'keep-alive'])
    }
  })

  it('is let go when the client has gone, and its session is saved', async () => {
    const { closed } = await state()
    const first = client.get('/answer')
    await untilHeld()
    await state('/release')
    await first
    const abort = new AbortController()
    const gone = client.get('/answer', { signal: abort.signal }).catch((error) => error.name)
    await untilHeld()
    abort.abort()
    expect(await gone).toBe('AbortError')
    await expect.poll(async () => (await state()).closed, { interval: 1 }).toBe(closed + 2)
    await state('/release')
    const look = client.get('/look')
    await untilHeld()
    await state('/release')
    expect((await look).text).toBe('2')
    expect((await state()).errors).toEqual([])
  })

  it.each(['answer', 'streamed'])('leaves when its save has failed, and the connection stays: %s', async (route) => {
    const ports = new Set<number>()
    for (let round = 0; round < 3; round++) {
      const pending = client.get(`/${route}`)
      await untilHeld()
      await state('/refuse')
      const { status, text, port } = await pending
      expect([status, text]).toEqual([200, BODY])
      ports.add(port)
      await expect.poll(async () => (await state()).errors, { interval: 1 }).toEqual(['store failed'])
      // By now the host has done what it does with an error after an answer.
      ports.add((await client.get('/state')).port)
    }
    expect(ports.size).toBe(1)
  })

  it('leaves before those of the same connection that wait for it', async () => {
    const socket = connectSocket(Number(new URL(server.url).port), '127.0.0.1')
    let received = ''
    socket.on('data', (data) => {
      received += data
    })
    const closed = once(socket, 'close')
    const line = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`
    socket.write(line('/answer/late') + line('/answer'))
    await untilWaiting(2)
    await state('/refuse')
    await expect.poll(() => received.split(BODY).length, { interval: 1 }).toBe(3)
    socket.write(line('/state').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))
    await closed
    expect(received.match(/HTTP\/1.1 200/g)).toHaveLength(3)
  })

  const untilWaiting = (count: number): Promise<void> =>
    expect.poll(async () => (await state()).waiting, { interval: 1 }).toBe(count)
})

describe('an answer that is held over HTTP/2', () => {
  const answers = new Answers()
  const server = createHttp2Server(answers.listener as never)
  let client: ReturnType<typeof connectHttp2>

  beforeAll(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    client = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  })
  afterAll(() => {
    client.destroy()
    server.close()
  })

  const get = async (path: string): Promise<{ status: unknown; text: string }> => {
    const stream = client.request({ ':path': encodeURI(path) })
    let status: unknown
    let text = ''
    stream.on('response', (head) => {
      status = head[':status']
    })
    stream.on('data', (data) => {
      text += data
    })
    await once(stream, 'close')
    return { status, text }
  }
  const state = async (path = '/state'): Promise<State> => JSON.parse((await get(path)).text)
  const untilHeld = async (): Promise<void> => {
    await expect.poll(async () => (await state()).waiting, { interval: 1 }).toBe(1)
    await state()
  }
  // An HTTP/2 request has no socket to be closed.
  const ways = Object.keys({ ...failures, ...streamFailures }).filter((way) => !way.startsWith('req.connection'))

  it.each(ways)('reaches the client, and the connection stays: %s', async (failure) => {
    const pending = get(`/answer/${failure}`)
    await untilHeld()
    await state('/release')
    expect(await pending).toEqual({ status: 200, text: BODY })
    expect(client.closed).toBe(false)
    await state()
  })

  it('leaves when its save has failed, and the connection stays', async () => {
    const pending = get('/answer')
    await untilHeld()
    await state('/refuse')
    expect(await pending).toEqual({ status: 200, text: BODY })
    await expect.poll(async () => (await state()).errors, { interval: 1 }).toEqual(['store failed'])
    expect(client.closed).toBe(false)
  })

  it('is let go when the client has gone, and its session is saved', async () => {
    const { closed } = await state()
    const before = await answers.store.length()
    const stream = client.request({ ':path': '/answer' })
    stream.on('error', () => {})
    await untilHeld()
    stream.close(8)
    await expect.poll(async () => (await state()).closed, { interval: 1 }).toBe(closed + 1)
    await state('/release')
    expect(await answers.store.length()).toBe(before + 1)
    expect((await state()).errors).toEqual([])
  })
})
