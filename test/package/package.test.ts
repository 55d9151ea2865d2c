// The published package: its names, files and size.
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'
import { expect, test } from 'vitest'
import manifest from '../../package.json' with { type: 'json' }
import { isFull } from '../support/form.ts'
import { install, root } from '../support/install.ts'

const read = (file: string): string => readFileSync(join(root, file), 'utf8')

/** Every string in a part of package.json. */
const leaves = (part: unknown): string[] =>
  typeof part === 'string' ? [part] : Object.values(part as object).flatMap(leaves)

/** The files that a path with a `*` matches. */
function expand(path: string): string[] {
  const [folder, extension] = path.split('*') as [string, string | undefined]
  if (extension === undefined) return [path]
  const names = readdirSync(join(root, folder)).filter((name) => /^\w+/.exec(name)?.[0] + extension === name)
  return names.map((name) => folder + name)
}

/** The entries without express-session's deep paths, which export one class each. */
const entries = ['index', 'bunway', 'bun-router', 'testing']

test('the public names', () => {
  const namesOf = (entry: string): string[] =>
    (/export \{(.*)\}/.exec(read(`dist/${entry}.d.cts`))?.[1] ?? '').split(',').map((name) => name.trim())
  const whole = entries.map(namesOf)
  const shared = whole.reduce((some, names) => some.filter((name) => names.includes(name)))
  const own = entries.map((entry) => [entry, namesOf(entry).filter((name) => !shared.includes(name))])
  expect({ ...Object.fromEntries(own), all: shared }).toMatchInlineSnapshot(`
    {
      "all": [
        "type AllCallback",
        "type BunwayRequest",
        "type BunwayResponse",
        "type CallbackStore",
        "type CookieData",
        "type CookieOptions",
        "type ErrorCallback",
        "type FileStoreOptions",
        "type Flash",
        "type FlashMessages",
        "type FreshOptions",
        "type GetCallback",
        "type LengthCallback",
        "type ListedSession",
        "type MemoryStoreOptions",
        "type PlainSession",
        "type PromiseStore",
        "type RedisSerializer",
        "type RedisStoreClient",
        "type RedisStoreOptions",
        "type RegenerateOptions",
        "type RenewReason",
        "type RevokedSessions",
        "type Secret",
        "type SessionData",
        "type SessionErrorCode",
        "type SessionEvent",
        "type SessionEvents",
        "type SessionGuard",
        "type SessionInfo",
        "type SessionMiddleware",
        "type SessionOptions",
        "type SessionReuse",
        "type StoreRequest",
        "type TracedSession",
        "type UserMethods",
      ],
      "bun-router": [
        "type Cookie",
        "type FileStore",
        "MemoryStore",
        "type RedisStore",
        "type Session",
        "type SessionError",
        "type SessionRequest",
        "type SessionRequestSugar",
        "type SessionStore",
        "type Store",
        "fileStore",
        "redisStore",
        "session",
      ],
      "bunway": [
        "type Cookie",
        "FileStore",
        "MemoryStore",
        "type RedisStore",
        "type Session",
        "type SessionError",
        "type SessionStore",
        "type Store",
        "fromExpressStore",
        "session",
      ],
      "index": [
        "Cookie",
        "FileStore",
        "MemoryStore",
        "RedisStore",
        "Session",
        "SessionError",
        "Store",
        "session",
        "fileStore",
        "redisStore",
      ],
      "testing": [
        "type ContractStore",
        "type Cookie",
        "type FileStore",
        "type MemoryStore",
        "type RedisStore",
        "type Session",
        "type SessionError",
        "type Store",
        "type StoreUnderTest",
        "type TestRunner",
        "mockSession",
        "sessionCookie",
        "storeContract",
      ],
    }
  `)
})

