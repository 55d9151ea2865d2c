// Warnings about options that express-session accepts though they cannot work, and about what apps pass in place of
// options or of a store. Most are tables of rules. The options that this package adds are checked in options.ts
// instead.

import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import { isPromise } from './awaitable.ts'
import type { CookieOptions } from './cookie.ts'
import { type WarningCode, warn } from './diagnostics.ts'
import { optionError } from './errors.ts'

/** Options or attributes as an app has given them, not checked yet. */
type Given = Readonly<Record<string, unknown>>
/** A code and a function that returns the message of a warning; any other result means that there is none. */
type Rule<T> = readonly [code: WarningCode, messageFor: (given: T) => unknown]

function applyRules<T>(rules: readonly Rule<T>[], given: T): void {
  for (const [code, messageFor] of rules) {
    const message = messageFor(given)
    if (message && typeof message === 'string') warn(code, message)
  }
}

// Names.

/**
 * Warns of names in `given` that are not in `known`, and suggests the most similar one. `of`: the owner of the options,
 * for the message. `before`: a prefix of the names in the message. `instead`: advice for names that belong elsewhere.
 */
export function lintNames(
  given: object,
  known: readonly string[],
  {
    of = '',
    before = '',
    instead = {},
  }: { of?: string; before?: string; instead?: Readonly<Record<string, string>> } = {},
): void {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || known.includes(name)) continue
    const similar = mostSimilar(name, [...known, ...Object.keys(instead)])
    let cure = '; it has no effect'
    if (similar) cure = known.includes(similar) ? `; did you mean "${before}${similar}"?` : `: ${instead[similar]}`
    warn('WARN_SESSION_OPTION_UNKNOWN', `unknown option "${before}${name}"${of && ` of ${of}`}${cure}`)
  }
}

/** The known name with the smallest edit distance; undefined if that is above a third of the name's length, or 2. */
function mostSimilar(name: string, known: readonly string[]): string | undefined {
  const maxEdits = Math.min(2, Math.floor(name.length / 3))
  const candidates = known
    .map((other) => [distance(name.toLowerCase(), other.toLowerCase()), other] as const)
    .filter(([edits]) => edits <= maxEdits)
  return candidates.sort(([a], [b]) => a - b)[0]?.[1]
}

/** How many letters to insert, delete or replace to turn `a` into `b` (Levenshtein distance). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (letter === b[j - 1] ? 0 : 1)
      next[j] = Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1)
    }
    row = next
  }
  return row[b.length] as number
}

// Times.

/** The longest lifetime of a cookie in browsers, in seconds: 400 days (RFC 6265bis §5.5). */
const LONGEST_LIFETIME = 400 * 86_400

/**
 * Whether a number of milliseconds was probably meant in seconds: it is whole hours or days only if read as seconds.
 */
function looksLikeSeconds(ms: number): boolean {
  if (ms < 10_000) return true
  if (ms > LONGEST_LIFETIME) return false
  return (ms % 3_600 === 0 && ms % 1_000 !== 0) || (ms % 86_400 === 0 && ms % 60_000 !== 0)
}

/** Warns of a time in milliseconds that looks like seconds. `option`: its name in the message. */
export function lintMilliseconds(option: string, ms: number): void {
  if (!looksLikeSeconds(ms)) return
  warn('WARN_SESSION_LIFETIME', `${option} is ${ms} milliseconds; were seconds meant? Multiply by 1000`)
}

/** Warns of a lifetime in seconds that looks like milliseconds. `option`: its name in the message. */
export function lintSeconds(option: string, seconds: number): void {
  if (seconds <= LONGEST_LIFETIME) return
  warn('WARN_SESSION_LIFETIME', `${option} is ${seconds} seconds; were milliseconds meant? Divide by 1000`)
}

/** Warns of a `maxAge` that is no number of milliseconds, or with which browsers keep no cookie. `option`: its name. */
export function lintLifetime(option: string, value: unknown): void {
  const warnOf = (problem: string): void => warn('WARN_SESSION_LIFETIME', `${option} ${problem}`)
  const untilClosed = 'null is for a cookie that lasts until the browser closes'
  const needed = `must be a number of milliseconds; ${untilClosed}`
  if (typeof value === 'number') {
    if (Number.isNaN(new Date(Date.now() + value).getTime()))
      warnOf(`is ${value}, and ${needed}; no cookie can be sent`)
    else if (value <= 0) warnOf(`is ${value}: browsers drop the cookie at once; ${untilClosed}`)
    else lintMilliseconds(option, value)
    // A Date works, and the setter of `cookie.maxAge` reports that it is deprecated.
  } else if (value && !(value instanceof Date)) warnOf(`${needed}; each request will fail`)
}

// The cookie.

