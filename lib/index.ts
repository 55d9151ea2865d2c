// The public names of `unisession`.

export { MemoryStore, type MemoryStoreOptions } from '../stores/memory.ts'
export { Cookie, type CookieData, type CookieOptions } from './cookie.ts'
export { SessionError, type SessionErrorCode } from './errors.ts'
export { type SessionMiddleware, session, session as default } from './middleware.ts'
export type { SessionOptions } from './options.ts'
export { type Flash, type FlashMessages, type RegenerateOptions, Session, type SessionData } from './session.ts'
export type { Secret } from './signature.ts'
export { type PromiseStore, Store } from './store.ts'
