// Input that nobody meant, at random: cookie headers, records, files, ids and options. No exception leaves the package, no
// session is granted that the cookie does not prove, no prototype is touched, nothing outside of the folder is written.
//
//   RUNS=20000 SEED=7 npx vitest run test/fuzz.test.ts

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sign } from 'cookie-signature'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { FileStore, MemoryStore, type SessionOptions, session } from '../lib/index.ts'
import { PromiseStore } from './concurrency/fixture/stores.ts'

const RUNS = process.env.RUNS === undefined ? undefined : Number(process.env.RUNS)
const SEED = process.env.SEED === undefined ? undefined : Number(process.env.SEED)
const parameters = (numRuns: number) => ({ numRuns: RUNS ?? numRuns, ...(SEED !== undefined && { seed: SEED }) })

const secret = 'a secret of these tests, long enough'

// biome-ignore lint/suspicious/noExplicitAny: what the handler puts there
type Loose = any

interface Answer {
  readonly error: unknown
  readonly id: unknown
  readonly data: object | undefined
}

/** One request of a connect-style host, without a network: what `next` was given, and the session that there was. */
async function request(sessions: unknown, headers: object, use: (req: Loose) => unknown = () => {}): Promise<Answer> {
  const req: Loose = new IncomingMessage(new Socket())
  Object.assign(req, { url: '/', method: 'GET', headers })
  const res = new ServerResponse(req)
  const error = await new Promise<unknown>((resolve) => (sessions as Loose)(req, res, resolve))
  if (error) return { error, id: undefined, data: undefined }
  await use(req)
  const { cookie: _, ...data } = req.session
  const id = req.sessionID
  await new Promise<void>((resolve) => {
    res.assignSocket(new Socket().on('error', () => {}))
    // An error handler of the app ends the response; here it is the end itself that matters.
    res.end('', resolve)
    setImmediate(resolve)
  })
  return { error, id, data }
}

const untouched = Object.getOwnPropertyNames(Object.prototype).join()
afterEach(() => {
  expect(Object.getOwnPropertyNames(Object.prototype).join()).toBe(untouched)
  expect(({} as Loose).polluted).toBeUndefined()
})

const options: SessionOptions = { secret, resave: false, saveUninitialized: false }
const name = 'connect.sid'
const hostile = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.constantFrom(
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    '../../etc/passwd',
    '..\\..\\x',
    '\0',
    '%00',
    '.',
    '',
  ),
)

describe('a cookie header', () => {
  const good = `s:${sign('known', secret)}`
  const value = fc.oneof(
    hostile,
    fc.constant(good),
    fc.constant(encodeURIComponent(good)),
    fc.constant(`"${good}"`),
    fc
      .tuple(fc.nat(good.length), fc.string({ maxLength: 3 }))
      .map(([at, text]) => good.slice(0, at) + text + good.slice(at + 1)),
    hostile.map((id) => `s:${id}.${good.split('.')[1]}`),
    hostile.map((id) => `s:${sign(id, secret)}`),
    hostile.map((id) => `s:${sign(id, 'another secret')}`),
  )
  const header = fc
    .array(fc.tuple(fc.oneof(fc.constant(name), hostile), value, fc.constantFrom(';', '; ', ',', '\t;', ';;')), {
      maxLength: 5,
    })
    .map((pairs) => pairs.map(([key, text, separator]) => `${key}=${text}${separator}`).join(''))

  it.each<[string, SessionOptions]>([
    ['plain', {}],
    ['hashed and encrypted', { hashId: true, encrypt: 'a secret for data at rest, long enough' }],
  ])('grants only the session that it proves: %s', async (_, more) => {
    const store = new MemoryStore()
    const sessions = session({ ...options, ...more, store })
    await store.set('known', { cookie: { originalMaxAge: null }, user: 'ann' })
    await fc.assert(
      fc.asyncProperty(header, async (cookie) => {
        const { error, id, data } = await request(sessions, { cookie })
        expect(error).toBeUndefined()
        if (id !== 'known') expect(data).toEqual({})
        else
          expect(
            cookie.replace(/%([\da-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
          ).toContain(good)
        if (data && 'user' in data) expect(id).toBe('known')
      }),
      parameters(400),
    )
  })
})

describe('a record', () => {
  const json = fc.oneof(
    fc.json({ maxDepth: 3 }),
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      'null',
      '[]',
      '""',
      '0',
      '{}',
      '{"cookie":null}',
      '{"cookie":{}}',
      '{"cookie":{"expires":"never","originalMaxAge":"x"}}',
      '{"cookie":{"maxAge":"x"}}',
      '{"cookie":{"originalMaxAge":null},"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}',
      '{"__proto__":{"polluted":true},"cookie":{"__proto__":{"polluted":true}}}',
      '{"cookie":{"originalMaxAge":1,"createdAt":"x","seenAt":{},"issuedAt":[]},"flash":7}',
      '{"__unisession_successor":"x","cookie":{}}',
      '{"cookie":{},"__unisession_sealed":"x"}',
    ),
  )
  const variants: SessionOptions[] = [
    {},
    { hashId: true, encrypt: secret, absoluteTimeout: 1e9, idleTimeout: 1e8, maxSize: 1e6 },
    { rolling: true, resave: true, renewAfter: 1 },
  ]
  const handlers: ((req: Loose) => unknown)[] = [
    () => {},
    (req) => {
      req.session.n = 1
    },
    (req) => req.session.reload().catch(() => {}),
    (req) => req.session.regenerate({ keep: true }),
  ]

  it('of a bundled store is read, or counts as missing', async () => {
    await fc.assert(
      fc.asyncProperty(json, fc.constantFrom(...variants), fc.constantFrom(...handlers), async (record, more, use) => {
        const store = new MemoryStore()
        store.on('corrupt', () => {})
        const sessions = session({ ...options, ...more, store })
        sessions.on('error', () => {})
        store.sessions.known = record
        const answer = await request(sessions, { cookie: `${name}=s:${sign('known', secret)}` }, use).catch(
          (error) => ({ error }),
        )
        // As in express-session's MemoryStore, a record without a cookie is the app's own doing, and an error to the app.
        if (answer.error) expect(answer.error).toBeInstanceOf(TypeError)
      }),
      parameters(400),
    )
  })

  it('of another store ends in a session or in an error of the request', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.anything(), json),
        fc.constantFrom(...variants),
        fc.constantFrom(...handlers),
        async (record, more, use) => {
          const store = new PromiseStore(() => 0)
          store.get = async () => record as never
          const sessions = session({ ...options, ...more, store })
          sessions.on('error', () => {})
          await request(sessions, { cookie: `${name}=s:${sign('known', secret)}` }, use).catch((error) => {
            expect(error).toBeInstanceOf(Error)
          })
        },
      ),
      parameters(300),
    )
  })
})

