// What is said of options that express-session accepts though they cannot work, and of what is passed in their place.
// Tables of rules; what has to be right because the package added it is checked where it is read.

import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import { isPromise } from './awaitable.ts'
import type { CookieOptions } from './cookie.ts'
import { type WarningCode, warn } from './diagnostics.ts'
import { optionError } from './errors.ts'

type Given = Readonly<Record<string, unknown>>
/** A cause, and what is to be said of `given`; where that is no text, nothing. */
type Rule<T> = readonly [code: WarningCode, words: (given: T) => unknown]

function apply<T>(rules: readonly Rule<T>[], given: T): void {
  for (const [code, words] of rules) {
    const message = words(given)
    if (message && typeof message === 'string') warn(code, message)
  }
}

// Names.

/**
 * Warns of names in `given` that are none of `known`, with the nearest that is. `of` says whose they are; `instead` has
 * what to do in place of names that are options elsewhere.
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
    const meant = nearest(name, [...known, ...Object.keys(instead)])
    let cure = '; it has no effect'
    if (meant) cure = known.includes(meant) ? `; did you mean "${before}${meant}"?` : `: ${instead[meant]}`
    warn('WARN_SESSION_OPTION_UNKNOWN', `unknown option "${before}${name}"${of && ` of ${of}`}${cure}`)
  }
}

/** The name that `name` may be a slip of: one without regard to case, else one within a few letters. */
function nearest(name: string, known: readonly string[]): string | undefined {
  const least = Math.min(2, Math.floor(name.length / 3))
  const near = known
    .map((other) => [distance(name.toLowerCase(), other.toLowerCase()), other] as const)
    .filter(([letters]) => letters <= least)
  return near.sort(([a], [b]) => a - b)[0]?.[1]
}

/** The letters to insert, delete or replace that make `b` of `a` (Levenshtein). */
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

/** The longest lifetime that browsers grant a cookie, in seconds: 400 days (RFC 6265bis §5.5). */
const LONGEST_LIFETIME = 400 * 86_400

/** Whether a number of milliseconds was meant in seconds: hours or days in those, and no whole time in these. */
function looksLikeSeconds(ms: number): boolean {
  if (ms < 10_000) return true
  if (ms > LONGEST_LIFETIME) return false
  return (ms % 3_600 === 0 && ms % 1_000 !== 0) || (ms % 86_400 === 0 && ms % 60_000 !== 0)
}

/** Warns of a time in milliseconds that looks like one in seconds. */
export function lintMilliseconds(option: string, ms: number): void {
  if (!looksLikeSeconds(ms)) return
  warn('WARN_SESSION_LIFETIME', `${option} is ${ms} milliseconds; were seconds meant? Multiply by 1000`)
}

/** Warns of a lifetime in seconds that looks like one in milliseconds. */
export function lintSeconds(option: string, seconds: number): void {
  if (seconds <= LONGEST_LIFETIME) return
  warn('WARN_SESSION_LIFETIME', `${option} is ${seconds} seconds; were milliseconds meant? Divide by 1000`)
}

/** Warns of a cookie's lifetime, in milliseconds, that cannot be meant. */
export function lintLifetime(option: string, value: unknown): void {
  const say = (words: string): void => warn('WARN_SESSION_LIFETIME', `${option} ${words}`)
  const untilClosed = 'null is for a cookie that lasts until the browser closes'
  const needed = `must be a number of milliseconds; ${untilClosed}`
  if (typeof value === 'number') {
    if (Number.isNaN(new Date(Date.now() + value).getTime())) say(`is ${value}, and ${needed}; no cookie can be sent`)
    else if (value <= 0) say(`is ${value}: browsers drop the cookie at once; ${untilClosed}`)
    else lintMilliseconds(option, value)
    // A Date is deprecated, and said to be where it is used.
  } else if (value && !(value instanceof Date)) say(`${needed}; each request will fail`)
}

// The cookie.

interface CookieGiven {
  readonly name: string
  readonly cookie: Given
}

/** Host names that a Set-Cookie header can have, with the dot in front that browsers ignore. */
const DOMAIN = /^\.?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i
const isDomain = (domain: unknown): boolean => typeof domain === 'string' && DOMAIN.test(domain)
const isOneOf = (value: unknown, ...values: string[]): boolean =>
  typeof value === 'string' && values.includes(value.toLowerCase())

const COOKIE_RULES: readonly Rule<CookieGiven>[] = [
  ['WARN_SESSION_COOKIE_PREFIX', ({ name, cookie }) => brokenPrefix(name, cookie)],
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
        countsAs(`cookie.${flag}`, cookie[flag]),
    ],
  ),
  [
    'WARN_SESSION_COOKIE_EXPIRES',
    ({ cookie: { expires } }) => {
      if (!expires) return undefined
      if (!(expires instanceof Date) || Number.isNaN(expires.getTime()))
        return `cookie.expires is ${inspect(expires)}, which is no Date; use maxAge, in milliseconds`
      return hasPassed(expires) && passed(expires)
    },
  ],
]

const countsAs = (option: string, value: unknown): string =>
  `${option} is the string ${inspect(value)}, which counts as ${Boolean(value)}; use a boolean`
const hasPassed = (expires: Date): boolean => expires.getTime() <= Date.now()
const passed = (expires: Date): string =>
  `cookie.expires is ${expires.toISOString()}, which has passed: no browser keeps the cookie; use maxAge, in milliseconds`

