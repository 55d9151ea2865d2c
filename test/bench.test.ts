// The benchmarks run, and tell what they measured. What that is worth is for the long form: a test is to hold at any speed.
import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const few = ['--rounds', '1', '--requests', '20', '--json']

async function bench(script: string, ...args: string[]) {
  const path = fileURLToPath(new URL(`../bench/${script}.mjs`, import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [path, ...args])
  return JSON.parse(stdout).cells
}

describe('npm run bench', () => {
  it('compares the requests of each kind with those of express-session', async () => {
    const cells = await bench('requests', '--short', ...few)
    const measured = { size: '20KB', ratio: expect.any(Number), 'express-session': { cost: expect.any(Number) } }
    expect(cells).toMatchObject([
      { kind: 'untouched', ...measured },
      { kind: 'read', ...measured },
    ])
  })

  it('compares with another version that was built elsewhere', async () => {
    const root = fileURLToPath(new URL('..', import.meta.url))
    const [cell] = await bench('requests', '--short', '--kind', 'read', '--against', root, ...few)
    const ratio = { ratio: expect.any(Number), lowest: expect.any(Number), highest: expect.any(Number) }
    expect(cell).toMatchObject({ kind: 'read', before: { cost: expect.any(Number) }, against: ratio })
    await expect(bench('requests', '--against', tmpdir())).rejects.toThrow('--against is a folder in which unisession')
  })

  it('refuses a choice that it does not have', async () => {
    await expect(bench('requests', '--store', 'tape')).rejects.toThrow(
      '--store is one of memory, file, redis; not tape',
    )
  })
})

it('the benchmark of concurrency compares merge with overwrite', async () => {
  const [cell] = await bench('concurrency', '--store', 'memory', '--size', '20KB', ...few)
  expect(cell).toMatchObject({ ratio: { median: expect.any(Number) } })
})
