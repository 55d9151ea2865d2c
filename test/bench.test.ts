// The benchmark runs, and a session costs less here than with express-session where that is plain to see.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const run = promisify(execFile)
const script = fileURLToPath(new URL('../bench/requests.mjs', import.meta.url))

interface Cell {
  kind: string
  size: string
  ratio: number
  'express-session': { cost: number }
}

const concurrency = fileURLToPath(new URL('../bench/concurrency.mjs', import.meta.url))

async function bench(...args: string[]): Promise<Cell[]> {
  const { stdout } = await run(process.execPath, [script, '--json', ...args])
  return JSON.parse(stdout).cells
}

it('a request that writes costs about the same with merge as with overwrite', {
  timeout: 60_000,
  retry: 2,
}, async () => {
  const short = ['--store', 'memory', '--size', '20KB', '--rounds', '5', '--requests', '200', '--json']
  const { stdout } = await run(process.execPath, [concurrency, ...short])
  const [{ ratio }] = JSON.parse(stdout).cells
  expect(ratio.median).toBeGreaterThan(0.5)
  // The long form is held to 5 %; so short a one tells only that nothing is done twice.
  expect(ratio.median).toBeLessThan(1.3)
})

describe('npm run bench', () => {
  // Other work on the machine can spoil a measurement, so it has three tries.
  it.each(['untouched', 'read'])(
    'a request of kind %s costs less than with express-session',
    {
      timeout: 60_000,
      retry: 2,
    },
    async (kind) => {
      const [cell] = await bench('--short', '--kind', kind)
      expect(cell).toMatchObject({ kind, size: '20KB' })
      expect(cell?.['express-session'].cost).toBeGreaterThan(0)
      expect(cell?.ratio).toBeLessThan(1)
    },
  )

  it('refuses a choice that it does not have', async () => {
    await expect(bench('--store', 'tape')).rejects.toThrow('--store is one of memory, file, redis; not tape')
  })
})
