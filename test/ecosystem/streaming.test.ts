import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Response } from 'express'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Browser, collect, type Express, expresses, SlowStore, serve, sessions } from '../support/app.ts'

describe.each(expresses)('server-sent events on %s', (_, express) => {
  async function site() {
    const store = new SlowStore(50)
    const app = express()
    app.use(sessions({ store }))
    app.get('/events', (req, res) => {
      req.session.seen = 'events'
      res.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-cache',
      })
      res.write('data: 1\n\n')
      app.emit('open', res)
    })
    app.get('/flushed', (req, res) => {
      req.session.seen = 'flushed'
      res.type('text/event-stream')
      res.flushHeaders()
      app.emit('open', res)
    })
    app.get('/saved', (req, res, next) => {
      req.session.seen = 'saved'
      req.session.save((error) => {
        if (error) return next(error)
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        res.write('data: 1\n\n')
        app.emit('open', res)
      })
    })
    app.get('/late', (req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write('data: 1\n\n')
      req.session.seen = 'late'
      res.end('data: 2\n\n')
    })
    app.get('/seen', (req, res) => {
      res.json(req.session.seen ?? null)
    })
    const opened = new Promise<Response>((resolve) => app.once('open', resolve))
    return { browser: await serve(app), opened, store }
  }

  test('events arrive one by one, the cookie with the head, and the write is stored', async () => {
    const { browser, opened } = await site()
    const { headers, body } = await browser.open('/events')
    const events = body[Symbol.asyncIterator]()
    const res = await opened

    expect(headers).toMatchObject({
      'content-type': 'text/event-stream',
      'transfer-encoding': 'chunked',
    })
    expect(browser.id).toBeDefined()
    expect(String((await events.next()).value)).toBe('data: 1\n\n')
    for (const event of ['data: 2\n\n', 'data: 3\n\n']) {
      res.write(event)
      expect(String((await events.next()).value)).toBe(event)
    }
    res.end('data: last\n\n')
    let rest = ''
    for await (const chunk of events) rest += chunk
    expect(rest).toBe('data: last\n\n')
    expect((await browser.get('/seen')).json).toBe('events')
  })

  test('flushHeaders sends the cookie before any event', async () => {
    const { browser, opened } = await site()
    const head = await browser.open('/flushed')
    expect(browser.id).toBeDefined()
    ;(await opened).end('data: 1\n\n')
    expect((await collect(head)).text).toBe('data: 1\n\n')
    expect((await browser.get('/seen')).json).toBe('flushed')
  })

  test('a session saved by hand is stored while the stream is open', async () => {
    const { browser, opened } = await site()
    const { body } = await browser.open('/saved')
    expect((await browser.get('/seen')).json).toBe('saved')
    ;(await opened).end()
    body.resume()
  })

  test('a write after the head is stored in a session the browser already has', async () => {
    const { browser } = await site()
    ;(await browser.open('/saved')).body.destroy()
    expect((await browser.get('/late')).text).toBe('data: 1\n\ndata: 2\n\n')
    expect((await browser.get('/seen')).json).toBe('late')
  })
})

describe.each(expresses)('files on %s', (_, express) => {
  const file = randomBytes(300_000)
  let dir: string

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'static-'))
    await writeFile(join(dir, 'file.bin'), file)
    await writeFile(join(dir, 'empty.txt'), '')
  })
  afterAll(() => rm(dir, { recursive: true }))

  async function site() {
    const app = (express as Express)()
    app.use(sessions({ store: new SlowStore(20) }))
    app.use((req, _res, next) => {
      if (req.path !== '/visits') req.session.visits = (req.session.visits ?? 0) + 1
      next()
    })
    app.use(express.static(dir))
    app.get('/visits', (req, res) => {
      res.json(req.session.visits ?? null)
    })
    app.get('/send', (_req, res) => res.sendFile(join(dir, 'file.bin')))
    app.get('/pipe', (_req, res) => pipeline(Readable.from([file.subarray(0, 100_000), file.subarray(100_000)]), res))
    return serve(app)
  }

  // A file is streamed: the browser has the announced length before the end of the answer is saved.
  const visited = (browser: Browser, times: number) =>
    expect.poll(async () => (await browser.get('/visits')).json).toBe(times)

  test.each(['/file.bin', '/send', '/pipe'])(
    '%s arrives intact, with a cookie, and the write is stored',
    async (path) => {
      const browser = await site()
      const { status, headers, body } = await browser.get(path)
      expect(status).toBe(200)
      expect(body.equals(file)).toBe(true)
      if (path !== '/pipe') expect(headers['content-length']).toBe(String(file.length))
      expect(headers['set-cookie']).toHaveLength(1)
      await visited(browser, 1)
    },
  )

  test('an empty file', async () => {
    const browser = await site()
    const { status, headers, text } = await browser.get('/empty.txt')
    expect([status, headers['content-length'], text]).toEqual([200, '0', ''])
    expect((await browser.get('/visits')).json).toBe(1)
  })

  test('an unchanged file is answered with 304, and the write is stored', async () => {
    const browser = await site()
    const { headers } = await browser.get('/file.bin')
    await visited(browser, 1)
    const again = await browser.get('/file.bin', {
      'if-none-match': headers.etag as string,
    })
    expect([again.status, again.text]).toEqual([304, ''])
    expect((await browser.get('/visits')).json).toBe(2)
  })

  test('HEAD gives the length and no body', async () => {
    const browser = await site()
    const head = await collect(await browser.open('/file.bin', { method: 'HEAD' }))
    expect([head.status, head.headers['content-length'], head.body.length]).toEqual([200, String(file.length), 0])
    expect((await browser.get('/visits')).json).toBe(1)
  })

  test('a range is that part of the file', async () => {
    const browser = await site()
    const { status, headers, body } = await browser.get('/file.bin', {
      range: 'bytes=1000-200999',
    })
    expect([status, headers['content-range']]).toEqual([206, `bytes 1000-200999/${file.length}`])
    expect(body.equals(file.subarray(1000, 201_000))).toBe(true)
    expect((await browser.get('/file.bin', { range: 'bytes=999999-' })).status).toBe(416)
  })
})
