// Stores that fail in every way, under load: each request is answered once, nothing hangs, nothing is left unhandled, and
// with onSaveError: 'fail' no answer says that something is stored which is not.
//
//   REQUESTS=5000 SEED=7 npx vitest run test/faulty-stores.test.ts

import type { ErrorRequestHandler, RequestHandler } from 'express'
import express from 'express'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type SessionOptions, Store, session } from '../lib/index.ts'
import { Browser } from './support/jar.ts'
import { serve } from './support/serve.ts'

const REQUESTS = Number(process.env.REQUESTS ?? 400)
const SEED = Number(process.env.SEED ?? 20_260_701)
const VISITORS = 20

// biome-ignore lint/suspicious/noExplicitAny: what the handlers put there
type Loose = any
type Done = (error?: unknown, value?: Loose) => void

/** The same numbers for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

const FAULTS = ['error', 'silence', 'twice', 'throw', 'late', 'error after work', 'at once'] as const

/** A callback store, a fifth of whose calls go wrong. */
class FaultyStore extends Store {
  readonly records = new Map<string, string>()
  readonly #random: () => number
  calls = 0

  constructor(seed: number) {
    super()
    this.#random = random(seed)
  }

  #answer(work: () => unknown, done: Done): void {
    this.calls++
    const fault = this.#random() < 0.2 ? FAULTS[Math.floor(this.#random() * FAULTS.length)] : undefined
    const fail = (): void => done(new Error('the store is faulty'))
    if (fault === 'throw') throw new Error('the store throws')
    if (fault === 'silence') return
    if (fault === 'at once') {
      done(undefined, work())
      return
    }
    setImmediate(() => {
      if (fault === 'error') return fail()
      if (fault === 'error after work') {
        work()
        return fail()
      }
      const value = work()
      if (fault === 'late') setTimeout(() => done(undefined, value), 5)
      else done(undefined, value)
      if (fault === 'twice') done(new Error('the store answers twice'))
    })
  }

  override get(id: string, done: Done): void {
    this.#answer(() => {
      const record = this.records.get(id)
      return record === undefined ? undefined : JSON.parse(record)
    }, done)
  }

  override set(id: string, data: object, done: Done = () => {}): void {
    const record = JSON.stringify(data)
    this.#answer(() => void this.records.set(id, record), done)
  }

  override touch(_id: string, _data: object, done: Done = () => {}): void {
    this.#answer(() => undefined, done)
  }

  override destroy(id: string, done: Done = () => {}): void {
    this.#answer(() => void this.records.delete(id), done)
  }
}

const unhandled: unknown[] = []
const note = (error: unknown): number => unhandled.push(error)
beforeAll(() => {
  process.on('unhandledRejection', note)
  process.on('uncaughtException', note)
})
afterAll(() => {
  process.off('unhandledRejection', note)
  process.off('uncaughtException', note)
})

const variants: [string, SessionOptions][] = [
  ['as they are', {}],
  ['hashed and encrypted', { hashId: true, encrypt: 'a secret for data at rest, long enough' }],
  ['reread, with timeouts', { concurrency: 'reread', absoluteTimeout: 1e9, idleTimeout: 1e8 }],
  ['with ids that are renewed', { renewAfter: 5, renewGrace: 1e6 }],
]

describe('a store that fails in every way', () => {
  it.each(variants)('loses nothing that was answered for: %s', async (_, more) => {
    const store = new FaultyStore(SEED)
    const late: unknown[] = []
    const sessions = session({
      secret: 'a secret of these tests, long enough',
      resave: false,
      saveUninitialized: false,
      rolling: true,
      store: store as never,
      storeTimeout: 30,
      onSaveError: 'fail',
      ...more,
    })
    sessions.on('error', (error) => late.push(error))
    const app = express()
    let ended = 0
    app.use((_req, res, next) => {
      res.once('close', () => ended++)
      next()
    })
    app.use(sessions as RequestHandler)
    app.get('/set/:key', (req, res) => {
      ;(req.session as Loose)[req.params.key as string] = 1
      res.json({ id: req.sessionID, keys: Object.keys(req.session) })
    })
    app.get('/read', (req, res) => void res.json({ keys: Object.keys(req.session) }))
    app.get('/save/:key', async (req, res) => {
      ;(req.session as Loose)[req.params.key as string] = 1
      await req.session.save()
      res.json({ id: req.sessionID })
    })
    app.get('/renew', async (req, res) => {
      await req.session.regenerate({ keep: true })
      res.json({ id: req.sessionID })
    })
    app.get('/logout', async (req, res) => {
      await req.session.destroy()
      res.json({})
    })
    app.use(((error, _req, res, next) => {
      if (res.headersSent) return next(error)
      res.status(503).json({ error: String(error) })
    }) as ErrorRequestHandler)
    const { url, stop } = await serve(app)

    const next = random(SEED + 1)
    let answers = 0
    let lost = 0
    const visit = async (name: number): Promise<void> => {
      let browser = new Browser(url)
      /** Keys that an answer has promised, since the visitor's session began. */
      let promised = new Set<string>()
      for (let n = 0; n < REQUESTS / VISITORS; n++) {
        const key = `k${name}-${n}`
        const chance = next()
        const path =
          chance < 0.5
            ? `/set/${key}`
            : chance < 0.7
              ? `/save/${key}`
              : chance < 0.9
                ? '/read'
                : chance < 0.95
                  ? '/renew'
                  : '/logout'
        const { status, text } = await browser.get(path)
        // Where the answer of the error handler itself could not be saved, Express's own handler answers.
        const json = text.startsWith('{') ? JSON.parse(text) : undefined
        answers++
        if (status === 200 && (path.startsWith('/set') || path.startsWith('/save'))) promised.add(key)
        if (path === '/logout' && status === 200) promised = new Set()
        // What was written and then reported as failed may be there or not: the visitor begins anew, as one would.
        if (status !== 200 && path !== '/read' && !path.startsWith('/set')) {
          browser = new Browser(url)
          promised = new Set()
        }
        if (path === '/read' && status === 200) lost += [...promised].filter((each) => !json.keys.includes(each)).length
      }
    }
    await Promise.all(Array.from({ length: VISITORS }, (_, name) => visit(name)))
    await stop()
    expect({ answers, lost }).toEqual({ answers: Math.floor(REQUESTS / VISITORS) * VISITORS, lost: 0 })
    expect(ended).toBe(answers)
    expect(unhandled).toEqual([])
    expect(store.calls).toBeGreaterThan(answers)
  })
})
