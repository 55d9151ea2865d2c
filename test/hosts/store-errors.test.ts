// What becomes of a request whose session cannot be loaded: onStoreError, on every host.

import type { RequestHandler } from 'express'
import express from 'express'
import { expect, it } from 'vitest'
import { MemoryStore, type SessionMiddleware, session } from '../../lib/index.ts'
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

function make(onStoreError: 'fail' | 'anonymous') {
  const store = new Failing()
  const sessions = session({ secret: 'x', resave: false, saveUninitialized: true, rolling: true, store, onStoreError })
  const errors: unknown[] = []
  sessions.on('error', (error) => errors.push(error))
  return { store, sessions, errors }
}

const use = (req: Loose): string => {
  if (!req.session) return `nobody, ${String(req.sessionID)}`
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
    expect([status, text, setCookies]).toEqual([200, 'nobody, undefined', []])
    expect(errors).toEqual([expect.objectContaining({ message: 'the store is down' })])
    store.fails = false
    expect((await browser.get('/')).text).toBe('2')
    await app.stop()
  },
)

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
