// The tracing channels: what a subscriber learns of loading, committing and destroying sessions.

import { tracingChannel } from 'node:diagnostics_channel'
import express from 'express'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { MemoryStore, session, type TracedSession } from '../lib/index.ts'
import { Browser } from './support/jar.ts'
import { bun, type Running, serve, spawnServer } from './support/serve.ts'

class FailingStore {
  failing = false
  readonly #inner = new MemoryStore()

  async #checked<T>(work: () => Promise<T>): Promise<T> {
    if (this.failing) throw new Error('the store has failed')
    return work()
  }
  get(id: string) {
    return this.#checked(() => this.#inner.get(id))
  }
  set(id: string, data: never) {
    return this.#checked(() => this.#inner.set(id, data))
  }
  destroy(id: string) {
    return this.#checked(() => this.#inner.destroy(id))
  }
}

const EVENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const
const NAMES = ['load', 'commit', 'destroy'] as const

let told: [what: string, context: TracedSession][]
let subscriptions: (() => void)[]
let running: Running[]

beforeEach(() => {
  told = []
  running = []
  subscriptions = NAMES.map((name) => {
    const listeners = Object.fromEntries(
      EVENTS.map((event) => [
        event,
        (context: object) => told.push([`${name} ${event}`, { ...(context as TracedSession) }]),
      ]),
    )
    const channel = tracingChannel(`unisession:${name}`)
    channel.subscribe(listeners as never)
    return () => channel.unsubscribe(listeners as never)
  })
})
afterEach(async () => {
  for (const unsubscribe of subscriptions) unsubscribe()
  for (const server of running) await server.stop()
})

async function site(store: MemoryStore | FailingStore) {
  const sessions = session({
    secret: 'a secret that is long enough',
    resave: false,
    saveUninitialized: false,
    store: store as MemoryStore,
    userOf: ({ user }) => user,
  })
  const app = express()
    .use(sessions)
    .get('/untouched', (_req, res) => void res.send())
    .get('/in', (req, res) => {
      Object.assign(req.session, { user: 'ann' })
      res.send()
    })
    .get('/visit', (req, res) => {
      Object.assign(req.session, { visits: 1 })
      res.send()
    })
    .get('/out', async (req, res) => {
      await req.session.destroy()
      res.send()
    })
    .use(((_error, _req, res, _next) => void res.status(500).send()) as express.ErrorRequestHandler)
  const server = await serve(app)
  running.push(server)
  return { sessions, browser: new Browser(server.url) }
}

/** What was told since the last time: its order, and what it was about when each was over. */
function tell() {
  const [all, ends] = [told.map(([what]) => what), told.filter(([what]) => what.endsWith(' end'))]
  told = []
  return { all, ends: ends.map(([what, { id, act }]) => [what.split(' ')[0], id, act]) }
}

it('each request tells of what it has loaded and done, with the id that lists and events have', async () => {
  const { sessions, browser } = await site(new MemoryStore())
  const ids: Record<string, string> = {}
  for (const name of ['create', 'renew']) sessions.on(name, (event) => (ids[name] = (event as { id: string }).id))
  await browser.get('/visit')
  expect(tell().ends).toEqual([
    ['load', undefined, 'none'],
    ['commit', ids.create, 'save'],
  ])
  await browser.get('/untouched')
  expect(tell().ends).toMatchObject([
    ['load', ids.create, 'found'],
    ['commit', ids.create, expect.any(String)],
  ])
  await browser.get('/in')
  expect(tell().ends).toEqual([
    ['load', ids.create, 'found'],
    ['commit', ids.renew, 'save'],
  ])
  expect(await sessions.list('ann')).toMatchObject([{ id: ids.renew }])
  await browser.get('/out')
  expect(tell().ends).toEqual([
    ['load', ids.renew, 'found'],
    ['destroy', ids.renew, 'destroy'],
    ['commit', ids.renew, 'none'],
  ])
  await browser.get('/untouched')
  expect(tell().ends.slice(0, 1)).toEqual([['load', ids.renew, 'missing']])
})

it('the order is that of Node’s tracePromise, also where the store fails', async () => {
  const store = new FailingStore()
  const { browser } = await site(store)
  await browser.get('/in')
  tell()
  await browser.get('/untouched')
  expect(tell().all.slice(0, 4)).toEqual(['load start', 'load end', 'load asyncStart', 'load asyncEnd'])
  store.failing = true
  expect((await browser.get('/untouched')).status).toBe(500)
  const failures = told.filter(([, { error }]) => error)
  expect(failures.map(([what]) => what)).toEqual(['load error', 'load asyncStart', 'load asyncEnd'])
  for (const [, context] of failures) {
    expect(context).toEqual({
      id: expect.stringMatching(/^[\w-]{43}$/),
      store: 'FailingStore',
      act: undefined,
      error: expect.objectContaining({ message: 'the store has failed' }),
    })
  }
})

it('nothing that is told contains an id or a cookie', async () => {
  const store = new MemoryStore()
  const { browser } = await site(store)
  const secrets: string[] = []
  for (const path of ['/visit', '/in', '/untouched', '/out']) {
    await browser.get(path)
    secrets.push(...Object.keys(store.sessions), ...browser.cookies.values())
  }
  expect(secrets.length).toBeGreaterThan(4)
  const text = JSON.stringify(told)
  expect(secrets.filter((secret) => text.includes(secret))).toEqual([])
})

it.skipIf(!bun)('no debug line contains an id or a cookie', async () => {
  const fixture = ['test/hosts/fixture/serve.ts', 'express5']
  const server = await spawnServer(bun as string, fixture, { DEBUG: 'unisession' })
  running.push(server)
  let lines = ''
  server.child.stderr?.on('data', (data) => {
    lines += data
  })
  const browser = new Browser(server.url)
  const acts = ['set?k1=v', 'signIn', 'signIn?how=regenerate', 'confirm', 'streamThenSet', 'signOut?how=save', 'logout']
  for (const act of acts) await browser.get(`/users/${act}`)
  for (const act of ['set?k1=v', 'untouched', 'logout', 'last']) await browser.get(`/renewing/${act}`)
  await expect.poll(() => lines).toContain('/renewing/last')
  for (const line of ['gets another id', 'saving', 'no cookie']) expect(lines).toContain(line)
  expect(browser.seen.size).toBeGreaterThan(10)
  expect([...browser.seen].filter((secret) => lines.includes(secret))).toEqual([])
})
