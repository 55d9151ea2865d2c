// What a session costs: bare host, express-session and unisession in turn, in one run.
//
//   npm run build && npm run bench
//   npm run bench -- --store memory --kind read,write --size 20KB --rounds 11
//
// For each store, kind of request and size of data, every round sends the same number of requests to three servers,
// one after the other: one without sessions, one with express-session and its customary store, one with unisession.
// Each is a process of its own. Measured are the CPU time that the server's process takes for a request (µs) and the
// requests it answers in a second; reported is the median of the rounds. `cost` is what a session adds to the bare
// host, `ratio` is unisession's cost divided by express-session's, with the lowest and highest of the rounds. For Redis
// it also tells which commands a request takes.
//
// Kinds: `untouched` (the handler never looks at its session), `read`, `write`, `first` (no cookie; the handler fills
// the new session) and `anonymous` (no cookie; the handler never looks).
//
//   --store memory,file,redis     only these; default: all that are there (redis needs redis-server)
//   --kind untouched,read,…       only these kinds
//   --size 0.2KB,20KB             only these sizes of session data
//   --host express|http           Express (default), or plain node:http
//   --defaults                    resave and saveUninitialized true, as old apps have them; without it both are false
//   --rounds 7                    rounds
//   --requests 1000               requests to each server in a round; file: a quarter of it
//   --sessions 64                 sessions that the requests are spread over
//   --connections 16              connections; a session is never in two requests at once
//   --short                       a few seconds: memory, 20KB, read and untouched
//   --json                        all numbers as JSON
//   --profile folder              writes a CPU profile of each server's last round there; measures nothing reliably

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { KINDS, SIZES } from './cells.mjs'
import { Crowd } from './load.mjs'
import { hasRedis, startRedis, watchCommands } from './redis.mjs'

const CONTESTANTS = ['bare', 'express-session', 'unisession']
const CLASSES = { memory: 'MemoryStore', file: 'FileStore', redis: 'RedisStore' }

function readArguments() {
  const { values } = parseArgs({
    options: {
      store: { type: 'string' },
      kind: { type: 'string' },
      size: { type: 'string' },
      host: { type: 'string', default: 'express' },
      defaults: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      requests: { type: 'string' },
      sessions: { type: 'string', default: '64' },
      connections: { type: 'string', default: '16' },
      short: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      profile: { type: 'string' },
    },
  })
  const { short } = values
  return {
    stores: choice('store', Object.keys(CLASSES), short ? 'memory' : undefined),
    kinds: choice('kind', Object.keys(KINDS), short ? 'untouched,read' : undefined),
    sizes: choice('size', Object.keys(SIZES), short ? '20KB' : undefined),
    host: choice('host', ['express', 'http'])[0],
    defaults: values.defaults,
    rounds: number('rounds', short ? 3 : 7),
    requests: number('requests', short ? 200 : 1000),
    sessions: number('sessions'),
    connections: number('connections'),
    json: values.json,
    profile: values.profile && resolve(values.profile),
  }

  function choice(option, known, preset) {
    const chosen = (values[option] ?? preset)?.split(',') ?? known
    const wrong = chosen.find((name) => !known.includes(name))
    if (wrong !== undefined) throw new Error(`--${option} is one of ${known.join(', ')}; not ${wrong}`)
    return chosen
  }

  function number(option, preset) {
    const value = Number(values[option] ?? preset)
    if (!(Number.isInteger(value) && value > 0)) throw new Error(`--${option} is a whole number above 0`)
    return value
  }
}

/** The stores that were asked for, as far as this build and this machine have them. */
async function storesToMeasure() {
  const ours = await import('unisession').catch((cause) => {
    throw new Error('unisession is not built; run npm run build first', { cause })
  })
  return plan.stores.filter((store) => {
    const missing =
      (!(CLASSES[store] in ours) && `unisession has no ${CLASSES[store]}`) ||
      (store === 'redis' && !hasRedis() && 'redis-server is not installed')
    if (missing) console.error(`${store} store skipped: ${missing}`)
    return !missing
  })
}

