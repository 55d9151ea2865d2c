// What only a connect-style host has: a response object that the app writes to.

import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, request, type ServerResponse } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { MemoryStore, type Session, type SessionOptions, session } from '../../lib/index.ts'
import { Browser } from '../support/jar.ts'
import { type Running, serve } from '../support/serve.ts'

type Request = IncomingMessage & {
  session: Session & Record<string, unknown>
  sessionID: string
}
type Handler = (req: Request, res: ServerResponse) => unknown

const options: SessionOptions = {
  secret: 'keyboard cat',
  resave: false,
  saveUninitialized: false,
}

const until = (condition: () => boolean) => expect.poll(condition).toBe(true)

/** A store that acknowledges writes only when it is told to. */
class HeldStore extends MemoryStore {
  readonly #waiting: (() => void)[] = []

  override set(...args: unknown[]): never {
    this.#waiting.push(() => Reflect.apply(MemoryStore.prototype.set, this, args))
    return undefined as never
  }

  async release(): Promise<void> {
    await until(() => this.#waiting.length > 0)
    for (const go of this.#waiting.splice(0)) go()
  }
}

const running: Running[] = []
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop()
})

function listener(handler: Handler, given: SessionOptions = {}, errors: unknown[] = []): RequestListener {
  const middleware = session({ ...options, ...given })
  return (req, res) =>
    middleware(req, res, (error) => {
      if (error) errors.push(error)
      if (error && !res.headersSent) {
        res.statusCode = 500
        res.end((error as Error).message)
      } else if (!error) handler(req as Request, res)
    })
}

async function start(handler: Handler, given?: SessionOptions, errors?: unknown[]): Promise<Browser> {
  const server = await serve(listener(handler, given, errors))
  running.push(server)
  return new Browser(server.url)
}

describe('while the store has not acknowledged', () => {
  it('the response looks sent: the head is frozen, later calls change nothing', async () => {
    const store = new HeldStore()
    const seen: unknown[] = []
    const browser = await start(
      (req, res) => {
        req.session.user = 'ann'
        res.setHeader('x-before', '1')
        seen.push(res.end('body') === res, res.headersSent, res.getHeader('x-before'))
        for (const call of [
          () => res.setHeader('x-late', '1'),
          () => res.appendHeader('x-late', '1'),
          () => res.removeHeader('x-before'),
          () => res.writeHead(500),
        ]) {
          try {
            call()
            seen.push('no error')
          } catch (error) {
            seen.push((error as NodeJS.ErrnoException).code)
          }
        }
        res.flushHeaders()
        res.end()
        res.end('another body')
        void store.release()
      },
      { store },
    )
    const reply = await browser.get('/')
    expect(seen).toEqual([true, true, '1', ...Array(4).fill('ERR_HTTP_HEADERS_SENT')])
    expect([reply.status, reply.text, reply.setCookies.length]).toEqual([200, 'body', 1])
    expect(reply.headers.get('x-before')).toBe('1')
    expect(reply.headers.get('x-late')).toBeNull()
  })

  it('no byte is on the wire, not even of a head written by hand', async () => {
    for (const head of [false, true]) {
      const store = new HeldStore()
      const { url } = await serve(
        listener(
          (req, res) => {
            req.session.user = 'ann'
            if (head) res.writeHead(302, { Location: '/next' }).end()
            else res.end('body')
          },
          { store },
        ),
      ).then((server) => {
        running.push(server)
        return server
      })
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      let bytes = 0
      socket.on('data', (data) => {
        bytes += data.length
      })
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
      // The other request makes a full round trip while this one waits.
      await new Browser(url).get('/', { signal: AbortSignal.timeout(50) }).catch(() => {})
      expect(bytes).toBe(0)
      await store.release()
      await until(() => bytes > 0)
      socket.destroy()
    }
  })

  it('a callback given to end is called when the response is out', async () => {
    const store = new HeldStore()
    const finished = vi.fn()
    const browser = await start(
      (req, res) => {
        req.session.user = 'ann'
        res.end('body', finished)
        expect(finished).not.toHaveBeenCalled()
        void store.release()
      },
      { store },
    )
    await browser.get('/')
    await until(() => finished.mock.calls.length === 1)
  })

  it('so are those of a later end and a later write', async () => {
    const store = new HeldStore()
    const called: unknown[] = []
    const browser = await start(
      (req, res) => {
        req.session.user = 'ann'
        res.end('body')
        res.end(() => called.push('end'))
        res.write('more', (error) => called.push((error as NodeJS.ErrnoException).code))
        void store.release()
      },
      { store },
    )
    expect((await browser.get('/')).text).toBe('body')
    await until(() => called.length === 2)
    expect(called.sort()).toEqual(['ERR_STREAM_WRITE_AFTER_END', 'end'])
  })

  it('the response is not over: a server that closes lets it leave', async () => {
    const store = new HeldStore()
    const states: boolean[] = []
    const handle = listener(
      (req, res) => {
        req.session.user = 'ann'
        res.end('body')
        states.push(res.finished, res.writableEnded)
        server.close()
        void store.release()
      },
      { store },
    )
    const server = createServer(handle).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    expect((await new Browser(url).get('/')).text).toBe('body')
    expect(states).toEqual([false, false])
    server.closeAllConnections()
  })

  it('a large body is out as a whole before a failed save is told', async () => {
    class FullStore extends MemoryStore {
      override set(...args: unknown[]): never {
        setImmediate(args[2] as (error: Error) => void, new Error('disk full'))
        return undefined as never
      }
    }
    const sessions = session({ ...options, store: new FullStore() })
    const { url, stop } = await serve((req, res) =>
      sessions(req, res, (error) => {
        // What Express does with an error after the head has left.
        if (error) return void req.socket.destroy()
        Object.assign((req as Request).session, { user: 'ann' })
        res.end('x'.repeat(20_000_000))
      }),
    )
    expect((await new Browser(url).get('/')).text.length).toBe(20_000_000)
    await stop()
  })
})

