// The options: what they mean and their defaults. The only place with a default.

import { isPromise } from './awaitable.ts'
import type { CookieOptions } from './cookie.ts'
import { cookieWithDefaults } from './defaults.ts'
import { deprecate } from './diagnostics.ts'
import { optionError, SessionError } from './errors.ts'
import { lintCookie, lintExpiry, lintOptions } from './lint.ts'
import {
  cache,
  clearCookie,
  crossSite,
  flag,
  flagOf,
  functionOf,
  maxSessions,
  milliseconds,
  type OptionRule,
  oneOf,
  optionalFlag,
  readByRules,
  secrets,
  type Values,
  wholeNumber,
  withDefault,
} from './option-rules.ts'
import type { TtlUnit } from './port/slot.ts'
import { generateId, type Secret } from './signature.ts'
import type { CallbackStore, PromiseStore, Store } from './store.ts'

// The request as the host gives it: an express-session app types it as its framework's.
// biome-ignore lint/suspicious/noExplicitAny: see above
type HostRequest = any

// The session as the app has typed it.
// biome-ignore lint/suspicious/noExplicitAny: see above
type HostSession = any

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
  /**
   * A destroyed session also takes the browser's cookie away. `{ siteData: ['storage'] }` also adds `Clear-Site-Data`, by
   * which the browser deletes what the site keeps in it, unless the app has set that header. Default `false`.
   */
  clearCookie?: boolean | { siteData: ('storage' | 'cookies')[] } | undefined
  /**
   * Who may keep an answer. `'private'`, the default: an answer that carries the session's cookie is `private` for caches
   * (RFC 9111), unless its `Cache-Control` says who may keep it; one that is marked as public is warned of. `'no-store'`:
   * no cache keeps an answer whose handler looked at the session, whatever the app says (OWASP Session Management, "Web
   * Content Caching"). `false`: headers are left alone.
   */
  cache?: 'private' | 'no-store' | false | undefined
  /**
   * What becomes of a request with an unsafe method (not GET, HEAD, OPTIONS, TRACE) that a browser says comes from another
   * site, by `Sec-Fetch-Site`, or by `Origin` where that is missing. `'allow'`, the default: nothing. `'anonymous'`: it is
   * served as a visitor's, with an empty session that is never stored nor sent. `'refuse'`: it fails with
   * `ERR_SESSION_CROSS_SITE`, status 403. A sister domain, another port and `Origin: null` count as another site.
   * `trusted` are origins that do not, and `except` excepts requests such as webhooks.
   */
  crossSite?:
    | 'allow'
    | 'anonymous'
    | 'refuse'
    | {
        mode: 'allow' | 'anonymous' | 'refuse'
        trusted?: readonly string[] | undefined
        except?: ((req: HostRequest) => boolean) | undefined
      }
    | undefined
  /**
   * What becomes of a response that has not left when its session could not be saved, destroyed (`unset`) or given
   * another id. `'answer'`, the default: it leaves, and the error goes to `next`, as in express-session. `'fail'`: it
   * does not leave; the app's error handlers answer in its place, so that nobody is told that something is stored which
   * is not. A session whose time could not be extended withholds no response. A response that streams has left already.
   * bunWay and `(request, next) => Response` hosts do as with `'fail'` in any case.
   */
  onSaveError?: 'answer' | 'fail' | undefined
  /**
   * How concurrent requests to the same session are saved. `'merge'`, the default: each keeps the keys that it changed,
   * and a session that one of them ends stays ended. The bundled stores do that across processes, other stores within
   * this process. `'reread'`: a store that is not bundled is read again before each write, so that its changes are merged
   * across processes, too, as far as reading before writing goes; on a bundled store it is `'merge'`. `'overwrite'`: the
   * last request writes its whole session, as express-session does.
   */
  concurrency?: 'merge' | 'reread' | 'overwrite' | undefined
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
  /**
   * How long a session lives at most, in milliseconds since it was created, whatever its activity; enforced when it is
   * loaded (OWASP Session Management, "Absolute Timeout"). A new id by `renewAfter` changes nothing about it,
   * `regenerate()` starts anew. A session that was stored without the option counts from its first load. Default: none.
   */
  absoluteTimeout?: number | undefined
  /**
   * How long a session lives after the last request that extended it, in milliseconds, whatever its cookie and the store
   * say; enforced when it is loaded (OWASP Session Management, "Idle Timeout"). The date is in the session's record, and
   * is written again when a twentieth of this time has passed; so a session may end up to a twentieth early. A session
   * that was stored without the option counts from its first load. Default: none.
   */
  idleTimeout?: number | undefined
  /**
   * At most one write in this many milliseconds extends a session, and with `rolling` its cookie is sent no oftener. A
   * save of data counts as one. Must be shorter than `idleTimeout` and than a constant `cookie.maxAge`. Default: none.
   */
  touchAfter?: number | undefined
  /**
   * Which requests extend a session: `false` for none, or a function of the request, such as one that excludes polling. It
   * is asked before the handlers, and answers at once. A request that does not extend its session writes nothing and
   * sends no cookie, unless it changes the session: that is saved, and extends it. Default `true`.
   */
  touch?: boolean | ((req: HostRequest) => boolean) | undefined
  /**
   * What becomes of a request whose session cannot be loaded. `'fail'`, the default: it fails with the store's error.
   * `'anonymous'`: it is served without a session (`req.session` is undefined, as while a store is disconnected), the
   * browser's cookie is left alone, and the error is reported by the middleware's `error` event.
   */
  onStoreError?: 'fail' | 'anonymous' | undefined
  /**
   * Keeps sessions under a SHA-256 hash of their ids, so that who reads the store learns no id that works. Sessions that
   * are stored under plain ids are still found, and moved when they are read; start all processes with it at once.
   * The store's own methods find a session by its id where the store is a bundled one. Default `false`.
   */
  hashId?: boolean | undefined
  /**
   * Encrypts the data of sessions with AES-256-GCM, each bound to its id. Of a list of secrets the first encrypts and all
   * decrypt, so a new secret goes to the front. Sessions that are not encrypted are still read. A session that none of
   * the secrets opens counts as missing, and is left alone. The cookie's attributes stay readable. Default: none.
   */
  encrypt?: Secret | Secret[] | undefined
  /**
   * The largest session that is stored, in bytes of its JSON. A larger one is an error of the save, `ERR_SESSION_SIZE`,
   * and does not reach the store. Default: no limit.
   */
  maxSize?: number | undefined
  /**
   * For how many milliseconds a call of the store is waited for. A call that takes longer counts as failed, with
   * `ERR_SESSION_TIMEOUT`. Default: no limit; a store that has not answered in 10 seconds is named by a warning, once.
   */
  storeTimeout?: number | undefined
  /**
   * Names the user whose session it is, by their id: a string or a number, undefined where nobody is signed in. On it
   * stand `rotateOnSignIn`, `maxSessions`, and the middleware's `list`, `revoke`, `info`, `fresh` and `confirm`. With it,
   * sessions record when they were created and last seen. Default: `session.passport.user`, where that is a string or a
   * number.
   */
  userOf?: ((session: HostSession) => string | number | bigint | null | undefined) | undefined
  /**
   * Gives a session a new id when somebody signs in or out in it, its data kept, and ends it under the old one at once, so
   * that an id which somebody has planted in a browser is nobody's (OWASP Session Management, "Renew the Session ID After
   * Any Privilege Level Change"). A request that calls `regenerate()` itself is left alone. Where the head of the response
   * has left, the session is not saved, and the error is `ERR_SESSION_HEAD_SENT`. Default: whether `userOf` is given.
   */
  rotateOnSignIn?: boolean | undefined
  /**
   * How many sessions a user may have, counted when they sign in. `n`, or `{ n, then: 'end-oldest' }`: one more ends that
   * which signed in first. `{ n, then: 'refuse' }`: one more is an error of the save, `ERR_SESSION_LIMIT`, status 403, and
   * no answer says otherwise. Exact across processes on a bundled store. Default: no limit.
   */
  maxSessions?: number | { n: number; then?: 'end-oldest' | 'refuse' | undefined } | undefined
  /**
   * What is kept about a session for its user's list, as an object that can be JSON: the browser, the address, the method
   * of the sign-in. Asked when somebody signs in, and when the session gets a new id. Default: nothing.
   */
  describe?: ((req: HostRequest) => object) | undefined
}

