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

/**
 * @typedef {import('./cells.mjs').Size} Size
 * @typedef {'memory' | 'file' | 'redis'} StoreName
 * @typedef {{ median: number, low: number, high: number }} Spread
 */

/**
 * What a server is to be.
 * @typedef {object} Wish
 * @property {Name} contestant
 * @property {StoreName} store
 * @property {Size} size
 * @property {string} folder
 * @property {number | undefined} port
 */

/** @typedef {typeof CONTESTANTS[number]} Name */
const CONTESTANTS = /** @type {const} */ (['bare', 'overwrite', 'merge', 'overwrite again'])
const SESSIONS = 64
const CONNECTIONS = 16

/**
 * The server that is measured. `/login` fills a session, `/write` changes it.
 * @param {Wish} wish
 */
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

  const answer = (/** @type {import('node:http').ServerResponse} */ res) => {
    res.setHeader('Content-Length', 2)
    res.end('ok')
  }
  const use = (/** @type {import('./cells.mjs').Request & { url?: string | undefined }} */ req) => {
    if (req.url === '/login') Object.assign(req.session, SIZES[size])
    else if (req.session.user) req.session.count = (req.session.count ?? 0) + 1
    else throw new Error('the session is lost')
  }
  const server = createServer((req, res) => {
    if (contestant === 'bare') return answer(res)
    middleware(req, res, (/** @type {unknown} */ error) => {
      if (error) throw error
      use(/** @type {never} */ (req))
      answer(res)
    })
  })
  server.keepAliveTimeout = 0

  /** @type {NodeJS.CpuUsage} */
  let cpu
  process.on('message', (message) => {
    let result
    if (message === 'start') {
      globalThis.gc?.()
      cpu = process.cpuUsage()
    } else {
      const { user, system } = process.cpuUsage(cpu)
      result = user + system
    }
    process.send?.({ result })
  })
  process.on('disconnect', () => process.exit())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  process.send?.({ result: /** @type {import('node:net').AddressInfo} */ (server.address()).port })
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
  for (const store of /** @type {StoreName[]} */ (values.store.split(','))) {
    if (store === 'redis' && !hasRedis()) {
      console.error('redis skipped: redis-server is not installed')
      continue
    }
    for (const size of /** @type {Size[]} */ (values.size.split(','))) {
      const cell = await measure({ store, size, ...plan })
      cells.push(cell)
      if (!values.json) console.log(row(cell))
    }
  }
  if (values.json) console.log(JSON.stringify({ node: process.version, ...plan, cells }, undefined, 2))
}

/** @param {{ store: StoreName, size: Size, rounds: number, requests: number }} plan */
async function measure({ store, size, rounds, requests }) {
  const folder = await mkdtemp(join(tmpdir(), 'bench-'))
  const redis = store === 'redis' ? await startRedis(folder) : undefined
  /** @type {Contestant[]} */
  const contestants = []
  try {
    for (const contestant of CONTESTANTS) {
      const path = join(folder, contestant.replace(' ', '-'))
      await mkdir(path)
      const wish = { contestant, store, size, folder: path, port: redis?.port }
      contestants.push(await Contestant.start(wish))
    }
    /** @type {Record<Name, number[]>} */
    const times = { bare: [], overwrite: [], merge: [], 'overwrite again': [] }
    // The first round is for the compiler.
    for (let round = 0; round <= rounds; round++) {
      // Not always the same one after the other.
      const first = round % contestants.length
      const turn = [...contestants.slice(first), ...contestants.slice(0, first)]
      for (const contestant of turn) {
        const time = await contestant.time(requests)
        if (round > 0) times[contestant.name].push(time)
      }
    }
    const timesIn = (/** @type {number} */ n) => (/** @type {Name} */ name) => times[name][n] ?? Number.NaN
    const each = (/** @type {(time: (name: Name) => number) => number} */ of) =>
      spread(times.bare.map((_, n) => of(timesIn(n))))
    return {
      store,
      size,
      µs: Object.fromEntries(CONTESTANTS.map((contestant) => [contestant, median(times[contestant])])),
      ratio: each((time) => time('merge') / time('overwrite')),
      cost: each((time) => (time('merge') - time('bare')) / (time('overwrite') - time('bare'))),
      noise: each((time) => time('overwrite again') / time('overwrite')),
    }
  } finally {
    for (const contestant of contestants) await contestant.stop()
    await redis?.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

class Contestant {
  /** @readonly */
  name
  #child
  #crowd
  #cookies

  /** @param {Wish} wish */
  static async start(wish) {
    const child = fork(fileURLToPath(import.meta.url), [JSON.stringify(wish)], { execArgv: ['--expose-gc'] })
    const crowd = await Crowd.connect(await answerOf(child), CONNECTIONS)
    return new Contestant(wish.contestant, child, crowd, await crowd.send('/login', SESSIONS))
  }

  /**
   * @param {Name} name
   * @param {import('node:child_process').ChildProcess} child
   * @param {Crowd} crowd
   * @param {string[]} cookies
   */
  constructor(name, child, crowd, cookies) {
    this.name = name
    this.#child = child
    this.#crowd = crowd
    this.#cookies = cookies
  }

  /**
   * CPU time for a request, in µs.
   * @param {number} requests
   */
  async time(requests) {
    this.#child.send('start')
    await answerOf(this.#child)
    await this.#crowd.send('/write', requests, this.#cookies)
    this.#child.send('stop')
    return (await answerOf(this.#child)) / requests
  }

  async stop() {
    this.#crowd.close()
    const gone = once(this.#child, 'exit')
    this.#child.disconnect()
    await gone
  }
}

/**
 * @param {import('node:child_process').ChildProcess} child
 * @returns {Promise<number>}
 */
async function answerOf(child) {
  const [{ result }] = await once(child, 'message')
  return result
}

/** @param {number[]} numbers */
function median(numbers) {
  return quantile(numbers, 0.5)
}

/**
 * @param {number[]} numbers
 * @param {number} part
 */
function quantile(numbers, part) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.round((sorted.length - 1) * part)] ?? Number.NaN
}

/**
 * @param {number[]} numbers
 * @returns {Spread}
 */
function spread(numbers) {
  return { median: median(numbers), low: quantile(numbers, 0.25), high: quantile(numbers, 0.75) }
}

/** @param {Awaited<ReturnType<typeof measure>>} cell */
function row({ store, size, µs, ratio, cost, noise }) {
  const times = CONTESTANTS.slice(0, 3).map((contestant) => `${contestant} ${µs[contestant]?.toFixed(0)}`)
  const show = (/** @type {Spread} */ { median, low, high }) =>
    `${median.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`
  return [
    `${store} ${size}`.padEnd(13),
    `${times.join('  ')} µs`.padEnd(38),
    `merge/overwrite ${show(ratio)}`,
    `cost ${show(cost)}`,
    `overwrite/overwrite ${show(noise)}`,
  ].join('  ')
}

if (process.send) await serve(JSON.parse(/** @type {string} */ (process.argv[2])))
else await compare()
