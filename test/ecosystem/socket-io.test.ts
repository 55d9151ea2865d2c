import { createServer, get, type IncomingHttpHeaders } from 'node:http'
import express from 'express'
import { Server, type Socket } from 'socket.io'
import { type Socket as Client, io as connect } from 'socket.io-client'
import { describe, expect, test } from 'vitest'
import { atEnd, type Browser, SlowStore, serve, sessions } from '../support/app.ts'
import { MemoryStore } from '../support/session.ts'

/** Milliseconds that only a connection which hangs needs. */
const PATIENCE = 240_000

async function site(store: InstanceType<typeof MemoryStore> | SlowStore, options: Parameters<typeof sessions>[0] = {}) {
  const middleware = sessions({ store, ...options })
  const app = express()
  app.use(middleware)
  app.get('/login', (req, res) => {
    req.session.user = 'ann'
    res.send('ok')
  })
  app.get('/session', (req, res) => {
    res.json({
      user: req.session.user ?? null,
      count: req.session.count ?? null,
    })
  })
  app.get('/set/:count', (req, res) => {
    req.session.count = Number(req.params.count)
    res.send('ok')
  })
  app.get('/logout', (req, res, next) => {
    req.session.destroy((error) => (error ? next(error) : res.send('bye')))
  })

  const server = createServer(app)
  const io = new Server(server, { pingTimeout: PATIENCE, connectTimeout: PATIENCE })
  atEnd(() => io.close())
  io.engine.use(middleware)
  io.on('connection', (socket: Socket) => {
    const request = socket.request as unknown as import('express').Request
    socket.on('who', (answer) =>
      answer({
        user: request.session.user ?? null,
        count: request.session.count ?? null,
        id: request.session.id,
      }),
    )
    socket.on('add', (answer) => {
      request.session.count = (request.session.count ?? 0) + 1
      request.session.save((error) => answer(error?.message ?? request.session.count))
    })
    socket.on('reload', (answer) => {
      request.session.reload((error) =>
        answer(
          error?.message ?? {
            user: request.session.user,
            count: request.session.count,
          },
        ),
      )
    })
    socket.on('load', (sid, answer) => {
      store.load(sid, (error: Error | null, found?: { user?: string } | null) =>
        answer(error?.message ?? found?.user ?? null),
      )
    })
  })
  return serve(server)
}

async function dial(browser: Browser, transport: 'websocket' | 'polling'): Promise<Client> {
  const cookie = [...browser.cookies].map((pair) => pair.join('=')).join('; ')
  const client = connect(browser.origin, {
    transports: [transport],
    forceNew: true,
    reconnection: false,
    timeout: PATIENCE,
    ...(cookie && { extraHeaders: { cookie } }),
  })
  atEnd(() => void client.disconnect())
  await new Promise((resolve, reject) => client.once('connect', () => resolve(undefined)).once('connect_error', reject))
  return client
}

const cases = (['websocket', 'polling'] as const).flatMap((transport) => [
  { transport, name: 'MemoryStore', store: () => new MemoryStore() },
  { transport, name: 'a slow store', store: () => new SlowStore(20) },
])

describe.concurrent.each(cases)('socket.io over $transport with $name', ({ transport, store }) => {
  test('a socket sees the session of its browser', async () => {
    const browser = await site(store())
    await browser.get('/login')
    const client = await dial(browser, transport)
    expect(await client.emitWithAck('who')).toEqual({
      user: 'ann',
      count: null,
      id: browser.id,
    })
  })

  test('what a socket saves, the next request sees', async () => {
    const browser = await site(store())
    await browser.get('/login')
    const client = await dial(browser, transport)
    expect(await client.emitWithAck('add')).toBe(1)
    expect(await client.emitWithAck('add')).toBe(2)
    expect((await browser.get('/session')).json).toEqual({
      user: 'ann',
      count: 2,
    })
  })

  test('reload brings what a request has changed since', async () => {
    const browser = await site(store())
    await browser.get('/login')
    const client = await dial(browser, transport)
    await browser.get('/set/7')
    expect(await client.emitWithAck('reload')).toEqual({
      user: 'ann',
      count: 7,
    })
    expect(await client.emitWithAck('add')).toBe(8)
    expect((await browser.get('/session')).json.count).toBe(8)
  })

  test('reload after a logout fails as in express-session', async () => {
    const browser = await site(store())
    await browser.get('/login')
    const client = await dial(browser, transport)
    await browser.get('/logout')
    expect(await client.emitWithAck('reload')).toBe('failed to load session')
  })

  test('store.load finds a session by its id', async () => {
    const browser = await site(store())
    await browser.get('/login')
    const client = await dial(browser, transport)
    expect(await client.emitWithAck('load', browser.id)).toBe('ann')
    expect(await client.emitWithAck('load', 'unknown')).toBeNull()
  })

  test('a visitor without a session is served and has none', async () => {
    const browser = await site(store())
    const client = await dial(browser, transport)
    expect(await client.emitWithAck('who')).toMatchObject({
      user: null,
      count: null,
    })
  })

  test('two sockets of two browsers have two sessions', async () => {
    const ann = await site(store())
    const bob = ann.another()
    await ann.get('/login')
    await bob.get('/set/3')
    const [a, b] = await Promise.all([dial(ann, transport), dial(bob, transport)])
    expect(await a.emitWithAck('who')).toMatchObject({
      user: 'ann',
      count: null,
    })
    expect(await b.emitWithAck('who')).toMatchObject({
      user: null,
      count: 3,
    })
  })
})

test('a first visit by polling gets its cookie with the handshake', async () => {
  const browser = await site(new MemoryStore(), { saveUninitialized: true })
  const { status } = await browser.get('/socket.io/?EIO=4&transport=polling')
  expect(status).toBe(200)
  expect(browser.id).toBeDefined()
})

test('a first visit by websocket gets its cookie with the handshake', async () => {
  const browser = await site(new MemoryStore(), { saveUninitialized: true })
  const headers = await new Promise<IncomingHttpHeaders>((resolve, reject) => {
    const request = get(`${browser.origin}/socket.io/?EIO=4&transport=websocket`, {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
      },
    })
    request.on('error', reject).on('upgrade', (response, socket) => {
      socket.destroy()
      resolve(response.headers)
    })
  })
  expect(headers['set-cookie']).toEqual([expect.stringMatching(/^connect\.sid=s%3A/)])
})