/** The options that express-session has not, each with its rule. */
const ADDED = {
  absoluteTimeout: milliseconds({ above: 0 }),
  cache,
  clearCookie,
  concurrency: oneOf('merge', 'reread', 'overwrite'),
  crossSite,
  describe: functionOf('request', 'an object'),
  encrypt: secrets,
  hashId: flag(false),
  idleTimeout: milliseconds({ above: 0 }),
  maxSessions,
  maxSize: wholeNumber,
  onSaveError: oneOf('answer', 'fail'),
  onStoreError: oneOf('fail', 'anonymous'),
  renewAfter: milliseconds({ above: 0 }),
  rotateOnSignIn: optionalFlag,
  renewGrace: withDefault(milliseconds({ from: 0 }), 30_000),
  storeTimeout: milliseconds({ above: 0 }),
  touch: flagOf(true),
  touchAfter: milliseconds({ above: 0 }),
  userOf: functionOf('session', "the user's id"),
} satisfies Partial<Record<keyof SessionOptions, OptionRule<unknown>>>

/** What an entry for one host promises that the options do not say. */
export interface Dialect {
  readonly autoCommit?: boolean
  readonly bareRecords?: boolean
  /** The default of the option of this name. */
  readonly touch?: boolean
  /** Attributes of the cookie where the app gives none. */
  readonly cookie?: CookieOptions
  /** Names of options that the entry has besides. */
  readonly options?: readonly string[]
  /** Unit of the times that a promise-style store is given. Default `'ms'`. */
  readonly ttlUnit?: TtlUnit
}

