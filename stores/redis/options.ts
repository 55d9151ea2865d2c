// The options of RedisStore, and their checks.

import { isPromise } from '../../lib/awaitable.ts'
import { warn } from '../../lib/diagnostics.ts'
import { optionError } from '../../lib/errors.ts'
import { lintSeconds } from '../../lib/lint.ts'
import { each, type OptionNames, readStoreOptions } from '../options.ts'

/**
 * A Redis client: of `redis` 4 to 6 (single, cluster, pool or sentinel), of `ioredis` (single or cluster), Bun's own
 * `RedisClient`, or any object with these three methods, called as those of `redis` are:
 * `set(key, value, { EX: seconds })`. Such an object may also have `expire(key, seconds)`,
 * `eval(script, { keys, arguments })` and `scan(cursor, { MATCH, COUNT })`. Without `eval` a session that other
 * processes change at the same moment is not merged atomically; without `scan` there is no `all()`, `ids()`,
 * `length()` and `clear()`.
 */
export interface RedisStoreClient {
  get(key: string): unknown
  set(key: string, value: string, options: never): unknown
  del(key: string): unknown
  // The packages declare these methods so differently that no common type fits.
  expire?: unknown
  eval?: unknown
  scan?: unknown
}

/** Turns a session into a string and back; `JSON` is one. */
export interface RedisSerializer {
  parse(text: string): unknown
  stringify(session: object): string
}

export interface RedisStoreOptions {
  /**
   * The client to use. It remains the app's: `close()` does not close it. If it is one of `redis` that is not connected,
   * the first command connects it. Default: the store makes a client, Bun's on Bun, one of the package `redis` on Node; it
   * connects with the first command and keeps no process alive.
   */
  client?: RedisStoreClient | undefined
  /** The server to which the store's own client connects. Default: `REDIS_URL` of the environment, else `redis://localhost:6379`. */
  url?: string | undefined
  /** What the keys begin with; the session's id follows. Default `'sess:'`. */
  prefix?: string | undefined
  /** The lifetime in seconds of a session whose cookie has no expiry date. Default 86 400, a day. */
  ttl?: number | undefined
  /** Default `JSON`. With another one, every read parses the whole session. */
  serializer?: RedisSerializer | undefined
  /** How many keys `all()`, `ids()`, `length()` and `clear()` request at a time. Default 100. */
  scanCount?: number | undefined
}

const NAMES: OptionNames<RedisStoreOptions> = {
  store: 'RedisStore',
  known: ['client', 'url', 'prefix', 'ttl', 'serializer', 'scanCount'],
  text: 'url',
  client: 'client',
  // The options of connect-redis, in all its versions.
  instead: {
    ...each(
      'host port socket user username pass password auth_pass db database tls',
      'put it into url, redis://user:password@host:port/db',
    ),
    ...each('redis redisClient connection', 'use client'),
    keyPrefix: 'use prefix',
    disableTTL: 'a session lives as long as its cookie, and ttl is for one whose cookie sets no date',
    disableTouch: 'a session that was extended a moment ago is not extended again, and none needs more',
    logErrors: 'listen to the error event of the client',
    unref: 'the store keeps no process alive',
  },
}

/** The options with their defaults. `url` is undefined if the app has given a client. */
interface RedisSettings {
  readonly client: RedisStoreClient | undefined
  readonly url: string | undefined
  readonly prefix: string
  readonly ttl: number
  readonly serializer: RedisSerializer
  readonly scanCount: number
}

/** Checks the options and adds the defaults. @throws TypeError `ERR_SESSION_OPTION`; it says how to correct the option. */
export function readRedisOptions(options: RedisStoreOptions | undefined): RedisSettings {
  const given = readStoreOptions(options, NAMES)
  const { client, url, prefix = 'sess:', ttl = 86_400, serializer = JSON, scanCount = 100 } = given
  if ('client' in given && client === undefined && url === undefined) {
    const cure = 'so the store makes a client of its own; leave the option out where that is meant'
    warn('WARN_SESSION_OPTION_VALUE', `client option of RedisStore is undefined, ${cure}`)
  }
  if (client !== undefined) checkClient(client)
  if (typeof prefix !== 'string') throw wrong('prefix', 'a string')
  if (!(Number.isFinite(ttl) && ttl > 0)) throw wrong('ttl', 'a number of seconds above 0')
  lintSeconds('ttl option of RedisStore', ttl)
  if (typeof serializer?.parse !== 'function' || typeof serializer.stringify !== 'function')
    throw wrong('serializer', 'an object with parse() and stringify(), as JSON is')
  if (!(Number.isInteger(scanCount) && scanCount > 0)) throw wrong('scanCount', 'a whole number above 0')
  return { client, url: client ? undefined : checkUrl(url), prefix, ttl, serializer, scanCount }
}

function wrong(option: string, what: string): TypeError {
  return optionError(`${option} option of RedisStore must be ${what}`)
}

function checkClient(client: RedisStoreClient): void {
  const shape = client as Partial<RedisStoreClient> & { internal_send_command?: unknown }
  if (isPromise(client)) throw wrong('client', 'a client; this is the promise of one, await it first')
  if (shape?.internal_send_command) throw wrong('client', 'of redis 4 or later; this one is older')
  if (typeof shape?.get !== 'function' || typeof shape.set !== 'function' || typeof shape.del !== 'function')
    throw wrong('client', 'a client of redis, ioredis or Bun, or an object with get(), set() and del()')
}

function checkUrl(given: string | undefined): string {
  const url = given ?? (process.env.REDIS_URL || 'redis://localhost:6379')
  if (typeof url === 'string' && URL.canParse(url) && /^(redis|valkey)/.test(url)) return url
  if (given !== undefined) throw wrong('url', 'the URL of a Redis server, such as redis://localhost:6379')
  throw optionError(
    'REDIS_URL must be the URL of a Redis server, such as redis://localhost:6379; or set the url option',
  )
}
