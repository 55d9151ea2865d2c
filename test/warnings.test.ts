// Warnings: how they come, how they are silenced, and what is warned of when a middleware or a store is made. Those of
// requests are in the hosts' table.

import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { compileFunction } from 'node:vm'
import connectPg from 'connect-pg-simple'
import * as connectRedis from 'connect-redis'
import { build } from 'esbuild'
import { Redis as IoRedis } from 'ioredis'
import memoryStore from 'memorystore'
import pg from 'pg'
import { createClient, createCluster } from 'redis'
import { createClient as createClient4 } from 'redis4'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { bun } from './support/serve.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

// Loading all files of the package anew would take most of the time of these tests: they are one function, compiled once.
const require = createRequire(import.meta.url)
const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL('../lib/entries.ts', import.meta.url))],
  bundle: true,
  format: 'cjs',
  keepNames: true,
  packages: 'external',
  platform: 'node',
  target: 'node20',
  write: false,
})
const evaluate = compileFunction(outputFiles[0]?.text as string, ['module', 'exports', 'require'])

/** The package in a process that has said nothing yet. */
function fresh() {
  const module = { exports: {} }
  evaluate(module, module.exports, require)
  const { index, bunway, bunRouter } = module.exports as typeof import('../lib/entries.ts')
  return { ...index, entries: { unisession: index, bunway, 'bun-router': bunRouter } }
}

/** What a process that has said nothing yet warns of. */
async function warnings(app: (lib: ReturnType<typeof fresh>) => unknown): Promise<[string, unknown][]> {
  const lib = fresh()
  const warned = vi.spyOn(process, 'emitWarning').mockReturnValue()
  await app(lib)
  const said = warned.mock.calls.map(([message, options]): [string, unknown] => [String(message), options])
  warned.mockRestore()
  return said
}

const coded = (said: [string, unknown][]) =>
  said.map(([message, options]) => [(options as { code: string }).code, message])

// What is wrong in these tests, no type would let pass.
// biome-ignore lint/suspicious/noExplicitAny: see above
type Anything = any

const options = { secret: 'a secret that is long enough for everybody', resave: false, saveUninitialized: false }

describe('a warning', () => {
  it('comes once for each cause, with a code and an address', async () => {
    const said = await warnings(({ session }) => {
      session({ ...options, cookie: { maxAge: 60 } })
      session({ ...options, cookie: { maxAge: 60 } })
      session({ ...options, cookie: { maxAge: 90 } })
    })
    const detail = expect.stringContaining('docs/troubleshooting.md#warn_session_lifetime')
    const kind = { type: 'SessionWarning', code: 'WARN_SESSION_LIFETIME', detail }
    expect(said).toEqual([
      [expect.stringMatching(/^cookie\.maxAge is 60 /), kind],
      [expect.stringMatching(/^cookie\.maxAge is 90 /), kind],
    ])
  })

  it.each([
    ['WARN_SESSION_LIFETIME', ['WARN_SESSION_COOKIE_INSECURE']],
    ['other,WARN_SESSION_COOKIE_INSECURE', ['WARN_SESSION_LIFETIME']],
    ['WARN_SESSION_*', []],
    ['WARN_SESSION_*,-WARN_SESSION_LIFETIME', ['WARN_SESSION_LIFETIME']],
    ['', ['WARN_SESSION_COOKIE_INSECURE', 'WARN_SESSION_LIFETIME']],
  ])('is silenced by its code: NO_WARNING=%s', async (list, left) => {
    vi.stubEnv('NO_WARNING', list)
    const said = await warnings(({ session }) => session({ ...options, cookie: { maxAge: 60, sameSite: 'none' } }))
    expect(
      coded(said)
        .map(([code]) => code)
        .sort(),
    ).toEqual(left)
  })

  const script = `
    import session from 'unisession'
    session({ secret: '${options.secret}', resave: false, saveUninitialized: false, cookie: { maxAge: 60 } })`
  const runtimes = [
    ['Node', process.execPath, ['--input-type=module']] as const,
    ...(bun ? [['Bun', bun, []] as const] : []),
  ]

  it.each(runtimes)('reaches stderr on %s', async (_, command, flags) => {
    const { stderr } = await promisify(execFile)(command, [...flags, '-e', script])
    expect(stderr).toMatch(/\[WARN_SESSION_LIFETIME\] SessionWarning: cookie\.maxAge is 60 /)
    expect(stderr).toContain('docs/troubleshooting.md#warn_session_lifetime')
    const env = { ...process.env, NO_WARNING: 'WARN_SESSION_LIFETIME' }
    expect((await promisify(execFile)(command, [...flags, '-e', script], { env })).stderr).toBe('')
  })

  it("is silenced by Node's own flag", async () => {
    const flags = ['--disable-warning=WARN_SESSION_LIFETIME', '--input-type=module', '-e', script]
    expect((await promisify(execFile)(process.execPath, flags)).stderr).toBe('')
  })
})

