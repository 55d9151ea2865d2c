// What a session costs: bare host, express-session and unisession in turn, in one run.
//
//   npm run build && npm run bench
//   npm run bench -- --store memory --kind read,write --size 20KB --rounds 11
//   npm run bench -- --against ../unisession-1.20
//
// For each store, kind of request and size of data, every round sends the same number of requests to three servers,
// one after the other: one without sessions, one with express-session and its customary store, one with unisession.
// Each is a process of its own. Measured are the CPU time that the server's process takes for a request (µs) and the
// requests it answers in a second; reported is the median of the rounds. `cost` is what a session adds to the bare
// host, `ratio` is unisession's cost divided by express-session's, with the lowest and highest of the rounds. For Redis
// it also tells which commands a request takes.
//
// `--against` compares with another version of unisession: a fourth server, `before`, takes part in every round. It runs
// what was built in the other folder; stores are made with the same options, and Redis clients are those of this one.
// The last column is then the cost of this version divided by that of the other one. Differences below the spread of
// its rounds are noise: give more rounds, or the folder of this checkout itself, to see how much that is.
//
// Kinds: `untouched` (the handler never looks at its session), `read`, `write`, `first` (no cookie; the handler fills
// the new session) and `anonymous` (no cookie; the handler never looks).
//
//   --store memory,file,redis     only these; default: all that are there (redis needs redis-server)
//   --kind untouched,read,…       only these kinds
//   --size 0.2KB,20KB             only these sizes of session data
//   --host express|http           Express (default), or plain node:http
//   --against folder              another checkout, built, or an installed package: what has dist/ in it
//   --defaults                    resave and saveUninitialized true, as old apps have them; without it both are false
//   --rounds 7                    rounds
//   --requests 1000               requests to each server in a round; file: a quarter of it
//   --sessions 64                 sessions that the requests are spread over
//   --connections 16              connections; a session is never in two requests at once
//   --short                       a few seconds: memory, 20KB, read and untouched
//   --json                        all numbers as JSON
//   --profile folder              writes a CPU profile of each server's last round there; measures nothing reliably

import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { KINDS, SIZES } from './cells.mjs'
import { Contestant, median } from './contestant.mjs'
import { hasRedis, startRedis, watchCommands } from './redis.mjs'

/**
 * @typedef {import('./contestant.mjs').Cell} Cell
 * @typedef {import('./contestant.mjs').Round} Round
 * @typedef {import('./contestant.mjs').StoreName} StoreName
 * @typedef {'bare' | 'express-session' | 'unisession' | 'before'} Name
 * @typedef {Round & { cost: number }} Result medians; `cost`: CPU time without that of the bare host
 * @typedef {{ ratio: number, lowest: number, highest: number }} Ratio of two costs, and of those of single rounds
 * @typedef {Record<string, number>} Counts how often a request takes each command
 * @typedef {{ port: number }} Redis
 */

/**
 * What was measured.
 * @typedef {Cell & Ratio & Record<'bare' | 'express-session' | 'unisession', Result> & {
 *   before?: Result, against?: Ratio, commands?: Record<string, Counts>, rounds: Record<string, Round[]>
 * }} Measured
 */

const CLASSES = /** @type {const} */ ({ memory: 'MemoryStore', file: 'FileStore', redis: 'RedisStore' })
const STORES = /** @type {StoreName[]} */ (Object.keys(CLASSES))
const HOSTS = /** @type {const} */ (['express', 'http'])

