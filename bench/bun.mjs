// What a session costs on Bun: a host without sessions and one with unisession in turn, in one run.
//
//   npm run build && node bench/bun.mjs
//   node bench/bun.mjs --host fetch --kind read,write --size 20KB --rounds 11
//
// Every round sends the same number of requests to each server, one server after the other; each is a process of its own.
// Measured are the CPU time that the server's process takes for a request (µs) and the requests it answers in a second;
// reported is the median of the rounds. `cost` is what a session adds to the host without one. Sessions are in memory.
//
//   --host bunway|fetch     a host like bunWay (default), or a bare `(request, next) => Response`
//   --framework module      the host itself: a module that exports `bunway`; default: our stand-in for bunWay
//   --other module          measures another middleware, too: a module that exports `session` as bunWay's does
//   --kind untouched,read,… only these kinds of request; those of requests.mjs
//   --size 0.2KB,20KB       only these sizes of session data
//   --defaults              resave and saveUninitialized true; without it both are false
//   --rounds 7              rounds
//   --requests 2000         requests to each server in a round
//   --sessions 64           sessions that the requests are spread over
//   --connections 16        connections; a session is never in two requests at once
//   --json                  all numbers as JSON

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { KINDS, SIZES } from './cells.mjs'
import { answerOf, median } from './contestant.mjs'
import { Crowd } from './load.mjs'

/**
 * @typedef {import('./cells.mjs').Kind} Kind
 * @typedef {import('./cells.mjs').Size} Size
 * @typedef {import('./cells.mjs').Request} SessionRequest
 * @typedef {(request: Request) => Response | Promise<Response>} Fetch
 * @typedef {(req: SessionRequest) => void} Route
 * @typedef {ReturnType<typeof readArguments>} Plan
 * @typedef {{ cpu: number, rate: number }} Round CPU time per request in µs, and requests per second
 */

/**
 * What both hosts and middlewares have of it that is used here.
 * @typedef {object} App
 * @property {(middleware: unknown) => void} use
 * @property {(path: string, handler: (req: SessionRequest, res: { send(body: string): void }) => void) => void} get
 * @property {Fetch} handle
 */

/** @typedef {{ serve(options: object): { port: number }, gc(now: boolean): void }} Runtime */
const runtime = /** @type {{ Bun?: Runtime }} */ (/** @type {unknown} */ (globalThis)).Bun

const script = fileURLToPath(import.meta.url)

/**
 * The measured server. Answers `ok` to `/<kind>/<size>`.
 * @param {Runtime} bun
 * @param {Plan & { contestant: string }} wish
 */