const past = new Date('2020-01-01')
const longAgo = '2020-01-01T00:00:00.000Z'

/** Options of every entry, the code of the one warning that they bring, and what it says. */
const doubtful: [options: Anything, code: string, message: RegExp][] = [
  [
    { saveUnitialized: false },
    'OPTION_UNKNOWN',
    /^unknown option "saveUnitialized"; did you mean "saveUninitialized"\?$/,
  ],
  [{ savUninitialized: false }, 'OPTION_UNKNOWN', /did you mean "saveUninitialized"\?$/],
  [{ RESAVE: false }, 'OPTION_UNKNOWN', /did you mean "resave"\?$/],
  [{ storage: {} }, 'OPTION_UNKNOWN', /^unknown option "storage"; did you mean "store"\?$/],
  [{ telemetry: 1 }, 'OPTION_UNKNOWN', /^unknown option "telemetry"; it has no effect$/],
  [{ httponly: true }, 'OPTION_UNKNOWN', /^unknown option "httponly": it belongs into cookie: \{ httpOnly \}$/],
  [{ httpOnly: true }, 'OPTION_UNKNOWN', /^unknown option "httpOnly": it belongs into cookie: \{ httpOnly \}$/],
  [{ cookie: { rolling: true } }, 'OPTION_UNKNOWN', /^unknown option "cookie\.rolling": it belongs beside cookie/],
  [
    { cookie: { samesite: 'lax' } },
    'OPTION_UNKNOWN',
    /^unknown option "cookie\.samesite"; did you mean "cookie\.sameSite"\?$/,
  ],
  [{ cookie: { maxage: 1 } }, 'OPTION_UNKNOWN', /did you mean "cookie\.maxAge"\?$/],

  [{ name: 'my sid' }, 'COOKIE_NAME', /^name option is 'my sid', which no cookie can be called/],
  [{ rolling: 'false' }, 'OPTION_VALUE', /^rolling option is the string 'false', which counts as true; use a boolean$/],
  [{ saveUninitialized: '' }, 'OPTION_VALUE', /^saveUninitialized option is the string '', which counts as false/],
  [{ proxy: 'true' }, 'OPTION_VALUE', /^proxy option is 'true', which counts as not given; use true or false$/],
  [{ proxy: 1 }, 'OPTION_VALUE', /^proxy option is 1, which counts as not given/],
  [{ secret: 5 }, 'SECRET', /^secret option is neither a string nor another key/],
  [{ secret: ['long enough for everybody', {}] }, 'SECRET', /^secret option is neither a string nor another key/],

  [{ cookie: 'x' }, 'OPTION_VALUE', /^cookie option must be an object or a function/],
  [{ cookie: { secure: 'false' } }, 'OPTION_VALUE', /^cookie\.secure is the string 'false', which counts as true/],
  [{ cookie: { httpOnly: 'no' } }, 'OPTION_VALUE', /^cookie\.httpOnly is the string 'no'/],
  [{ cookie: { secure: true, partitioned: 'yes' } }, 'OPTION_VALUE', /^cookie\.partitioned is the string 'yes'/],
  [{ cookie: { sameSite: 'foo' } }, 'OPTION_VALUE', /^cookie\.sameSite is 'foo'; it must be/],
  [{ cookie: { priority: 'urgent' } }, 'OPTION_VALUE', /^cookie\.priority is 'urgent'; it must be/],
  [{ cookie: { priority: 1 } }, 'OPTION_VALUE', /^cookie\.priority is 1; it must be/],

  [{ cookie: { sameSite: 'none' } }, 'COOKIE_INSECURE', /sameSite "none" that is not secure/],
  [{ cookie: { sameSite: 'None', secure: false } }, 'COOKIE_INSECURE', /sameSite "none" that is not secure/],
  [{ cookie: { partitioned: true } }, 'COOKIE_INSECURE', /partitioned cookie that is not secure/],

  [
    { name: '__Secure-sid' },
    'COOKIE_PREFIX',
    /^browsers refuse the cookie "__Secure-sid": the prefix __Secure- needs secure: true$/,
  ],
  [{ name: '__secure-sid' }, 'COOKIE_PREFIX', /the prefix __secure- needs secure: true$/],
  [{ name: '__Host-sid' }, 'COOKIE_PREFIX', /the prefix __Host- needs secure: true, path: "\/" and no domain$/],
  [{ name: '__Host-sid', cookie: { secure: true, path: '/app' } }, 'COOKIE_PREFIX', /__Host- needs/],
  [{ name: '__Host-sid', cookie: { secure: true, domain: 'a.example' } }, 'COOKIE_PREFIX', /__Host- needs/],
  [
    { name: '__Http-sid', cookie: { secure: true, httpOnly: false } },
    'COOKIE_PREFIX',
    /__Http- needs secure: true, httpOnly: true$/,
  ],
  [{ name: '__Http-sid' }, 'COOKIE_PREFIX', /__Http- needs/],
  [
    { name: '__Host-Http-sid', cookie: { secure: true, httpOnly: false } },
    'COOKIE_PREFIX',
    /__Host-Http- needs secure: true, httpOnly: true, path/,
  ],
  [{ name: '__Host-Http-sid', cookie: { secure: true, path: '/app' } }, 'COOKIE_PREFIX', /__Host-Http- needs/],

  [{ cookie: { maxAge: '1d' } }, 'LIFETIME', /^cookie\.maxAge must be a number of milliseconds/],
  [{ cookie: { maxAge: '86400000' } }, 'LIFETIME', /^cookie\.maxAge must be a number of milliseconds/],
  [{ cookie: { maxAge: Number.NaN } }, 'LIFETIME', /^cookie\.maxAge is NaN, and must be/],
  [{ cookie: { maxAge: Infinity } }, 'LIFETIME', /^cookie\.maxAge is Infinity, and must be/],
  [{ cookie: { maxAge: Number.MAX_VALUE } }, 'LIFETIME', /and must be a number of milliseconds/],
  [{ cookie: { maxAge: 0 } }, 'LIFETIME', /^cookie\.maxAge is 0: browsers drop the cookie at once/],
  [{ cookie: { maxAge: -1 } }, 'LIFETIME', /^cookie\.maxAge is -1: browsers drop the cookie at once/],
  ...[60, 3_600, 9_999, 43_200, 86_400, 604_800, 2_592_000, 31_536_000].map((maxAge): (typeof doubtful)[number] => [
    { cookie: { maxAge } },
    'LIFETIME',
    new RegExp(`^cookie\\.maxAge is ${maxAge} milliseconds; were seconds meant\\? Multiply by 1000$`),
  ]),

  [{ cookie: { expires: past } }, 'COOKIE_EXPIRES', new RegExp(`^cookie\\.expires is ${longAgo}, which has passed`)],
  [{ cookie: { maxAge: 60_000, expires: past } }, 'COOKIE_EXPIRES', /which has passed/],
  [{ cookie: { expires: longAgo } }, 'COOKIE_EXPIRES', /, which is no Date; use maxAge/],
  [{ cookie: { expires: 86_400_000 } }, 'COOKIE_EXPIRES', /^cookie\.expires is 86400000, which is no Date/],
  [{ cookie: { expires: new Date('soon') } }, 'COOKIE_EXPIRES', /^cookie\.expires is Invalid Date, which is no Date/],

  [
    { cookie: { domain: 'https://www.example.com/app' } },
    'COOKIE_DOMAIN',
    /which is no domain: .*; use "www\.example\.com"$/,
  ],
  [{ cookie: { domain: 'example.com:3000' } }, 'COOKIE_DOMAIN', /; use "example\.com"$/],
  [{ cookie: { domain: 'localhost:3000' } }, 'COOKIE_DOMAIN', /; use "localhost"$/],
  [{ cookie: { domain: '*.example.com' } }, 'COOKIE_DOMAIN', /; use a host name, such as "example\.com"$/],
  [{ cookie: { domain: 'a.example, b.example' } }, 'COOKIE_DOMAIN', /; use a host name/],
  [{ cookie: { domain: 'example.com.' } }, 'COOKIE_DOMAIN', /; use a host name/],
  [{ cookie: { domain: true } }, 'COOKIE_DOMAIN', /^cookie\.domain is true, which is no domain/],

  [{ cookie: { path: 'admin' } }, 'COOKIE_PATH', /^cookie\.path is 'admin'; no request has such a path/],
  [{ cookie: { path: 'https://example.com/' } }, 'COOKIE_PATH', /use one that begins with "\/"$/],
  [{ cookie: { path: '/?a=b' } }, 'COOKIE_PATH', /no request has such a path/],
]