describe('the head', () => {
  it('that writeHead made is sent with the first byte, cookie included', async () => {
    const browser = await start((req, res) => {
      res.writeHead(201, 'Made', {
        'x-one': '1',
        'Set-Cookie': ['a=1', 'b=2'],
      })
      expect(res.headersSent).toBe(true)
      expect(() => res.setHeader('x-late', '1')).toThrow(/after they are sent/)
      req.session.user = 'ann'
      res.write('one ')
      res.end('two')
    })
    const reply = await browser.get('/')
    expect([reply.status, reply.text, reply.headers.get('x-one')]).toEqual([201, 'one two', '1'])
    expect(reply.setCookies.map((cookie) => cookie.split('=')[0])).toEqual(['a', 'b', 'connect.sid'])
  })

  it('may be given as a list of names and values', async () => {
    const browser = await start((req, res) => {
      req.session.user = 'ann'
      res.setHeader('x-one', 'replaced')
      res.writeHead(200, ['x-one', '1', 'set-cookie', 'a=1', 'set-cookie', 'b=2'] as never)
      res.end()
    })
    const reply = await browser.get('/')
    expect(reply.headers.get('x-one')).toBe('1')
    expect(reply.setCookies.map((cookie) => cookie.split('=')[0])).toEqual(['a', 'b', 'connect.sid'])
  })

  it('keeps the cookies that the app set before', async () => {
    const browser = await start((req, res) => {
      req.session.user = 'ann'
      res.setHeader('Set-Cookie', 'a=1')
      res.end()
    })
    expect((await browser.get('/')).setCookies.map((cookie) => cookie.split('=')[0])).toEqual(['a', 'connect.sid'])
  })

  it('has the length of a body that end was given, as in plain Node', async () => {
    const browser = await start((req, res) => {
      req.session.user = 'ann'
      res.end('body')
    })
    const reply = await browser.get('/')
    expect([reply.headers.get('content-length'), reply.headers.get('transfer-encoding')]).toEqual(['4', null])
  })

  it('is open again after a body that Node refuses', async () => {
    const browser = await start((req, res) => {
      req.session.user = 'ann'
      expect(() => res.end({} as never)).toThrow(/chunk/)
      res.end('a real body')
    })
    expect((await browser.get('/')).text).toBe('a real body')
    expect((await browser.get('/')).text).toBe('a real body')
  })

  it('with attributes that no cookie can have is an error after an answer without cookie', async () => {
    const errors: Error[] = []
    const browser = await start(
      (req, res) => {
        req.session.user = 'ann'
        res.end('body')
      },
      { cookie: { expires: new Date(Number.NaN) } },
      errors,
    )
    const reply = await browser.get('/')
    expect([reply.status, reply.text, reply.setCookies]).toEqual([200, 'body', []])
    await expect.poll(() => errors.map((error) => error.message)).toEqual(['option expires is invalid'])
  })
})