describe('FileStore', () => {
  it('writes nothing outside of its folder, whatever the id, and reads whatever the file', async () => {
    const parent = await mkdtemp(join(tmpdir(), 'fuzz-'))
    await writeFile(join(parent, 'secret.json'), 'untouched')
    const path = join(parent, 'sessions')
    await mkdir(path)
    const store = new FileStore({ path, reapInterval: Infinity })
    store.on('corrupt', () => {})
    const content = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      hostile.map((text) => Buffer.from(text)),
    )
    try {
      await fc.assert(
        fc.asyncProperty(hostile, content, async (id, bytes) => {
          await store.set(id, { cookie: { originalMaxAge: null }, id: 'mine' })
          expect(await store.get(id)).toMatchObject({ id: 'mine' })
          const files = (await readdir(path, { recursive: true, withFileTypes: true })).filter((entry) =>
            entry.isFile(),
          )
          for (const entry of files) await writeFile(join(entry.parentPath ?? entry.path, entry.name), bytes)
          const found = await store.get(id)
          if (found !== undefined) expect(typeof found).toBe('object')
          await store.touch(id, { cookie: { originalMaxAge: null } })
          await store.all()
          await store.destroy(id)
          await store.clear()
          for (const entry of await readdir(path, { recursive: true, withFileTypes: true }))
            if (entry.isFile()) await rm(join(entry.parentPath ?? entry.path, entry.name))
          expect((await readdir(parent)).sort()).toEqual(['secret.json', 'sessions'])
          expect(await readFile(join(parent, 'secret.json'), 'utf8')).toBe('untouched')
        }),
        parameters(60),
      )
    } finally {
      await rm(parent, { recursive: true, force: true })
    }
  })
})

describe('options', () => {
  const names = [
    'absoluteTimeout cache clearCookie concurrency cookie crossSite encrypt genid hashId idleTimeout maxSize name onSaveError',
    'onStoreError proxy renewAfter renewGrace resave rolling saveUninitialized secret storeTimeout touch touchAfter unset',
  ].flatMap((line) => line.split(' '))
  const value = fc.oneof(
    fc.anything(),
    hostile,
    fc.double(),
    fc.constantFrom(true, false, null, undefined, [], {}, -1, 0, 1, Number.NaN),
  )

  it('of any kind are refused at set-up with the name of one, or serve a request', async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 4 }), async (given) => {
        let sessions: unknown
        try {
          sessions = session({ ...options, ...given } as never)
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError)
          expect((error as Error).message).toMatch(/\w+ option|argument/)
          return
        }
        ;(sessions as Loose).on('error', () => {})
        const cookie = `${name}=s:${sign('known', secret)}`
        const answer = await request(sessions, { cookie }, (req) => {
          if (req.session) req.session.n = 1
        }).catch((error) => ({ error }))
        if (answer.error) expect(answer.error).toBeInstanceOf(Error)
      }),
      parameters(300),
    )
  })
})
