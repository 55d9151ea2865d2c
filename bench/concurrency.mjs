// What the promise about overlapping requests costs while nothing overlaps: a request that writes its session, with
// `concurrency: 'merge'` and with `'overwrite'`, in turn, in one run.
//
//   npm run build && node bench/concurrency.mjs
//   node bench/concurrency.mjs --store redis --size 20KB --rounds 21
//
// Each contestant is a process of its own. Measured is the CPU time that it takes for a request (µs), collection of
// garbage included; reported is the median of the rounds. `ratio` is the median of merge's time divided by overwrite's in
// the same round, `cost` the same after the bare host's time has been taken off both; in brackets the middle half of the
// rounds. `overwrite/overwrite` compares a second process of the same kind: what is noise.
//
//   --store memory,file,redis   only these; default: all that are there
//   --size 0.2KB,20KB           only these sizes of session data
//   --rounds 15                 rounds
//   --requests 1000             requests to each contestant in a round
//   --json                      all numbers as JSON

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { SIZES } from './cells.mjs'
import { Crowd } from './load.mjs'
import { hasRedis, startRedis } from './redis.mjs'

const CONTESTANTS = ['bare', 'overwrite', 'merge', 'overwrite again']
const SESSIONS = 64
const CONNECTIONS = 16

/** The server that is measured. `/login` fills a session, `/write` changes it. */
async function serve({ contestant, store: kind, size, folder, port }) {
  const { default: session, FileStore, MemoryStore, RedisStore } = await import('unisession')
  const open = {
    memory: () => new MemoryStore(),
    file: () => new FileStore({ path: folder }),
    redis: async () => {
      const { createClient } = await import('redis')
      return new RedisStore({ client: await createClient({ url: `redis://127.0.0.1:${port}` }).connect() })
    },
  }
  const middleware = session({
    store: await open[kind](),
    secret: 'a secret for the benchmark only, long enough',
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 3_600_000 },
    // Explicitly given, it would mean another thing for stores that are not bundled.
    ...(contestant.startsWith('overwrite') && { concurrency: 'overwrite' }),
  })

  const answer = (res) => {
    res.setHeader('Content-Length', 2)
    res.end('ok')
  }
  const use = (req) => {
    if (req.url === '/login') Object.assign(req.session, SIZES[size])
    else if (req.session.user) req.session.count = (req.session.count ?? 0) + 1
    else throw new Error('the session is lost')
  }
  const server = createServer((req, res) => {
    if (contestant === 'bare') return answer(res)
    middleware(req, res, (error) => {
      if (error) throw error
      use(req)
      answer(res)
    })
  })
  server.keepAliveTimeout = 0

  let cpu
  process.on('message', (message) => {
    let result
    if (message === 'start') {
      globalThis.gc()
      cpu = process.cpuUsage()
    } else {
      const { user, system } = process.cpuUsage(cpu)
      result = user + system
    }
    process.send({ result })
  })
  process.on('disconnect', () => process.exit())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  process.send({ result: server.address().port })
}

async function compare() {
  const { values } = parseArgs({
    options: {
      store: { type: 'string', default: 'memory,file,redis' },
      size: { type: 'string', default: Object.keys(SIZES).join() },
      rounds: { type: 'string', default: '15' },
      requests: { type: 'string', default: '1000' },
      json: { type: 'boolean', default: false },
    },
  })
  const plan = { rounds: Number(values.rounds), requests: Number(values.requests) }
  const cells = []
  for (const store of values.store.split(',')) {
    if (store === 'redis' && !hasRedis()) {
      console.error('redis skipped: redis-server is not installed')
      continue
    }
    for (const size of values.size.split(',')) {
      const cell = await measure({ store, size, ...plan })
      cells.push(cell)
      if (!values.json) console.log(row(cell))
    }
  }
  if (values.json) console.log(JSON.stringify({ node: process.version, ...plan, cells }, undefined, 2))
}

async function measure({ store, size, rounds, requests }) {
  const folder = await mkdtemp(join(tmpdir(), 'bench-'))
  const redis = store === 'redis' ? await startRedis(folder) : undefined
  const contestants = []
  try {
    for (const contestant of CONTESTANTS) {
      const path = join(folder, contestant.replace(' ', '-'))
      await mkdir(path)
      const wish = { contestant, store, size, folder: path, port: redis?.port }
      contestants.push(await Contestant.start(wish))
    }
    const times = Object.fromEntries(CONTESTANTS.map((contestant) => [contestant, []]))
    // The first round is for the compiler.
    for (let round = 0; round <= rounds; round++) {
      // Not always the same one after the other.
      const turn = contestants.map((_, n) => contestants[(n + round) % contestants.length])
      for (const contestant of turn) {
        const time = await contestant.time(requests)
        if (round > 0) times[contestant.name].push(time)
      }
    }
    const { bare, merge, overwrite, 'overwrite again': again } = times
    const each = (of) => overwrite.map((time, n) => of(n, time, bare[n]))
    return {
      store,
      size,
      µs: Object.fromEntries(CONTESTANTS.map((contestant) => [contestant, median(times[contestant])])),
      ratio: spread(each((n, time) => merge[n] / time)),
      cost: spread(each((n, time, host) => (merge[n] - host) / (time - host))),
      noise: spread(each((n, time) => again[n] / time)),
    }
  } finally {
    for (const contestant of contestants) await contestant.stop()
    await redis?.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

class Contestant {
  name
  #child
  #crowd
  #cookies

  static async start(wish) {
    const contestant = new Contestant()
    contestant.name = wish.contestant
    contestant.#child = fork(fileURLToPath(import.meta.url), [JSON.stringify(wish)], { execArgv: ['--expose-gc'] })
    contestant.#crowd = await Crowd.connect(await contestant.#answer(), CONNECTIONS)
    contestant.#cookies = await contestant.#crowd.send('/login', SESSIONS)
    return contestant
  }

  /** CPU time for a request, in µs. */
  async time(requests) {
    this.#child.send('start')
    await this.#answer()
    await this.#crowd.send('/write', requests, this.#cookies)
    this.#child.send('stop')
    return (await this.#answer()) / requests
  }

  async stop() {
    this.#crowd?.close()
    const gone = once(this.#child, 'exit')
    this.#child.disconnect()
    await gone
  }

  async #answer() {
    const [{ result }] = await once(this.#child, 'message')
    return result
  }
}

function median(numbers) {
  return quantile(numbers, 0.5)
}

function quantile(numbers, part) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.round((sorted.length - 1) * part)]
}

function spread(numbers) {
  return { median: median(numbers), low: quantile(numbers, 0.25), high: quantile(numbers, 0.75) }
}

function row({ store, size, µs, ratio, cost, noise }) {
  const times = CONTESTANTS.slice(0, 3).map((contestant) => `${contestant} ${µs[contestant].toFixed(0)}`)
  const show = ({ median, low, high }) => `${median.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`
  return [
    `${store} ${size}`.padEnd(13),
    `${times.join('  ')} µs`.padEnd(38),
    `merge/overwrite ${show(ratio)}`,
    `cost ${show(cost)}`,
    `overwrite/overwrite ${show(noise)}`,
  ].join('  ')
}

if (process.send) await serve(JSON.parse(process.argv[2]))
else await compare()