describe('a request goes on without a session', () => {
  const look: Handler = (req, res) => res.end(`${typeof req.session} ${'sessionStore' in req}`)

  it('when it has one already', async () => {
    const inner = session({ ...options, secret: 'another' })
    const browser = await start((req, res) => {
      const { session: outer } = req
      inner(req, res, () => {
        req.session.user = 'ann'
        res.end(String(req.session === outer))
      })
    })
    const reply = await browser.get('/')
    expect([reply.text, reply.setCookies.length]).toEqual(['true', 1])
  })

  it('outside of the cookie’s path, which counts by segment', async () => {
    const browser = await start(look, { cookie: { path: '/admin' } })
    expect((await browser.get('/')).text).toBe('undefined false')
    for (const path of ['/admin', '/admin/', '/admin/users', '/admin?x']) {
      expect((await browser.get(path)).text).toBe('object true')
    }
    expect((await browser.get('/administrator?x=/admin')).text).toBe('undefined false')
    expect((await browser.get('/?/admin')).text).toBe('undefined false')
  })

  it('while its store has disconnected', async () => {
    const store = new MemoryStore()
    const browser = await start(look, { store })
    store.emit('disconnect')
    expect((await browser.get('/')).text).toBe('undefined false')
    store.emit('connect')
    expect((await browser.get('/')).text).toBe('object true')
  })

  it('when there is no secret: that is an error', async () => {
    const browser = await start(look, { secret: undefined })
    expect(await browser.get('/')).toMatchObject({
      status: 500,
      text: 'secret option required for sessions',
    })
  })
})

it('a response without the methods of one is left alone', () => {
  const next = vi.fn()
  const req = { headers: {}, url: '/' } as Request
  session(options)(req, {} as ServerResponse, next)
  expect(next).toHaveBeenCalledExactlyOnceWith()
  expect(req.session.cookie.path).toBe('/')
})

