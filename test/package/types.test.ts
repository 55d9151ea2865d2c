// TypeScript compiles programs against the declarations of the packed package, under both names.
import { execFile } from 'node:child_process'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isFull } from '../support/form.ts'
import { type Installation, install, root } from '../support/install.ts'

const script = fileURLToPath(new URL('fixture/compile.mjs', import.meta.url))

const own = ['app.ts', 'declared.ts', 'deep.ts', 'hosts.ts', 'stores.ts', 'wrong.ts']
const strict = {
  strict: true,
  declaration: true,
  outDir: 'out',
  target: 'es2022',
  lib: ['es2022'],
  types: ['node'],
  skipLibCheck: true,
}
/** Options that `strict` does not include but apps use. */
const strictest = {
  exactOptionalPropertyTypes: true,
  isolatedModules: true,
  noImplicitOverride: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
}

interface Project {
  type: 'module' | 'commonjs'
  files: string[]
  options: object
}

const nodenext = { module: 'nodenext' }
// The declaration that is loaded first decides the type of `req.session`: load those of others first.
const esm: Project = { type: 'module', files: ['third-party.ts', ...own], options: nodenext }
const cjs: Project = { type: 'commonjs', files: ['third-party.ts', 'required.ts', ...own], options: nodenext }
const libraries: Project = { type: 'module', files: own, options: { ...nodenext, skipLibCheck: false } }
const additions: Project = {
  type: 'module',
  files: ['additions.ts'],
  options: { ...nodenext, ...strictest, isolatedDeclarations: true },
}
const entries: Project = { type: 'module', files: ['entries.ts'], options: nodenext }
const bundled: Project = {
  type: 'module',
  files: own,
  options: { module: 'esnext', moduleResolution: 'bundler', ...strictest },
}
const interop = (moduleResolution: string): Project => ({
  type: 'commonjs',
  files: own,
  options: { module: 'commonjs', esModuleInterop: true, moduleResolution },
})

type Compiler = 'typescript' | 'typescript5'

const paths = { 'express-session': ['../node_modules/unisession/dist/index.d.cts'] }

const older: [Compiler, string, Project][] = [
  ['typescript5', 'ES modules', esm],
  ['typescript5', 'CommonJS', cjs],
  ['typescript5', 'a bundler', bundled],
  ['typescript5', 'CommonJS by esModuleInterop, before there was `exports`', interop('node10')],
]

/** By the name under which the package is installed. */
const projects: Record<'express-session' | 'unisession', [Compiler, string, Project][]> = {
  'express-session': [
    ['typescript', 'ES modules', esm],
    ['typescript', 'the declarations themselves', libraries],
    ['typescript', 'what is new', additions],
    ['typescript', 'entries beside the main one', entries],
    ['typescript', 'CommonJS', cjs],
    ['typescript', 'a bundler', bundled],
    ['typescript', 'CommonJS by esModuleInterop', interop('bundler')],
    ...(isFull ? older : []),
  ],
  // Together with types that were written for express-session.
  unisession: [
    ['typescript', 'stores of those types are accepted', { ...esm, files: [...own, 'third-party.ts'] }],
    ['typescript', 'with `paths`, our types stand in for them', { ...cjs, options: { ...cjs.options, paths } }],
  ],
}

const apps: Installation[] = []
/** A compiler's errors, by the name of the package, of the compiler and of the project. */
const said = new Map<string, string>()

beforeAll(async () => {
  const folders: Record<Compiler, Map<string, string>> = { typescript: new Map(), typescript5: new Map() }
  for (const name of ['express-session', 'unisession'] as const) {
    const app = await install(name)
    apps.push(app)
    if (name === 'unisession') {
      const theirs = 'node_modules/@types/express-session'
      await cp(join(root, theirs), join(app.dir, theirs), { recursive: true })
    }
    for (const [index, [compiler, title, { type, files, options }]] of projects[name].entries()) {
      const folder = await app.project(`app-${index}`, files, {
        'package.json': { type },
        'tsconfig.json': { compilerOptions: { ...strict, ...options }, files },
      })
      folders[compiler].set(folder, `${name} ${compiler} ${title}`)
    }
  }
  await Promise.all(
    Object.entries(folders).map(async ([compiler, titles]) => {
      if (titles.size === 0) return
      const { stdout } = await promisify(execFile)(process.execPath, [script, compiler, ...titles.keys()])
      const answers: Record<string, string> = JSON.parse(stdout)
      for (const [folder, title] of titles) said.set(title, answers[folder] as string)
    }),
  )
})
afterAll(() => Promise.all(apps.map((app) => app.remove())))

describe.each(Object.entries(projects))('as %s', (name, projects) => {
  test.each(projects)('%s: %s', (compiler, title) => {
    expect(said.get(`${name} ${compiler} ${title}`)).toBe('')
  })
})
