// Programs on Node and Bun load the packed package, under both names.
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Installation, install } from '../support/install.ts'
import { bun } from '../support/serve.ts'

const sources = ['require.cjs', 'import.mjs', 'one-copy.cjs', 'one-copy.mjs', 'serve.mjs', 'dependents.cjs']

/** Packages that derive a store from ours, by name, each in another form of JavaScript. */
const dependents = (name: string): [string, string, string][] => [
  ['store-in-commonjs', 'index.cjs', `exports.Theirs = class extends require('${name}').Store {}`],
  ['store-in-esm', 'index.mjs', `import { Store } from '${name}'; export class Theirs extends Store {}`],
]

/** Runs a program until it ends by itself. */
function run(command: string, file: string, cwd: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(
      command,
      [file],
      { cwd, timeout: 240_000, env: { ...process.env, NODE_ENV: 'test' } },
      (error, stdout, stderr) =>
        resolve(error ? `${error.killed ? 'it did not end\n' : ''}${stdout}${stderr}` : stdout),
    )
  })
}

describe.each(['express-session', 'unisession'])('as %s', (name) => {
  let app: Installation
  let cwd: string
  beforeAll(async () => {
    app = await install(name)
    cwd = await app.project('app', sources, {})
    for (const [path, main, code] of dependents(name)) {
      const folder = join(app.dir, 'node_modules', path)
      await mkdir(folder)
      await writeFile(join(folder, 'package.json'), JSON.stringify({ name: path, main }))
      await writeFile(join(folder, main), code)
    }
  })
  afterAll(() => app.remove())

  // A package that requires `express-session` does not find it if ours is installed under its own name.
  const files = name === 'unisession' ? sources.filter((file) => file !== 'dependents.cjs') : sources

  describe.each([
    ['Node', process.execPath],
    ['Bun', bun],
  ])('%s', (_, command) => {
    test.skipIf(!command).each(files)('%s', async (file) => {
      expect(await run(command as string, file, cwd)).toBe('done\n')
    })
  })
})
