// What MemoryStore holds of sessions that have expired, and with `max`; the process ends by itself.
//
//   node --expose-gc --import tsx bench/memory.mjs                     500 000 sessions
//   node --expose-gc --import tsx bench/memory.mjs --sessions 50000 --json
//
// Heaps are in bytes, after a collection. `delay` is the longest time, in ms, that the event loop was held up while the
// sessions were freed.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { Cookie } from '../lib/cookie.ts'
import { MemoryStore } from '../stores/memory.ts'

const { values } = parseArgs({
  options: { sessions: { type: 'string', default: '500000' }, json: { type: 'boolean', default: false } },
})
const count = Number(values.sessions)

const heap = () => {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

const store = new MemoryStore({ reapInterval: 500 })
const before = heap()
const HOUR = 3_600_000
const expires = new Date(Date.now() + HOUR)
for (let n = 0; n < count; n++) {
  const cookie = new Cookie({ expires })
  await store.set(`session-${n}`, { cookie, user: `user ${n}`, basket: [n, n + 1, n + 2], text: 'x'.repeat(100) })
}
const kept = store.size
const full = heap()
const loop = monitorEventLoopDelay({ resolution: 10 })
loop.enable()
const { now } = Date
Date.now = () => now() + HOUR
while (store.size > 0) await new Promise((resolve) => setTimeout(resolve, 100))
loop.disable()
const delay = Math.round(loop.max / 1e6)
const freed = heap()
Date.now = now

const max = Math.round(count / 10)
const bounded = new MemoryStore({ max })
let most = 0
for (let n = 0; n < count; n++) {
  await bounded.set(`session-${n}`, { cookie: new Cookie({ maxAge: 60_000 }), user: `user ${n}` })
  most = Math.max(most, bounded.size)
}

const result = { sessions: kept, before, full, freed, delay, max, most }
if (values.json) console.log(JSON.stringify(result))
else {
  const mb = (/** @type {number} */ bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`
  console.log(`${kept} sessions: heap ${mb(before)} before, ${mb(full)} with them, ${mb(freed)} when they had expired`)
  console.log(`event loop held up for at most ${delay} ms while they were freed`)
  console.log(`max: ${max}: ${most} sessions at most, of ${count} set`)
}
