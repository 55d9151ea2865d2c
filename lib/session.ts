// `req.session`: the user's data, and the methods on it. Knows its record, never a host or a store's inside.

import type { Cookie } from './cookie.ts'
import { reviveCookie } from './cookie.ts'
import { type Flash, type FlashMessages, readFlash, writeFlash } from './flash.ts'
import { isPromise, type Maybe, settle } from './maybe.ts'
import type { StorePort } from './port.ts'
import { type Concurrency, SessionRecord } from './record.ts'
import type { Snapshot } from './snapshot.ts'

/**
 * What a session holds. Add your own properties:
 *
 * ```ts
 * declare module 'unisession' {
 *   interface SessionData {
 *     views: number
 *   }
 * }
 * ```
 */
export interface SessionData {
  cookie: Cookie
}

// `any`, as in the types that code for express-session was written against: it declares narrower callbacks.
// biome-ignore lint/suspicious/noExplicitAny: see above
export type ErrorCallback = (error?: any) => void

/** The request, as far as a session knows it. */
export interface SessionRequest {
  session?: unknown
  sessionID?: unknown
  sessionStore?: unknown
  /** @internal */
  [LIFE]?: RequestLife
}

/** What a session asks of the request that it lives in. */
export interface RequestLife {
  /** Loaded sessions count as saved until they change: the `resave: false` rule. */
  readonly keepsUnmodified: boolean
  readonly concurrency: Concurrency
  /** The response waits for this. */
  track<T>(work: Maybe<T>): Maybe<T>
  /** Gives the request a new, empty session under a new id. */
  generate(): void
}

export const LIFE: unique symbol = Symbol.for('unisession.life') as never
export const RECORD: unique symbol = Symbol.for('unisession.record') as never

/** `session.flash`, unless the app keeps data of its own under that name. */
export type SessionFlash = 'flash' extends keyof SessionData
  ? object
  : {
      /**
       * Messages for the next page, kept until they are read.
       * `flash(type, message, …formatArguments)` adds and returns the count of that type; `flash(type)` returns that
       * type's messages and clears them; `flash()` all of them by type. Shared with connect-flash and express-flash.
       */
      get flash(): Flash
      set flash(value: unknown)
    }

// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the class has the accessor
export interface Session extends SessionFlash {}

/**
 * The session of one request. Its enumerable properties are the user's data and `cookie`; everything else is
 * hidden, so that it can be iterated, merged and stored. Methods take a Node-style callback and then return
 * `this`, as in express-session; without one they return a Promise, which may be ignored.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: see above
export class Session {
  declare readonly id: string
  declare cookie: Cookie
  /** @internal */
  declare readonly req: SessionRequest
  /** @internal */
  declare [RECORD]: SessionRecord | undefined

  /** @internal Sessions are made by the middleware and by `Store.createSession`. */
  constructor(req: SessionRequest, data?: object | null) {
    hide(this, 'req', req, false)
    hide(this, 'id', req.sessionID, false)
    hide(this, RECORD, undefined)
    // Own, so that a wrapper assigned over them stays out of the data.
    hide(this, 'save', Session.prototype.save)
    hide(this, 'reload', Session.prototype.reload)

    if (typeof data === 'object' && data !== null) {
      for (const key in data) {
        const value = (data as Record<string, unknown>)[key]
        if (key === 'flash') writeFlash(this, value, true)
        else if (!(key in this)) (this as unknown as Record<string, unknown>)[key] = value
      }
    }
  }

  /** Lets the session live for its full `originalMaxAge` from now on. */
  touch(): this {
    return this.resetMaxAge()
  }

  /** Sets `cookie.maxAge` back to `cookie.originalMaxAge`. */
  resetMaxAge(): this {
    this.cookie.maxAge = this.cookie.originalMaxAge
    return this
  }

  /**
   * Saves now rather than at the end of the request. Rejects with the store's error, or with
   * `ERR_SESSION_SERIALIZE` when the data is not JSON (a cycle, a BigInt).
   */
  save(callback: ErrorCallback): this
  save(): Promise<void>
  save(callback?: ErrorCallback): this | Promise<void>
  save(callback?: ErrorCallback): this | Promise<void> {
    return settle(this, () => track(this.req, () => recordOf(this).save(this)), callback)
  }

  /**
   * Replaces `req.session` by what the store holds now, dropping changes that were not saved.
   * Rejects with `failed to load session` when the session is gone.
   */
  reload(callback: ErrorCallback): this
  reload(): Promise<void>
  reload(callback?: ErrorCallback): this | Promise<void> {
    const { req } = this
    const record = recordOf(this)
    return settle(
      this,
      () =>
        track(req, () => {
          const open = (snapshot: Snapshot): void => {
            openSession(req, record.port, snapshot)
          }
          const found = record.reload()
          return isPromise(found) ? found.then(open) : open(found)
        }),
      callback,
    )
  }

  /** Ends the session: `req.session` is gone at once, the record when the store says so. */
  destroy(callback: ErrorCallback): this
  destroy(): Promise<void>
  destroy(callback?: ErrorCallback): this | Promise<void> {
    delete this.req.session
    return settle(this, () => track(this.req, () => recordOf(this).destroy()), callback)
  }

  /**
   * Replaces the session by an empty one under a new id: do it whenever a user signs in
   * (OWASP Session Management, "Renew the Session ID After Any Privilege Level Change").
   * `keep: true` carries the data and the cookie's lifetime over. Use `req.session` afterwards, not this object.
   */
  regenerate(callback: ErrorCallback): this
  regenerate(options: RegenerateOptions, callback: ErrorCallback): this
  regenerate(options?: RegenerateOptions): Promise<void>
  regenerate(first?: RegenerateOptions | ErrorCallback, second?: ErrorCallback): this | Promise<void> {
    const callback = typeof first === 'function' ? first : second
    const keep = typeof first === 'object' && first?.keep === true
    return settle(this, () => track(this.req, () => regenerate(this, keep)), callback)
  }

  /** @internal */
  get flash(): Flash {
    return readFlash(this)
  }

  /** @internal */
  set flash(value: unknown) {
    writeFlash(this, value)
  }
}

