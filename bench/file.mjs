// What FileStore costs, without a server around it.
//
//   node --import tsx bench/file.mjs                  cost of a call, of finding one session among many, and of reaping
//   node --import tsx bench/file.mjs --only pool      the thread pool against synchronous calls of the file system
//   node --import tsx bench/file.mjs --only cost,many,reap,pool
//   node --import tsx bench/file.mjs --sessions 1000000 --expired 50000 --folder /dev/shm
//
// Costs are CPU time of the process in µs, the best of several rounds in which the calls take turns; the disk's own
// work is part of a write, so a folder in memory shows what is ours. `many` is the median time of `get`. `pool` makes the
// same calls through the thread pool and synchronously, in turn, and then on a disk that takes 10 ms for each call of the
// file system, where it shows for how long one write holds up the event loop.

import fs from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { Cookie } from '../lib/cookie.ts'
import { Outgoing } from '../lib/snapshot.ts'
import { disk } from '../stores/file/disk.ts'
import { FileStore } from '../stores/file.ts'
import { driverOf, outgoing } from '../test/stores/fixture/file-sessions.ts'
import { SIZES } from './cells.mjs'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'cost,many,reap' },
    folder: { type: 'string', default: tmpdir() },
    sessions: { type: 'string', default: '100000' },
    expired: { type: 'string', default: '50000' },
    rounds: { type: 'string', default: '15' },
  },
})

/** @type {Record<string, (path: string) => Promise<unknown>>} */
const parts = { cost, many, reap, pool }

for (const part of values.only.split(',')) {
  const path = await mkdtemp(join(values.folder, 'bench-file-'))
  await parts[part]?.(path)
  await rm(path, { recursive: true })
}

/** @param {string} path */
async function cost(path) {
  const driver = driverOf(new FileStore({ path, reapInterval: Infinity }))
  const hour = () => Date.now() + 3_600_000
  for (const [size, data] of Object.entries(SIZES)) {
    const sid = (/** @type {number} */ n) => `${size}-${n % 200}`
    const json = JSON.stringify(data)
    const session = () => new Outgoing(new Cookie({ maxAge: 3_600_000 }), () => data, json)
    for (let n = 0; n < 200; n++) await driver.write(sid(n), session(), hour())
    /** @type {Record<string, (n: number) => unknown>} */
    const calls = {
      read: (n) => driver.read(sid(n)),
      missing: (n) => driver.read(`missing-${n}`),
      touch: (n) => driver.touch(sid(n), session(), hour()),
      write: (n) => driver.write(sid(n), session(), hour()),
      update: (n) => driver.update(sid(n), { record: '' }, () => session()),
    }
    /** @type {Record<string, number>} */
    const best = {}
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const [name, call] of Object.entries(calls)) {
        const before = process.cpuUsage()
        for (let n = 0; n < 200; n++) await call(n)
        const { user, system } = process.cpuUsage(before)
        best[name] = Math.min(best[name] ?? Infinity, (user + system) / 200)
      }
    }
    const shown = Object.entries(best).map(([name, micros]) => `${name} ${micros.toFixed(1)}`)
    console.log(`cost     ${size.padEnd(6)} ${shown.join('  ')} µs`)
  }
}

/** @param {string} path */
async function many(path) {
  const store = new FileStore({ path, reapInterval: Infinity })
  const driver = driverOf(store)
  let count = 0
  for (const goal of [1_000, Number(values.sessions)]) {
    for (; count < goal; count++) await driver.write(`many-${count}`, outgoing({ n: count }), Date.now() + 3_600_000)
    const times = []
    for (let i = 0; i < 4_000; i++) {
      const sid = `many-${Math.floor(Math.random() * goal)}`
      const begin = performance.now()
      if (!(await store.get(sid))) throw new Error(`${sid} is missing`)
      times.push(performance.now() - begin)
    }
    times.sort((a, b) => a - b)
    console.log(`many     ${String(goal).padEnd(8)} median get ${(Number(times[2_000]) * 1_000).toFixed(1)} µs`)
  }
}

/** @param {string} path */
async function reap(path) {
  const driver = driverOf(new FileStore({ path, reapInterval: Infinity }))
  const count = Number(values.expired)
  const past = Date.now() - 60_000
  for (let n = 0; n < count; n++) await driver.write(`old-${n}`, outgoing({ n }), past)
  const loop = monitorEventLoopDelay({ resolution: 10 })
  loop.enable()
  const begin = performance.now()
  const before = process.cpuUsage()
  const reaper = new FileStore({ path, reapInterval: 100 })
  for (let left = count; left > 0; ) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    left = (await Promise.all((await readdir(path)).map((sub) => readdir(join(path, sub))))).flat().length
  }
  loop.disable()
  const { user, system } = process.cpuUsage(before)
  const seconds = ((performance.now() - begin) / 1_000).toFixed(1)
  const cpu = ((user + system) / 1e6).toFixed(1)
  const [p50, p99, max] = [loop.percentile(50), loop.percentile(99), loop.max].map((ns) => (ns / 1e6).toFixed(1))
  console.log(
    `reap     ${count} files in ${seconds} s, ${cpu} s CPU; event loop delay p50 ${p50}, p99 ${p99}, max ${max} ms`,
  )
  return reaper
}

