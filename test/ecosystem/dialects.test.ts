// Stores answer by callback or by promise. How their methods are written tells little of which: no way hangs a request.

import { sign } from 'cookie-signature'
import type { RequestHandler } from 'express'
import express from 'express'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { fromExpressStore } from '../../lib/bunway.ts'
import { type SessionOptions, Store, session } from '../../lib/index.ts'
import { storeContract } from '../../lib/testing.ts'
import { Browser } from '../support/jar.ts'
import { serve } from '../support/serve.ts'

// Some of them wait for a second.
vi.setConfig({ maxConcurrency: 40 })

/** What the package waits for at most, while a test lets it pass by itself. */
const patience = vi.hoisted((): { held: { ms: number; ring: () => void }[] | undefined } => ({ held: undefined }))

vi.mock('../../lib/timers.ts', async (original) => {
  const timers: typeof import('../../lib/timers.ts') = await original()
  const alarm: typeof timers.alarm = (ms, ring) => {
    if (!patience.held) return timers.alarm(ms, ring)
    patience.held.push({ ms, ring })
    const held = { unref: () => held, cancel() {} }
    return held
  }
  return { ...timers, alarm }
})

const secret = 'a secret of these tests, long enough'

// biome-ignore lint/suspicious/noExplicitAny: stores as people write them
type Any = any
type Done = (error?: unknown, session?: Any) => void

/** What a store of either kind keeps. `missing`: what it answers for an id that it does not know. */
class Shelf {
  readonly records = new Map<string, string>()
  failure: Error | undefined
  readonly missing: null | undefined

  constructor(missing: null | undefined) {
    this.missing = missing
  }

  async find(sid: string): Promise<unknown> {
    await new Promise((resolve) => setImmediate(resolve))
    if (this.failure) throw this.failure
    const json = this.records.get(sid)
    return json === undefined ? this.missing : JSON.parse(json)
  }

  findThen(sid: string, done: Done): void {
    if (typeof done !== 'function') throw new Error('done is not a function')
    this.find(sid).then((session) => done(null, session), done)
  }
}

/** The rest of a store that answers by promise, and is told how long a session lives. */
const byPromise = (shelf: Shelf) => ({
  async set(sid: string, data: object, ttl?: number) {
    if (typeof ttl === 'function') throw new Error('a callback is no ttl')
    shelf.records.set(sid, JSON.stringify(data))
  },
  async destroy(sid: string) {
    shelf.records.delete(sid)
  },
})

const byCallback = (shelf: Shelf) => ({
  set(sid: string, data: object, done: Done) {
    shelf.records.set(sid, JSON.stringify(data))
    setImmediate(done)
  },
  destroy(sid: string, done: Done) {
    shelf.records.delete(sid)
    setImmediate(done)
  },
})

/** Whatever the arguments are, to the same method of another. */
const wrapped = (inner: Any, isAsync: boolean) =>
  Object.fromEntries(
    ['get', 'set', 'destroy'].map((method) => {
      const call = isAsync
        ? async (...args: unknown[]) => inner[method](...args)
        : (...args: unknown[]) => inner[method](...args)
      return [method, call]
    }),
  )

/** As TypeScript writes an async function for ES5. */
function __awaiter(self: unknown, body: () => Generator<Promise<unknown>, unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const steps = Reflect.apply(body, self, [])
    const step = ({ value, done }: IteratorResult<unknown>): void => {
      if (done) resolve(value)
      else Promise.resolve(value).then((result) => step(steps.next(result as never)), reject)
    }
    step(steps.next())
  })
}

const noop = (): void => {}

