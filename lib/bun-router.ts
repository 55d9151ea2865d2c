// unisession/bun-router: the same middleware and stores, with the defaults and options that bun-router documents.

import { MemoryStore } from '../stores/memory.ts'
import { lifetimeIn, withDefaults } from './defaults.ts'
import { optionError } from './errors.ts'
import { givenOptions, lintLifetime } from './lint.ts'
import { createMiddleware, type SessionMiddleware } from './middleware.ts'
import { milliseconds } from './option-rules.ts'
import type { SessionOptions as CoreOptions } from './options.ts'

export { fileStore } from '../stores/file.ts'
export { MemoryStore } from '../stores/memory.ts'
export { redisStore } from '../stores/redis.ts'
export type { SessionRequest, SessionRequestSugar } from './hosts/fetch.ts'
export type * from './types.ts'

const DAY = 86_400_000

/** A store as bun-router documents it. `ttl`: how long the session lasts, in seconds. */
export interface SessionStore {
  get(sid: string): Promise<Record<string, unknown> | null>
  set(sid: string, session: Record<string, unknown>, ttl?: number): Promise<void>
  destroy(sid: string): Promise<void>
  touch?(sid: string, ttl: number): Promise<void>
}

/** The options of `unisession`, with those that bun-router documents. */
export interface SessionOptions extends Omit<CoreOptions, 'store' | 'renewAfter'> {
  /** Lifetime of the session in milliseconds. Default: the `ttl` of a file or Redis store, otherwise one day. */
  maxAge?: number | undefined
  /** `'memory'`, the default, or a store. Promise-style stores get times in seconds. */
  store?: 'memory' | CoreOptions['store'] | SessionStore | undefined
  /** `false`: a session is saved, and its cookie sent, only when the app calls `req.session.save()`. Default `true`. */
  autoCommit?: boolean | undefined
  /** Renews the id of a session when it is older than `renewAfter`, and keeps its data. Default `false`. */
  renew?: boolean | undefined
  /** With `renew`: the age of an id in milliseconds, after which the next request renews it. Default: one hour. */
  renewAfter?: number | undefined
}

/**
 * Session middleware with bun-router's documented defaults: cookie `bun_session`, a `maxAge` of one day (or the `ttl`
 * of a file or Redis store), `httpOnly`, `sameSite: 'lax'`, `resave: false`, `saveUninitialized: false`,
 * `clearCookie: true`.
 * @throws TypeError for wrong options.
 */
export function session(options?: SessionOptions): SessionMiddleware {
  const {
    store,
    maxAge = lifetimeIn(store, DAY),
    autoCommit,
    renew,
    renewAfter = 3_600_000,
    ...rest
  } = givenOptions(options)
  if (typeof store === 'string' && store !== 'memory') throw optionError('store option must be "memory" or a store')
  if (renew && autoCommit === false) throw optionError('renew option needs autoCommit, which stores what it renews')
  if (autoCommit === false && (rest.idleTimeout ?? rest.touchAfter) !== undefined) {
    throw optionError('idleTimeout and touchAfter options need autoCommit, which stores when a session was used')
  }
  milliseconds({ above: 0 })(renewAfter, 'renewAfter')
  // One page of bun-router's documentation gives `maxAge` in seconds.
  lintLifetime('maxAge', maxAge)
  const defaults = { name: 'bun_session', resave: false, saveUninitialized: false, clearCookie: true }
  return createMiddleware(
    {
      ...withDefaults(defaults, rest),
      store: store && store !== 'memory' ? (store as CoreOptions['store']) : new MemoryStore(),
      renewAfter: renew ? renewAfter : undefined,
    },
    {
      bareRecords: true,
      ttlUnit: 's',
      autoCommit: autoCommit ?? true,
      touch: rest.rolling === true,
      cookie: { maxAge, sameSite: 'lax' },
      options: ['autoCommit', 'maxAge', 'renew'],
    },
  )
}
