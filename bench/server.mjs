// The server that is measured: one host, one session middleware, one store, in a process of its own.
// Started by contestant.mjs, which drives it over IPC.

import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { Session as Inspector } from 'node:inspector/promises'
import { promisify } from 'node:util'
import { KINDS, SIZES } from './cells.mjs'

/**
 * @typedef {{ action: 'start' | 'stop' | 'clear', profile?: string | undefined }} Question
 * @typedef {import('express').RequestHandler} Middleware
 * @typedef {(req: import('./cells.mjs').Request) => void} Route
 */

const wish = /** @type {import('./contestant.mjs').Wish} */ (JSON.parse(/** @type {string} */ (process.argv[2])))

const store = wish.module === undefined ? undefined : await createStore(wish.module)
const middleware = wish.module === undefined ? undefined : await createMiddleware(wish.module)
const server = createServer(await createListener())
server.keepAliveTimeout = 0

/** @param {string} module */
async function createStore(module) {
  const { default: session, ...rest } = await import(module)
  const { MemoryStore, FileStore, RedisStore } = wish.ours ? rest : session
  if (wish.store === 'memory') return new MemoryStore()

  if (wish.store === 'file') {
    if (wish.ours) return new FileStore({ path: wish.folder })
    const { default: sessionFileStore } = await import('session-file-store')
    return new (sessionFileStore(session))({ path: wish.folder, reapInterval: -1, logFn: () => {} })
  }

  const { createClient } = await import('redis')
  const client = await createClient({ url: `redis://127.0.0.1:${wish.redisPort}` }).connect()
  const Redis = wish.ours ? RedisStore : (await import('connect-redis')).RedisStore
  return new Redis({ client, ttl: 3600 })
}

/**
 * @param {string} module
 * @returns {Promise<Middleware>}
 */
async function createMiddleware(module) {
  const { default: session } = await import(module)
  return session({
    store,
    secret: 'a secret for the benchmark only, long enough',
    resave: wish.defaults,
    saveUninitialized: wish.defaults,
    cookie: { maxAge: 3_600_000 },
  })
}

/**
 * A listener that answers `ok` to `/<kind>/<size>` when the session was what the kind of request expects.
 * @returns {Promise<import('node:http').RequestListener>}
 */
async function createListener() {
  /** @type {Map<string, Route>} */
  const routes = new Map()
  for (const [kind, { use }] of Object.entries(KINDS)) {
    for (const [size, data] of Object.entries(SIZES)) {
      routes.set(`/${kind}/${size}`, middleware ? (req) => use(req, data) : () => {})
    }
  }

  if (wish.host === 'express') {
    const { default: express } = await import('express')
    const app = express()
    if (middleware) app.use(middleware)
    for (const [path, use] of routes) {
      app.get(path, (req, res) => {
        use(/** @type {never} */ (req))
        res.send('ok')
      })
    }
    return app
  }

  return (req, res) => {
    const answer = (/** @type {unknown} */ error) => {
      try {
        if (error) throw error
        const use = /** @type {Route} */ (routes.get(/** @type {string} */ (req.url)))
        use(/** @type {never} */ (req))
      } catch (error) {
        res.statusCode = 500
        res.end(String(error))
        return
      }
      res.setHeader('Content-Type', 'text/plain')
      res.setHeader('Content-Length', 2)
      res.end('ok')
    }
    if (middleware) middleware(/** @type {never} */ (req), /** @type {never} */ (res), answer)
    else answer(undefined)
  }
}

/** @type {NodeJS.CpuUsage} */
let cpu
/** @type {Inspector | undefined} */
let profiler

const actions = {
  /**
   * Begins a measurement; one round's garbage is not the next one's.
   * @param {Question} question
   */
  async start({ profile }) {
    globalThis.gc?.()
    if (profile) {
      profiler = new Inspector()
      profiler.connect()
      await profiler.post('Profiler.enable')
      await profiler.post('Profiler.setSamplingInterval', { interval: 200 })
      await profiler.post('Profiler.start')
    }
    cpu = process.cpuUsage()
  },
  /**
   * Ends it: the CPU time of all threads of this process in µs, collection of garbage included.
   * @param {Question} question
   */
  async stop({ profile }) {
    const { user, system } = process.cpuUsage(cpu)
    if (profile && profiler) {
      const result = await profiler.post('Profiler.stop')
      profiler.disconnect()
      await writeFile(profile, JSON.stringify(result.profile))
    }
    return user + system
  },
  async clear() {
    if (store) await promisify(store.clear).call(store)
  },
}

const say = (/** @type {unknown} */ result) => process.send?.({ result })
process.on('message', async (/** @type {Question} */ question) => {
  say(await actions[question.action](question))
})
process.on('disconnect', () => process.exit())

server.listen(0, '127.0.0.1')
await once(server, 'listening')
say(/** @type {import('node:net').AddressInfo} */ (server.address()).port)
