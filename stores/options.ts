// The options of the bundled stores, as they were given.

import { warn } from '../lib/diagnostics.ts'
import { optionError } from '../lib/errors.ts'
import { lintNames } from '../lib/lint.ts'
import { isPromise } from '../lib/maybe.ts'
import type { FileStoreOptions } from './file.ts'
import type { MemoryStoreOptions } from './memory.ts'
import type { RedisStoreOptions } from './redis.ts'

/** What the options of a store are called, here and elsewhere. */
interface OptionNames<T> {
  readonly store: string
  readonly known: readonly (keyof T & string)[]
  /** Options of the packages that the store takes the place of, and what to do in their place. */
  readonly instead: Readonly<Record<string, string>>
  /** Where a text belongs that was given in place of the options. */
  readonly text?: keyof T & string
  /** Where a client does. */
  readonly client?: keyof T & string
  /** Whatever else is given counts as no options, as express-session has it. */
  readonly lenient?: boolean
}

/** The same cure for several names. */
const each = (names: string, cure: string): Record<string, string> =>
  Object.fromEntries(names.split(' ').map((name) => [name, cure]))

export const MEMORY_OPTIONS: OptionNames<MemoryStoreOptions> = {
  store: 'MemoryStore',
  known: ['max', 'reapInterval'],
  lenient: true,
  // Of memorystore.
  instead: {
    checkPeriod: 'use reapInterval',
    ttl: 'a session lives as long as its cookie; set cookie.maxAge',
    serializer: 'sessions are kept as JSON',
    stale: 'an expired session is never handed out',
    ...each('dispose noDisposeOnSet', 'nothing is called when a session goes'),
  },
}

export const FILE_OPTIONS: OptionNames<FileStoreOptions> = {
  store: 'FileStore',
  known: ['path', 'ttl', 'encoding', 'fileExtension', 'reapInterval', 'sync'],
  text: 'path',
  // Of session-file-store.
  instead: {
    ...each('dir directory folder', 'use path'),
    ...each('secret crypto encryptEncoding', 'sessions are not encrypted; only their owner can read the files'),
    ...each('encoder decoder', 'sessions are kept as JSON'),
    ...each('retries factor minTimeout maxTimeout', 'a session that is there is found at the first try'),
    ...each(
      'reapMaxConcurrent reapAsync reapSyncFallback reapIntervalObject',
      'reaping never blocks; set reapInterval',
    ),
    keyFunction: "a file is named by the SHA-256 of its session's id",
    filePattern: 'files of others are left alone; set fileExtension',
    fallbackSessionFn: 'where a session is missing, the visitor is given a new one',
    logFn: 'set DEBUG=unisession in the environment',
  },
}

export const REDIS_OPTIONS: OptionNames<RedisStoreOptions> = {
  store: 'RedisStore',
  known: ['client', 'url', 'prefix', 'ttl', 'serializer', 'scanCount'],
  text: 'url',
  client: 'client',
  // Of connect-redis, in all its versions.
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

/**
 * The options of a store, with a warning for each name that is none.
 * @throws TypeError for something else in their place, with what to write instead.
 */
export function readStoreOptions<T extends object>(given: T | undefined, names: OptionNames<T>): Partial<T> {
  if (given === undefined || given === null) return {}
  const { store, known, instead, lenient } = names
  const what = inPlaceOfOptions(given)
  if (what === undefined) {
    lintNames(given, known, { of: store, instead })
    return given
  }
  const option = what === 'a text' ? names.text : what === 'a client' ? names.client : undefined
  const words = `${store} was given ${what} in place of options; use new ${store}(${option ? `{ ${option}: … }` : '{ … }'})`
  if (!lenient) throw optionError(words)
  warn('WARN_SESSION_OPTIONS', words)
  return {}
}

function inPlaceOfOptions(given: unknown): string | undefined {
  if (typeof given === 'string' || given instanceof URL) return 'a text'
  if (typeof given !== 'object' || given === null) return `a ${typeof given}`
  if (isPromise(given)) return 'a promise'
  return typeof (given as { get?: unknown }).get === 'function' ? 'a client' : undefined
}