async function serveOnBun(bun, { contestant, host, framework, other, defaults }) {
  const entry = contestant === 'other' && other ? other : `unisession/${host === 'fetch' ? 'bun-router' : 'bunway'}`
  const { session, MemoryStore } = contestant === 'bare' ? {} : await import(entry)
  const store = MemoryStore && new MemoryStore()
  const middleware = session?.({
    store,
    name: 'connect.sid',
    secret: 'a secret for the benchmark only, long enough',
    resave: defaults,
    saveUninitialized: defaults,
    cookie: { maxAge: 3_600_000 },
  })
  /** @type {Map<string, Route>} */
  const routes = new Map()
  for (const [kind, { use }] of Object.entries(KINDS)) {
    for (const [size, data] of Object.entries(SIZES)) {
      routes.set(`/${kind}/${size}`, middleware ? (req) => use(req, data) : () => {})
    }
  }

  const { port } = bun.serve({ port: 0, hostname: '127.0.0.1', fetch: await listener() })
  /** @type {NodeJS.CpuUsage} */
  let cpu
  process.on('message', async (action) => {
    let result
    if (action === 'start') {
      bun.gc(true)
      cpu = process.cpuUsage()
    } else if (action === 'stop') {
      const { user, system } = process.cpuUsage(cpu)
      result = user + system
    } else await store?.clear()
    process.send?.({ result })
  })
  process.on('disconnect', () => process.exit())
  process.send?.({ result: port })

  /** @returns {Promise<Fetch>} */
  async function listener() {
    if (host === 'fetch') {
      const answer = (/** @type {Request} */ req) => {
        routes.get(new URL(req.url).pathname)?.(/** @type {never} */ (req))
        return new Response('ok')
      }
      return (request) => (middleware ? middleware(request, answer) : answer(request))
    }
    const { bunway } = await import(framework)
    const app = /** @type {App} */ (bunway())
    if (middleware) app.use(middleware)
    for (const [path, use] of routes) {
      app.get(path, (req, res) => {
        use(req)
        res.send('ok')
      })
    }
    return (request) => app.handle(request)
  }
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      host: { type: 'string', default: 'bunway' },
      framework: { type: 'string' },
      other: { type: 'string' },
      kind: { type: 'string' },
      size: { type: 'string' },
      defaults: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '7' },
      requests: { type: 'string', default: '2000' },
      sessions: { type: 'string', default: '64' },
      connections: { type: 'string', default: '16' },
      json: { type: 'boolean', default: false },
    },
  })
  /**
   * @template {string} T
   * @param {'host' | 'kind' | 'size'} option
   * @param {readonly T[]} known
   * @returns {readonly T[]}
   */
  const list = (option, known) => {
    const chosen = values[option]?.split(',') ?? known
    const wrong = chosen.find((name) => !known.some((one) => one === name))
    if (wrong === undefined) return /** @type {readonly T[]} */ (chosen)
    throw new Error(`--${option} is one of ${known.join(', ')}; not ${wrong}`)
  }
  const number = (/** @type {'rounds' | 'requests' | 'sessions' | 'connections'} */ option) => {
    const value = Number(values[option])
    if (!(Number.isInteger(value) && value > 0)) throw new Error(`--${option} is a whole number above 0`)
    return value
  }
  const standin = fileURLToPath(new URL('../test/hosts/standin/bunway.ts', import.meta.url))
  return {
    ...values,
    rounds: number('rounds'),
    requests: number('requests'),
    sessions: number('sessions'),
    connections: number('connections'),
    host: list('host', ['bunway', 'fetch'])[0],
    kinds: list('kind', /** @type {Kind[]} */ (Object.keys(KINDS))),
    sizes: list('size', /** @type {Size[]} */ (Object.keys(SIZES))),
    framework: values.framework ? resolve(values.framework) : standin,
    other: values.other && resolve(values.other),
  }
}

/** @param {Plan} plan */
async function measure(plan) {
  const contestants = ['bare', ...(plan.other ? ['other'] : []), 'unisession']
  const print = (/** @type {string} */ line) => plan.json || console.log(line)
  const cells = []
  /** @type {Server[]} */
  const servers = []
  try {
    for (const contestant of contestants) servers.push(await Server.start(contestant, plan))
    // The first cell is to meet compiled code, as the others do.
    for (const server of servers) await server.prepare('write', plan.sizes[0] ?? '20KB')
    print(`${plan.host}, resave and saveUninitialized ${plan.defaults}; median of ${plan.rounds} rounds`)
    print('µs: CPU time of the server per request. cost: of that, the session. /s: requests per second\n')
    print(
      row(
        '',
        '',
        contestants.map((name) => [name]),
      ),
    )
    print(
      row(
        'kind',
        'data',
        contestants.map((name) => (name === 'bare' ? ['µs', '/s'] : ['µs', 'cost', '/s'])),
      ),
    )
    for (const size of plan.sizes) {
      for (const kind of plan.kinds) {
        const rounds = contestants.map(() => /** @type {Round[]} */ ([]))
        for (const server of servers) await server.prepare(kind, size)
        for (let round = 0; round < plan.rounds; round++) {
          for (const [index, server] of servers.entries()) rounds[index]?.push(await server.round(kind, size))
        }
        for (const server of servers) await server.ask('clear')
        const medians = rounds.map((times) => ({
          cpu: median(times.map(({ cpu }) => cpu)),
          rate: median(times.map(({ rate }) => rate)),
        }))
        const [bare] = /** @type {[Round]} */ (medians)
        const results = medians.map((result, index) => ({
          name: contestants[index],
          ...result,
          cost: index === 0 ? undefined : result.cpu - bare.cpu,
        }))
        const columns = results.map(({ cpu, cost, rate }) => [
          cpu.toFixed(1),
          ...(cost === undefined ? [] : [cost.toFixed(1)]),
          rate.toFixed(0),
        ])
        print(row(kind, size, columns))
        cells.push({ kind, size, results, rounds })
      }
    }
  } finally {
    for (const server of servers) server.stop()
  }
  if (plan.json) console.log(JSON.stringify({ ...plan, cells }, null, 2))
}

