// What is made once for all tests of a run, in a folder: the scripts that tests start on Node, compiled, as a loader would
// compile them, and all that they import, in every process; and the package, as it is published.

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../../', import.meta.url))

const scripts = [
  'bench/memory.mjs',
  'examples/express.ts',
  'test/concurrency/fixture/server.ts',
  'test/stores/fixture/file-process.ts',
  'test/stores/fixture/redis-increment.ts',
  'test/stores/fixture/redis-script.ts',
  'test/stores/fixture/redis-serve.ts',
  'test/users/fixture/users-server.ts',
]

/** Names the folder to all processes of a run. */
const FOLDER = 'UNISESSION_TEST_RUN'

/** Makes the folder and compiles the scripts. Returns what removes it. */
export async function prepareRun(): Promise<() => Promise<void>> {
  // From there the scripts find the packages that they import, and this one under its name.
  const cache = join(root, '.cache')
  await mkdir(cache, { recursive: true })
  const outdir = await mkdtemp(join(cache, 'test-run-'))
  const { build } = await import('esbuild')
  await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(scripts.map((script) => [basename(script).replace(/\.\w+$/, ''), script])),
    outdir,
    bundle: true,
    format: 'esm',
    outExtension: { '.js': '.mjs' },
    packages: 'external',
    platform: 'node',
    target: 'node20',
  })
  process.env[FOLDER] = outdir
  return () => rm(outdir, { recursive: true, force: true })
}

/** The arguments for Node that start a script, whose path is from the root. Beside vitest, with a loader. */
export function nodeArgs(script: string): string[] {
  const folder = process.env[FOLDER]
  if (!folder || !scripts.includes(script)) return ['--import', 'tsx', script]
  return [join(folder, `${basename(script).replace(/\.\w+$/, '')}.mjs`)]
}

/** The tarball that `npm publish` would upload. The first who asks has it packed. */
export async function packed(): Promise<string> {
  const folder = process.env[FOLDER]
  if (!folder) throw new Error('test/support/setup.ts has not run')
  const tarball = join(folder, 'package.tgz')
  const packing = join(folder, 'packing')
  while (!existsSync(tarball)) {
    const isFirst = await mkdir(packing).then(
      () => true,
      () => false,
    )
    if (!isFirst) await delay(20)
    else {
      try {
        const args = ['pack', '--silent', '--ignore-scripts', '--pack-destination', packing]
        const { stdout } = await promisify(execFile)('npm', args, { cwd: root })
        await rename(join(packing, stdout.trim()), tarball)
      } finally {
        await rm(packing, { recursive: true })
      }
    }
  }
  return tarball
}
