// What is published: names, files, size.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import manifest from '../../package.json' with { type: 'json' }
import { root } from '../support/install.ts'

const read = (file: string): string => readFileSync(join(root, file), 'utf8')

/** Every string in a part of package.json. */
const leaves = (part: unknown): string[] =>
  typeof part === 'string' ? [part] : Object.values(part as object).flatMap(leaves)

test('the public names', () => {
  const names = (file: string): string[] =>
    (/export \{(.*)\}/.exec(read(file))?.[1] ?? '').split(',').map((name) => name.trim())
  const entries = Object.entries(manifest.exports).filter(([entry]) => !/(\.js(on)?|\/index)$/.test(entry))
  const all = entries.map(([entry, to]) => [entry, names((to as (typeof manifest.exports)['.']).import.types)])
  expect(Object.fromEntries(all)).toMatchInlineSnapshot(`
    {
      ".": [
        "type CallbackStore",
        "Cookie",
        "type CookieData",
        "type CookieOptions",
        "FileStore",
        "type FileStoreOptions",
        "type Flash",
        "type FlashMessages",
        "MemoryStore",
        "type MemoryStoreOptions",
        "type PromiseStore",
        "type RedisSerializer",
        "RedisStore",
        "type RedisStoreClient",
        "type RedisStoreOptions",
        "type RegenerateOptions",
        "type Secret",
        "Session",
        "type SessionData",
        "SessionError",
        "type SessionErrorCode",
        "type SessionEvents",
        "type SessionMiddleware",
        "type SessionOptions",
        "Store",
        "default",
        "session",
        "fileStore",
        "redisStore",
      ],
      "./bun-router": [
        "type FlashMessages",
        "MemoryStore",
        "type Session",
        "type SessionData",
        "type SessionMiddleware",
        "SessionOptions",
        "type SessionRequest",
        "SessionStore",
        "fileStore",
        "redisStore",
        "session",
      ],
      "./bunway": [
        "FileStore",
        "type FileStoreOptions",
        "MemoryStore",
        "type MemoryStoreOptions",
        "type Session",
        "type SessionData",
        "type SessionMiddleware",
        "type SessionOptions",
        "SessionStore",
        "fromExpressStore",
        "session",
      ],
      "./session/cookie": [
        "default",
      ],
      "./session/memory": [
        "default",
      ],
      "./session/session": [
        "default",
      ],
      "./session/store": [
        "default",
      ],
      "./testing": [
        "type CallbackStore",
        "type StoreUnderTest",
        "type TestRunner",
        "mockSession",
        "sessionCookie",
        "storeContract",
      ],
    }
  `)
})

test('every entry leads to files that are there', () => {
  const files = leaves([manifest.main, manifest.types, manifest.exports])
  expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([])
})

test('the package holds the build, its licence and its documentation', () => {
  const pack = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' })
  const [{ files }] = JSON.parse(pack) as [{ files: { path: string }[] }]
  const paths = files.map(({ path }) => path).filter((path) => !/^(dist|docs)\//.test(path))
  expect(paths).toContain('LICENSE')
  expect(paths.filter((path) => !['LICENSE', 'README.md', 'package.json'].includes(path))).toEqual([])
})

test('the main entry stays small', () => {
  const files = new Set(['dist/index.mjs'])
  for (const file of files) {
    for (const [, chunk] of read(file).matchAll(/from ["']\.\/(.+?)["']/g)) files.add(`dist/${chunk}`)
  }
  const size = [...files].reduce((sum, file) => sum + gzipSync(read(file)).length, 0)
  // A dependency that found its way in would show.
  expect(size).toBeLessThan(56 * 1024)
})