const entries = ['unisession', 'bunway', 'bun-router'] as const

describe.each(entries)('options that cannot work are warned of when the middleware is made, by %s', (entry) => {
  it.each(doubtful)('%o', async (given, code, message) => {
    const said = await warnings(({ entries }) => entries[entry].session({ ...options, ...given }))
    expect(coded(said)).toEqual([[`WARN_SESSION_${code}`, expect.stringMatching(message)]])
  })

  it('or when a function first answers with them', async () => {
    const said = await warnings(async ({ entries }) => {
      const cookie = vi.fn(() => ({ maxAge: 60, samesite: 'lax' }))
      const sessions = entries[entry].session({ ...options, cookie: cookie as Anything })
      expect(process.emitWarning).not.toHaveBeenCalled()
      await handle(sessions)
      cookie.mockReturnValue({ maxAge: 90, samesite: 'lax' })
      await handle(sessions)
    })
    expect(coded(said)).toEqual([
      ['WARN_SESSION_OPTION_UNKNOWN', expect.stringContaining('cookie.samesite')],
      ['WARN_SESSION_LIFETIME', expect.stringContaining('cookie.maxAge is 60 ')],
    ])
  })

  it('or when a constant date has passed', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const said = await warnings(async ({ entries }) => {
      const sessions = entries[entry].session({ ...options, cookie: { expires: new Date(Date.now() + 60_000) } })
      await handle(sessions)
      expect(process.emitWarning).not.toHaveBeenCalled()
      vi.setSystemTime(Date.now() + 60_001)
      await handle(sessions)
      await handle(sessions)
    })
    vi.useRealTimers()
    expect(coded(said)).toEqual([['WARN_SESSION_COOKIE_EXPIRES', expect.stringContaining('which has passed')]])
  })

  it.each<Anything>([
    {},
    { name: 5, cookie: { maxAge: null, sameSite: true, domain: 'a.example' }, store: false },
    { name: '__Host-sid', cookie: { secure: true } },
    { name: '__Host-sid', cookie: { secure: 'auto', sameSite: 'auto' } },
    { name: '__Host-Http-sid', cookie: { secure: true, path: '/', httpOnly: true } },
    { name: '__Hostile' },
    { cookie: { secure: true, sameSite: 'none', partitioned: true, priority: 'High' } },
    { cookie: { domain: '.example.com', path: '/app', httpOnly: false } },
    { cookie: { domain: 'localhost', path: '', expires: null } },
    { cookie: { expires: false, priority: undefined, sameSite: false } },
    { cookie: { expires: past, maxAge: 60_000 } },
    { secret: ['short', Buffer.alloc(3)], proxy: false, resave: undefined, saveUninitialized: undefined },
    ...[
      10_000, 36_000, 60_000, 1_800_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, 2_592_000_000,
    ].map((maxAge) => ({ cookie: { maxAge } })),
  ])('and those that can are not: %o', async (given) => {
    expect(await warnings(({ entries }) => entries[entry].session({ ...options, ...given }))).toEqual([])
  })

  it('a secret that is too short is warned of in production, without its text', async () => {
    vi.stubEnv('NODE_ENV', 'production')
    const { createSecretKey } = await import('node:crypto')
    for (const secret of [
      'keyboard cat',
      [options.secret, 'keyboard cat'],
      Buffer.alloc(31),
      createSecretKey('cat', 'utf8'),
    ]) {
      const said = await warnings(({ entries, MemoryStore }) =>
        entries[entry].session({ ...options, secret, store: new MemoryStore({ max: 1 }) }),
      )
      expect(coded(said)).toEqual([
        ['WARN_SESSION_SECRET', expect.stringMatching(/^secret option is shorter than 32 bytes/)],
      ])
      expect(JSON.stringify(said)).not.toContain('keyboard')
    }
    const said = await warnings(({ entries, MemoryStore }) =>
      entries[entry].session({ ...options, encrypt: 'keyboard cat', store: new MemoryStore({ max: 1 }) }),
    )
    expect(coded(said)).toEqual([
      ['WARN_SESSION_SECRET', expect.stringMatching(/^encrypt option is shorter than 32 bytes/)],
    ])
  })

  it('a MemoryStore without limit is warned of in production', async () => {
    vi.stubEnv('NODE_ENV', 'production')
    const said = await warnings(({ entries }) => entries[entry].session(options))
    expect(coded(said)).toEqual([['WARN_SESSION_MEMORY_STORE', expect.stringContaining('new MemoryStore({ max })')]])
  })
})

