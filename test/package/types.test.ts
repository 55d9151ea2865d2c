// The declarations of the packed package, under both names, as the compilers of its users see them.
import { execFile } from 'node:child_process'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Installation, install, root } from '../support/install.ts'

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
/** What `strict` leaves out and people switch on. */
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
// What is loaded first decides between two types of `req.session`: let it be what others have declared.
const esm: Project = { type: 'module', files: ['third-party.ts', ...own], options: nodenext }
const cjs: Project = { type: 'commonjs', files: ['third-party.ts', 'required.ts', ...own], options: nodenext }
const libraries: Project = { type: 'module', files: own, options: { ...nodenext, skipLibCheck: false } }
const additions: Project = {
  type: 'module',
  files: ['additions.ts'],
  options: { ...nodenext, ...strictest, isolatedDeclarations: true },
}
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

/** What the compiler says against a project. */
async function compile(app: Installation, folder: string, compiler: string, project: Project): Promise<string> {
  const { type, files, options } = project
  const cwd = await app.project(`${folder}-${compiler}`, files, {
    'package.json': { type },
    'tsconfig.json': { compilerOptions: { ...strict, ...options }, files },
  })
  const tsc = join(root, 'node_modules', compiler, 'bin/tsc')
  return new Promise((resolve) => {
    execFile(process.execPath, [tsc], { cwd }, (error, stdout) => resolve(error ? stdout || error.message : ''))
  })
}

describe.concurrent('as express-session', () => {
  let app: Installation
  beforeAll(async () => {
    app = await install('express-session')
  })
  afterAll(() => app.remove())

  test.each([
    ['typescript', 'ES modules', esm],
    ['typescript', 'the declarations themselves', libraries],
    ['typescript', 'what is new', additions],
    ['typescript', 'CommonJS', cjs],
    ['typescript', 'a bundler', bundled],
    ['typescript', 'CommonJS by esModuleInterop', interop('bundler')],
    ['typescript5', 'ES modules', esm],
    ['typescript5', 'CommonJS', cjs],
    ['typescript5', 'a bundler', bundled],
    ['typescript5', 'CommonJS by esModuleInterop, before there was `exports`', interop('node10')],
  ])('%s: %s', async (compiler, name, project) => {
    expect(await compile(app, name.replace(/\W+/g, '-'), compiler, project)).toBe('')
  })
})

describe.concurrent('as unisession, beside types that were made for express-session', () => {
  const theirs = 'node_modules/@types/express-session'
  let app: Installation
  beforeAll(async () => {
    app = await install('unisession')
    await cp(join(root, theirs), join(app.dir, theirs), { recursive: true })
  })
  afterAll(() => app.remove())

  test('stores of those types are accepted', async () => {
    expect(await compile(app, 'beside', 'typescript', { ...esm, files: [...own, 'third-party.ts'] })).toBe('')
  })
  test('with `paths`, our types stand in for them', async () => {
    const paths = { 'express-session': ['../node_modules/unisession/dist/index.d.cts'] }
    expect(await compile(app, 'paths', 'typescript', { ...cjs, options: { ...cjs.options, paths } })).toBe('')
  })
})
