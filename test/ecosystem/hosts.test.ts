import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import connect from 'connect'
import polka from 'polka'
import { describe, expect, test } from 'vitest'
import { type Browser, collect, expresses, SlowStore, serve, serveHttp2, sessions } from '../support/app.ts'
import { MemoryStore } from '../support/session.ts'

type Middleware = ReturnType<typeof sessions>
type Request = IncomingMessage & Pick<import('express').Request, 'session' | 'sessionID'>

const long = 'y'.repeat(100_000)

// Only what every Node-like host has: no express in here.
function answer(req: Request, res: ServerResponse) {
  const { pathname } = new URL(req.url as string, 'http://localhost')
  const { session } = req
  const count = () => {
    session.count = (session.count ?? 0) + 1
  }
  switch (pathname) {
    case '/count':
      res.setHeader('content-type', 'text/plain')
      return res.end(String(session.count ?? 0))
    case '/end':
      count()
      return res.end('ended')
    case '/head':
      count()
      res.writeHead(201, { 'content-type': 'text/x-test', 'x-mark': 'yes' })
      return res.end(Buffer.from('written'))
    case '/redirect':
      count()
      res.writeHead(302, { location: '/count' })
      return res.end('moved')
    case '/status-redirect':
      count()
      res.statusCode = 303
      res.setHeader('Location', '/count')
      return res.end()
    case '/stream':
      count()
      res.write('a')
      res.write(Buffer.from('b'))
      return res.end(long)
    case '/empty':
      count()
      res.statusCode = 204
      return res.end()
    case '/cookies':
      count()
      res.setHeader('Set-Cookie', ['a=1', 'b=2'])
      return res.end()
    case '/login':
      return session.regenerate(() => {
        req.session.user = 'ann'
        res.end(req.sessionID)
      })
    case '/logout':
      return session.destroy(() => res.end('bye'))
    case '/user':
      return res.end(session.user ?? 'nobody')
    default:
      res.statusCode = 404
      return res.end()
  }
}

// biome-ignore lint/suspicious/noExplicitAny: each host types its own request
type Handler = (req: any, res: any) => unknown

const use =
  (middleware: Middleware, handler: Handler = answer): Handler =>
  (req, res) =>
    middleware(req, res, (error?: unknown) => {
      if (!error) return handler(req, res)
      res.statusCode = 500
      res.end(String(error))
    })

const hosts: [string, (middleware: Middleware) => Promise<Browser>][] = [
  ['node:http', (middleware) => serve(http.createServer(use(middleware)))],
  ['node:http2', (middleware) => serveHttp2(use(middleware))],
  [
    'connect',
    (middleware) =>
      serve(
        connect()
          .use(middleware as never)
          .use(answer as never),
      ),
  ],
  [
    'connect over node:http2',
    (middleware) =>
      serveHttp2(
        connect()
          .use(middleware as never)
          .use(answer as never) as never,
      ),
  ],
  ['polka', (middleware) => serve(polka().use(middleware, answer).handler)],
  ...expresses.map(([name, express]): (typeof hosts)[number] => [
    name,
    (middleware) =>
      serve(
        express()
          .use(middleware)
          .use(answer as never),
      ),
  ]),
]

const cases = hosts.flatMap(([host, start]) => [
  { host, name: 'MemoryStore', site: () => start(sessions({ store: new MemoryStore() })) },
  { host, name: 'a slow store', site: () => start(sessions({ store: new SlowStore() })) },
])

describe.concurrent.each(cases)('$host with $name', ({ site }) => {
  test('counts visits', async () => {
    const browser = await site()
    expect((await browser.get('/count')).headers).not.toHaveProperty('set-cookie')
    const { text, headers } = await browser.get('/end')
    expect(text).toBe('ended')
    expect(headers['set-cookie']).toHaveLength(1)
    expect((await browser.get('/end')).headers).not.toHaveProperty('set-cookie')
    expect((await browser.get('/count')).text).toBe('2')
    expect((await browser.another().get('/count')).text).toBe('0')
  })

  test('writeHead and end: head, cookie and body arrive', async () => {
    const browser = await site()
    const { status, headers, text } = await browser.get('/head')
    expect([status, headers['content-type'], headers['x-mark'], text]).toEqual([201, 'text/x-test', 'yes', 'written'])
    expect((await browser.get('/count')).text).toBe('1')
  })

  test.each(['/redirect', '/status-redirect'])('%s can be followed at once', async (path) => {
    const browser = await site()
    expect((await browser.follow(path)).text).toBe('1')
  })

  test('a body in several writes arrives intact', async () => {
    const browser = await site()
    expect((await browser.get('/stream')).text).toBe(`ab${long}`)
    expect((await browser.get('/count')).text).toBe('1')
  })

  test('answers without a body', async () => {
    const browser = await site()
    const empty = await browser.get('/empty')
    expect([empty.status, empty.text]).toEqual([204, ''])
    const head = await collect(await browser.open('/end', { method: 'HEAD' }))
    expect([head.status, head.text]).toEqual([200, ''])
    expect((await browser.get('/count')).text).toBe('2')
  })

  test('cookies of the app stay', async () => {
    const browser = await site()
    await browser.get('/cookies')
    expect([...browser.cookies.keys()].sort()).toEqual(['a', 'b', 'connect.sid'])
    expect((await browser.get('/count')).text).toBe('1')
  })

  test('login and logout', async () => {
    const browser = await site()
    await browser.get('/end')
    const before = browser.id
    expect((await browser.get('/login')).text).toBe(browser.id)
    expect(browser.id).not.toBe(before)
    expect((await browser.get('/user')).text).toBe('ann')
    expect((await browser.get('/logout')).text).toBe('bye')
    expect((await browser.get('/user')).text).toBe('nobody')
  })
})

describe.each([
  ['node:http', serve],
  ['node:http2', serveHttp2],
] as const)('%s', (_, start) => {
  test.each(['before', 'after'])('a browser that leaves %s the app has answered does no harm', async (when) => {
    const store = new SlowStore(50)
    const leaving = new AbortController()
    const browser = await start(
      use(sessions({ store }), (req, res) => {
        req.session.count = 1
        if (leaving.signal.aborted) return res.end('still here')
        if (when === 'before') res.once('close', () => res.end('too late'))
        else res.end('too late')
        leaving.abort()
      }),
    )
    await expect(browser.open('/', { signal: leaving.signal })).rejects.toThrow('aborted')
    await expect.poll(() => store.records.size).toBe(1)
    expect((await browser.get('/')).text).toBe('still here')
  })
})
