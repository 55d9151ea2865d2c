// unisession/bunway: the same sessions, with the defaults and shapes that bunWay documents.

import { FileStore as BaseFileStore, type FileStoreOptions } from '../stores/file.ts'
import { MemoryStore as BaseMemoryStore, type MemoryStoreOptions } from '../stores/memory.ts'
import { isPromise, settle } from './awaitable.ts'
import { lifetimeIn, withDefaults } from './defaults.ts'
import { givenOptions } from './lint.ts'
import { createMiddleware, type SessionMiddleware } from './middleware.ts'
import type { SessionOptions } from './options.ts'
import type { AllCallback, CallbackStore, PromiseStore } from './store.ts'

export type * from './types.ts'

const DAY = 86_400_000

/** A store as bunWay documents it. `maxAge` is in milliseconds. */
export interface SessionStore {
  get(sid: string): Promise<Record<string, unknown> | null>
  set(sid: string, session: Record<string, unknown>, maxAge?: number): Promise<void>
  destroy(sid: string): Promise<void>
  touch?(sid: string, session: Record<string, unknown>): Promise<void>
  all?(): Promise<Record<string, unknown>[]>
  length?(): Promise<number>
  clear?(): Promise<void>
}

/**
 * Session middleware with bunWay's documented defaults: cookie `connect.sid`, 24 hours (or as long as a `FileStore` or
 * `RedisStore` keeps its sessions), `sameSite: 'lax'`; `saveUninitialized` on; `destroy` takes the browser's cookie away.
 * `resave: true` writes an unchanged session on every response; left out, it does so on stores without `touch`, to keep
 * their sessions alive. Promise-style stores are given milliseconds, and records without a cookie are read.
 */
export function session(given?: SessionOptions): SessionMiddleware {
  const options = givenOptions(given)
  const { resave, concurrency } = options
  const store = options.store || (new MemoryStore() as SessionOptions['store'])
  const rewrites = resave ?? typeof (store as PromiseStore).touch !== 'function'
  const defaults = { saveUninitialized: true, clearCookie: true }
  return createMiddleware(
    {
      ...withDefaults(defaults, options),
      store,
      resave: rewrites,
      // A visit that changes nothing must not write back what another process has changed.
      concurrency: concurrency ?? (rewrites ? 'reread' : undefined),
    },
    { bareRecords: true, cookie: { maxAge: lifetimeIn(store, DAY), sameSite: 'lax' } },
  )
}

type Entry = Record<string, unknown>
type Done = (error: unknown, value?: unknown) => void

/** Where bunWay documents other answers than express-session: `null` for what is not there, and a list of all. */
interface Answers {
  get(sid: string): Promise<Entry | null>
  get(sid: string, done: Done): void
  all(): Promise<Entry[]>
  all(done: Done): void
}

/** Keeps sessions in this process. */
export const MemoryStore = class MemoryStore extends BaseMemoryStore {
  protected override readonly nothing = null as never

  override all(done?: AllCallback): never {
    const listed = BaseMemoryStore.prototype.all
      .call(this)
      // An entry is the session's data and nothing else; its id is there for who asks.
      .then((all) => Object.entries(all).map(([id, entry]) => Object.defineProperty(entry, 'id', { value: id })))
    return settle(undefined, () => listed, done as Done) as never
  }
} as unknown as new (
  options?: MemoryStoreOptions,
) => MemoryStore
export interface MemoryStore extends Omit<BaseMemoryStore, keyof Answers>, Answers {}

/** Keeps sessions in files, as `FileStore` of `unisession` does. */
export const FileStore = class FileStore extends BaseFileStore {
  protected override readonly nothing = null as never
} as unknown as new (
  options: FileStoreOptions,
) => FileStore
export interface FileStore extends Omit<BaseFileStore, keyof Answers>, Answers {}

/** A store of express-session's kind as bunWay's promise-style one. `session()` takes either. */
export function fromExpressStore(store: CallbackStore): SessionStore {
  const legacy = store as unknown as Record<string, (...args: unknown[]) => unknown>
  const ask =
    (method: string) =>
    (...args: unknown[]): Promise<never> =>
      new Promise((resolve, reject) => {
        const returned = legacy[method]?.(...args, (error: unknown, value: unknown) =>
          error ? reject(error) : resolve((value ?? null) as never),
        )
        if (isPromise(returned)) returned.then(undefined, reject)
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
    if (typeof legacy[method] !== 'function') continue
    adapted[method] = (...args: unknown[]) => {
      const answer = legacy[method]?.(...args)
      return answer === legacy ? adapted : answer
    }
  }
  return adapted as unknown as SessionStore
}