/** The calls of stores/file/disk.ts, made synchronously. */
function synchronousDisk() {
  /** @type {typeof disk} */
  const synchronous = {
    open: async (path, flags) => fs.openSync(path, flags, 0o600),
    stat: async (path) => fs.statSync(path),
    fstat: async (fd) => fs.fstatSync(fd),
    read: async (fd, into, from, length) => fs.readSync(fd, into, from, length, from),
    write: async (fd, buffer, offset) => fs.writeSync(fd, buffer, offset, buffer.length - offset, null),
    utimes: async (path, time) => fs.utimesSync(path, time, time),
    futimes: async (fd, time) => fs.futimesSync(fd, time, time),
    fsync: async (fd) => fs.fsyncSync(fd),
    close: async (fd) => fs.closeSync(fd),
    link: async (from, to) => fs.linkSync(from, to),
    rename: async (from, to) => fs.renameSync(from, to),
    unlink: async (path) => fs.unlinkSync(path),
    mkdir: async (path) => fs.mkdirSync(path, { recursive: true, mode: 0o700 }),
    rmdir: async (folder) => fs.rmdirSync(folder),
    readdir: async (folder) => fs.readdirSync(folder),
  }
  return synchronous
}

/** @param {string} path */
async function pool(path) {
  const open = () => driverOf(new FileStore({ path, reapInterval: Infinity }))
  const hour = () => Date.now() + 3_600_000
  const sid = (/** @type {number} */ n) => `pool-${n % 200}`
  const write = (/** @type {ReturnType<typeof open>} */ driver, /** @type {number} */ n) =>
    driver.write(sid(n), outgoing({ n }), hour())
  const ways = { pool: { ...disk }, sync: synchronousDisk() }
  const driver = open()
  for (let n = 0; n < 200; n++) await write(driver, n)
  // A file is cached when it is older than its times are exact.
  await new Promise((resolve) => setTimeout(resolve, 50))

  /** @type {Record<string, Record<string, { cpu: number, time: number }>>} */
  const best = { read: {}, 'read again': {}, write: {} }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [way, methods] of Object.entries(ways)) {
      Object.assign(disk, methods)
      const reader = open()
      /** @type {Record<string, (n: number) => unknown>} */
      const calls = {
        read: (n) => reader.read(sid(n)),
        'read again': (n) => reader.read(sid(n)),
        write: (n) => write(driver, n),
      }
      for (const [name, call] of Object.entries(calls)) {
        const begin = performance.now()
        const before = process.cpuUsage()
        for (let n = 0; n < 200; n++) await call(n)
        const { user, system } = process.cpuUsage(before)
        const { cpu = Infinity, time = Infinity } = best[name]?.[way] ?? {}
        const took = { cpu: (user + system) / 200, time: ((performance.now() - begin) / 200) * 1_000 }
        Object.assign(best[name] ?? {}, { [way]: { cpu: Math.min(cpu, took.cpu), time: Math.min(time, took.time) } })
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  for (const [name, of] of Object.entries(best)) {
    const { pool, sync } = /** @type {Record<keyof typeof ways, { cpu: number, time: number }>} */ (of)
    const shown = (/** @type {'cpu' | 'time'} */ unit) =>
      `${unit} ${pool[unit].toFixed(1)} / ${sync[unit].toFixed(1)} µs = ${(pool[unit] / sync[unit]).toFixed(1)}`
    console.log(`pool     ${name.padEnd(10)} pool / sync: ${shown('cpu')}, ${shown('time')}`)
  }

  for (const [way, methods] of Object.entries(ways)) {
    const { calls, longest } = await onSlowDisk(way, methods, () => write(driver, 0))
    console.log(
      `pool     slow disk  ${way}: a write makes ${calls} calls, the loop stands still for ${longest.toFixed(0)} ms`,
    )
  }
  Object.assign(disk, ways.pool)
}

/**
 * @param {string} way
 * @param {typeof disk} methods
 * @param {() => unknown} work
 */
async function onSlowDisk(way, methods, work) {
  const cell = new Int32Array(new SharedArrayBuffer(4))
  let calls = 0
  for (const [name, method] of Object.entries(methods)) {
    const slow = async (/** @type {never[]} */ ...args) => {
      calls++
      if (way === 'sync') Atomics.wait(cell, 0, 0, 10)
      else await new Promise((resolve) => setTimeout(resolve, 10))
      return /** @type {(...args: never[]) => Promise<unknown>} */ (method)(...args)
    }
    Object.assign(disk, { [name]: slow })
  }
  let longest = 0
  let last = performance.now()
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }, 1)
  await work()
  await new Promise((resolve) => setTimeout(resolve, 5))
  clearInterval(timer)
  return { calls, longest }
}
