// unisession/bunway: the same sessions, with the defaults and shapes that bunWay documents.

import { FileStore } from '../stores/file.ts'
import { MemoryStore as BaseMemoryStore } from '../stores/memory.ts'
import { cookieWithDefaults, withDefaults } from './defaults.ts'
import { createMiddleware, type SessionMiddleware } from './middleware.ts'
import type { SessionOptions } from './options.ts'
import type { CallbackStore, PromiseStore } from './store.ts'

export { FileStore, type FileStoreOptions } from '../stores/file.ts'
export type { Session, SessionData } from './session.ts'
export type { SessionMiddleware, SessionOptions }

const DAY = 86_400_000

/**
 * Session middleware with bunWay's documented defaults: cookie `connect.sid`, 24 hours (or as long as a `FileStore`
 * keeps its sessions), `sameSite: 'lax'`; `resave` and `saveUninitialized` on; `destroy` takes the browser's cookie away.
 * Promise-style stores are given milliseconds, and records without a cookie are read.
 */
export function session(options: SessionOptions = {}): SessionMiddleware {
  const { store } = options
  const maxAge = store instanceof FileStore ? store.ttl : DAY
  const defaults = { resave: true, saveUninitialized: true, clearCookie: true }
  return createMiddleware(
    { ...withDefaults(defaults, options), cookie: cookieWithDefaults({ maxAge, sameSite: 'lax' }, options.cookie) },
    { bareRecords: true },
  )
}

type Entry = Record<string, unknown>

/** Keeps sessions in this process; `all()` answers with a list, as bunWay's does. */
export class MemoryStore extends (BaseMemoryStore as new (
  ...args: ConstructorParameters<typeof BaseMemoryStore>
) => Omit<BaseMemoryStore, 'all'>) {
  async all(): Promise<Entry[]> {
    return Object.values(await BaseMemoryStore.prototype.all.call(this as never)) as Entry[]
  }
}

/** A store of express-session's kind as bunWay's promise-style one. `session()` takes either. */
export function fromExpressStore(store: CallbackStore): PromiseStore {
  const legacy = store as unknown as Record<string, (...args: unknown[]) => unknown>
  const ask =
    (method: string) =>
    (...args: unknown[]): Promise<never> =>
      new Promise((resolve, reject) => {
        legacy[method]?.(...args, (error: unknown, value: unknown) =>
          error ? reject(error) : resolve((value ?? null) as never),
        )
      })
  const adapted: Record<string, unknown> = {
    get: (sid: string) => ask('get')(sid),
    set: (sid: string, session: object) => ask('set')(sid, session),
    destroy: (sid: string) => ask('destroy')(sid),
  }
  if (typeof legacy.touch === 'function') adapted.touch = (sid: string, session: object) => ask('touch')(sid, session)
  for (const method of ['all', 'length', 'clear']) {
    if (typeof legacy[method] === 'function') adapted[method] = () => ask(method)()
  }
  for (const method of ['on', 'emit']) {
    if (typeof legacy[method] === 'function') adapted[method] = (...args: unknown[]) => legacy[method]?.(...args)
  }
  return adapted as unknown as PromiseStore
}