export interface RegenerateOptions {
  /** Carries the data over to the new id. Default `false`. */
  keep?: boolean
}

export type { Flash, FlashMessages }

for (const method of Object.getOwnPropertyNames(Session.prototype)) {
  Object.defineProperty(Session.prototype, method, { enumerable: false })
}

function hide(session: object, key: PropertyKey, value: unknown, writable = true): void {
  Object.defineProperty(session, key, {
    value,
    writable,
    configurable: writable,
    enumerable: false,
  })
}

/** Whether the app, or a library, has put its own `save` in place of ours. */
export function hasOwnSave(session: Session): boolean {
  return session.save !== Session.prototype.save
}

/** The record behind a session; one that was made by hand gets its own. */
export function recordOf(session: Session): SessionRecord {
  const record = session[RECORD]
  if (record) return record
  throw new TypeError('this session belongs to no request; make it with store.createSession(req, data)')
}

/** Makes `req.session` of what a store held. */
export function openSession(req: SessionRequest, port: StorePort, snapshot: Snapshot, cookie?: Cookie): Session {
  // Before the app can change what the store handed over.
  void snapshot.data
  const session = new Session(req, snapshot.open())
  session.cookie = cookie ?? reviveCookie(snapshot.cookie)
  session[RECORD] = loadedRecord(req, port, snapshot)
  req.session = session
  return session
}

/** The record behind a session that was loaded for this request. */
export function loadedRecord(req: SessionRequest, port: StorePort, snapshot: Snapshot): SessionRecord {
  const { keepsUnmodified = false, concurrency = 'merge' } = req[LIFE] ?? {}
  return SessionRecord.loaded(req.sessionID as string, port, concurrency, snapshot, keepsUnmodified)
}

/** Makes `req.session` a new one under `req.sessionID`. */
export function newSession(req: SessionRequest, port: StorePort, cookie: Cookie): Session {
  const session = new Session(req)
  session.cookie = cookie
  session[RECORD] = SessionRecord.create(session.id, port, req[LIFE]?.concurrency ?? 'merge')
  req.session = session
  return session
}

function track<T>(req: SessionRequest, work: () => Maybe<T>): Maybe<T> {
  const life = req[LIFE]
  return life ? life.track(work()) : work()
}

function regenerate(session: Session, keep: boolean): Maybe<void> {
  const { req } = session
  const renew = (): void => {
    const life = req[LIFE]
    if (life) life.generate()
    else (req.sessionStore as { generate(req: SessionRequest): void }).generate(req)
    if (keep) carryOver(session, req.session as Session)
  }
  const current = (req.session as Session | null | undefined)?.[RECORD] ?? recordOf(session)
  // As in express-session, the new session is there even when the old one could not be destroyed.
  const renewAndThrow = (error: unknown): never => {
    renew()
    throw error
  }
  let removed: Maybe<void>
  try {
    removed = current.destroy()
  } catch (error) {
    return renewAndThrow(error)
  }
  return isPromise(removed) ? removed.then(renew, renewAndThrow) : renew()
}

function carryOver(from: Session, to: Session): void {
  const target = to as unknown as Record<string, unknown>
  for (const [key, value] of Object.entries(from)) {
    if (key !== 'cookie') target[key] = value
  }
  to.cookie = reviveCookie(from.cookie.data)
}
