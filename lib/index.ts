// The public names of `unisession`.

import { FileStore, fileStore } from '../stores/file.ts'
import { MemoryStore } from '../stores/memory.ts'
import { RedisStore, redisStore } from '../stores/redis.ts'
import { Cookie } from './cookie.ts'
import { SessionError } from './errors.ts'
import { givenOptions } from './lint.ts'
import { createMiddleware, type SessionEvents, type SessionMiddleware, type SessionReuse } from './middleware.ts'
import type { SessionOptions } from './options.ts'
import { Session } from './session.ts'
import { Store } from './store.ts'

/**
 * Session middleware. Takes express-session's options and behaves as it does, and besides answers only when the
 * session is in the store. @throws TypeError for wrong options.
 */
export function session(options?: SessionOptions): SessionMiddleware {
  return createMiddleware(givenOptions(options))
}

// As in express-session, the function carries the classes: stores are made by `require('some-store')(session)`.
Object.assign(session, {
  Cookie,
  FileStore,
  fileStore,
  MemoryStore,
  RedisStore,
  redisStore,
  Session,
  SessionError,
  Store,
  session,
})

export type { PlainSession } from '../stores/driver.ts'
export type { FileStoreOptions } from '../stores/file.ts'
export type { MemoryStoreOptions } from '../stores/memory.ts'
export type { RedisSerializer, RedisStoreClient, RedisStoreOptions } from '../stores/redis.ts'
export type { CookieData, CookieOptions } from './cookie.ts'
export type { SessionErrorCode } from './errors.ts'
export type { BunwayRequest, BunwayResponse } from './hosts/bunway.ts'
export type {
  ErrorCallback,
  Flash,
  FlashMessages,
  RegenerateOptions,
  SessionData,
  StoreRequest,
} from './session.ts'
export type { Secret } from './signature.ts'
export type { AllCallback, CallbackStore, GetCallback, LengthCallback, PromiseStore } from './store.ts'
export type { SessionEvents, SessionMiddleware, SessionOptions, SessionReuse }
export {
  Cookie,
  FileStore,
  fileStore,
  MemoryStore,
  RedisStore,
  redisStore,
  Session,
  SessionError,
  Store,
  session as default,
}