/** One contestant's process, and the browsers that visit it. */
class Server {
  /** @readonly */
  contestant
  #plan
  #process
  /** @type {Crowd} */
  #crowd
  /** @type {string[] | undefined} */
  #cookies

  /**
   * @param {string} contestant
   * @param {Plan} plan
   */
  static async start(contestant, plan) {
    const bun = fileURLToPath(new URL('../node_modules/.bin/bun', import.meta.url))
    const wish = JSON.stringify({ contestant, ...plan })
    const child = spawn(existsSync(bun) ? bun : 'bun', [script, wish], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, NODE_ENV: 'test', DEBUG: '' },
    })
    const port = /** @type {number} */ (await answerOf(child, contestant))
    return new Server(contestant, plan, child, await Crowd.connect(port, plan.connections))
  }

  /**
   * @param {string} contestant
   * @param {Plan} plan
   * @param {import('node:child_process').ChildProcess} child
   * @param {Crowd} crowd
   */
  constructor(contestant, plan, child, crowd) {
    this.contestant = contestant
    this.#plan = plan
    this.#process = child
    this.#crowd = crowd
  }

  stop() {
    this.#crowd.close()
    this.#process.disconnect()
  }

  /**
   * Has the sessions that the cell needs in the store, and the code compiled.
   * @param {Kind} kind
   * @param {Size} size
   */
  async prepare(kind, size) {
    this.#cookies = undefined
    if (KINDS[kind].cookie) {
      this.#cookies = await this.#crowd.send(`/first/${size}`, this.#plan.sessions)
      // Browsers of the bare host send a cookie as long as the others'.
      if (this.contestant === 'bare') {
        this.#cookies = Array(this.#plan.sessions).fill(`connect.sid=s%3A${'x'.repeat(76)}`)
      }
    }
    await this.#crowd.send(`/${kind}/${size}`, this.#plan.requests, this.#cookies)
  }

  /**
   * @param {Kind} kind
   * @param {Size} size
   */
  async round(kind, size) {
    const { requests } = this.#plan
    // What first visits leave behind would fill the memory.
    if (!this.#cookies) await this.ask('clear')
    await this.ask('start')
    const begin = performance.now()
    await this.#crowd.send(`/${kind}/${size}`, requests, this.#cookies)
    const seconds = (performance.now() - begin) / 1000
    return { cpu: Number(await this.ask('stop')) / requests, rate: requests / seconds }
  }

  /** @param {'start' | 'stop' | 'clear'} action */
  ask(action) {
    this.#process.send(action)
    return answerOf(this.#process, this.contestant)
  }
}

/**
 * @param {string} kind
 * @param {string} size
 * @param {string[][]} groups
 */
function row(kind, size, groups) {
  const columns = groups.map((values, index) => {
    const width = index === 0 ? 14 : 21
    return values.length === 1 ? String(values[0]).padStart(width) : values.map((value) => value.padStart(7)).join('')
  })
  return `${kind.padEnd(11)}${size.padEnd(6)}${columns.join('  |')}`
}

if (runtime) await serveOnBun(runtime, JSON.parse(/** @type {string} */ (process.argv[2])))
else await measure(readArguments())
