// What becomes of a request whose session cannot be loaded: onStoreError, on every host.

import type { RequestHandler } from 'express'
import express from 'express'
import { expect, it } from 'vitest'
import { MemoryStore, type SessionMiddleware, type SessionOptions, session } from '../../lib/index.ts'
import { Browser } from '../support/jar.ts'
import { serve, serveFetch } from '../support/serve.ts'

type Loose = Record<string, unknown> & { session?: { n?: number } | undefined }

class Failing extends MemoryStore {
  fails = false

  override get(...args: never[]): never {
    if (this.fails) throw new Error('the store is down')
    return super.get(...(args as [never])) as never
  }
}

function make(onStoreError: 'fail' | 'anonymous', options: SessionOptions = {}) {
  const store = new Failing()
  const defaults = { secret: 'x', resave: false, saveUninitialized: true, rolling: true }
  const sessions = session({ ...defaults, store, onStoreError, ...options })
  const errors: unknown[] = []
  sessions.on('error', (error) => errors.push(error))
  return { store, sessions, errors }
}

const use = (req: Loose): string => {
  if (!req.session) return `nobody, ${String(req.sessionID)}, ${typeof req.sessionStore}`
  req.session.n = (req.session.n ?? 0) + 1
  return String(req.session.n)
}

const hosts: [string, (sessions: SessionMiddleware) => ReturnType<typeof serve>][] = [
  [
    'Express',
    (sessions) => {
      const app = express()
      app.use(sessions as RequestHandler)
      app.get('/', (req, res) => void res.send(use(req as never)))
      return serve(app)
    },
  ],
  [
    'a fetch-style host',
    (sessions) =>
      serveFetch(async (request) => {
        try {
          return await sessions(request, async (req: Loose) => new Response(use(req)))
        } catch {
          return new Response('failed', { status: 500 })
        }
      }),
  ],
]

it.each(hosts)(
  "%s serves such a request without a session with 'anonymous', and reports the error",
  async (_, start) => {
    const { store, sessions, errors } = make('anonymous')
    const app = await start(sessions)
    const browser = new Browser(app.url)
    expect((await browser.get('/')).text).toBe('1')
    store.fails = true
    const { status, text, setCookies } = await browser.get('/')
    expect([status, text, setCookies]).toEqual([200, 'nobody, undefined, undefined', []])
    expect(errors).toEqual([expect.objectContaining({ message: 'the store is down' })])
    store.fails = false
    expect((await browser.get('/')).text).toBe('2')
    await app.stop()
  },
)

it.each(hosts)("on %s an error of the app's own functions is no failed store", async (_, start) => {
  const fail = (): never => {
    throw new Error("the app's mistake")
  }
  for (const options of [{ genid: fail }, { touch: fail }, { cookie: fail }]) {
    const { sessions, errors } = make('anonymous', options)
    const app = await start(sessions)
    expect([(await new Browser(app.url).get('/')).status, errors]).toEqual([500, []])
    await app.stop()
  }
})

it.each(hosts)("%s fails such a request with 'fail'", async (_, start) => {
  const { store, sessions, errors } = make('fail')
  const app = await start(sessions)
  const browser = new Browser(app.url)
  await browser.get('/')
  store.fails = true
  const { status, setCookies } = await browser.get('/')
  expect([status, setCookies, errors]).toEqual([500, [], []])
  store.fails = false
  expect((await browser.get('/')).text).toBe('2')
  await app.stop()
})