/** Serves one request, as a host of the Fetch standard does. */
function handle(
  sessions: Anything,
  headers: Record<string, string> = {},
  handler: (req: Anything) => unknown = () => new Response(),
): Promise<Response> {
  return sessions(new Request('http://host/path', { headers }), handler)
}

const signIn = (req: Anything): Response => {
  req.session.user = 'ann'
  return new Response()
}

describe.each(entries)('a secure cookie that is not sent over http, by %s,', (entry) => {
  const secure = { ...options, cookie: { secure: true } }
  const proxied = { 'x-forwarded-proto': 'https' }

  it('is warned of', async () => {
    const said = await warnings(async ({ entries }) => {
      const sessions = entries[entry].session(secure)
      await handle(sessions, {}, signIn)
      await handle(sessions, proxied, signIn)
    })
    expect(coded(said)).toEqual([
      ['WARN_SESSION_COOKIE_NOT_SENT', expect.stringMatching(/: secure cookie over http; use https, or cookie/)],
      ['WARN_SESSION_COOKIE_NOT_SENT', expect.stringMatching(/proxy is not trusted; set the option proxy: true/)],
    ])
  })

  it('in production, too, where a proxy that is not trusted is the cause', async () => {
    vi.stubEnv('NODE_ENV', 'production')
    const said = await warnings(async ({ entries, MemoryStore }) => {
      const sessions = entries[entry].session({ ...secure, store: new MemoryStore({ max: 9 }) })
      await handle(sessions, {}, signIn)
      expect(process.emitWarning).not.toHaveBeenCalled()
      await handle(sessions, proxied, signIn)
    })
    expect(coded(said)).toEqual([['WARN_SESSION_COOKIE_NOT_SENT', expect.stringContaining('proxy is not trusted')]])
  })
})