interface CookieGiven {
  readonly name: string
  readonly cookie: Given
}

/** Host names that `Set-Cookie` can carry. Browsers ignore a dot in front (RFC 6265 §5.2.3). */
const DOMAIN = /^\.?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i
const isDomain = (domain: unknown): boolean => typeof domain === 'string' && DOMAIN.test(domain)
const isOneOf = (value: unknown, ...values: string[]): boolean =>
  typeof value === 'string' && values.includes(value.toLowerCase())

const COOKIE_RULES: readonly Rule<CookieGiven>[] = [
  ['WARN_SESSION_COOKIE_PREFIX', ({ name, cookie }) => prefixMessage(name, cookie)],
  [
    'WARN_SESSION_COOKIE_INSECURE',
    ({ cookie: { secure, sameSite } }) =>
      !secure &&
      isOneOf(sameSite, 'none') &&
      'browsers refuse a cookie with sameSite "none" that is not secure; add secure: true',
  ],
  [
    'WARN_SESSION_COOKIE_INSECURE',
    ({ cookie: { secure, partitioned } }) =>
      !secure && partitioned && 'browsers refuse a partitioned cookie that is not secure; add secure: true',
  ],
  [
    'WARN_SESSION_COOKIE_DOMAIN',
    ({ cookie: { domain } }) => {
      if (!domain || isDomain(domain)) return undefined
      const [, host] = /^(?:[\w+.-]+:\/\/)?([^/:]*)/.exec(String(domain)) ?? []
      const cure = isDomain(host) ? `use "${host}"` : 'use a host name, such as "example.com"'
      return `cookie.domain is ${inspect(domain)}, which is no domain: no cookie can be sent; ${cure}`
    },
  ],
  [
    'WARN_SESSION_COOKIE_PATH',
    ({ cookie: { path } }) =>
      path &&
      !(typeof path === 'string' && /^\/[^?#;\s]*$/.test(path)) &&
      `cookie.path is ${inspect(path)}; no request has such a path, so none will have a session; use one that begins with "/"`,
  ],
  [
    'WARN_SESSION_OPTION_VALUE',
    ({ cookie: { sameSite } }) =>
      sameSite &&
      sameSite !== true &&
      !isOneOf(sameSite, 'auto', 'lax', 'none', 'strict') &&
      `cookie.sameSite is ${inspect(sameSite)}; it must be "lax", "strict", "none", "auto" or a boolean: no cookie can be sent`,
  ],
  [
    'WARN_SESSION_OPTION_VALUE',
    ({ cookie: { priority } }) =>
      priority &&
      !isOneOf(priority, 'low', 'medium', 'high') &&
      `cookie.priority is ${inspect(priority)}; it must be "low", "medium" or "high": no cookie can be sent`,
  ],
  ...['secure', 'httpOnly', 'partitioned'].map(
    (flag): Rule<CookieGiven> => [
      'WARN_SESSION_OPTION_VALUE',
      ({ cookie }) =>
        typeof cookie[flag] === 'string' &&
        !(flag === 'secure' && cookie.secure === 'auto') &&
        stringFlagMessage(`cookie.${flag}`, cookie[flag]),
    ],
  ),
  [
    'WARN_SESSION_COOKIE_EXPIRES',
    ({ cookie: { expires } }) => {
      if (!expires) return undefined
      if (!(expires instanceof Date) || Number.isNaN(expires.getTime()))
        return `cookie.expires is ${inspect(expires)}, which is no Date; use maxAge, in milliseconds`
      return hasPassed(expires) && expiryPassedMessage(expires)
    },
  ],
]

const stringFlagMessage = (option: string, value: unknown): string =>
  `${option} is the string ${inspect(value)}, which counts as ${Boolean(value)}; use a boolean`
const hasPassed = (expires: Date): boolean => expires.getTime() <= Date.now()
const expiryPassedMessage = (expires: Date): string =>
  `cookie.expires is ${expires.toISOString()}, which has passed: no browser keeps the cookie; use maxAge, in milliseconds`

/**
 * The message for a cookie without the attributes that its name's prefix demands; undefined if it has them. Browsers
 * ignore the case of prefixes (RFC 6265bis §4.1.3, and `__Http-` of its successor).
 */
function prefixMessage(name: string, { secure, path, domain, httpOnly }: Given): string | undefined {
  const [prefix, kind = ''] = /^__(Secure|Host-Http|Host|Http)-/i.exec(name) ?? []
  if (!prefix) return undefined
  const forHost = /^host/i.test(kind)
  const forHttp = /http$/i.test(kind)
  const isSatisfied = secure && (!forHost || (path === '/' && !domain)) && (!forHttp || httpOnly)
  const needs = ['secure: true', forHttp && 'httpOnly: true', forHost && 'path: "/" and no domain'].filter(Boolean)
  return isSatisfied
    ? undefined
    : `browsers refuse the cookie "${name}": the prefix ${prefix} needs ${needs.join(', ')}`
}

/**
 * Warns of cookie attributes that cannot work. Of `maxAge` and `expires` it checks the one that counts: the last given.
 */
export function lintCookie(name: string, given: unknown): void {
  if (!given) return
  if (typeof given !== 'object') {
    warn('WARN_SESSION_OPTION_VALUE', 'cookie option must be an object or a function; each request will fail')
    return
  }
  lintNames(given, ATTRIBUTES, { before: 'cookie.', instead: BESIDE_COOKIE })
  const last = Object.keys(given).findLast((key) => key === 'maxAge' || key === 'expires')
  const { maxAge, expires, ...cookie } = { path: '/', httpOnly: true, ...given } as Given
  if (last === 'maxAge') lintLifetime('cookie.maxAge', maxAge)
  applyRules(COOKIE_RULES, { name, cookie: last === 'expires' ? { ...cookie, expires } : cookie })
}

/** Warns of a fixed `cookie.expires` that has passed since the middleware was made. */
export function lintExpiry(expires: Date): void {
  if (hasPassed(expires)) warn('WARN_SESSION_COOKIE_EXPIRES', expiryPassedMessage(expires))
}

// The options.

/** The names of express-session's options. */
const OPTIONS: readonly string[] = [
  'cookie',
  'genid',
  'key',
  'name',
  'proxy',
  'resave',
  'rolling',
  'saveUninitialized',
  'secret',
  'store',
  'unset',
]
/** The names of a cookie's attributes. */
const ATTRIBUTES: readonly string[] = [
  'domain',
  'encode',
  'expires',
  'httpOnly',
  'maxAge',
  'originalMaxAge',
  'partitioned',
  'path',
  'priority',
  'sameSite',
  'secure',
  'signed',
] satisfies (keyof CookieOptions)[]
/** Advice for attributes that are given as options, and for options that are given as attributes. */
const INTO_COOKIE = Object.fromEntries(ATTRIBUTES.map((name) => [name, `it belongs into cookie: { ${name} }`]))
const BESIDE_COOKIE = Object.fromEntries(OPTIONS.map((name) => [name, 'it belongs beside cookie, not into it']))

/** Shortest secret without a warning, in bytes: a key should not be shorter than the HMAC's output (RFC 2104 §3). */
const MIN_SECRET_BYTES = 32

const OPTION_RULES: readonly Rule<Given>[] = [
  [
    'WARN_SESSION_COOKIE_NAME',
    ({ name, key }) => {
      const cookieName = String(name || key || 'connect.sid')
      return (
        !/^[!#$%&'*+.^_`|~\w-]+$/.test(cookieName) &&
        `name option is ${inspect(cookieName)}, which no cookie can be called; use letters, digits, ".", "_" and "-"`
      )
    },
  ],
  ...['resave', 'rolling', 'saveUninitialized'].map(
    (flag): Rule<Given> => [
      'WARN_SESSION_OPTION_VALUE',
      (given) => typeof given[flag] === 'string' && stringFlagMessage(`${flag} option`, given[flag]),
    ],
  ),
  [
    'WARN_SESSION_OPTION_VALUE',
    ({ proxy }) =>
      typeof (proxy ?? true) !== 'boolean' &&
      `proxy option is ${inspect(proxy)}, which counts as not given; use true or false`,
  ],
]

/** Warns of options that cannot work, and of unknown ones. `added`: the options that express-session does not have. */
export function lintOptions(given: object, added: readonly string[] = []): void {
  lintNames(given, [...OPTIONS, ...added], { instead: INTO_COOKIE })
  applyRules(OPTION_RULES, given as Given)
  const { secret, encrypt } = given as Given
  for (const each of listOf(secret)) if (isUsable(each)) lintLength(each, 'secret')
  for (const each of listOf(encrypt)) lintLength(each, 'encrypt')
}

function listOf(secrets: unknown): unknown[] {
  return Array.isArray(secrets) ? secrets : secrets ? [secrets] : []
}

/** Warns of a secret that is no key. */
function isUsable(secret: unknown): boolean {
  try {
    createHmac('sha256', secret as string)
    return true
  } catch {
    warn(
      'WARN_SESSION_SECRET',
      'secret option is neither a string nor another key that crypto.createHmac takes; each request will fail',
    )
    return false
  }
}

/** Warns in production of a secret that is short enough to be guessed. */
function lintLength(secret: unknown, option: string): void {
  if (process.env.NODE_ENV !== 'production') return
  const { byteLength, symmetricKeySize } = Object(secret) as { byteLength?: number; symmetricKeySize?: number }
  const bytes = typeof secret === 'string' ? Buffer.byteLength(secret) : (byteLength ?? symmetricKeySize ?? Infinity)
  if (bytes >= MIN_SECRET_BYTES) return
  const cure = 'use a random one, such as crypto.randomBytes(32).toString("hex")'
  warn('WARN_SESSION_SECRET', `${option} option is shorter than ${MIN_SECRET_BYTES} bytes; ${cure}`)
}

/**
 * Checks the argument of `session()`. Warns of anything but options, and returns empty options then, as express-session
 * does. @throws TypeError for a request: `session` itself was mounted as middleware.
 */
export function givenOptions<T extends object>(given: T | undefined): T {
  if (isRequest(given)) {
    throw optionError(
      'session was mounted without being called; use app.use(session({ secret: … })), not app.use(session)',
    )
  }
  if (typeof given === 'object' && given !== null && !isStore(given)) return given
  const what = !given ? 'nothing' : typeof given === 'object' ? 'a store' : `a ${typeof given}`
  const cure = what === 'a store' ? 'store, secret: …' : 'secret: …, resave: false, saveUninitialized: false'
  warn('WARN_SESSION_OPTIONS', `session() was given ${what} in place of options; use session({ ${cure} })`)
  return {} as T
}

/** Whether a value is a request of Node, of bunWay, or of the Fetch standard. */
function isRequest(given: unknown): boolean {
  if (typeof given !== 'object' || given === null) return false
  return 'original' in given || ('headers' in given && 'url' in given)
}

// The store.

const hasMethods = (value: object, ...names: string[]): boolean =>
  names.every((name) => typeof (value as Given)[name] === 'function')
const isStore = (value: object): boolean => hasMethods(value, 'get', 'set')
const isClass = (value: unknown): value is { name: string; prototype: object } =>
  typeof value === 'function' &&
  (/^class\b/.test(Function.prototype.toString.call(value)) || (value.prototype && isStore(value.prototype)))
/** Whether a value is a client of redis, ioredis or Bun. Some of them have all methods of a store. */
const isRedis = (value: object): boolean =>
  !hasMethods(value, 'createSession') &&
  (['sendCommand', 'send_command', 'defineCommand'].some((name) => hasMethods(value, name)) ||
    (hasMethods(value, 'send') && 'connected' in value))

/** What apps pass in place of a store: a test for it, and the message. The first that matches counts. */
const NOT_STORES: readonly (readonly [
  matches: (given: object) => unknown,
  message: string | ((given: object) => string),
])[] = [
  [isPromise, 'is a promise; await it first'],
  [isRedis, 'is a Redis client; give it to a store, new RedisStore({ client })'],
  [
    (given) => isRedis((given as { prototype?: object }).prototype ?? {}),
    'is the class of a Redis client; give one to a store, new RedisStore({ client })',
  ],
  [isClass, (given) => `is a class; make a store of it, new ${(given as { name: string }).name || 'Store'}(…)`],
  [
    (given) => hasMethods(given, 'startSession') || hasMethods(given, 'collection') || 'mongo' in given,
    'is a MongoDB client; give it to a store of that database, such as connect-mongo',
  ],
  [
    (given) => ['query', 'raw', 'execute', 'prepare', '$connect'].some((name) => hasMethods(given, name)),
    'is a database client; give it to a store of that database, such as connect-pg-simple',
  ],
  [
    (given) => Object.values(given).some(isClass),
    (given) => `is a module; make a store of its class, new ${Object.values(given).find(isClass)?.name}(…)`,
  ],
  [
    (given) => typeof given === 'function',
    'is a function; where it makes a class of stores, as packages for older versions do, call it with session, and make ' +
      'a store of that class: const DbStore = makeClass(session), and then new DbStore(…)',
  ],
]

/** Checks the `store` option. @throws TypeError for what is no store; the message says what it is and what to do. */
export function checkStore(given: unknown): void {
  if (typeof given !== 'object' && typeof given !== 'function')
    throw optionError(`store option is a ${typeof given}; give it a store, such as new RedisStore()`)
  const store = given as object
  if (!isStore(store) || isRedis(store)) {
    const [, message] = NOT_STORES.find(([matches]) => matches(store)) ?? []
    if (message) throw optionError(`store option ${typeof message === 'string' ? message : message(store)}`)
  }
  for (const method of ['get', 'set', 'destroy']) {
    if (hasMethods(store, method)) continue
    const message = `store option must be a session store: it has no ${method}()`
    // express-session accepts a store without `destroy`, and fails when it destroys a session.
    if (method !== 'destroy' || !hasMethods(store, 'on')) throw optionError(message)
    warn('WARN_SESSION_STORE', message)
  }
}