/** Measures all cells of one store; prints each as soon as it is known. */
async function measureStore(store) {
  const folder = await mkdtemp(join(tmpdir(), 'bench-'))
  const redis = store === 'redis' ? await startRedis(folder) : undefined
  const servers = []
  try {
    for (const contestant of CONTESTANTS) {
      const path = join(folder, contestant)
      await mkdir(path)
      servers.push(await Server.start({ contestant, store, folder: path, redisPort: redis?.port }))
    }
    // The first cell is to meet compiled code, as the others do.
    for (const server of servers) await server.prepare({ kind: 'write', size: plan.sizes[0] }, plan.requests)
    print(heading(store))
    const cells = []
    for (const size of plan.sizes) {
      for (const kind of plan.kinds) {
        const cell = await measureCell(servers, { store, kind, size }, redis)
        cells.push(cell)
        print(row(cell))
      }
    }
    return cells
  } finally {
    for (const server of servers) await server.stop()
    await redis?.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function measureCell(servers, cell, redis) {
  const requests = cell.store === 'file' ? Math.ceil(plan.requests / 4) : plan.requests
  const rounds = Object.fromEntries(CONTESTANTS.map((contestant) => [contestant, []]))
  for (const server of servers) await server.prepare(cell, Math.ceil(requests / 2))
  for (let round = 1; round <= plan.rounds; round++) {
    for (const server of servers) {
      rounds[server.contestant].push(await server.measure(cell, requests, round === plan.rounds))
    }
  }

  const commands = {}
  if (redis) {
    for (const server of servers.slice(1)) {
      const counts = await watchCommands(redis.port, () => server.visit(cell, 100))
      commands[server.contestant] = Object.fromEntries(Object.entries(counts).map(([name, n]) => [name, n / 100]))
    }
  }
  for (const server of servers) await server.clear()

  const [bare, theirs, ours] = CONTESTANTS.map((contestant) => summary(rounds[contestant]))
  theirs.cost = theirs.cpu - bare.cpu
  ours.cost = ours.cpu - bare.cpu
  const ratios = rounds.bare.map(
    ({ cpu }, n) => (rounds.unisession[n].cpu - cpu) / (rounds['express-session'][n].cpu - cpu),
  )
  return {
    ...cell,
    bare,
    'express-session': theirs,
    unisession: ours,
    ratio: ours.cost / theirs.cost,
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
    ...(redis && { commands }),
    rounds,
  }
}

function summary(rounds) {
  return { cpu: median(rounds.map(({ cpu }) => cpu)), rate: median(rounds.map(({ rate }) => rate)) }
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** One contestant's process, and the browsers that visit it. */
class Server {
  contestant
  #process
  #crowd
  #cookies

  static async start(wish) {
    const server = new Server()
    server.contestant = wish.contestant
    const { host, defaults } = plan
    server.#process = fork(
      new URL('./server.mjs', import.meta.url),
      [JSON.stringify({ ...wish, host, defaults })],
      // What debugs or instruments this process is not for the measured one.
      { execArgv: ['--expose-gc'], env: { ...process.env, NODE_ENV: 'test', DEBUG: '', NODE_OPTIONS: '' } },
    )
    const port = await server.#answer()
    server.#crowd = await Crowd.connect(port, plan.connections)
    return server
  }

  async stop() {
    this.#crowd.close()
    this.#process.disconnect()
    if (this.#process.exitCode === null) await once(this.#process, 'exit')
  }

  /** Has the sessions that the cell needs in the store, and the code compiled. */
  async prepare(cell, requests) {
    if (KINDS[cell.kind].cookie) {
      this.#cookies = await this.#crowd.send(`/first/${cell.size}`, plan.sessions)
      // Browsers of the bare host send a cookie as long as the others'.
      if (this.contestant === 'bare') this.#cookies = Array(plan.sessions).fill(`connect.sid=s%3A${'x'.repeat(76)}`)
    } else this.#cookies = undefined
    await this.visit(cell, requests)
  }

  /** Visits the server without measuring. */
  async visit({ kind, size }, requests) {
    await this.#crowd.send(`/${kind}/${size}`, requests, this.#cookies)
  }

  /** One round: CPU time per request in µs, and requests per second. */
  async measure(cell, requests, last) {
    const { store, kind, size } = cell
    const name = `${this.contestant}-${store}-${kind}-${size}.cpuprofile`
    const profile = last && plan.profile ? join(plan.profile, name) : undefined
    if (profile) await mkdir(plan.profile, { recursive: true })
    // What first visits leave behind would fill the memory.
    if (!this.#cookies) await this.clear()

    await this.#ask({ action: 'start', profile })
    const begin = performance.now()
    await this.visit(cell, requests)
    const seconds = (performance.now() - begin) / 1000
    const cpu = await this.#ask({ action: 'stop', profile })
    return { cpu: cpu / requests, rate: requests / seconds }
  }

  async clear() {
    await this.#ask({ action: 'clear' })
  }

  #ask(question) {
    this.#process.send(question)
    return this.#answer()
  }

  #answer() {
    return new Promise((resolve, reject) => {
      const exited = () => reject(new Error(`the server of ${this.contestant} has ended`))
      this.#process.once('exit', exited)
      this.#process.once('message', ({ result }) => {
        this.#process.off('exit', exited)
        resolve(result)
      })
    })
  }
}

function print(line) {
  if (!plan.json) console.log(line)
}

function heading(store) {
  const { host, defaults, rounds } = plan
  return [
    '',
    `${store} store on ${host}, resave and saveUninitialized ${defaults}; median of ${rounds} rounds`,
    'µs: CPU time of the server per request. cost: of that, the session. /s: requests per second',
    '',
    `${''.padEnd(18)}bare host       express-session          unisession               ratio of costs`,
    columns('kind', 'data', ['µs', '/s'], ['µs', 'cost', '/s'], ['µs', 'cost', '/s'], 'ratio (of rounds)'),
  ].join('\n')
}

function row(cell) {
  const { kind, size, bare, 'express-session': theirs, unisession: ours, commands } = cell
  const numbers = ({ cpu, cost, rate }) => [cpu.toFixed(1), cost.toFixed(1), rate.toFixed(0)]
  const line = columns(
    kind,
    size,
    [bare.cpu.toFixed(1), bare.rate.toFixed(0)],
    numbers(theirs),
    numbers(ours),
    `${cell.ratio.toFixed(2)} (${cell.lowest.toFixed(2)} to ${cell.highest.toFixed(2)})`,
  )
  if (!commands) return line
  const list = (counts) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ') || 'none'
  const [theirList, ourList] = CONTESTANTS.slice(1).map((contestant) => list(commands[contestant]))
  return `${line}\n${''.padEnd(11)}commands per request: ${theirList} | ${ourList}`
}

function columns(kind, size, bare, theirs, ours, ratio) {
  const group = (values) => values.map((value) => value.padStart(7)).join('')
  return `${kind.padEnd(11)}${size.padEnd(6)}${group(bare)}  | ${group(theirs)}  | ${group(ours)}  | ${ratio}`
}

let plan
try {
  plan = readArguments()
} catch (error) {
  console.error(error.message)
  process.exit(1)
}
const cells = []
for (const store of await storesToMeasure()) cells.push(...(await measureStore(store)))
if (plan.json) console.log(JSON.stringify({ node: process.version, ...plan, cells }, null, 2))
