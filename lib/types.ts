// The types that every entry exports: those in any public signature, so that a compiler can name what it infers from one.

export type { PlainSession } from '../stores/driver.ts'
export type { FileStore, FileStoreOptions } from '../stores/file.ts'
export type { MemoryStore, MemoryStoreOptions } from '../stores/memory.ts'
export type { RedisSerializer, RedisStore, RedisStoreClient, RedisStoreOptions } from '../stores/redis.ts'
export type { Cookie, CookieData, CookieOptions } from './cookie.ts'
export type { SessionError, SessionErrorCode } from './errors.ts'
export type { BunwayRequest, BunwayResponse } from './hosts/bunway.ts'
export type { RenewReason, RevokedSessions, SessionEvents, SessionMiddleware, SessionReuse } from './middleware.ts'
export type { SessionOptions } from './options.ts'
export type { SessionEvent, TracedSession } from './request/events.ts'
export type { SessionInfo } from './request/request-session.ts'
export type { FreshOptions, ListedSession, SessionGuard, UserMethods } from './request/users.ts'
export type {
  ErrorCallback,
  Flash,
  FlashMessages,
  RegenerateOptions,
  Session,
  SessionData,
  StoreRequest,
} from './session.ts'
export type { Secret } from './signature.ts'
export type { AllCallback, CallbackStore, GetCallback, LengthCallback, PromiseStore, Store } from './store.ts'
