// The public names of `unisession`.

import { FileStore, fileStore } from '../stores/file.ts'
import { MemoryStore } from '../stores/memory.ts'
import { RedisStore, redisStore } from '../stores/redis.ts'
import { Cookie } from './cookie.ts'
import { SessionError } from './errors.ts'
import { session } from './middleware.ts'
import { Session } from './session.ts'
import { Store } from './store.ts'

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
})

export type { FileStoreOptions } from '../stores/file.ts'
export type { MemoryStoreOptions } from '../stores/memory.ts'
export type { RedisSerializer, RedisStoreClient, RedisStoreOptions } from '../stores/redis.ts'
export type { CookieData, CookieOptions } from './cookie.ts'
export type { SessionErrorCode } from './errors.ts'
export type { SessionMiddleware } from './middleware.ts'
export type { SessionOptions } from './options.ts'
export type {
  Flash,
  FlashMessages,
  RegenerateOptions,
  SessionData,
} from './session.ts'
export type { Secret } from './signature.ts'
export type { CallbackStore, PromiseStore } from './store.ts'
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
  session,
  session as default,
}
