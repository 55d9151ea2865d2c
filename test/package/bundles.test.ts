// A bundler makes one file of an app and the package. The file runs in a folder without an installation.
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type BuildOptions, build as esbuild } from 'esbuild'
import { build as tsdown } from 'tsdown'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Installation, install } from '../support/install.ts'
import { bun } from '../support/serve.ts'

const run = promisify(execFile)

/** The banner that many apps put in front of a bundle of ES modules, because other packages need it. */
const banner = `
  import crypto from 'node:crypto'
  import module, { createRequire } from 'node:module'
  import path, { dirname, join, resolve } from 'node:path'
  import url, { fileURLToPath } from 'node:url'
  const require = createRequire(import.meta.url)
  const __filename = fileURLToPath(import.meta.url)
  const __dirname = dirname(__filename)`

describe('an app in one file, made', () => {
  let app: Installation
  let entry: string
  /** A folder outside any installation. */
  let alone: string
  beforeAll(async () => {
    app = await install('express-session')
    entry = join(await app.project('app', ['bundled.mjs'], {}), 'bundled.mjs')
    alone = await mkdtemp(join(tmpdir(), 'bundle-'))
  })
  afterAll(async () => {
    await app.remove()
    await rm(alone, { recursive: true, force: true })
  })

  const runs = async (command: string, file: string): Promise<void> => {
    expect((await run(command, [file], { cwd: alone })).stdout).toBe('done\n')
  }

  test.each<[string, BuildOptions]>([
    ['ES modules', { format: 'esm' }],
    ['ES modules, minified', { format: 'esm', minify: true }],
    ['ES modules, under a banner', { format: 'esm', banner: { js: banner } }],
    ['CommonJS', { format: 'cjs' }],
    ['CommonJS, minified', { format: 'cjs', minify: true }],
    ['ES modules, for conditions of its own', { format: 'esm', conditions: ['module', 'production'] }],
  ])('by esbuild, as %s', async (name, options) => {
    const file = join(alone, `${name.replaceAll(/\W+/g, '-')}.${options.format === 'cjs' ? 'cjs' : 'mjs'}`)
    const { warnings } = await esbuild({
      entryPoints: [entry],
      outfile: file,
      bundle: true,
      platform: 'node',
      logLevel: 'silent',
      ...options,
    })
    expect(warnings).toEqual([])
    await runs(process.execPath, file)
    if (bun) await runs(bun, file)
  })

  test.each(['esm', 'cjs'] as const)('by tsdown, as %s', async (format) => {
    const outDir = join(alone, `tsdown-${format}`)
    await tsdown({
      config: false,
      entry,
      outDir,
      format,
      fixedExtension: true,
      dts: false,
      logLevel: 'error',
      deps: { alwaysBundle: [/./], onlyBundle: false },
    })
    await runs(process.execPath, join(outDir, `bundled.${format === 'esm' ? 'mjs' : 'cjs'}`))
  })

  test.skipIf(!bun).each([
    ['bun', bun as string],
    ['node', process.execPath],
  ])('by Bun, for %s', async (target, command) => {
    const file = join(alone, `for-${target}.mjs`)
    await run(bun as string, ['build', entry, '--target', target, '--outfile', file])
    await runs(command, file)
  })
})