function readArguments() {
  const { values } = parseArgs({
    options: {
      store: { type: 'string' },
      kind: { type: 'string' },
      size: { type: 'string' },
      host: { type: 'string', default: 'express' },
      against: { type: 'string' },
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
    stores: choice('store', STORES, short ? 'memory' : undefined),
    kinds: choice('kind', keys(KINDS), short ? 'untouched,read' : undefined),
    sizes: choice('size', keys(SIZES), short ? '20KB' : undefined),
    host: /** @type {typeof HOSTS[number]} */ (choice('host', HOSTS)[0]),
    against: values.against === undefined ? undefined : moduleIn(values.against),
    defaults: values.defaults,
    rounds: number('rounds', short ? 3 : 7),
    requests: number('requests', short ? 200 : 1000),
    sessions: number('sessions'),
    connections: number('connections'),
    json: values.json,
    profile: values.profile === undefined ? undefined : resolve(values.profile),
  }

  /**
   * @template {string} T
   * @param {'store' | 'kind' | 'size' | 'host'} option
   * @param {readonly T[]} known
   * @param {string} [preset]
   * @returns {readonly T[]}
   */
  function choice(option, known, preset) {
    const chosen = (values[option] ?? preset)?.split(',') ?? known
    const wrong = chosen.find((name) => !known.some((one) => one === name))
    if (wrong !== undefined) throw new Error(`--${option} is one of ${known.join(', ')}; not ${wrong}`)
    return /** @type {readonly T[]} */ (chosen)
  }

  /**
   * @param {'rounds' | 'requests' | 'sessions' | 'connections'} option
   * @param {number} [preset]
   */
  function number(option, preset) {
    const value = Number(values[option] ?? preset)
    if (!(Number.isInteger(value) && value > 0)) throw new Error(`--${option} is a whole number above 0`)
    return value
  }
}

/**
 * The main entry of the package in a folder.
 * @param {string} folder
 */
function moduleIn(folder) {
  const path = resolve(folder, 'dist/index.mjs')
  if (!existsSync(path)) throw new Error(`--against is a folder in which unisession was built; there is no ${path}`)
  return pathToFileURL(path).href
}

/** Who takes part, and the module that each has its sessions from. */
function contestants() {
  /** @type {[name: Name, module?: string][]} */
  const all = [['bare'], ['express-session', 'express-session'], ['unisession', 'unisession']]
  if (plan.against) all.push(['before', plan.against])
  return all
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

/**
 * Measures all cells of one store; prints each as soon as it is known.
 * @param {StoreName} store
 */
async function measureStore(store) {
  const folder = await mkdtemp(join(tmpdir(), 'bench-'))
  const redis = store === 'redis' ? await startRedis(folder) : undefined
  const { host, defaults } = plan
  /** @type {Contestant[]} */
  const all = []
  try {
    for (const [contestant, module] of contestants()) {
      const path = join(folder, contestant)
      await mkdir(path)
      const wish = {
        contestant,
        ...(module !== undefined && { module }),
        ours: contestant === 'unisession' || contestant === 'before',
        host,
        defaults,
        store,
        folder: path,
        ...(redis && { redisPort: redis.port }),
      }
      all.push(await Contestant.start(wish, plan))
    }
    // The first cell is to meet compiled code, as the others do.
    const [size] = /** @type {[import('./cells.mjs').Size]} */ (plan.sizes)
    for (const one of all) await one.prepare({ kind: 'write', size }, plan.requests)
    print(heading(store))
    const cells = []
    for (const size of plan.sizes) {
      for (const kind of plan.kinds) {
        const cell = await measureCell(all, { store, kind, size }, redis)
        cells.push(cell)
        print(row(cell))
      }
    }
    return cells
  } finally {
    for (const one of all) await one.stop()
    await redis?.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * @param {Contestant[]} all
 * @param {Cell} cell
 * @param {Redis} [redis]
 * @returns {Promise<Measured>}
 */
async function measureCell(all, cell, redis) {
  const requests = cell.store === 'file' ? Math.ceil(plan.requests / 4) : plan.requests
  /** @type {Record<string, Round[]>} */
  const rounds = Object.fromEntries(all.map(({ name }) => [name, []]))
  for (const one of all) await one.prepare(cell, Math.ceil(requests / 2))
  for (let round = 1; round <= plan.rounds; round++) {
    // Not always the same one after the other.
    const turn = [...all.slice(round % all.length), ...all.slice(0, round % all.length)]
    for (const one of turn) rounds[one.name]?.push(await one.measure(cell, requests, round === plan.rounds))
  }

  /** @type {Record<string, Counts>} */
  const commands = {}
  if (redis) {
    for (const one of all.slice(1)) {
      const counts = await watchCommands(redis.port, () => one.visit(cell, 100))
      commands[one.name] = Object.fromEntries(Object.entries(counts).map(([name, n]) => [name, n / 100]))
    }
  }
  for (const one of all) await one.clear()

  const of = (/** @type {Name} */ name) => rounds[name] ?? []
  const bare = medians(of('bare'))
  const result = (/** @type {Name} */ name) => {
    const { cpu, rate } = medians(of(name))
    return { cpu, rate, cost: cpu - bare.cpu }
  }
  const ratio = (/** @type {Name} */ other) => ({
    ratio: result('unisession').cost / result(other).cost,
    ...extremes(of('bare').map(({ cpu }, n) => (cpuOf(of('unisession'), n) - cpu) / (cpuOf(of(other), n) - cpu))),
  })
  return {
    ...cell,
    bare: { ...bare, cost: 0 },
    'express-session': result('express-session'),
    unisession: result('unisession'),
    ...ratio('express-session'),
    ...(rounds.before && { before: result('before'), against: ratio('before') }),
    ...(redis && { commands }),
    rounds,
  }
}

/**
 * @param {Round[]} rounds
 * @returns {Round}
 */
function medians(rounds) {
  return { cpu: median(rounds.map(({ cpu }) => cpu)), rate: median(rounds.map(({ rate }) => rate)) }
}

/**
 * @param {Round[]} rounds
 * @param {number} n
 */
function cpuOf(rounds, n) {
  return rounds[n]?.cpu ?? Number.NaN
}

/** @param {number[]} ratios */
function extremes(ratios) {
  return { lowest: Math.min(...ratios), highest: Math.max(...ratios) }
}

/** @param {string} line */
function print(line) {
  if (!plan.json) console.log(line)
}

/** @param {StoreName} store */
function heading(store) {
  const { host, defaults, rounds, against } = plan
  const names = ['express-session', 'unisession', ...(against ? ['before'] : [])]
  const ratios = ['ratio (of rounds)', ...(against ? ['to before (of rounds)'] : [])]
  return [
    '',
    `${store} store on ${host}, resave and saveUninitialized ${defaults}; median of ${rounds} rounds`,
    'µs: CPU time of the server per request. cost: of that, the session. /s: requests per second',
    '',
    `${''.padEnd(18)}bare host       ${names.map((name) => name.padEnd(25)).join('')}ratio of costs`,
    columns('kind', 'data', [['µs', '/s'], ...names.map(() => ['µs', 'cost', '/s'])], ratios),
  ].join('\n')
}

/** @param {Measured} cell */
function row(cell) {
  const { kind, size, bare, before, against, commands } = cell
  const results = [cell['express-session'], cell.unisession, ...(before ? [before] : [])]
  const line = columns(
    kind,
    size,
    [
      [bare.cpu.toFixed(1), bare.rate.toFixed(0)],
      ...results.map(({ cpu, cost, rate }) => [cpu.toFixed(1), cost.toFixed(1), rate.toFixed(0)]),
    ],
    [cell, ...(against ? [against] : [])].map(
      ({ ratio, lowest, highest }) => `${ratio.toFixed(2)} (${lowest.toFixed(2)} to ${highest.toFixed(2)})`,
    ),
  )
  if (!commands) return line
  const lists = Object.values(commands).map((counts) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', '),
  )
  return `${line}\n${''.padEnd(11)}commands per request: ${lists.map((list) => list || 'none').join(' | ')}`
}

/**
 * @param {string} kind
 * @param {string} size
 * @param {string[][]} groups
 * @param {string[]} ratios
 */
function columns(kind, size, groups, ratios) {
  const group = (/** @type {string[]} */ values) => values.map((value) => value.padStart(7)).join('')
  const all = [...groups.map(group), ...ratios.map((ratio) => ratio.padEnd(19))]
  return `${kind.padEnd(11)}${size.padEnd(6)}${all.join('  | ')}`.trimEnd()
}

/**
 * @template {object} T
 * @param {T} object
 */
function keys(object) {
  return /** @type {(keyof T & string)[]} */ (Object.keys(object))
}

/** @type {ReturnType<typeof readArguments>} */
let plan
try {
  plan = readArguments()
} catch (error) {
  console.error(/** @type {Error} */ (error).message)
  process.exit(1)
}
const cells = []
for (const store of await storesToMeasure()) cells.push(...(await measureStore(store)))
if (plan.json) console.log(JSON.stringify({ node: process.version, ...plan, cells }, null, 2))