/** The options as the package works with them. */
export interface Settings extends Omit<Values<typeof ADDED>, 'rotateOnSignIn'> {
  readonly name: string
  readonly secrets: readonly Secret[] | undefined
  readonly cookie: CookieOptions | ((req: HostRequest) => CookieOptions | undefined)
  readonly generateId: (req: HostRequest) => string
  readonly proxy: boolean | undefined
  readonly resave: boolean
  readonly rolling: boolean
  readonly saveUninitialized: boolean
  readonly unsetDestroys: boolean
  /** False: only the app's own `save()` writes. */
  readonly autoCommit: boolean
  /** Records without a cookie are sessions, too. */
  readonly bareRecords: boolean
  readonly rotateOnSignIn: boolean
  /** After so many ms at least, sessions record again when they were seen last; undefined: they do not. */
  readonly seenEvery: number | undefined
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

  lintOptions(options, [...Object.keys(ADDED), ...(dialect.options ?? [])])
  const name = String(options.name || options.key || 'connect.sid')
  const added = readByRules(ADDED, { touch: dialect.touch, ...withoutUndefined(options) })
  const settings: Settings = {
    name,
    secrets: secret ? (Array.isArray(secret) ? secret : [secret]) : undefined,
    cookie: readCookie(options.cookie || {}, name, dialect.cookie),
    generateId: (req) => checkId(generate(req)),
    proxy: options.proxy,
    resave: Boolean(resave),
    rolling: Boolean(options.rolling),
    saveUninitialized: Boolean(saveUninitialized),
    unsetDestroys: options.unset === 'destroy',
    autoCommit: dialect.autoCommit ?? true,
    bareRecords: dialect.bareRecords ?? false,
    ...added,
    rotateOnSignIn: added.rotateOnSignIn ?? added.userOf !== undefined,
    seenEvery: seenEveryOf(added),
  }
  checkTimes(options, settings)
  if (settings.renewAfter !== undefined && settings.concurrency === 'overwrite') {
    throw optionError('renewAfter option needs concurrency: "merge"; with "overwrite" a request brings the old id back')
  }
  return settings
}

/** The list of a user's sessions says when each was seen last. */
const LIST_PRECISION_MS = 60_000

function seenEveryOf({ idleTimeout, touchAfter, userOf }: Values<typeof ADDED>): number | undefined {
  if (touchAfter !== undefined) return touchAfter
  if (idleTimeout === undefined) return userOf && LIST_PRECISION_MS
  return userOf ? Math.min(idleTimeout / 20, LIST_PRECISION_MS) : idleTimeout / 20
}

/** @throws SessionError `ERR_SESSION_ID` when `genid` has made no id. */
function checkId(id: unknown): string {
  if (typeof id === 'string' && id !== '') return id
  if (isPromise(id)) id.then(undefined, () => {})
  const given = isPromise(id) ? 'a promise' : id === '' ? 'an empty one' : String(id)
  throw new SessionError('ERR_SESSION_ID', `genid option must return a non-empty string, at once; it returned ${given}`)
}

/**
 * The attributes of the cookie, looked at for what cannot work: constant ones at once, and again for a date that passes
 * while the server runs; those of a function when it first answers.
 */
function readCookie(
  option: NonNullable<SessionOptions['cookie']>,
  name: string,
  defaults: CookieOptions | undefined,
): Settings['cookie'] {
  const complete = (cookie: typeof option): typeof option => (defaults ? cookieWithDefaults(defaults, cookie) : cookie)
  if (typeof option !== 'function') {
    lintCookie(name, option)
    const { expires } = option
    const cookie = complete(option) as CookieOptions
    if (!(expires instanceof Date)) return cookie
    return () => {
      lintExpiry(expires)
      return cookie
    }
  }
  let linted = false
  return complete((req) => {
    const given = option(req)
    if (!linted) lintCookie(name, given)
    linted = true
    return given
  })
}

function withoutUndefined(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

/** @throws TypeError for times that contradict each other. */
function checkTimes(
  { cookie, touch }: SessionOptions,
  { absoluteTimeout, idleTimeout, rolling, touchAfter }: Settings,
): void {
  if (touch === false && rolling) {
    throw optionError(
      'touch option false contradicts rolling, which extends the session at each request; leave one out',
    )
  }
  if (absoluteTimeout !== undefined && idleTimeout !== undefined && idleTimeout > absoluteTimeout) {
    throw optionError('idleTimeout option must not be longer than absoluteTimeout, which ends the session before')
  }
  if (touchAfter === undefined) return
  const maxAge = typeof cookie === 'object' ? cookie?.maxAge : undefined
  const [name, limit] =
    idleTimeout !== undefined && touchAfter >= idleTimeout ? ['idleTimeout', idleTimeout] : ['cookie.maxAge', maxAge]
  if (typeof limit === 'number' && limit > 0 && touchAfter >= limit) {
    throw optionError(`touchAfter option must be shorter than ${name}, or a session ends that is in use`)
  }
}
