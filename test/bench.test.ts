// The benchmarks run, and tell what they measured. What that is worth is for the long form: a test is to hold at any speed.
import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const few = ['--rounds', '1', '--requests', '20', '--json']

const root = fileURLToPath(new URL('..', import.meta.url))

async function bench(script: string, ...args: string[]) {
  const { stdout } = await promisify(execFile)(process.execPath, [`${root}bench/${script}.mjs`, ...args])
  return JSON.parse(stdout).cells
}

describe('npm run bench', () => {
  it('compares the requests of each kind with those of express-session and of another version', async () => {
    // The other version is this one.
    const cells = await bench('requests', '--short', '--against', root, ...few)
    const ratio = { ratio: expect.any(Number), lowest: expect.any(Number), highest: expect.any(Number) }
    const cost = { cost: expect.any(Number) }
    const measured = { size: '20KB', ...ratio, 'express-session': cost, before: cost, against: ratio }
    expect(cells).toMatchObject([
      { kind: 'untouched', ...measured },
      { kind: 'read', ...measured },
    ])
  })

  it('refuses a choice that it does not have', async () => {
    await expect(bench('requests', '--store', 'tape')).rejects.toThrow(
      '--store is one of memory, file, redis; not tape',
    )
    await expect(bench('requests', '--against', tmpdir())).rejects.toThrow('--against is a folder in which unisession')
  })
})

it('the benchmark of concurrency compares merge with overwrite', async () => {
  const [cell] = await bench('concurrency', '--store', 'memory', '--size', '20KB', ...few)
  expect(cell).toMatchObject({ ratio: { median: expect.any(Number) } })
})