describe('a cookie that cannot be sent', () => {
  it('is warned of where the answer can carry none', async () => {
    const said = await warnings(async ({ session }) => {
      const upgrade = (req: Anything): unknown => signIn(req) && { status: 101 }
      await handle(session(options), {}, upgrade)
    })
    expect(coded(said)).toEqual([['WARN_SESSION_HEAD_SENT', expect.stringContaining('as the answer can carry none')]])
  })

  it('has its true reason in the debug lines', async () => {
    vi.stubEnv('DEBUG', 'unisession')
    let lines = ''
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      lines += text
      return true
    })
    await warnings(async ({ session }) => {
      const sessions = session({ ...options, genid: () => 'x'.repeat(4_096) })
      const [cookie = ''] = (await handle(sessions, {}, signIn)).headers.getSetCookie()
      await handle(sessions, { cookie: cookie.replace(/;.*/, '') })
      const kept: Anything[] = []
      await handle(session(options), {}, (req) => {
        kept.push(req.session)
        return new Response()
      })
      kept[0].user = 'ann'
      await kept[0].save()
    })
    expect(lines).toContain('cookie ignored: longer than 4096 bytes')
    expect(lines).toContain('no cookie: the head of the response had left')
  })
})

describe('changes after a response', () => {
  it('are looked for outside of production alone', async () => {
    for (const env of ['production', 'development']) {
      vi.stubEnv('NODE_ENV', env)
      const said = await warnings(async ({ session, MemoryStore }) => {
        const sessions = session({ ...options, store: new MemoryStore({ max: 9 }) })
        const kept: Anything[] = []
        await handle(sessions, {}, (req) => {
          kept.push(req.session)
          return new Response()
        })
        kept[0].user = 'ann'
        await handle(sessions)
      })
      const expected = env === 'production' ? [] : ['WARN_SESSION_CHANGED_LATE']
      expect(coded(said).map(([code]) => code)).toEqual(expected)
    }
  })

  it.each([true, false])('that a store makes are none (resave: %s)', async (resave) => {
    const said = await warnings(async ({ session, MemoryStore, Store }) => {
      class Stamping extends Store {
        readonly #memory = new MemoryStore()
        get(sid: string, done: Anything) {
          this.#memory.get(sid, done)
        }
        set(sid: string, data: Anything, done: Anything) {
          data.stamp = Date.now() + Math.random()
          setImmediate(() => {
            data.later = Math.random()
            this.#memory.set(sid, data, done)
          })
        }
        destroy(sid: string, done: Anything) {
          this.#memory.destroy(sid, done)
        }
      }
      const sessions = session({ ...options, resave, cookie: { maxAge: 60_000 }, store: new Stamping() })
      const [given = ''] = (await handle(sessions, {}, signIn)).headers.getSetCookie()
      const cookie = given.replace(/;.*/, '')
      await handle(sessions, { cookie }, signIn)
      // Of a session that nobody has looked at, too.
      for (let n = 0; n < 2; n++) {
        const { headers } = await handle(sessions, { cookie })
        expect(headers.getSetCookie()).toEqual([])
      }
    })
    expect(said).toEqual([])
  })

  it.each<[string, (session: Anything) => unknown]>([
    ['saved', (session) => Object.assign(session, { n: 1 }).save()],
    ['reloaded', (session) => session.reload()],
    ['ended', (session) => session.destroy()],
  ])('are no loss where the session is %s', async (_, act) => {
    const said = await warnings(async ({ session }) => {
      const sessions = session(options)
      const kept: Anything[] = []
      await handle(sessions, {}, (req) => {
        kept.push(req.session)
        return signIn(req)
      })
      await act(kept[0])
      await handle(sessions)
    })
    expect(said).toEqual([])
  })
})

