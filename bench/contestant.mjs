// One contestant of requests.mjs: its server's process, and the browsers that visit it.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { KINDS } from './cells.mjs'
import { Crowd } from './load.mjs'

/**
 * @typedef {import('./cells.mjs').Kind} Kind
 * @typedef {import('./cells.mjs').Size} Size
 * @typedef {'memory' | 'file' | 'redis'} StoreName
 * @typedef {{ store: StoreName, kind: Kind, size: Size }} Cell what is measured at once
 * @typedef {{ cpu: number, rate: number }} Round CPU time per request in µs, and requests per second
 */

/**
 * What a server is to be.
 * @typedef {object} Wish
 * @property {string} contestant
 * @property {string} [module] what has its `session`; a host without sessions has none
 * @property {boolean} ours the module is unisession
 * @property {'express' | 'http'} host
 * @property {boolean} defaults
 * @property {StoreName} store
 * @property {string} folder of its own, and empty
 * @property {number} [redisPort]
 */

/**
 * How it is visited.
 * @typedef {object} Visits
 * @property {number} sessions
 * @property {number} connections
 * @property {string | undefined} profile the folder for CPU profiles
 */

export class Contestant {
  /** @readonly */
  name
  #process
  #visits
  /** @type {Crowd} */
  #crowd
  /** @type {string[] | undefined} */
  #cookies

  /**
   * @param {Wish} wish
   * @param {Visits} visits
   */
  static async start(wish, visits) {
    const child = fork(
      new URL('./server.mjs', import.meta.url),
      [JSON.stringify(wish)],
      // What debugs or instruments this process is not for the measured one.
      { execArgv: ['--expose-gc'], env: { ...process.env, NODE_ENV: 'test', DEBUG: '', NODE_OPTIONS: '' } },
    )
    const port = /** @type {number} */ (await answerOf(child, wish.contestant))
    return new Contestant(wish.contestant, child, visits, await Crowd.connect(port, visits.connections))
  }

  /**
   * @param {string} name
   * @param {import('node:child_process').ChildProcess} child
   * @param {Visits} visits
   * @param {Crowd} crowd
   */
  constructor(name, child, visits, crowd) {
    this.name = name
    this.#process = child
    this.#visits = visits
    this.#crowd = crowd
  }

  async stop() {
    this.#crowd.close()
    this.#process.disconnect()
    if (this.#process.exitCode === null) await once(this.#process, 'exit')
  }

  /**
   * Has the sessions that the cell needs in the store, and the code compiled.
   * @param {Pick<Cell, 'kind' | 'size'>} cell
   * @param {number} requests
   */
  async prepare(cell, requests) {
    const { sessions } = this.#visits
    if (KINDS[cell.kind].cookie) {
      this.#cookies = await this.#crowd.send(`/first/${cell.size}`, sessions)
      // Browsers of the bare host send a cookie as long as the others'.
      if (this.name === 'bare') this.#cookies = Array(sessions).fill(`connect.sid=s%3A${'x'.repeat(76)}`)
    } else this.#cookies = undefined
    await this.visit(cell, requests)
  }

  /**
   * Visits the server without measuring.
   * @param {Pick<Cell, 'kind' | 'size'>} cell
   * @param {number} requests
   */
  async visit({ kind, size }, requests) {
    await this.#crowd.send(`/${kind}/${size}`, requests, this.#cookies)
  }

  /**
   * One round.
   * @param {Cell} cell
   * @param {number} requests
   * @param {boolean} last it is the one that is profiled
   * @returns {Promise<Round>}
   */
  async measure(cell, requests, last) {
    const { store, kind, size } = cell
    const folder = last ? this.#visits.profile : undefined
    if (folder) await mkdir(folder, { recursive: true })
    const profile = folder && join(folder, `${this.name}-${store}-${kind}-${size}.cpuprofile`)
    // What first visits leave behind would fill the memory.
    if (!this.#cookies) await this.clear()

    await this.#ask({ action: 'start', profile })
    const begin = performance.now()
    await this.visit(cell, requests)
    const seconds = (performance.now() - begin) / 1000
    const cpu = /** @type {number} */ (await this.#ask({ action: 'stop', profile }))
    return { cpu: cpu / requests, rate: requests / seconds }
  }

  async clear() {
    await this.#ask({ action: 'clear' })
  }

  /** @param {import('./server.mjs').Question} question */
  #ask(question) {
    this.#process.send(question)
    return answerOf(this.#process, this.name)
  }
}

/**
 * The next thing that a server says.
 * @param {import('node:child_process').ChildProcess} child
 * @param {string} name
 * @returns {Promise<unknown>}
 */
export function answerOf(child, name) {
  return new Promise((resolve, reject) => {
    const exited = () => reject(new Error(`the server of ${name} has ended`))
    child.once('exit', exited)
    child.once('message', (/** @type {{ result: unknown }} */ { result }) => {
      child.off('exit', exited)
      resolve(result)
    })
  })
}

/** @param {number[]} numbers */
export function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b)
  const [low = Number.NaN, high = low] = sorted.slice((sorted.length - 1) >> 1)
  return sorted.length % 2 ? low : (low + high) / 2
}
