// Under Node's permission model, a process may read and write only the paths that it was started with.
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))
const script = fileURLToPath(new URL('./consumers/permission.mjs', import.meta.url))
const flags = ['--permission', '--experimental-permission']
const flag = flags.find((name) => process.allowedNodeEnvironmentFlags.has(name)) as string

let folder: string
beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'permission-')))
})
afterAll(() => rm(folder, { recursive: true }))

/**
 * Runs a script that uses a store with these options, and returns its output. The process may write only to `writable`.
 * Node takes a path that does not exist at start for a file; `/*` says that it is a folder.
 */
async function run(options: object | null, writable?: string): Promise<unknown> {
  const allowed = [`--allow-fs-read=${root}`]
  if (writable) allowed.push(`--allow-fs-read=${writable}`, `--allow-fs-write=${writable}`)
  const args = [flag, '--no-warnings', ...allowed, script, JSON.stringify(options)]
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args)
  expect(stderr).toBe('')
  return JSON.parse(stdout)
}

describe.concurrent('Under the permission model of Node', () => {
  it('the package loads if it may read only itself', async () => {
    expect(await run(null)).toEqual({ session: 'function' })
  })

  it.for(['there', 'missing'])('FileStore works in a folder that it may use, %s at first', async (name) => {
    const path = join(folder, name)
    if (name === 'there') await mkdir(path)
    expect(await run({ path, reapInterval: 60_000 }, name === 'there' ? path : `${path}/*`)).toEqual({
      saved: 1,
      changed: 2,
      extended: 60,
      length: 2,
      all: ['one', 'two'],
      gone: true,
      held: 2,
      cleared: 0,
    })
    const left = await readdir(path, { recursive: true, withFileTypes: true })
    expect(left.filter((entry) => entry.isFile())).toEqual([])
  })

  it('an inaccessible folder is an error that names the flags for Node', async () => {
    const path = join(folder, 'forbidden')
    const refused = { code: 'ERR_SESSION_OPTION', message: expect.stringMatching(/path option .*--allow-fs-write/) }
    expect(await run({ path })).toEqual(refused)
    expect(await run({ path }, path)).toEqual(refused)
    await mkdir(path)
    expect(await run({ path })).toEqual(refused)
    expect(await run({ path: join(root, 'test') })).toEqual(refused)
  })

  it('the option sync is an error, because it is not available', async () => {
    const path = join(folder, 'sync')
    expect(await run({ path, sync: true }, `${path}/*`)).toEqual({
      code: 'ERR_SESSION_OPTION',
      message: expect.stringMatching(/sync option of FileStore needs fsync/),
    })
  })
})
