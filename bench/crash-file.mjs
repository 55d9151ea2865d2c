// Kills processes that write sessions with FileStore, at random moments, and checks what they leave: every session that
// was acknowledged is there, none is torn, and all can be written again.
//
//   node --import tsx bench/crash-file.mjs            60 rounds
//   node --import tsx bench/crash-file.mjs --rounds 200 --bun

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { crash } from '../test/stores/fixture/file-crash.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '60' }, bun: { type: 'boolean' } } })
const bun = values.bun ? fileURLToPath(new URL('../node_modules/.bin/bun', import.meta.url)) : undefined

const path = await mkdtemp(join(tmpdir(), 'crash-file-'))
const rounds = Number(values.rounds)
let acknowledged = 0
let slowest = 0
const faults = []
for (let round = 0; round < rounds; round++) {
  const wreck = await crash(path, round, bun)
  acknowledged += wreck.acknowledged
  slowest = Math.max(slowest, wreck.writable)
  faults.push(...wreck.faults)
}
await rm(path, { recursive: true })

console.log(`${rounds} rounds, ${acknowledged} writes acknowledged, ${faults.length} faults`)
console.log(`all sessions written again after at most ${slowest.toFixed(0)} ms`)
for (const fault of faults) console.log(fault)
process.exitCode = faults.length > 0 || acknowledged === 0 ? 1 : 0