const promised: Record<string, (shelf: Shelf) => Any> = {
  'one parameter': (shelf) => ({ ...byPromise(shelf), get: async (sid: string) => shelf.find(sid) }),
  'one parameter, and three dots in it': (shelf) => ({
    ...byPromise(shelf),
    get: async (sid: string) => shelf.find([...sid].join('')),
  }),
  'the word arguments in a comment': (shelf) => ({
    ...byPromise(shelf),
    // A comment inside, as it reaches the function's text.
    get: new Function('shelf', 'return async function get(sid) { /* (sid, arguments) ... */ return shelf.find(sid) }')(
      shelf,
    ),
  }),
  'a second parameter with a default': (shelf) => ({
    ...byPromise(shelf),
    get: async (sid: string, { fresh = false } = {}) => shelf.find(fresh ? '' : sid),
  }),
  'a second parameter without one': (shelf) => ({
    ...byPromise(shelf),
    get: async (sid: string, _options: object) => shelf.find(sid),
  }),
  'rest parameters': (shelf) => wrapped({ ...byPromise(shelf), get: (sid: string) => shelf.find(sid) }, false),
  'rest parameters, async': (shelf) => wrapped({ ...byPromise(shelf), get: (sid: string) => shelf.find(sid) }, true),
  arguments: (shelf) => ({
    ...byPromise(shelf),
    get: function get() {
      // biome-ignore lint/complexity/noArguments: that is the point
      return shelf.find(arguments[0])
    },
  }),
  'one parameter and arguments': (shelf) => ({
    ...byPromise(shelf),
    get: function get(_sid: string) {
      // biome-ignore lint/complexity/noArguments: that is the point
      return Reflect.apply(shelf.find, shelf, [...arguments])
    },
  }),
  bound: (shelf) => ({ ...byPromise(shelf), get: shelf.find.bind(shelf) }),
  'compiled to ES5': (shelf) => ({
    ...byPromise(shelf),
    get: function get(sid: string) {
      return __awaiter(this, function* () {
        return (yield shelf.find(sid)) as never
      })
    },
  }),
  'a mock': (shelf) => ({ ...byPromise(shelf), get: vi.fn((sid: string) => shelf.find(sid)) }),
  'a proxy': (shelf) => new Proxy({ ...byPromise(shelf), get: (sid: string) => shelf.find(sid) }, {}),
  'a class that extends Store': (shelf) =>
    Object.assign(new (class extends (Store as Any) {})(), byPromise(shelf), {
      get: async (sid: string) => shelf.find(sid),
    }),
  'a class that extends Store, rest parameters': (shelf) =>
    Object.assign(
      new (class extends (Store as Any) {})(),
      wrapped({ ...byPromise(shelf), get: (sid: string) => shelf.find(sid) }, true),
    ),
}

const called: Record<string, (shelf: Shelf) => Any> = {
  'two parameters': (shelf) => ({ ...byCallback(shelf), get: (sid: string, done: Done) => shelf.findThen(sid, done) }),
  'two parameters, async': (shelf) => ({
    ...byCallback(shelf),
    get: async (sid: string, done: Done) => shelf.findThen(sid, done),
  }),
  'a callback with a default': (shelf) => ({
    ...byCallback(shelf),
    get: (sid: string, done: Done = noop) => shelf.findThen(sid, done),
  }),
  'a callback with a default, async': (shelf) => ({
    ...byCallback(shelf),
    get: async (sid: string, done: Done = noop) => shelf.findThen(sid, done),
  }),
  'rest parameters': (shelf) =>
    wrapped({ ...byCallback(shelf), get: (sid: string, done: Done) => shelf.findThen(sid, done) }, false),
  'rest parameters, async': (shelf) =>
    wrapped({ ...byCallback(shelf), get: (sid: string, done: Done) => shelf.findThen(sid, done) }, true),
  arguments: (shelf) => ({
    ...byCallback(shelf),
    get: function get(_sid: string) {
      // biome-ignore lint/complexity/noArguments: that is the point
      return Reflect.apply(shelf.findThen, shelf, [...arguments])
    },
  }),
  bound: (shelf) => ({ ...byCallback(shelf), get: shelf.findThen.bind(shelf) }),
  'a mock': (shelf) => ({ ...byCallback(shelf), get: vi.fn((...args) => shelf.findThen(...(args as [string, Done]))) }),
  'a callback and a promise of what was answered': (shelf) => ({
    ...byCallback(shelf),
    get: (sid: string, done: Done) =>
      shelf.find(sid).then((found) => {
        done(null, found)
        return found
      }, done),
  }),
  'a callback and a promise of something else': (shelf) => ({
    ...byCallback(shelf),
    get: async (sid: string, done: Done) => {
      setImmediate(() => shelf.findThen(sid, done))
      return { row: sid }
    },
  }),
}

async function visit(store: Any, options: SessionOptions = {}): Promise<Browser> {
  const app = express()
  app.use(session({ secret, store, resave: false, saveUninitialized: false, ...options }) as RequestHandler)
  app.get('/set', (req, res) => {
    ;(req.session as Any).user = 'ann'
    res.json('set')
  })
  app.get('/', (req, res) => void res.json((req.session as Any).user ?? null))
  app.get('/out', async (req, res) => {
    await req.session.destroy()
    res.json('out')
  })
  app.use(((error, _req, res, _next) => void res.status(500).json(error.message)) as express.ErrorRequestHandler)
  return new Browser((await serve(app)).url)
}

const as = (sid: string) => ({ headers: { cookie: `connect.sid=${encodeURIComponent(`s:${sign(sid, secret)}`)}` } })
const unknown = as('unknown')