test('every interface and class in a signature of an entry has a public name there', () => {
  const files = entries.map((name) => join(root, `dist/${name}.d.cts`))
  const program = ts.createProgram(files, { module: ts.ModuleKind.NodeNext, strict: true, types: ['node'] })
  const checker = program.getTypeChecker()
  const target = (symbol: ts.Symbol): ts.Symbol =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  const declarationsOf = (symbol: ts.Symbol): ts.Declaration[] =>
    (symbol.declarations ?? []).filter((node) => node.getSourceFile().fileName.startsWith(join(root, 'dist')))
  const nameOf = (node: ts.Node): ts.Node | undefined => {
    if (ts.isTypeReferenceNode(node)) return node.typeName
    return ts.isTypeQueryNode(node) ? node.exprName : undefined
  }

  const nameless = files.flatMap((file) => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(file) as ts.SourceFile) as ts.Symbol
    const exported = new Set(checker.getExportsOfModule(module).map(target))
    expect(exported.size).toBeGreaterThan(30)
    const found = new Set<string>()
    const seen = new Set<ts.Symbol>()
    const visit = (node: ts.Node, owner: string): void => {
      // TypeScript names a base class only in the declaration that extends it.
      if (ts.isHeritageClause(node)) return
      const name = nameOf(node)
      const symbol = name && checker.getSymbolAtLocation(name)
      // In `Type['member']`, only the type of the member matters.
      if (symbol) meet(target(symbol), owner, !ts.isIndexedAccessTypeNode(node.parent))
      ts.forEachChild(node, (child) => visit(child, owner))
    }
    const meet = (symbol: ts.Symbol, owner: string, named: boolean): void => {
      if (seen.has(symbol) || exported.has(symbol)) return
      seen.add(symbol)
      const declarations = declarationsOf(symbol)
      // TypeScript writes out an alias that it cannot name.
      const isNamed = declarations.some((node) => ts.isInterfaceDeclaration(node) || ts.isClassDeclaration(node))
      if (isNamed && named) found.add(`${relative(root, file)}: ${symbol.name} in ${owner}`)
      for (const node of declarations) visit(node, owner)
    }
    for (const symbol of exported) for (const node of declarationsOf(symbol)) visit(node, symbol.name)
    return [...found]
  })
  expect(nameless).toEqual([])
})

test('every entry names existing files', () => {
  const { main, types, imports, exports } = manifest
  const paths = leaves([main, types, imports, exports]).filter((path) => path.startsWith('.'))
  const files = paths.map((path) => [path, expand(path)] as const)
  expect(files.filter(([, found]) => !found[0] || !found.every((file) => existsSync(join(root, file))))).toEqual([])
})

// `|| *` accepts every other release: npm refuses to install the package beside a version that is out of range, and an
// app may use another version for its own purposes. RedisStore throws for a client that is too old.
test.each(['redis', 'ioredis'] as const)('the peer range of %s names the majors that are tested', (name) => {
  const versions = Object.entries(manifest.devDependencies).filter(([alias]) => alias.replace(/\d$/, '') === name)
  const majors = versions.map(([, version]) => Number(/(\d+)\.\d+\.\d+$/.exec(version)?.[1]))
  expect(manifest.peerDependencies[name]).toBe(`${Math.min(...majors)} - ${Math.max(...majors)} || *`)
})

test('the package contains the build, the licence and the documentation that users need', () => {
  const pack = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' })
  const [{ files }] = JSON.parse(pack) as [{ files: { path: string }[] }]
  const others = files.map(({ path }) => path).filter((path) => !path.startsWith('dist/'))
  // Warnings refer to docs/troubleshooting.md. The other documentation is only in the repository.
  expect(others.sort()).toEqual(['LICENSE', 'README.md', 'docs/troubleshooting.md', 'package.json'])
})

if (isFull)
  test('npm pack of a checkout without dist/ builds it first', async () => {
    const checkout = await mkdtemp(join(tmpdir(), 'checkout-'))
    try {
      for (const path of readdirSync(root)) {
        if (/^(dist|node_modules|coverage|\.cache|\.git)$/.test(path)) continue
        await cp(join(root, path), join(checkout, path), { recursive: true })
      }
      await symlink(join(root, 'node_modules'), join(checkout, 'node_modules'))
      const list = async (cwd: string, ...options: string[]): Promise<unknown> => {
        const { stdout } = await promisify(execFile)('npm', ['pack', '--json', '--silent', ...options], { cwd })
        const [{ files }] = JSON.parse(stdout) as [{ files: { path: string; size: number }[] }]
        return files.map(({ path, size }) => `${path} ${size}`)
      }
      expect(await list(checkout)).toEqual(await list(root, '--dry-run', '--ignore-scripts'))
    } finally {
      await rm(checkout, { recursive: true, force: true })
    }
  })

test('an install takes at most 400 KB, dependencies and types included', async () => {
  const app = await install('unisession')
  try {
    const sizes = ['unisession', ...Object.keys(manifest.dependencies)].map((name) => {
      const folder = join(app.dir, 'node_modules', name)
      const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      const stats = files.map((file) => statSync(join(folder, file)))
      return stats.filter((stat) => stat.isFile()).reduce((sum, { size }) => sum + size, 0)
    })
    expect(sizes.every((size) => size > 1000)).toBe(true)
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThanOrEqual(400 * 1024)
  } finally {
    await app.remove()
  }
})