it('a call that no host makes is a clear error', () => {
  const middleware = session(options) as unknown as (...args: unknown[]) => void
  for (const args of [[], [{}], [{}, {}], [{}, null, () => {}]]) {
    expect(() => middleware(...args)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_HOST' }))
  }
})

it('an absolute request target is understood', async () => {
  const { url, stop } = await serve(
    listener((req, res) => res.end(typeof req.session), {
      cookie: { path: '/in' },
    }),
  )
  const port = Number(new URL(url).port)
  const ask = (path: string): Promise<string> =>
    new Promise((resolve) => {
      request({ port, path, host: '127.0.0.1' }, (res) => res.once('data', (data) => resolve(String(data)))).end()
    })
  expect(await ask('http://elsewhere/in/side')).toBe('object')
  expect(await ask('http://elsewhere/outside')).toBe('undefined')
  expect(await ask('*')).toBe('undefined')
  await stop()
})

describe('over HTTP/2', () => {
  const answers: Record<string, Handler> = {
    end: (_, res) => res.end('body'),
    redirect: (_, res) => res.writeHead(302, { location: '/next' }).end(),
    stream(_, res) {
      res.writeHead(200, { 'x-one': '1' })
      res.write('bo')
      res.end('dy')
    },
  }

  for (const [name, answer] of Object.entries(answers)) {
    it(`${name}: the answer waits for the store, and the cookie is on it`, async () => {
      const store = new HeldStore()
      const handler = listener(
        (req, res) => {
          req.session.user = 'ann'
          answer(req, res)
        },
        { store },
      )
      const server = createHttp2Server(handler as never)
      await new Promise<void>((resolve) => server.listen(0, resolve))
      const client = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
      const stream = client.request({ ':path': '/' })
      let headers: Record<string, unknown> | undefined
      let body = ''
      stream.on('response', (given) => {
        headers = given
      })
      stream.on('data', (data) => {
        body += data
      })
      const ended = new Promise((resolve) => stream.once('end', resolve))
      // A ping makes a full round trip while the request waits.
      for (let i = 0; i < 3; i++) await new Promise((resolve) => client.ping(resolve))
      if (name !== 'stream') expect(headers).toBeUndefined()
      await store.release()
      await ended
      expect(headers?.['set-cookie']).toEqual([expect.stringMatching(/^connect\.sid=s%3A/)])
      expect([headers?.[':status'], body]).toEqual(name === 'redirect' ? [302, ''] : [200, 'body'])
      client.close()
      server.close()
    })
  }
})

it.each([
  ['its own origin', (url: string) => url, []],
  ['another origin', () => 'http://127.0.0.1:1', [{ status: 403 }]],
])('over HTTP/2, a request with an unsafe method and %s', async (_, originOf, expected) => {
  const errors: unknown[] = []
  const handler = listener((_req, res) => res.end(), { crossSite: 'refuse' }, errors)
  const server = createHttp2Server(handler as never)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const client = connectHttp2(url)
  const stream = client.request({ ':path': '/', ':method': 'POST', origin: originOf(url) })
  await once(stream, 'response')
  expect(errors).toMatchObject(expected)
  client.destroy()
  server.close()
})

it('cookie-parser’s secret and cookies are still read', async () => {
  const secretary: RequestListener = (req, res) => {
    const middleware = session({ ...options, secret: undefined })
    Object.assign(req, {
      secret: 'keyboard cat',
      signedCookies: { 'connect.sid': 'unknown' },
    })
    middleware(req, res, (error) =>
      res.end(error ? 'error' : (req as Request).sessionID === 'unknown' ? 'adopted' : 'ok'),
    )
  }
  const { url, stop } = await serve(secretary)
  expect((await new Browser(url).get('/')).text).toBe('ok')
  await stop()
})

it('store.load gives a session outside of a request, with methods that work', async () => {
  const store = new MemoryStore()
  const browser = await start(
    (req, res) => {
      req.session.user = 'ann'
      res.end(req.sessionID)
    },
    { store },
  )
  const { text: id } = await browser.get('/')
  const loaded = await new Promise<Session & { user?: string; seen?: boolean }>((resolve, reject) => {
    store.load(id, (error, found) => (error ? reject(error) : resolve(found as never)))
  })
  expect([loaded.id, loaded.user]).toEqual([id, 'ann'])
  loaded.seen = true
  await loaded.save()
  expect(await store.get(id)).toMatchObject({ user: 'ann', seen: true })
  await loaded.destroy()
  expect(await store.get(id)).toBeUndefined()
})

it('a failed load never costs the session: unset does not apply to what was not there', async () => {
  const store = new MemoryStore()
  const browser = await start(
    (req, res) => {
      req.session.user ??= 'ann'
      res.end(String(req.session.user))
    },
    { store, unset: 'destroy' },
  )
  await browser.get('/')
  const { get } = store
  store.get = ((_sid: string, callback: (error: Error) => void) => setImmediate(callback, new Error('away'))) as never
  expect((await browser.get('/')).status).toBe(500)
  store.get = get
  expect(await store.length()).toBe(1)
})

it.each(['get', 'set'])('a promise-style store whose %s rejects without a reason has failed', async (method) => {
  const records = new Map<string, string>()
  let failing = false
  const fail = (name: string): Promise<undefined> | undefined =>
    failing && name === method ? Promise.reject() : undefined
  const store = {
    get: async (sid: string) => (await fail('get')) ?? JSON.parse(records.get(sid) ?? 'null'),
    set: async (sid: string, data: object, _ttl?: number) =>
      (await fail('set')) ?? void records.set(sid, JSON.stringify(data)),
    destroy: async (_sid: string) => {},
  }
  const errors: unknown[] = []
  const visit: Handler = (req, res) => {
    req.session.n = Number(req.session.n ?? 0) + 1
    res.end(String(req.session.n))
  }
  const browser = await start(visit, { store }, errors)
  expect((await browser.get('/')).text).toBe('1')
  failing = true
  await browser.get('/')
  await until(() => errors.length > 0)
  expect(errors).toMatchObject([{ message: 'store rejected without a reason' }])
})

it('the status is the one that end was called with', async () => {
  const store = new HeldStore()
  const browser = await start(
    (req, res) => {
      req.session.user = 'ann'
      res.end('body')
      res.statusCode = 500
      void store.release()
    },
    { store },
  )
  expect((await browser.get('/')).status).toBe(200)
})
