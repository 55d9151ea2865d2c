// A store that does not answer: `storeTimeout` fails its calls, and a warning names it where there is no such limit.

import type { RequestHandler } from 'express'
import express from 'express'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { MemoryStore, type SessionOptions, session } from '../lib/index.ts'
import { type AnyStore, bases } from './concurrency/fixture/kinds.ts'
import { callbackStore, PromiseStore } from './concurrency/fixture/stores.ts'
import { Browser } from './support/jar.ts'
import { type Running, serve } from './support/serve.ts'

const running: Running[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const app of running.splice(0)) await app.stop()
})

/** An app whose store keeps silent about one of its methods from `silence` on. */
async function site(store: AnyStore, options: SessionOptions) {
  const app = express()
  app.use(session({ secret: 'x', resave: false, saveUninitialized: false, store, ...options }) as RequestHandler)
  app.get('/set', (req, res) => {
    ;(req.session as AnyStore).n = ((req.session as AnyStore).n ?? 0) + 1
    res.send('set')
  })
  app.get('/logout', (req, res, next) => req.session.destroy((error) => (error ? next(error) : res.send('out'))))
  app.get('/read', (req, res) => void res.send(String((req.session as AnyStore).n)))
  app.use(((error, _req, res, _next) => {
    res.status(503).send(error.code)
  }) as express.ErrorRequestHandler)
  const served = await serve(app)
  running.push(served)
  const browser = new Browser(served.url)
  const silence = (method: string): void => {
    store[method] = () => (store instanceof PromiseStore ? new Promise(() => {}) : undefined)
  }
  return { browser, silence }
}

const stores: [string, () => AnyStore][] = [
  ['a callback store', () => new (callbackStore(bases as never))(() => 0)],
  ['a promise store', () => new PromiseStore(() => 0)],
  ['a bundled store', () => new MemoryStore()],
]

describe.each(stores)('%s with storeTimeout', (_, open) => {
  it.each([
    ['get', '/read'],
    ['set', '/set'],
    ['destroy', '/logout'],
  ])('fails a request whose %s() is not answered', async (method, path) => {
    const store = open()
    // The store answers this app, however long that takes here.
    const patient = await site(store, {})
    expect((await patient.browser.get('/set')).text).toBe('set')
    const { browser, silence } = await site(store, { storeTimeout: 20, onSaveError: 'fail' })
    silence(method)
    const { status, text } = await browser.get(path, { headers: { cookie: patient.browser.header } })
    expect([status, text]).toEqual([503, 'ERR_SESSION_TIMEOUT'])
  })
})

it('a storeTimeout that is longer than timers can wait is no short one', async () => {
  const store = new PromiseStore(() => 5)
  const { browser } = await site(store, { storeTimeout: 2 ** 31, onSaveError: 'fail' })
  const [first, second] = [await browser.get('/set'), await browser.get('/set')]
  expect([first.status, first.text, second.status]).toEqual([200, 'set', 200])
})

it('a store that has not answered for ten seconds is named by a warning, once', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  const store: AnyStore = new PromiseStore(() => 0)
  const { browser, silence } = await site(store, {})
  await browser.get('/set')
  const warned: Error[] = []
  const listen = (warning: Error): number => warned.push(warning)
  process.on('warning', listen)
  silence('get')
  const control = new AbortController()
  for (let n = 0; n < 2; n++) void browser.get('/read', { signal: control.signal }).catch(() => {})
  for (let round = 0; round < 4; round++) {
    for (let turns = 0; turns < 50; turns++) await new Promise(setImmediate)
    vi.advanceTimersByTime(10_000)
  }
  vi.useRealTimers()
  await expect.poll(() => warned.length).toBe(1)
  control.abort()
  process.off('warning', listen)
  expect(warned[0]).toMatchObject({
    code: 'WARN_SESSION_STORE_SILENT',
    message: expect.stringContaining('PromiseStore'),
  })
})
