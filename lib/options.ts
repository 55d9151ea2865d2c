// The options: what they mean, their defaults, and what is said about doubtful ones. The only place with a default.

import { createHmac } from 'node:crypto'
import type { CookieOptions } from './cookie.ts'
import { deprecate, warn } from './diagnostics.ts'
import { optionError, SessionError } from './errors.ts'
import { isPromise } from './maybe.ts'
import type { TtlUnit } from './port.ts'
import type { Concurrency } from './record.ts'
import { generateId, type Secret } from './signature.ts'
import type { CallbackStore, PromiseStore, Store } from './store.ts'

// The request as the host gives it: an express-session app types it as its framework's.
// biome-ignore lint/suspicious/noExplicitAny: see above
type HostRequest = any

/** Options of `session()`, as in express-session 1.19. */
export interface SessionOptions {
  /**
   * Signs the cookie: a string, anything else `crypto.createHmac` takes as a key, or a list of them. The first signs,
   * all verify, so a new secret goes to the front. Without it `req.secret` of cookie-parser is used, which is deprecated.
   */
  secret?: Secret | Secret[] | undefined
  /** Name of the cookie. Default `'connect.sid'`. */
  name?: string | undefined
  /** The old name of `name`. */
  key?: string | undefined
  /** Attributes of the cookie, or a function of the request that gives them. Default `{ path: '/', httpOnly: true, secure: false, maxAge: null }`. */
  cookie?: CookieOptions | ((req: HostRequest) => CookieOptions) | undefined
  /**
   * Makes a new session's id, at once; must be unique and hard to guess. What is no non-empty string is an error of the
   * request, `ERR_SESSION_ID`. Default: 192 random bits, base64url.
   */
  genid?: ((req: HostRequest) => string) | undefined
  /** Trust `X-Forwarded-Proto`: `true` yes, `false` no, undefined: as Express's `trust proxy` says (`req.secure`). */
  proxy?: boolean | undefined
  /** Write sessions back that did not change. Default `true`, deprecated as a default; `false` is what you want. */
  resave?: boolean | undefined
  /** Send the cookie, with a fresh expiry, on every response. Default `false`. */
  rolling?: boolean | undefined
  /** Store sessions that nothing was put into. Default `true`, deprecated as a default; `false` is what you want. */
  saveUninitialized?: boolean | undefined
  /** Where sessions are kept. Default, and where it is falsy: a new `MemoryStore`. */
  store?: Store | CallbackStore | PromiseStore | false | null | undefined
  /** What `req.session = null` does to the stored session. Default `'keep'`. */
  unset?: 'destroy' | 'keep' | undefined
  /** A destroyed session also takes the browser's cookie away. Default `false`. */
  clearCookie?: boolean | undefined
  /**
   * What becomes of requests that overlap on one session. `'merge'`, the default: each keeps the keys that it changed,
   * and a session that one of them ends stays ended. The bundled stores do that across processes; other stores within
   * this process, and if `'merge'` is given here also across processes, as far as reading before each write goes.
   * `'overwrite'`: the last one writes its whole session, as express-session does.
   */
  concurrency?: 'merge' | 'overwrite' | undefined
  /**
   * The age in milliseconds at which a session's id is replaced, at the end of its next request, its data kept
   * (OWASP Session Management, "Renewal Timeout"). Default: never.
   */
  renewAfter?: number | undefined
  /**
   * With `renewAfter`: for how many milliseconds requests that still carry the old id are served with the session, and
   * are given its new cookie. After that the old id is refused, and the middleware emits `reuse`. Default 30 000.
   */
  renewGrace?: number | undefined
}

/** What an entry for one host promises that the options do not say. */
export interface Dialect {
  readonly autoCommit?: boolean
  readonly bareRecords?: boolean
  readonly extendsUnmodified?: boolean
  /** Unit of the times that a promise-style store is given. Default `'ms'`. */
  readonly ttlUnit?: TtlUnit
}

/** The options as the package works with them. */
export interface Settings {
  readonly name: string
  readonly secrets: readonly Secret[] | undefined
  readonly cookie: CookieOptions | ((req: HostRequest) => CookieOptions | undefined)
  readonly generateId: (req: HostRequest) => unknown
  readonly proxy: boolean | undefined
  readonly resave: boolean
  readonly rolling: boolean
  readonly saveUninitialized: boolean
  readonly unsetDestroys: boolean
  readonly concurrency: Concurrency
  readonly clearCookie: boolean
  /** False: only the app's own `save()` writes. */
  readonly autoCommit: boolean
  /** Records without a cookie are sessions, too. */
  readonly bareRecords: boolean
  /** A request that changes nothing extends its session, too. */
  readonly extendsUnmodified: boolean
  /** Age in milliseconds at which an id is replaced; undefined: never. */
  readonly renewAfter: number | undefined
  /** For how many milliseconds the old id is good then. */
  readonly renewGrace: number
}

