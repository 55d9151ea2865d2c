// The public names of `unisession`.

import { FileStore, fileStore } from '../stores/file.ts'
import { MemoryStore } from '../stores/memory.ts'
import { RedisStore, redisStore } from '../stores/redis.ts'
import { Cookie } from './cookie.ts'
import { SessionError } from './errors.ts'
import { givenOptions } from './lint.ts'
import { createMiddleware, type SessionMiddleware } from './middleware.ts'
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

export type * from './types.ts'
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
