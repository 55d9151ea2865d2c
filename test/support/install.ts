// Our package as its users have it: packed, and installed in a folder of its own beside what they use with it.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { packed } from './run.ts'

const run = promisify(execFile)

export const root = fileURLToPath(new URL('../..', import.meta.url))
const modules = join(root, 'node_modules')
const consumers = join(root, 'test/package/consumers')

/** What people have installed beside us that requires or imports express-session: it has to find ours. */
const dependents = ['connect-redis', 'connect-pg-simple']

/** Everything else, as it is. */
const others = ['connect', 'cookie', 'cookie-signature', 'express', 'pg', 'socket.io', 'undici-types']

export interface Installation {
  /** The app's folder. */
  readonly dir: string
  /** Writes the named consumers into a folder of the app, and a package.json and other files given as objects. */
  project(name: string, sources: string[], files: Record<string, object>): Promise<string>
  remove(): Promise<void>
}

/** Installs our package under `name`, as `npm install name@npm:unisession` does. Needs a built `dist/`. */
export async function install(name: string): Promise<Installation> {
  if (!existsSync(join(root, 'dist/index.cjs'))) throw new Error('there is no dist/: npm run build')
  const dir = await mkdtemp(join(tmpdir(), 'install-'))
  const installed = (path: string): string => join(dir, 'node_modules', path)

  await run('tar', ['-xzf', await packed(), '-C', dir])
  await mkdir(installed(''))
  await rename(join(dir, 'package'), installed(name))

  // Types are where an app has them: what a compiler infers from others cannot be named.
  const theirs = join(modules, '@types/express-session')
  await cp(join(modules, '@types'), installed('@types'), { recursive: true, filter: (path) => path !== theirs })
  for (const path of dependents) await cp(join(modules, path), installed(path), { recursive: true })
  await symlink(join(modules, 'express-session'), installed('original'))
  for (const path of others) await symlink(join(modules, path), installed(path))

  return {
    dir,
    async project(folder, sources, files) {
      const path = join(dir, folder)
      await mkdir(path, { recursive: true })
      for (const source of sources) {
        const text = await readFile(join(consumers, source), 'utf8')
        await writeFile(join(path, source), text.replaceAll('express-session', name))
      }
      for (const [file, content] of Object.entries(files)) await writeFile(join(path, file), JSON.stringify(content))
      return path
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  }
}