/** Checks the options once, with the errors and deprecations of express-session. @throws TypeError for wrong ones. */
export function readOptions(options: SessionOptions, dialect: Dialect = {}): Settings {
  const generate = options.genid || generateId
  if (typeof generate !== 'function') throw optionError('genid option must be a function')

  let { resave, saveUninitialized } = options
  if (resave === undefined) {
    deprecate('undefined resave option; provide resave option')
    resave = true
  }
  if (saveUninitialized === undefined) {
    deprecate('undefined saveUninitialized option; provide saveUninitialized option')
    saveUninitialized = true
  }
  if (options.unset && options.unset !== 'destroy' && options.unset !== 'keep') {
    throw optionError('unset option must be "destroy" or "keep"')
  }
  const { secret } = options
  if (Array.isArray(secret) && secret.length === 0) {
    throw optionError('secret option array must contain one or more strings')
  }
  if (!secret) deprecate('req.secret; provide secret option')

  const settings: Settings = {
    name: String(options.name || options.key || 'connect.sid'),
    secrets: secret ? (Array.isArray(secret) ? secret : [secret]) : undefined,
    cookie: options.cookie || {},
    generateId: (req) => checkId(generate(req)),
    proxy: options.proxy,
    resave: Boolean(resave),
    rolling: Boolean(options.rolling),
    saveUninitialized: Boolean(saveUninitialized),
    unsetDestroys: options.unset === 'destroy',
    concurrency: readConcurrency(options.concurrency),
    clearCookie: readFlag(options, 'clearCookie'),
    autoCommit: dialect.autoCommit ?? true,
    bareRecords: dialect.bareRecords ?? false,
    extendsUnmodified: dialect.extendsUnmodified ?? true,
    renewAfter: readMilliseconds(options, 'renewAfter'),
    renewGrace: readMilliseconds(options, 'renewGrace', 0) ?? 30_000,
  }
  if (settings.renewAfter !== undefined && settings.concurrency === 'overwrite') {
    throw optionError('renewAfter option needs concurrency: "merge"; with "overwrite" a request brings the old id back')
  }
  lint(options, settings)
  return settings
}

/** @throws SessionError `ERR_SESSION_ID` when `genid` has made no id. */
function checkId(id: unknown): string {
  if (typeof id === 'string' && id !== '') return id
  if (isPromise(id)) id.then(undefined, () => {})
  const given = isPromise(id) ? 'a promise' : id === '' ? 'an empty one' : String(id)
  throw new SessionError('ERR_SESSION_ID', `genid option must return a non-empty string, at once; it returned ${given}`)
}

function readFlag(options: SessionOptions, name: 'clearCookie'): boolean {
  const value = options[name]
  if (value !== undefined && typeof value !== 'boolean') throw optionError(`${name} option must be true or false`)
  return value ?? false
}

/** An added option that is a time, above 0 where `least` is not given. @throws TypeError for a wrong one. */
export function readMilliseconds(
  options: Pick<SessionOptions, 'renewAfter' | 'renewGrace'>,
  name: 'renewAfter' | 'renewGrace',
  least?: number,
): number | undefined {
  const value = options[name]
  if (value === undefined || (Number.isFinite(value) && (least === undefined ? value > 0 : value >= least)))
    return value
  throw optionError(
    `${name} option must be a number of milliseconds ${least === undefined ? 'above 0' : `from ${least}`}`,
  )
}

function readConcurrency(option: unknown): Concurrency {
  if (option === undefined) return 'merge'
  if (option === 'merge') return 'reread'
  if (option === 'overwrite') return 'overwrite'
  throw optionError('concurrency option must be "merge" or "overwrite"')
}

/** The names of the options, and of the attributes of a cookie, to tell slips of the pen from them. */
const OPTIONS: readonly string[] = [
  'clearCookie',
  'concurrency',
  'cookie',
  'genid',
  'key',
  'name',
  'proxy',
  'renewAfter',
  'renewGrace',
  'resave',
  'rolling',
  'saveUninitialized',
  'secret',
  'store',
  'unset',
] satisfies (keyof SessionOptions)[]
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