/** What browsers ask of a cookie by its name, without regard to case (RFC 6265bis §4.1.3, and `__Http-` of its successor). */
function brokenPrefix(name: string, { secure, path, domain, httpOnly }: Given): string | undefined {
  const [prefix, kind = ''] = /^__(Secure|Host-Http|Host|Http)-/i.exec(name) ?? []
  if (!prefix) return undefined
  const forHost = /^host/i.test(kind)
  const forHttp = /http$/i.test(kind)
  const holds = secure && (!forHost || (path === '/' && !domain)) && (!forHttp || httpOnly)
  const needs = ['secure: true', forHttp && 'httpOnly: true', forHost && 'path: "/" and no domain'].filter(Boolean)
  return holds ? undefined : `browsers refuse the cookie "${name}": the prefix ${prefix} needs ${needs.join(', ')}`
}

/** Warns of attributes with which no cookie works. Of `maxAge` and `expires` the one given last counts. */
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
  apply(COOKIE_RULES, { name, cookie: last === 'expires' ? { ...cookie, expires } : cookie })
}

/** Warns of a constant date that has passed since the middleware was made. */
export function lintExpiry(expires: Date): void {
  if (hasPassed(expires)) warn('WARN_SESSION_COOKIE_EXPIRES', passed(expires))
}

// The options.

/** The names of express-session's options, and of the attributes of a cookie. */
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
const INTO_COOKIE = Object.fromEntries(ATTRIBUTES.map((name) => [name, `it belongs into cookie: { ${name} }`]))
const BESIDE_COOKIE = Object.fromEntries(OPTIONS.map((name) => [name, 'it belongs beside cookie, not into it']))

/** A key of HMAC-SHA-256 should not be shorter than its output, in bytes (RFC 2104 §3). */
const SHORTEST_SECRET = 32

const OPTION_RULES: readonly Rule<Given>[] = [
  [
    'WARN_SESSION_COOKIE_NAME',
    ({ name, key }) => {
      const called = String(name || key || 'connect.sid')
      return (
        !/^[!#$%&'*+.^_`|~\w-]+$/.test(called) &&
        `name option is ${inspect(called)}, which no cookie can be called; use letters, digits, ".", "_" and "-"`
      )
    },
  ],
  ...['resave', 'rolling', 'saveUninitialized'].map(
    (flag): Rule<Given> => [
      'WARN_SESSION_OPTION_VALUE',
      (given) => typeof given[flag] === 'string' && countsAs(`${flag} option`, given[flag]),
    ],
  ),
  [
    'WARN_SESSION_OPTION_VALUE',
    ({ proxy }) =>
      typeof (proxy ?? true) !== 'boolean' &&
      `proxy option is ${inspect(proxy)}, which counts as not given; use true or false`,
  ],
]

/** Warns of what express-session accepts though it cannot do what was meant. `added`: options that it has not. */
export function lintOptions(given: object, added: readonly string[] = []): void {
  lintNames(given, [...OPTIONS, ...added], { instead: INTO_COOKIE })
  apply(OPTION_RULES, given as Given)
  const { secret } = given as Given
  for (const each of Array.isArray(secret) ? secret : secret ? [secret] : []) lintSecret(each)
}

function lintSecret(secret: unknown): void {
  try {
    createHmac('sha256', secret as string)
  } catch {
    warn(
      'WARN_SESSION_SECRET',
      'secret option is neither a string nor another key that crypto.createHmac takes; each request will fail',
    )
    return
  }
  if (process.env.NODE_ENV !== 'production') return
  const { byteLength, symmetricKeySize } = secret as { byteLength?: number; symmetricKeySize?: number }
  const bytes = typeof secret === 'string' ? Buffer.byteLength(secret) : (byteLength ?? symmetricKeySize ?? Infinity)
  if (bytes >= SHORTEST_SECRET) return
  const cure = 'use a random one, such as crypto.randomBytes(32).toString("hex")'
  warn('WARN_SESSION_SECRET', `secret option is shorter than ${SHORTEST_SECRET} bytes; ${cure}`)
}

/**
 * The options of a call; where it was given something else, none, as with express-session, and a warning.
 * @throws TypeError where it was called with a request: by a host, in the place of the middleware that it makes.
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

/** A request of Node, of bunWay, or of a host whose requests are those of the Fetch standard. */
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
/** A client of redis or ioredis, or Bun's own. Some of them have all the methods of a store. */
const isRedis = (value: object): boolean =>
  !hasMethods(value, 'createSession') &&
  (['sendCommand', 'send_command', 'defineCommand'].some((name) => hasMethods(value, name)) ||
    (hasMethods(value, 'send') && 'connected' in value))

/** What is given in the place of a store, how it is known, and what to do with it. The first that fits counts. */
const NO_STORES: readonly (readonly [is: (given: object) => unknown, words: string | ((given: object) => string)])[] = [
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

/** Says what is no store. @throws TypeError, as express-session fails there, too. */
export function checkStore(given: unknown): void {
  if (typeof given !== 'object' && typeof given !== 'function')
    throw optionError(`store option is a ${typeof given}; give it a store, such as new RedisStore()`)
  const store = given as object
  if (!isStore(store) || isRedis(store)) {
    const [, words] = NO_STORES.find(([is]) => is(store)) ?? []
    if (words) throw optionError(`store option ${typeof words === 'string' ? words : words(store)}`)
  }
  for (const method of ['get', 'set', 'destroy']) {
    if (hasMethods(store, method)) continue
    const words = `store option must be a session store: it has no ${method}()`
    // express-session takes it, and fails when a session is to be destroyed.
    if (method !== 'destroy' || !hasMethods(store, 'on')) throw optionError(words)
    warn('WARN_SESSION_STORE', words)
  }
}