describe.each(entries)('what is passed in place of the options, to %s', (entry) => {
  it.each<[string, Anything, RegExp]>([
    ['nothing', undefined, /^session\(\) was given nothing in place of options; use session\(\{ secret: …/],
    ['null', null, /was given nothing in place of options/],
    ['a secret', 'keyboard cat', /^session\(\) was given a string in place of options/],
    ['a class', class {}, /was given a function in place of options/],
  ])('is no reason to fail where it is none for express-session: %s', async (_, given, message) => {
    const said = await warnings(({ entries }) => entries[entry].session(given))
    expect(coded(said)).toEqual([['WARN_SESSION_OPTIONS', expect.stringMatching(message)]])
    expect(JSON.stringify(said)).not.toContain('keyboard')
  })

  it('may be a store', async () => {
    const said = await warnings(({ entries, MemoryStore }) => entries[entry].session(new MemoryStore() as Anything))
    expect(coded(said)).toEqual([
      ['WARN_SESSION_OPTIONS', expect.stringContaining('use session({ store, secret: … })')],
    ])
  })

  it.each<[string, Anything]>([
    ['Node', Object.assign(Object.create({ headers: {} }), { method: 'GET', url: '/' })],
    ['bunWay', { original: new Request('http://host/') }],
    ['the Fetch standard', new Request('http://host/')],
  ])('is an error where it is a request of %s: session was mounted without being called', async (_, req) => {
    const { entries } = fresh()
    const { session } = entries[entry] as { session: (...args: unknown[]) => unknown }
    expect(() => session(req, {}, () => {})).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_OPTION',
        message: 'session was mounted without being called; use app.use(session({ secret: … })), not app.use(session)',
      }),
    )
  })
})

describe.each(entries)('what is no store, passed as one to %s,', (entry) => {
  class Client {
    get() {}
    set() {}
    destroy() {}
    on() {}
  }
  const client = (...methods: string[]) =>
    Object.assign(new Client(), Object.fromEntries(methods.map((name) => [name, () => {}])))
  const only = (...methods: string[]) => Object.fromEntries(['on', ...methods].map((name) => [name, () => {}]))
  function Ancient() {}
  Ancient.prototype = { get() {}, set() {}, destroy() {} }

  it.each<[string, Anything, string]>([
    ['a class', class RedisStore {}, 'is a class; make a store of it, new RedisStore(…)'],
    ['a class of old', Ancient, 'is a class; make a store of it, new Ancient(…)'],
    ['a factory', (_session: unknown) => class {}, 'is a function; where it makes a class of stores'],
    ['a promise', Promise.resolve(new Client()), 'is a promise; await it first'],
    ['a module', { default: class DbStore {}, x: 1 }, 'is a module; make a store of its class, new DbStore(…)'],
    [
      'a client of redis',
      client('sendCommand', 'connect'),
      'is a Redis client; give it to a store, new RedisStore({ client })',
    ],
    ['a client of redis 3', client('send_command'), 'is a Redis client'],
    ['a client of ioredis', client('defineCommand'), 'is a Redis client'],
    ['the client of Bun', Object.assign(client('send'), { connected: false }), 'is a Redis client'],
    ['a client of mongodb', only('db', 'startSession'), 'is a MongoDB client; give it to a store of that database'],
    ['a database of mongodb', only('collection'), 'is a MongoDB client'],
    ['mongoose', { ...only('connect', 'startSession'), mongo: {} }, 'is a MongoDB client'],
    ['a pool of pg', only('query', 'connect'), 'is a database client; give it to a store of that database'],
    ['knex', Object.assign(() => {}, only('raw')), 'is a database client'],
    ['Prisma', only('$connect'), 'is a database client'],
    ['a number', 5, 'is a number; give it a store'],
    ['nothing of the kind', {}, 'must be a session store: it has no get()'],
    ['half a store', { get() {}, set() {} }, 'must be a session store: it has no destroy()'],
  ])('is refused with words of its own: %s', async (_, store, message) => {
    const { entries } = fresh()
    expect(() => entries[entry].session({ ...options, store })).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_OPTION',
        message: expect.stringContaining(`store option ${message}`),
      }),
    )
  })

  it.each<[string, (session: Anything) => Anything, string]>([
    ['redis', () => createClient(), 'is a Redis client'],
    ['redis 4', () => createClient4(), 'is a Redis client'],
    ['redis, as a cluster', () => createCluster({ rootNodes: [{ url: 'redis://x' }] }), 'is a Redis client'],
    ['ioredis', () => new IoRedis({ lazyConnect: true }), 'is a Redis client'],
    ['ioredis, the class', () => IoRedis, 'is the class of a Redis client'],
    ['pg', () => new pg.Pool(), 'is a database client'],
    ['connect-redis, the module', () => connectRedis, 'is a module; make a store of its class, new RedisStore(…)'],
    ['connect-pg-simple, the factory', () => connectPg, 'is a function; where it makes a class of stores'],
    ['connect-pg-simple, the class', (session) => connectPg(session), 'is a class; make a store of it, new PGStore(…)'],
    ['memorystore, the class', (session) => memoryStore(session), 'is a class; make a store of it, new MemoryStore(…)'],
  ])('is known in what packages give: %s', async (_, give, message) => {
    const { entries, session } = fresh()
    const store = give(session)
    expect(() => entries[entry].session({ ...options, store })).toThrow(`store option ${message}`)
  })

  it('but not where express-session takes it: a store without destroy(), which works until a session is to end', async () => {
    const said = await warnings(async ({ entries, MemoryStore, Store }) => {
      const memory = new MemoryStore()
      abstract class Lasting extends Store {
        get(sid: string, done: Anything) {
          memory.get(sid, done)
        }
        set(sid: string, data: Anything, done: Anything) {
          memory.set(sid, data, done)
        }
      }
      const store = new (Lasting as Anything)()
      const sessions = entries[entry].session({ ...options, store })
      const [cookie = ''] = (await handle(sessions, {}, signIn)).headers.getSetCookie()
      const headers = { cookie: cookie.replace(/;.*/, '') }
      await handle(sessions, headers, (req) => {
        expect(req.session.user).toBe('ann')
        return new Response()
      })
      const ending = handle(sessions, headers, async (req) => {
        await req.session.destroy()
        return new Response()
      })
      await expect(ending).rejects.toThrow('destroy is not a function')
    })
    expect(coded(said)).toEqual([['WARN_SESSION_STORE', 'store option must be a session store: it has no destroy()']])
  })

  it('nor where a store is like a client: one that extends Store', async () => {
    const said = await warnings(({ entries, Store }) => {
      class QueryStore extends Store {
        get() {}
        set() {}
        destroy() {}
        query() {}
        sendCommand() {}
      }
      entries[entry].session({ ...options, store: new QueryStore() as Anything })
    })
    expect(said).toEqual([])
  })
})