function lintNames(given: object, known: readonly string[], what: string): void {
  for (const key of Object.keys(given)) {
    if (known.includes(key)) continue
    const meant = known.find((name) => name.toLowerCase() === key.toLowerCase())
    warn(
      'WARN_SESSION_OPTION_UNKNOWN',
      `${what}${key} is no option${meant ? `; ${what}${meant} is` : ', and has no effect'}`,
    )
  }
}

function lintSecrets(secrets: readonly unknown[]): void {
  for (const secret of secrets) {
    try {
      createHmac('sha256', secret as Secret as string)
    } catch {
      warn(
        'WARN_SESSION_SECRET',
        'secret option is neither a string nor another key that crypto.createHmac takes; each request will fail',
      )
    }
  }
}

/** Warns of what express-session accepts and what will not do what was meant. */
function lint(options: SessionOptions, { name, cookie, secrets }: Settings): void {
  lintNames(options, OPTIONS, '')
  lintSecrets(secrets ?? [])
  if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name)) {
    warn(
      'WARN_SESSION_COOKIE_NAME',
      `name option is ${JSON.stringify(name)}, which no cookie can be called; use letters, digits, ".", "_" and "-"`,
    )
  }
  for (const flag of ['resave', 'rolling', 'saveUninitialized'] as const) {
    if (typeof options[flag] === 'string')
      warn(
        'WARN_SESSION_OPTION_VALUE',
        `${flag} option is the string "${options[flag]}", which counts as true; use a boolean`,
      )
  }
  if (typeof options.proxy === 'string')
    warn('WARN_SESSION_OPTION_VALUE', 'proxy option is a string, which counts as not given; use true or false')
  if (process.env.NODE_ENV === 'production') {
    for (const secret of secrets ?? []) {
      if (typeof secret === 'string' && Buffer.byteLength(secret) < 32) {
        warn(
          'WARN_SESSION_SECRET',
          'secret option is shorter than 32 bytes; use a random one, such as crypto.randomBytes(32).toString("hex")',
        )
      }
    }
  }
  if (typeof cookie === 'function') return
  if (typeof cookie !== 'object') {
    warn('WARN_SESSION_OPTION_VALUE', 'cookie option must be an object or a function; each request will fail')
    return
  }
  lintNames(cookie, ATTRIBUTES, 'cookie.')
  if (cookie.maxAge && typeof cookie.maxAge !== 'number' && !((cookie.maxAge as unknown) instanceof Date)) {
    warn('WARN_SESSION_LIFETIME', 'cookie.maxAge must be a number of milliseconds; each request will fail')
  }
  if (!/^(undefined|false|true|auto|lax|none|strict)$/i.test(String(cookie.sameSite ?? undefined))) {
    warn(
      'WARN_SESSION_OPTION_VALUE',
      `cookie.sameSite is "${cookie.sameSite}"; it must be "lax", "strict", "none", "auto" or a boolean`,
    )
  }

  for (const flag of ['secure', 'httpOnly', 'partitioned'] as const) {
    const value = cookie[flag]
    if (typeof value === 'string' && value !== 'auto')
      warn('WARN_SESSION_OPTION_VALUE', `cookie.${flag} is the string "${value}", which counts as true; use a boolean`)
  }
  if (typeof cookie.maxAge === 'number' && cookie.maxAge > 0 && cookie.maxAge < 10_000) {
    warn(
      'WARN_SESSION_LIFETIME',
      `cookie.maxAge is ${cookie.maxAge} milliseconds; were seconds meant? Multiply by 1000`,
    )
  }
  if (name.startsWith('__Host-') && (!cookie.secure || cookie.domain || (cookie.path ?? '/') !== '/')) {
    warn(
      'WARN_SESSION_COOKIE_PREFIX',
      `browsers refuse the cookie "${name}": the prefix __Host- needs secure: true, path: "/" and no domain`,
    )
  } else if (name.startsWith('__Secure-') && !cookie.secure) {
    warn('WARN_SESSION_COOKIE_PREFIX', `browsers refuse the cookie "${name}": the prefix __Secure- needs secure: true`)
  }
  if (!cookie.secure) {
    if (String(cookie.sameSite).toLowerCase() === 'none')
      warn(
        'WARN_SESSION_COOKIE_INSECURE',
        'browsers refuse a cookie with sameSite "none" that is not secure; add secure: true',
      )
    if (cookie.partitioned)
      warn('WARN_SESSION_COOKIE_INSECURE', 'browsers refuse a partitioned cookie that is not secure; add secure: true')
  }
}
