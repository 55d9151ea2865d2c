// MemoryStore under Bun, and what it holds of sessions that are over. The long form is bench/memory.mjs by itself.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { nodeArgs } from '../support/run.ts'
import { bun } from '../support/serve.ts'

const run = promisify(execFile)
const cwd = fileURLToPath(new URL('../../', import.meta.url))

it.runIf(bun)('MemoryStore passes its tests under Bun', async () => {
  const { stderr } = await run(bun as string, ['test', '--timeout', '300000', './test/stores/memory.test.ts'], { cwd })
  expect(stderr).toMatch(/^ \d{2,} pass$/m)
  expect(stderr).toMatch(/^ 0 fail$/m)
})

it('MemoryStore frees what has expired, keeps to max, and lets its process end', async () => {
  const args = ['--expose-gc', ...nodeArgs('bench/memory.mjs'), '--sessions', '50000', '--json']
  const { stdout } = await run(process.execPath, args, { cwd })
  const { sessions, before, full, freed, max, most } = JSON.parse(stdout)
  expect(sessions).toBe(50_000)
  expect(freed - before).toBeLessThan((full - before) / 20)
  expect(most).toBe(max)
})
