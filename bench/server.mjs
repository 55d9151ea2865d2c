// The server that is measured: one host, one session middleware, one store, in a process of its own.
// Started by requests.mjs, which drives it over IPC.

import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { Session as Inspector } from 'node:inspector/promises'
import { promisify } from 'node:util'
import { KINDS, SIZES } from './cells.mjs'

/** What `requests.mjs` wants: `{ contestant, host, store, defaults, folder, redisPort }`. */
const wish = JSON.parse(process.argv[2])

const store = wish.contestant === 'bare' ? undefined : await createStore()
const middleware = store && (await createMiddleware())
const server = createServer(await createListener())
server.keepAliveTimeout = 0

async function createStore() {
  const ours = wish.contestant === 'unisession'
  const { default: session, ...rest } = await import(wish.contestant)
  const { MemoryStore, FileStore, RedisStore } = ours ? rest : session
  if (wish.store === 'memory') return new MemoryStore()

  if (wish.store === 'file') {
    if (ours) return new FileStore({ path: wish.folder })
    const { default: sessionFileStore } = await import('session-file-store')
    return new (sessionFileStore(session))({ path: wish.folder, reapInterval: -1, logFn: () => {} })
  }

  const { createClient } = await import('redis')
  const client = await createClient({ url: `redis://127.0.0.1:${wish.redisPort}` }).connect()
  const Redis = ours ? RedisStore : (await import('connect-redis')).RedisStore
  return new Redis({ client, ttl: 3600 })
}

async function createMiddleware() {
  const { default: session } = await import(wish.contestant)
  return session({
    store,
    secret: 'a secret for the benchmark only, long enough',
    resave: wish.defaults,
    saveUninitialized: wish.defaults,
    cookie: { maxAge: 3_600_000 },
  })
}

/** A listener that answers `ok` to `/<kind>/<size>` when the session was what the kind of request expects. */
async function createListener() {
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
        use(req)
        res.send('ok')
      })
    }
    return app
  }

  return (req, res) => {
    const answer = (error) => {
      try {
        if (error) throw error
        routes.get(req.url)(req)
      } catch (error) {
        res.statusCode = 500
        res.end(String(error))
        return
      }
      res.setHeader('Content-Type', 'text/plain')
      res.setHeader('Content-Length', 2)
      res.end('ok')
    }
    if (middleware) middleware(req, res, answer)
    else answer()
  }
}

let cpu
let profiler

const actions = {
  /** Begins a measurement; one round's garbage is not the next one's. */
  async start({ profile }) {
    globalThis.gc()
    if (profile) {
      profiler = new Inspector()
      profiler.connect()
      await profiler.post('Profiler.enable')
      await profiler.post('Profiler.setSamplingInterval', { interval: 200 })
      await profiler.post('Profiler.start')
    }
    cpu = process.cpuUsage()
  },
  /** Ends it: the CPU time of all threads of this process in µs, collection of garbage included. */
  async stop({ profile }) {
    const { user, system } = process.cpuUsage(cpu)
    if (profile) {
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

process.on('message', async ({ action, ...options }) => {
  process.send({ result: await actions[action](options) })
})
process.on('disconnect', () => process.exit())

server.listen(0, '127.0.0.1')
await once(server, 'listening')
process.send({ result: server.address().port })
