// What FileStore costs, without a server around it.
//
//   node --import tsx bench/file.mjs                  cost of a call, of finding one session among many, and of reaping
//   node --import tsx bench/file.mjs --only cost,many,reap
//   node --import tsx bench/file.mjs --sessions 1000000 --expired 50000 --folder /dev/shm
//
// Costs are CPU time of the process in µs, the best of several rounds in which the calls take turns; the disk's own
// work is part of a write, so a folder in memory shows what is ours. `many` is the median time of `get`.

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { Cookie } from '../lib/cookie.ts'
import { Outgoing } from '../lib/snapshot.ts'
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
const parts = { cost, many, reap }

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
