// An answer that the app has given reaches the client, whatever the app, its framework or the store does after it.

import { once } from 'node:events'
import { Agent, type IncomingMessage, type RequestListener, request } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, connect as connectSocket } from 'node:net'
import connect from 'connect'
import express, { type ErrorRequestHandler } from 'express'
import express4 from 'express4'
import polka from 'polka'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { MemoryStore, type Session, type SessionError, type SessionMiddleware, session } from '../../lib/index.ts'
import { bun, type Running, serve, spawnServer } from '../support/serve.ts'
import { Answers, BODY, DESCRIPTION, failures, HeldStore, PAGE, type State, streamFailures } from './fixture/answers.ts'

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

type Start = (onSaveError?: 'answer' | 'fail') => Promise<Running>

const app =
  (mount: (answers: Answers) => RequestListener): Start =>
  (onSaveError) =>
    serve(mount(new Answers({ onSaveError })))

const hosts: [name: string, start: Start | undefined][] = [
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
  [
    'Express 5 on Bun',
    bun === undefined
      ? undefined
      : (onSaveError) => spawnServer(bun as string, ['test/hosts/fixture/serve.ts', 'answers', onSaveError ?? '']),
  ],
]

/** A server for the tests of one group, and for each test a client, beside one that asks how things are. */
class Site {
  client = new Client('http://unused')
  #observer = this.client
  #server: Running | undefined

