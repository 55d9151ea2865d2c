import { gunzipSync } from 'node:zlib'
import compression from 'compression'
import { describe, expect, test } from 'vitest'
import { collect, type Express, expresses, SlowStore, serve, sessions } from '../support/app.ts'

const gzip = { 'accept-encoding': 'gzip' }
const rows = Array.from({ length: 5000 }, (_, id) => ({
  id,
  name: `row ${id} – größer`,
}))
const pieces = Array.from({ length: 20 }, (_, n) => `${n} ${'x'.repeat(10_000)}\n`)

async function site(express: Express, place: string, store = new SlowStore()) {
  const app = express()
  if (place === 'before') app.use(compression())
  app.use(sessions({ store }))
  if (place === 'after') app.use(compression())
  app.use((req, _res, next) => {
    if (req.path.startsWith('/write')) req.session.visits = (req.session.visits ?? 0) + 1
    next()
  })
  app.get('/visits', (req, res) => {
    res.json(req.session.visits ?? null)
  })
  app.get('/write/json', (_req, res) => {
    res.json(rows)
  })
  app.get('/write/stream', (_req, res) => {
    res.type('text')
    for (const piece of pieces) res.write(piece)
    res.end('the end')
  })
  app.get('/write/small', (_req, res) => {
    res.type('text').send('tiny')
  })
  app.get('/write/announced', (_req, res) => {
    const body = pieces.join('')
    res.writeHead(200, {
      'content-type': 'text/plain',
      'content-length': Buffer.byteLength(body),
    })
    res.end(body)
  })
  app.get('/write/empty', (_req, res) => {
    res.status(204).end()
  })
  app.get('/write/redirect', (_req, res) => {
    res.redirect('/visits')
  })
  app.get('/write/events', (_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write('data: first\n\n')
    res.flush()
    app.emit('events', res)
  })
  return { app, store, browser: await serve(app) }
}

const cases = expresses.flatMap(([version, express]) =>
  ['before', 'after'].map((place) => ({ version, express, place })),
)

describe.concurrent.each(cases)('compression mounted $place the session on $version', ({ express, place }) => {
  test('a big JSON body arrives intact, compressed and in chunks', async () => {
    const { browser } = await site(express, place)
    const { headers, body } = await browser.get('/write/json', gzip)
    expect(headers).toMatchObject({
      'content-encoding': 'gzip',
      'transfer-encoding': 'chunked',
    })
    expect(headers).not.toHaveProperty('content-length')
    expect(JSON.parse(gunzipSync(body).toString())).toEqual(rows)
    expect((await browser.get('/visits')).json).toBe(1)
  })

  test('without compression the same body has its length', async () => {
    const { browser } = await site(express, place)
    const { headers, body, json } = await browser.get('/write/json', {
      'accept-encoding': 'identity',
    })
    expect(headers).not.toHaveProperty('content-encoding')
    expect(headers['content-length']).toBe(String(body.length))
    expect(json).toEqual(rows)
  })

  test.each([
    ['/write/stream', `${pieces.join('')}the end`],
    ['/write/announced', pieces.join('')],
  ])('%s arrives intact', async (path, text) => {
    const { browser } = await site(express, place)
    const zipped = await browser.get(path, gzip)
    expect(zipped.headers['content-encoding']).toBe('gzip')
    expect(gunzipSync(zipped.body).toString()).toBe(text)
    expect((await browser.get(path)).text).toBe(text)
    expect((await browser.get('/visits')).json).toBe(2)
  })

  test('a small body is sent plain, with its length', async () => {
    const { browser } = await site(express, place)
    const { headers, text } = await browser.get('/write/small', gzip)
    expect(headers).not.toHaveProperty('content-encoding')
    expect(headers['content-length']).toBe('4')
    expect(text).toBe('tiny')
    expect((await browser.get('/visits')).json).toBe(1)
  })

  test('HEAD and 204 have no body and save the session', async () => {
    const { browser } = await site(express, place)
    const head = await collect(await browser.open('/write/json', { method: 'HEAD', headers: gzip }))
    expect([head.status, head.text]).toEqual([200, ''])
    const empty = await browser.get('/write/empty', gzip)
    expect([empty.status, empty.text]).toEqual([204, ''])
    expect((await browser.get('/visits')).json).toBe(2)
  })

  test('a redirect right after a write can be followed at once', async () => {
    const { browser } = await site(express, place)
    expect((await browser.follow('/write/redirect', { headers: gzip })).json).toBe(1)
  })

  // Mounted after the session, compression itself streams what it compresses.
  const whole = ['/write/small', '/write/empty', ...(place === 'before' ? ['/write/json'] : [])]

  test.each(whole)('%s is not answered before the store has it', async (path) => {
    const { browser, store } = await site(express, place)
    const head = await browser.open(path, { headers: gzip })
    expect(store.pending).toBe(0)
    expect(store.records.size).toBe(1)
    await collect(head)
  })

  test('flushed events arrive while the answer is open', async () => {
    const { app, browser } = await site(express, place)
    const response = new Promise<import('express').Response>((resolve) => app.once('events', resolve))
    const { headers, body } = await browser.open('/write/events')
    const events = body[Symbol.asyncIterator]()
    expect(headers['set-cookie']).toHaveLength(1)
    expect(String((await events.next()).value)).toBe('data: first\n\n')
    const res = await response
    res.write('data: second\n\n')
    res.flush()
    expect(String((await events.next()).value)).toBe('data: second\n\n')
    res.end()
    expect((await events.next()).done).toBe(true)
    expect((await browser.get('/visits')).json).toBe(1)
  })
})