for (const [kind, ways] of [
  ['by promise', promised],
  ['by callback', called],
] as const) {
  describe.each(Object.entries(ways))(`a store that answers ${kind}, its get with %s,`, (_, make) => {
    it.concurrent.each([
      ['null', null],
      ['undefined', undefined],
    ])('serves every request; an unknown id is %s', async (_, missing) => {
      const shelf = new Shelf(missing)
      const browser = await visit(make(shelf))
      expect((await browser.get('/', unknown)).json).toBeNull()
      expect((await browser.get('/set')).json).toBe('set')
      expect((await browser.get('/')).json).toBe('ann')
      shelf.failure = new Error('the disk is full')
      expect(await browser.get('/')).toMatchObject({ status: 500, json: 'the disk is full' })
      shelf.failure = undefined
      expect((await browser.get('/')).json).toBe('ann')
      expect((await browser.get('/out')).json).toBe('out')
      expect(shelf.records.size).toBe(0)
      expect((await browser.get('/')).json).toBeNull()
    })

    it.concurrent('is asked to store a session before it is asked for one', async () => {
      const browser = await visit(make(new Shelf(undefined)))
      expect((await browser.get('/set')).json).toBe('set')
      expect((await browser.get('/')).json).toBe('ann')
    })
  })
}

it('a callback store that takes its time is waited for, also where its methods are async wrappers', async () => {
  const shelf = new Shelf(null)
  const inner = {
    ...byCallback(shelf),
    get: (sid: string, done: Done) => void setTimeout(() => shelf.findThen(sid, done), 100),
  }
  const browser = await visit(wrapped(inner, true))
  await browser.get('/set')
  expect((await browser.get('/')).json).toBe('ann')
})

describe('a callback store whose methods are async, which is connecting,', () => {
  const pieces = (shelf: Shelf, connecting: Promise<void>) => ({
    get: async (sid: string, done: Done) => void connecting.then(() => shelf.findThen(sid, done)),
    set: async (sid: string, data: object, done: Done) =>
      void connecting.then(() => byCallback(shelf).set(sid, data, done)),
    destroy: async (sid: string, done: Done) => void connecting.then(() => byCallback(shelf).destroy(sid, done)),
  })

  /** Lets so many milliseconds of the package's patience pass at once. */
  const pass = async (time: number): Promise<void> => {
    while (patience.held?.length === 0) await new Promise((resolve) => setImmediate(resolve))
    for (const { ms, ring } of patience.held?.splice(0) ?? []) if (ms <= time) ring()
  }

  beforeEach(() => {
    patience.held = []
  })
  afterEach(() => {
    patience.held = undefined
  })

  it('signs nobody out by that, and is called back to from then on', async () => {
    const shelf = new Shelf(null)
    shelf.records.set('known', JSON.stringify({ cookie: { originalMaxAge: null, path: '/' }, user: 'ann' }))
    let connect = (): void => {}
    const connecting = new Promise<void>((resolve) => {
      connect = resolve
    })
    const browser = await visit(pieces(shelf, connecting))
    const first = browser.get('/', as('known'))
    await pass(3_000)
    connect()
    expect((await first).json).toBe('ann')
    expect((await browser.get('/', as('known'))).json).toBe('ann')
    expect((await browser.get('/set', as('known'))).json).toBe('set')
  })

  it('but never calls back is an error, and no answer', async () => {
    const browser = await visit(pieces(new Shelf(null), new Promise(() => {})))
    const first = browser.get('/', as('known'))
    await pass(10_000)
    expect(await first).toMatchObject({ status: 500, json: expect.stringMatching(/did not call back/) })
  })
})

it.each([false, true])(
  'a store that answers by promise first, and calls back after it, is called back to (async: %s)',
  async (isAsync) => {
    const shelf = new Shelf(null)
    shelf.records.set('known', JSON.stringify({ cookie: { originalMaxAge: null, path: '/' }, user: 'ann' }))
    const answered = (work: Promise<unknown>, done?: Done): Promise<unknown> =>
      work.then((value) => {
        if (done) setImmediate(done, null, value)
        return value
      })
    const get = (sid: string, done?: Done) => answered(shelf.find(sid), done)
    const set = vi.fn((sid: string, data: object, done?: Done) => answered(byPromise(shelf).set(sid, data), done))
    const destroy = (sid: string, done?: Done) => answered(byPromise(shelf).destroy(sid), done)
    const store = isAsync
      ? { get: async (sid: string, done?: Done) => get(sid, done), set, destroy }
      : { get, set, destroy }
    const browser = await visit(store, { cookie: { maxAge: 60_000 } })
    expect((await browser.get('/set', as('known'))).json).toBe('set')
    expect(set.mock.calls.map(([, , done]) => typeof done)).toEqual(['function'])
  },
)

it('a promise-style store whose get has a second parameter without a default is never given a callback to set', async () => {
  const shelf = new Shelf(undefined)
  const set = vi.fn(byPromise(shelf).set)
  const store = { ...byPromise(shelf), set, get: (sid: string, _options?: object) => shelf.find(sid) }
  const browser = await visit(store, { cookie: { maxAge: 60_000 } })
  await browser.get('/set')
  expect((await browser.get('/')).json).toBe('ann')
  expect(set.mock.calls.map(([, , ttl]) => typeof ttl)).toEqual(['number'])
})