describe('options of bundled stores', () => {
  type Lib = ReturnType<typeof fresh>
  const path = join(tmpdir(), 'sessions of no test')
  const client = { get() {}, set() {}, del() {} }
  /** Each store by each name that it has, and the options without which it cannot be made. */
  const stores: Record<string, [make: (lib: Lib, options: Anything) => unknown, needed: object]> = {
    MemoryStore: [({ MemoryStore }, options) => new MemoryStore(options), {}],
    'MemoryStore of bunway': [({ entries }, options) => new entries.bunway.MemoryStore(options), {}],
    'MemoryStore of bun-router': [({ entries }, options) => new entries['bun-router'].MemoryStore(options), {}],
    FileStore: [({ FileStore }, options) => new FileStore(options), { path }],
    fileStore: [({ fileStore }, options) => fileStore(options), { path }],
    'FileStore of bunway': [({ entries }, options) => new entries.bunway.FileStore(options), { path }],
    'fileStore of bun-router': [({ entries }, options) => entries['bun-router'].fileStore(options), { path }],
    RedisStore: [({ RedisStore }, options) => new RedisStore(options), { client }],
    redisStore: [({ redisStore }, options) => redisStore(options), { client }],
    'redisStore of bun-router': [({ entries }, options) => entries['bun-router'].redisStore(options), { client }],
  }
  const kindOf = (name: string) => `${name.charAt(0).toUpperCase()}${name.slice(1)}`.replace(/ of .*/, '')
  const said = (name: string, options: object) =>
    warnings((lib) => stores[name]?.[0](lib, { ...stores[name]?.[1], ...options }))

  it.each(Object.keys(stores))('are warned of where there are none such: %s', async (name) => {
    const slips: Record<string, object> = {
      MemoryStore: { reapinterval: 1_000 },
      FileStore: { fileExtention: '.json' },
      RedisStore: { prefx: 'app:' },
    }
    const meant = { MemoryStore: 'reapInterval', FileStore: 'fileExtension', RedisStore: 'prefix' }[kindOf(name)]
    const [given] = Object.keys(slips[kindOf(name)] ?? {})
    expect(coded(await said(name, { ...slips[kindOf(name)], telemetry: 1, other: undefined }))).toEqual([
      ['WARN_SESSION_OPTION_UNKNOWN', `unknown option "${given}" of ${kindOf(name)}; did you mean "${meant}"?`],
      ['WARN_SESSION_OPTION_UNKNOWN', `unknown option "telemetry" of ${kindOf(name)}; it has no effect`],
    ])
    expect(await said(name, {})).toEqual([])
  })

  it.each<[string, object, RegExp]>([
    ['MemoryStore', { checkPeriod: 60_000 }, /^unknown option "checkPeriod" of MemoryStore: use reapInterval$/],
    ['MemoryStore', { ttl: 60_000 }, /: a session lives as long as its cookie; set cookie\.maxAge$/],
    ['FileStore', { secret: 'x' }, /: sessions are not encrypted/],
    ['FileStore', { retries: 5 }, /: a session that is there is found at the first try$/],
    ['FileStore', { reapAsync: true }, /: reaping never blocks/],
    ['FileStore', { logFn() {} }, /: set DEBUG=unisession/],
    [
      'RedisStore',
      { disableTTL: true },
      /^unknown option "disableTTL" of RedisStore: a session lives as long as its cookie/,
    ],
    ['RedisStore', { disableTouch: true }, /: a session that was extended a moment ago/],
    ['RedisStore', { host: 'localhost' }, /: put it into url, redis:\/\/user:password@host:port\/db$/],
    ['RedisStore', { socket: {} }, /: put it into url/],
    ['RedisStore', { pass: 'x' }, /: put it into url/],
  ])('that another package has are translated: %s %o', async (name, options, message) => {
    expect(coded(await said(name, options))).toEqual([['WARN_SESSION_OPTION_UNKNOWN', expect.stringMatching(message)]])
  })

  it('that others document are all known, or translated', async () => {
    const theirs: Record<string, string> = {
      // memorystore 1.6.8, session-file-store 1.5.0, connect-redis 9.0.0
      MemoryStore: 'checkPeriod max ttl dispose stale noDisposeOnSet serializer',
      FileStore:
        'path ttl retries factor minTimeout maxTimeout reapInterval reapMaxConcurrent reapAsync reapSyncFallback logFn ' +
        'encoding encoder decoder encryptEncoding fileExtension keyFunction filePattern fallbackSessionFn secret crypto',
      RedisStore: 'client prefix ttl disableTTL disableTouch serializer scanCount',
    }
    for (const [name, list] of Object.entries(theirs)) {
      for (const option of list.split(' ')) {
        const given = {
          ttl: 1_000_000,
          max: 1,
          reapInterval: 1_000_000,
          encoding: 'utf8',
          ...stores[name]?.[1],
        } as Anything
        const value = { serializer: JSON, fileExtension: '.json', prefix: '', scanCount: 1, ...given }[option] ?? {}
        for (const [message] of await said(name, { [option]: value }))
          expect(message).toMatch(`"${option}" of ${name}: `)
      }
    }
  })

  it.each<[string, unknown, string]>([
    ['FileStore', './sessions', 'FileStore was given a text in place of options; use new FileStore({ path: … })'],
    ['fileStore', './sessions', 'FileStore was given a text in place of options'],
    ['FileStore of bunway', './sessions', 'FileStore was given a text in place of options'],
    ['fileStore of bun-router', './sessions', 'FileStore was given a text in place of options'],
    ['FileStore', () => {}, 'FileStore was given a function in place of options; use new FileStore({ … })'],
    [
      'RedisStore',
      'redis://x:secret@y',
      'RedisStore was given a text in place of options; use new RedisStore({ url: … })',
    ],
    ['redisStore of bun-router', new URL('redis://x'), 'RedisStore was given a text in place of options'],
    ['RedisStore', client, 'RedisStore was given a client in place of options; use new RedisStore({ client: … })'],
    ['redisStore', client, 'RedisStore was given a client in place of options'],
    ['RedisStore', Promise.resolve(client), 'RedisStore was given a promise in place of options'],
    ['RedisStore', () => {}, 'RedisStore was given a function in place of options'],
  ])('are an error where they are something else: %s %o', async (name, given, message) => {
    const lib = fresh()
    expect(() => stores[name]?.[0](lib, given)).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTION', message: expect.stringContaining(message) }),
    )
    expect(() => stores[name]?.[0](lib, given)).not.toThrow('secret')
  })

  it.each(['MemoryStore', 'MemoryStore of bunway', 'MemoryStore of bun-router'])(
    'or a warning, as express-session takes them: %s',
    async (name) => {
      const given = await warnings((lib) => stores[name]?.[0](lib, lib.session))
      expect(coded(given)).toEqual([
        ['WARN_SESSION_OPTIONS', 'MemoryStore was given a function in place of options; use new MemoryStore({ … })'],
      ])
    },
  )

  it('that are a variable without a value are warned of: the client of a RedisStore', async () => {
    expect(coded(await said('RedisStore', { client: undefined }))).toEqual([
      [
        'WARN_SESSION_OPTION_VALUE',
        expect.stringMatching(/^client option of RedisStore is undefined, so the store makes/),
      ],
    ])
    expect(await said('RedisStore', { client: undefined, url: 'redis://localhost' })).toEqual([])
    await expect(said('RedisStore', { client: null })).rejects.toThrow('client option of RedisStore must be a client')
  })

  it.each<[string, object, string]>([
    ['FileStore', { ttl: 3_600 }, 'ttl option of FileStore is 3600 milliseconds; were seconds meant? Multiply by 1000'],
    ['FileStore', { ttl: 604_800 }, 'ttl option of FileStore is 604800 milliseconds; were seconds meant?'],
    [
      'FileStore',
      { reapInterval: 3_600 },
      'reapInterval option of FileStore is 3600 milliseconds; were seconds meant?',
    ],
    [
      'RedisStore',
      { ttl: 86_400_000 },
      'ttl option of RedisStore is 86400000 seconds; were milliseconds meant? Divide by',
    ],
  ])('that look like another unit are warned of: %s %o', async (name, options, message) => {
    expect(coded(await said(name, options))).toEqual([['WARN_SESSION_LIFETIME', expect.stringContaining(message)]])
  })
})
