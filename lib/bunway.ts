// unisession/bunway: the same middleware and stores, with the defaults and results that bunWay documents.

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

/** A store as bunWay documents it. `maxAge`: how long the session lasts, in milliseconds. */
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
 * Session middleware with bunWay's documented defaults: cookie `connect.sid`, a `maxAge` of 24 hours (or the lifetime
 * of a `FileStore` or `RedisStore`), `sameSite: 'lax'`, `saveUninitialized: true` and `clearCookie: true`. `resave`
 * defaults to true on stores without `touch`, as only writing extends their sessions, otherwise to false. Promise-style
 * stores get times in milliseconds, and their records need no cookie. @throws TypeError for wrong options.
 */
export function session(given?: SessionOptions): SessionMiddleware {
  const options = givenOptions(given)
  const { resave, concurrency } = options
  const store = options.store || (new MemoryStore() as SessionOptions['store'])
  const resaves = resave ?? typeof (store as PromiseStore).touch !== 'function'
  const defaults = { saveUninitialized: true, clearCookie: true }
  return createMiddleware(
    {
      ...withDefaults(defaults, options),
      store,
      resave: resaves,
      // Saving an unchanged session must not overwrite what another process has changed.
      concurrency: concurrency ?? (resaves ? 'reread' : undefined),
    },
    { bareRecords: true, cookie: { maxAge: lifetimeIn(store, DAY), sameSite: 'lax' } },
  )
}

type Entry = Record<string, unknown>
type Callback = (error: unknown, value?: unknown) => void

/** Methods whose results differ from express-session's: `get` gives `null` for none, `all` gives a list. */
interface BunwayResults {
  get(sid: string): Promise<Entry | null>
  get(sid: string, done: Callback): void
  all(): Promise<Entry[]>
  all(done: Callback): void
}

/** Keeps sessions in the memory of this process, as `MemoryStore` of `unisession` does. */
export const MemoryStore = class MemoryStore extends BaseMemoryStore {
  protected override readonly nothing = null as never

  override all(done?: AllCallback): never {
    const listed = BaseMemoryStore.prototype.all
      .call(this)
      // The id is not enumerable: an entry equals the session's data, as bunWay documents, and still has its id.
      .then((all) => Object.entries(all).map(([id, entry]) => Object.defineProperty(entry, 'id', { value: id })))
    return settle(undefined, () => listed, done as Callback) as never
  }
} as unknown as new (
  options?: MemoryStoreOptions,
) => MemoryStore
export interface MemoryStore extends Omit<BaseMemoryStore, keyof BunwayResults>, BunwayResults {}

/** Keeps sessions in files, as `FileStore` of `unisession` does. */
export const FileStore = class FileStore extends BaseFileStore {
  protected override readonly nothing = null as never
} as unknown as new (
  options: FileStoreOptions,
) => FileStore
export interface FileStore extends Omit<BaseFileStore, keyof BunwayResults>, BunwayResults {}

/**
 * Adapts a store for express-session, with callbacks, to bunWay's promise-style contract. `session()` accepts both
 * kinds.
 */
export function fromExpressStore(store: CallbackStore): SessionStore {
  const callbackStore = store as unknown as Record<string, (...args: unknown[]) => unknown>
  const promisify =
    (method: string) =>
    (...args: unknown[]): Promise<never> =>
      new Promise((resolve, reject) => {
        const returned = callbackStore[method]?.(...args, (error: unknown, value: unknown) =>
          error ? reject(error) : resolve((value ?? null) as never),
        )
        if (isPromise(returned)) returned.then(undefined, reject)
      })
  const adapted: Record<string, unknown> = {
    get: (sid: string) => promisify('get')(sid),
    set: (sid: string, session: object) => promisify('set')(sid, session),
    destroy: (sid: string) => promisify('destroy')(sid),
  }
  if (typeof callbackStore.touch === 'function')
    adapted.touch = (sid: string, session: object) => promisify('touch')(sid, session)
  for (const method of ['all', 'length', 'clear']) {
    if (typeof callbackStore[method] === 'function') adapted[method] = () => promisify(method)()
  }
  for (const method of ['on', 'emit']) {
    if (typeof callbackStore[method] !== 'function') continue
    adapted[method] = (...args: unknown[]) => {
      const returned = callbackStore[method]?.(...args)
      return returned === callbackStore ? adapted : returned
    }
  }
  return adapted as unknown as SessionStore
}