it('a promise-style store may say by ENOENT that there is no session, before anything else', async () => {
  const shelf = new Shelf(undefined)
  const get = async (sid: string, { fresh = false } = {}) => {
    if (!shelf.records.has(sid)) throw Object.assign(new Error('no such session'), { code: 'ENOENT' })
    return shelf.find(fresh ? '' : sid)
  }
  const destroy = async (...[sid]: [string]) => byPromise(shelf).destroy(sid)
  const browser = await visit({ ...byPromise(shelf), get, destroy })
  await browser.get('/set')
  expect((await browser.get('/')).json).toBe('ann')
})

it('options of get stay at their defaults where the store is known to answer by promise', async () => {
  const shelf = new Shelf(undefined)
  const get = vi.fn(async (sid: string, options: unknown = {}) =>
    shelf.find(JSON.stringify(options) === '{}' ? sid : ''),
  )
  const store = { ...byPromise(shelf), get: (sid: string, options = {}) => get(sid, options) }
  const browser = await visit(store)
  await browser.get('/set')
  expect((await browser.get('/')).json).toBe('ann')
  expect(get.mock.calls.map(([, options]) => typeof options)).toEqual(['object'])
})

it('store.regenerate calls back on a promise-style store, too', async () => {
  const shelf = new Shelf(null)
  const store: Any = Object.assign(new (class extends (Store as Any) {})(), byPromise(shelf), {
    get: async (sid: string) => shelf.find(sid),
  })
  session({ secret, store, resave: false, saveUninitialized: false })
  shelf.records.set('old', '{}')
  const req: Any = { sessionID: 'old', sessionStore: store }
  const error = await new Promise((resolve) => store.regenerate(req, resolve))
  expect([error, shelf.records.size, req.sessionID === 'old', typeof req.session]).toEqual([
    undefined,
    0,
    false,
    'object',
  ])
})

it('fromExpressStore rejects where the store rejects in place of calling back', async () => {
  const failing = async (): Promise<never> => {
    throw new Error('no connection')
  }
  const store = fromExpressStore({ get: failing, set: failing, destroy: failing })
  await expect(store.get('one')).rejects.toThrow('no connection')
})

describe.each([
  ['by promise', promised, byPromise],
  ['by callback', called, byCallback],
] as const)('a store that answers %s, its methods with rest parameters, keeps the contract', (_, ways, rest) => {
  storeContract({ describe, it: it.concurrent, expect }, () => {
    const shelf = new Shelf(null)
    const find = shelf.find.bind(shelf)
    shelf.find = async (sid) => {
      const found = (await find(sid)) as { cookie: { expires?: string } } | null
      return found?.cookie.expires && Date.parse(found.cookie.expires) <= Date.now() ? null : found
    }
    return { store: { ...rest(shelf), ...ways['rest parameters']?.(shelf) } }
  })
})

it('a store’s own createSession may return nothing', async () => {
  const shelf = new Shelf(null)
  class Own extends Store {
    get(sid: string, done: Done) {
      shelf.findThen(sid, done)
    }
    set(sid: string, data: never, done: Done) {
      byCallback(shelf).set(sid, data, done)
    }
    destroy(sid: string, done: Done) {
      byCallback(shelf).destroy(sid, done)
    }
    override createSession(...args: Parameters<Store['createSession']>): never {
      super.createSession(...args)
      return undefined as never
    }
  }
  const browser = await visit(new Own())
  await browser.get('/set')
  expect((await browser.get('/')).json).toBe('ann')
  await browser.get('/out')
  expect((await browser.get('/')).json).toBeNull()
})

it('session() leaves no more on a store the more often it is called', async () => {
  const store = new (class extends Store {
    get = (_sid: string, done: Done) => done()
    set = (_sid: string, _data: unknown, done?: Done) => done?.()
    destroy = (_sid: string, done?: Done) => done?.()
  })()
  const options = { secret, store, resave: false, saveUninitialized: false }
  session(options)
  const before = store.eventNames().map((name) => store.listenerCount(name))
  const later = Array.from({ length: 20 }, () => session(options))
  expect(store.eventNames().map((name) => store.listenerCount(name))).toEqual(before)
  // And all of them hear of it.
  store.emit('disconnect')
  const app = express()
  app.use(later[19] as RequestHandler, (req, res) => void res.json(typeof req.session))
  const browser = new Browser((await serve(app)).url)
  expect((await browser.get('/')).json).toBe('undefined')
  store.emit('connect')
  expect((await browser.get('/')).json).toBe('object')
})