  constructor(start: Start | undefined, onSaveError?: 'answer' | 'fail') {
    beforeAll(async () => {
      this.#server = await start?.(onSaveError)
    })
    afterAll(() => this.#server?.stop())
    beforeEach(async ({ skip }) => {
      if (!this.#server) return skip('needs Bun')
      this.client = new Client(this.#server.url)
      this.#observer = new Client(this.#server.url)
      await this.state('/release')
      return () => {
        this.client.close()
        this.#observer.close()
      }
    })
  }

  get port(): number {
    return Number(new URL(this.#server?.url as string).port)
  }

  async state(path = '/state'): Promise<State> {
    return JSON.parse((await this.#observer.get(path)).text)
  }

  /** Waits for the store to hold so many writes; then lets go what the app has put off, too. */
  async untilHeld(count = 1): Promise<void> {
    await expect.poll(async () => (await this.state()).waiting, { interval: 1 }).toBe(count)
    await this.state()
  }

  /** The errors that come after an answer. */
  untilHeard(...errors: unknown[]): Promise<void> {
    return expect.poll(async () => (await this.state()).errors, { interval: 1 }).toEqual(errors)
  }

  /** Asks for an answer, and has the store refuse or acknowledge what holds it. */
  async ask(path: string, outcome: 'release' | 'refuse', init?: { method: string }): Promise<Reply> {
    const pending = this.client.get(path, init)
    await this.untilHeld()
    await this.state(`/${outcome}`)
    return pending
  }
}

describe.each(hosts)('an answer that is held on %s', (name, start) => {
  const site = new Site(start)

  for (const [route, ways] of [
    ['answer', Object.keys(failures)],
    ['streamed', ['throw', 'second answer', 'req.socket.destroy', 'res.destroy']],
  ] as const) {
    for (const failure of ways) {
      it(`reaches the client as it is: ${route}, then ${failure}`, async () => {
        const { status, text, headers } = await site.ask(`/${route}/${failure}`, 'release')
        expect([status, text, headers['set-cookie']?.length]).toEqual([200, BODY, 1])
        expect((await site.ask('/look', 'release')).text).toBe('1')
      })
    }
  }

  it.each(['throw', 'second answer', 'rejection', 'next(error)', 'late next(error)', 'pipeline'])(
    'and the app hears of its own error, once: %s',
    async (failure) => {
      const pending = site.client.get(`/answer/${failure}`)
      const errors: string[] = []
      await expect
        .poll(
          async () => {
            const { waiting, errors: heard } = await site.state()
            errors.push(...heard)
            return waiting === 1 && errors.length
          },
          { interval: 1 },
        )
        .toBe(1)
      await site.state('/release')
      await pending
      errors.push(...(await site.state()).errors)
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
      const { headers } = await site.ask(`/answer/${failure}`, 'release')
      const closes = failure !== 'throw' || name !== 'polka'
      expect([failure, headers.connection]).toEqual([failure, closes ? 'close' : 'keep-alive'])
    }
  })

  it.each(
    ['answer', 'streamed'].flatMap((route) => ['req.destroy', 'req.socket.destroy'].map((way) => `/${route}/${way}`)),
  )('reaches the client before the app cuts its upload off: %s', async (path) => {
    const { cut } = await site.state()
    const socket = connectSocket(site.port, '127.0.0.1')
    let received = ''
    socket.on('data', (data) => {
      received += data
    })
    socket.on('error', () => {})
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nthe beginning`)
    await site.untilHeld()
    await site.state('/release')
    await closed
    expect(received.replace(/\r\n[0-9a-f]\r\n/g, '')).toMatch(new RegExp(`^HTTP/1.1 200 OK[^]*${BODY}`))
    await expect.poll(async () => (await site.state()).cut, { interval: 1 }).toBe(cut + 1)
  })

  it('is let go when the client has gone, and its session is saved', async () => {
    const { closed } = await site.state()
    await site.ask('/answer', 'release')
    const abort = new AbortController()
    const gone = site.client.get('/answer', { signal: abort.signal }).catch((error) => error.name)
    await site.untilHeld()
    abort.abort()
    expect(await gone).toBe('AbortError')
    await expect.poll(async () => (await site.state()).closed, { interval: 1 }).toBe(closed + 2)
    await site.state('/release')
    expect((await site.ask('/look', 'release')).text).toBe('2')
    expect((await site.state()).errors).toEqual([])
  })

  it.each(['answer', 'streamed'])('leaves when its save has failed, and the connection stays: %s', async (route) => {
    const ports = new Set<number>()
    for (let round = 0; round < 3; round++) {
      const { status, text, port } = await site.ask(`/${route}`, 'refuse')
      expect([status, text]).toEqual([200, BODY])
      ports.add(port)
      await site.untilHeard('store failed')
      // By now the host has done what it does with an error after an answer.
      ports.add((await site.client.get('/state')).port)
    }
    expect(ports.size).toBe(1)
  })

  it('leaves before those of the same connection that wait for it', async () => {
    const socket = connectSocket(site.port, '127.0.0.1')
    let received = ''
    socket.on('data', (data) => {
      received += data
    })
    const closed = once(socket, 'close')
    const line = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`
    socket.write(line('/answer/late') + line('/answer'))
    await site.untilHeld(2)
    await site.state('/refuse')
    await expect.poll(() => received.split(BODY).length, { interval: 1 }).toBe(3)
    socket.write(line('/state').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))
    await closed
    expect(received.match(/HTTP\/1.1 200/g)).toHaveLength(3)
  })
})

describe.each(hosts)('with onSaveError "fail" an answer whose save fails on %s', (_, start) => {
  const site = new Site(start, 'fail')
  const withheld = async (path: string, init?: { method: string }): Promise<Reply> => {
    const reply = await site.ask(path, 'refuse', init)
    expect(reply.status).toBe(500)
    const length = reply.headers['content-length'] ?? Buffer.byteLength(reply.text)
    if (!init) expect(Number(length)).toBe(Buffer.byteLength(reply.text))
    expect(reply.text).not.toContain(BODY)
    expect(reply.headers['set-cookie']?.join() ?? '').not.toContain('connect.sid')
    return reply
  }

  it('is withheld: the error page takes its place, and the connection stays', async () => {
    const ports = new Set<number>()
    for (const path of ['/answer', '/head', '/status/204', '/status/304', '/status/302', '/answer']) {
      const { text, headers, port } = await withheld(path)
      expect([path, text.length > 0, headers.location, headers.connection]).toEqual([
        path,
        true,
        undefined,
        'keep-alive',
      ])
      expect(await site.state()).toMatchObject({ errors: ['store failed'] })
      ports.add(port)
    }
    expect(ports.size).toBe(1)
  })

  it('is withheld from HEAD, too', async () => {
    expect(await withheld('/answer', { method: 'HEAD' })).toMatchObject({ text: '' })
    expect((await withheld('/answer')).text).not.toBe('')
  })

  it('leaves none of the headers that described it, and all others', async () => {
    const { headers } = await withheld('/described')
    const left = Object.entries(DESCRIPTION).filter(([header, value]) => headers[header.toLowerCase()] === value)
    expect(left.map(([header]) => header)).toEqual(['Vary', 'X-Frame-Options'])
    expect(headers['set-cookie']).toEqual(['seen=1', 'csrf=2'])
    expect(headers['content-type'] ?? '').not.toContain('text/plain')
  })

  it('calls the callback of its end when the response is over', async () => {
    await withheld('/called')
    const heard: string[] = []
    await expect.poll(async () => heard.push(...(await site.state()).errors), { interval: 1 }).toBeGreaterThanOrEqual(2)
    expect(heard).toEqual(['store failed', 'called back'])
  })

  it('leaves where it has streamed, and the error comes after it', async () => {
    const { status, text } = await site.ask('/streamed', 'refuse')
    expect([status, text]).toEqual([200, BODY])
    await site.untilHeard('store failed')
  })

  it('is withheld after the app has failed itself', async () => {
    const { headers } = await withheld('/answer/req.socket.destroy')
    expect(headers.connection).toBe('close')
    await withheld('/answer/second answer')
  })

  it('leaves when the store has acknowledged it', async () => {
    for (const path of ['/answer', '/head', '/status/204']) {
      const { status, text } = await site.ask(path, 'release')
      expect([status, text]).toEqual(
        { '/answer': [200, BODY], '/head': [302, BODY], '/status/204': [204, ''] }[path] as [number, string],
      )
    }
  })
})

describe('an answer that is held over HTTP/2', () => {
  const answers = new Answers()
  const failing = new Answers({ onSaveError: 'fail' })
  const server = createHttp2Server((req, res) => {
    const { url } = req
    req.url = url.replace(/^\/fail\//, '/')
    ;(req.url === url ? answers : failing).listener(req as never, res as never)
  })
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

  it('is withheld with onSaveError "fail", and the connection stays', async () => {
    const pending = get('/fail/described')
    await expect.poll(() => failing.store.waiting, { interval: 1 }).toBe(1)
    await state('/fail/refuse')
    expect(await pending).toEqual({ status: 500, text: PAGE })
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

it('a cookie that cannot be sent is told after the answer, and the connection stays', async () => {
  const answers = new Answers({ cookie: { expires: new Date(Number.NaN) } })
  const { url, stop } = await serve(answers.listener)
  const client = new Client(url)
  const observer = new Client(url)
  const ports = new Set<number>()
  for (let n = 0; n < 3; n++) {
    const pending = client.get('/answer')
    await expect.poll(() => answers.store.waiting, { interval: 1 }).toBe(1)
    answers.store.release()
    const { status, text, port } = await pending
    expect([status, text]).toEqual([200, BODY])
    ports.add(port)
    await expect
      .poll(async () => JSON.parse((await observer.get('/state')).text).errors, { interval: 1 })
      .toEqual(['option expires is invalid'])
  }
  expect(ports.size).toBe(1)
  client.close()
  observer.close()
  await stop()
})

it('with onSaveError "fail" a genid that fails to renew an id withholds the answer, after a touch, too', async () => {
  let failing = false
  const genid = (): string => {
    if (failing) throw new Error('genid failed')
    return 'an-id-that-is-good-for-this-test'
  }
  const answers = new Answers({ onSaveError: 'fail', renewAfter: 1, genid, store: new MemoryStore() })
  const { url, stop } = await serve(answers.listener)
  const client = new Client(url)
  await client.get('/answer')
  failing = true
  await expect.poll(async () => (await client.get('/look')).text, { interval: 1 }).toBe(PAGE)
  client.close()
  await stop()
})

it('onSaveError is "answer" or "fail"', () => {
  for (const onSaveError of ['Fail', true, null, ''] as never[]) {
    expect(() => new Answers({ onSaveError })).toThrow('onSaveError option must be "answer" or "fail"')
  }
})

it('a failure after the answer is not reported where the app has awaited it', async () => {
  const sessions = session({ secret: 'a secret that is long enough', resave: false, saveUninitialized: false })
  const [errors, handled] = [[] as unknown[], [] as unknown[]]
  sessions.on('error', (error) => errors.push(error))
  const { url, stop } = await serve((req, res) =>
    sessions(req, res, () => {
      const { session } = req as unknown as { session: Session & { big?: bigint } }
      res.on('close', async () => {
        session.big = 1n
        for (const end of ['save', 'regenerate', 'ignored']) {
          try {
            if (end === 'save') await session.save()
            else if (end === 'regenerate') await session.regenerate({ keep: true })
            else void session.save()
          } catch (error) {
            handled.push((error as { code?: string }).code)
          }
        }
      })
      res.end()
    }),
  )
  const client = new Client(url)
  await client.get('/')
  await expect.poll(() => errors.length, { interval: 1 }).toBe(1)
  expect(handled).toEqual(['ERR_SESSION_SERIALIZE', 'ERR_SESSION_SERIALIZE'])
  client.close()
  await stop()
})

it('a failure that comes too late for anybody is a warning, once', async () => {
  const store = new HeldStore()
  store.failing = ['set']
  const sessions = session({ secret: 'a secret that is long enough', resave: false, saveUninitialized: false, store })
  const warned = vi.spyOn(process, 'emitWarning').mockReturnValue()
  const { url, stop } = await serve((req, res) =>
    sessions(req, res, () => {
      res.on('close', () => {
        const { session } = req as unknown as { session: Session }
        Object.assign(session, { late: true })
        void session.save()
      })
      res.end()
    }),
  )
  try {
    const client = new Client(url)
    for (let n = 0; n < 3; n++) await client.get('/')
    const late = (): unknown[] =>
      warned.mock.calls.filter(([message]) => String(message).startsWith('a session failed'))
    await expect.poll(() => late().length, { interval: 1 }).toBe(1)
    expect(late()[0]).toEqual([
      "a session failed after the response; listen with sessions.on('error', listener)",
      expect.objectContaining({ code: 'WARN_SESSION_LATE_ERROR', detail: expect.stringContaining('set failed') }),
    ])
    client.close()
  } finally {
    await stop()
  }
})

describe('a sign-in', () => {
  const options = { secret: 'a secret that is long enough', resave: false, saveUninitialized: false }
  const userOf = ({ user }: { user?: string }): string | undefined => user
  const serveSignIn = async (sessions: SessionMiddleware) => {
    const handled: unknown[] = []
    const app = express()
      .use(sessions)
      .get('/visit', (req, res) => {
        Object.assign(req.session, { visits: 1 })
        res.send('visited')
      })
      .get('/in', (req, res) => {
        if ('stream' in req.query) res.write('one ')
        Object.assign(req.session, { user: 'ann' })
        res.end('welcome')
      })
      .get('/look', (req, res) => void res.json(sessions.info(req).user ?? 'nobody'))
      .use(((error, _req, res, _next) => {
        handled.push(error.code)
        if (!res.headersSent) res.status(error.status).send('refused')
      }) as ErrorRequestHandler)
    return { ...(await serve(app)), handled }
  }

  it('that maxSessions refuses is not answered as one, whatever onSaveError says', async () => {
    // biome-ignore lint/suspicious/noThenProperty: the option's own name, and no function
    const maxSessions = { n: 1, then: 'refuse' } as const
    const { url, stop, handled } = await serveSignIn(session({ ...options, userOf, maxSessions }))
    const [first, second] = [new Client(url), new Client(url)]
    await second.get('/visit')
    expect((await first.get('/in')).text).toBe('welcome')
    const { status, text, headers } = await second.get('/in')
    expect([status, text, headers['set-cookie']]).toEqual([403, 'refused', undefined])
    expect((await second.get('/look')).text).toBe('"nobody"')
    expect(handled).toEqual(['ERR_SESSION_LIMIT'])
    first.close()
    second.close()
    await stop()
  })

  it.each([true, false])(
    'after the head has left is not saved, and an error event says so (a session before: %s)',
    async (before) => {
      const sessions = session({ ...options, userOf })
      const errors: unknown[] = []
      sessions.on('error', (error) => errors.push((error as SessionError).code))
      const { url, stop, handled } = await serveSignIn(sessions)
      const client = new Client(url)
      if (before) await client.get('/visit')
      expect((await client.get('/in?stream')).text).toBe('one welcome')
      expect([errors, handled]).toEqual([['ERR_SESSION_HEAD_SENT'], []])
      expect((await client.get('/look')).text).toBe('"nobody"')
      expect(await sessions.list('ann')).toEqual([])
      client.close()
      await stop()
    },
  )
})
