// `req.session`: the app's data, and the methods on it. Knows its record, but neither hosts nor stores.

import { type Awaitable, chain, isPromise, ObservedPromise, settle } from './awaitable.ts'
import { Cookie, type CookieData, cookieFrom, isCookie, reviveCookie } from './cookie.ts'
import { copyFacts, factsOf, forgetUser, keepUser } from './facts.ts'
import { type Flash, type FlashMessages, readFlash, writeFlash } from './flash.ts'
import { mergeCookie, mergeData } from './merge.ts'
import type { SessionSlot } from './port/renewed.ts'
import { type FoundSession, type RecordOwner, SessionRecord } from './record.ts'
import { type Snapshot, serializeData } from './snapshot.ts'

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

/** The properties of a request that sessions use. Hosts have types of their own. */
export interface StoreRequest {
  session?: unknown
  sessionID?: unknown
  sessionStore?: unknown
  /** @internal */
  [LIFE]?: RequestLife
}

/** What a session needs of the request that it belongs to; kept on the request under {@link LIFE}. */
export interface RequestLife extends RecordOwner {
  /** The session was committed: a middleware that handles the request again must start from the store. */
  readonly isCommitted: boolean
  /** The app has assigned null, undefined or another value that is no session to `req.session`. */
  readonly isAway: boolean
  /** Loaded sessions count as saved until they change: `resave: false`. */
  readonly keepsUnmodified: boolean
  /** `regenerate` and `destroy` empty the session object instead of replacing it, as bunWay documents. */
  readonly keepsObject: boolean
  /** Makes the response wait for a promise. If it rejects and nothing handles that, the request fails. */
  track(work: ObservedPromise<void>): ObservedPromise<void>
  /** Wraps the callback of a session method, so that the response waits for it. */
  expect(callback: ErrorCallback): ErrorCallback
  /** Called when the app destroys a session: the request has none until it gets another. */
  ending(session: Session): void
  /** Called when the store has destroyed a session. */
  ended(session: Session): void
  /** Called when `regenerate` has ended a session that was stored, and another is in its place. */
  regenerated(from: string, user: string | undefined): void
  /** Adds the methods and the shape of `flash` that the host documents. */
  applyTraits(session: Session): Session
  /** Tells the request that its session has another id than the browser's cookie says. */
  adoptRenewedId(id: string): void
  /**
   * Gives the request a new, empty session under a new id. @throws SessionError `ERR_SESSION_ID` when `genid` returns
   * none.
   */
  generate(): void
  /** A cookie with the attributes that the options set for this request. */
  newCookie(): Cookie
}

export const LIFE: unique symbol = Symbol.for('unisession.life') as never
export const RECORD: unique symbol = Symbol.for('unisession.record') as never

/** `session.flash`, unless the app keeps data of its own under that name. */
export type SessionFlash = 'flash' extends keyof SessionData
  ? object
  : {
      /**
       * Messages that are stored until they are read, as by connect-flash and express-flash, which share them.
       * `flash(type, message, …formatArguments)` adds a message and returns how many of that type there are;
       * `flash(type)` returns the messages of that type and clears them; `flash()` does so for all, by type.
       */
      get flash(): Flash
      set flash(value: unknown)
    }

export interface Session extends SessionFlash {}

/**
 * The session of one request. Its enumerable properties are the app's data and `cookie`; all others are not enumerable,
 * so that it can be iterated, merged and stored. Methods with a Node-style callback return `this`, as in
 * express-session. Without one they return a promise. An app need not handle it: the response waits for it, and its
 * failure fails the request.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: see above
export class Session {
  declare readonly id: string
  declare cookie: Cookie
  /** @internal */
  declare readonly req: StoreRequest
  /** @internal */
  declare [RECORD]: SessionRecord | undefined

  /** @internal Sessions are made by the middleware and by `Store.createSession`. */
  constructor(req: StoreRequest, data?: object | null, id = req.sessionID) {
    hide(this, 'req', req, false)
    setId(this, id)
    hide(this, RECORD, undefined)
    // Own and not enumerable: a wrapper that an app assigns to them would become data otherwise.
    hide(this, 'save', Session.prototype.save)
    hide(this, 'reload', Session.prototype.reload)

    if (typeof data === 'object' && data !== null) fill(this, data)
  }

  /** Extends the session: the same as {@link Session.resetMaxAge}. Returns `this`. */
  touch(): this {
    return this.resetMaxAge()
  }

  /** Sets `cookie.maxAge` to `cookie.originalMaxAge`, in milliseconds from now. Returns `this`. */
  resetMaxAge(): this {
    const cookie = cookieOf(this)
    cookie.maxAge = cookie.originalMaxAge as number
    return this
  }

  /**
   * Saves the session now instead of at the end of the request, and extends it to its full lifetime. Fails with the
   * store's error, or with `ERR_SESSION_SERIALIZE` when the data cannot be written as JSON (a cycle, a BigInt).
   */
  save(callback: ErrorCallback): this
  save(): Promise<void>
  save(callback?: ErrorCallback): this | Promise<void>
  save(callback?: ErrorCallback): this | Promise<void> {
    const save = (): Awaitable<void> => recordOf(this).save(this.resetMaxAge())
    return settleFor(this, save, callback) as this | Promise<void>
  }

  /**
   * Replaces `req.session` by what the store holds now; unsaved changes are lost. Fails with the store's error, or with
   * `ERR_SESSION_MISSING`, "failed to load session" as in express-session, when the store holds no such session.
   */
  reload(callback: ErrorCallback): this
  reload(): Promise<void>
  reload(callback?: ErrorCallback): this | Promise<void> {
    const { req } = this
    const replace = (found: FoundSession): void => {
      const life = req[LIFE]
      // The app has destroyed the session in the meantime.
      if (req.session === undefined || req.session === null) return
      const { id } = found.slot
      if (id !== this.id) {
        if (life) life.adoptRenewedId(id)
        else req.sessionID = id
      }
      const record = loadedRecord(req, found)
      if (life?.keepsObject) reopenSession(this, record)
      else {
        const session = openSession(req, record)
        life?.applyTraits(session)
      }
    }
    return settleFor(this, () => chain(recordOf(this).reload(), replace), callback) as this | Promise<void>
  }

  /**
   * Destroys the session. `req.session` is gone at once, the stored session when the promise resolves or the callback
   * is called. Fails with the store's error.
   */
  destroy(callback: ErrorCallback): this
  destroy(): Promise<void>
  destroy(callback?: ErrorCallback): this | Promise<void> {
    const life = this.req[LIFE]
    if (life?.keepsObject) emptyOut(this)
    else delete this.req.session
    life?.ending(this)
    const destroy = (): Awaitable<void> => chain(recordOf(this).destroy(), () => life?.ended(this))
    return settleFor(this, destroy, callback) as this | Promise<void>
  }

  /**
   * Destroys the session and gives the request an empty one under a new id. Call it whenever a user signs in (OWASP
   * Session Management, "Renew the Session ID After Any Privilege Level Change"). `keep: true` keeps the data and the
   * cookie's lifetime. Use `req.session` afterwards, not this object: without a callback it is the new session at once,
   * with one when that is called, as in express-session. Fails with the store's error; the new session exists even
   * then.
   */
  regenerate(callback: ErrorCallback): this
  regenerate(options: RegenerateOptions, callback: ErrorCallback): this
  regenerate(options?: RegenerateOptions): Promise<void>
  regenerate(first?: RegenerateOptions | ErrorCallback, second?: ErrorCallback): this | Promise<void> {
    const callback = typeof first === 'function' ? first : second
    const keep = typeof first === 'object' && first?.keep === true
    return settleFor(this, () => regenerate(this, keep, callback === undefined), callback) as this | Promise<void>
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
  /** Keeps the data and the cookie's lifetime. Default `false`. */
  keep?: boolean
}

export type { Flash, FlashMessages }

/** Sets `session.id`, which apps can only read. */
export function setId(session: object, id: unknown): void {
  Object.defineProperty(session, 'id', { value: id, configurable: true, writable: false, enumerable: false })
}

/** Runs the work of a session method. The response waits for it, and for its callback where the host wants that. */
function settleFor(
  session: Session,
  work: () => Awaitable<void>,
  callback: ErrorCallback | undefined,
): Session | Promise<void> {
  const life = session.req[LIFE]
  if (!life) return settle(session, work, callback)
  if (typeof callback === 'function') return settle(session, work, life.expect(callback))
  return life.track(ObservedPromise.of(work))
}

/** Defines a property that is not enumerable and so not part of the data. */
export function hide(session: object, key: PropertyKey, value: unknown, writable = true): void {
  Object.defineProperty(session, key, {
    value,
    writable,
    configurable: writable,
    enumerable: false,
  })
}

/** Whether an app or a library has replaced the `save` method of this session. */
export function hasOwnSave(session: Session): boolean {
  return session.save !== Session.prototype.save
}

/** @throws TypeError for a session that was made with `new Session` by somebody else than this package. */
function recordOf(session: Session): SessionRecord {
  const record = session[RECORD]
  if (record) return record
  throw new TypeError('this session belongs to no request; make it with store.createSession(req, data)')
}

/**
 * The session's cookie. If the app has assigned another value to `session.cookie`, makes a cookie of that, which keeps
 * the facts of the session.
 */
export function cookieOf(session: Session): Cookie {
  const assigned: unknown = session.cookie
  const record = session[RECORD]
  const last = record?.cookie
  if (!record || assigned === last) return assigned as Cookie
  // A cookie of express-session's class has no place for facts.
  const cookie = assigned instanceof Cookie ? assigned : cookieFrom(assigned, configuredCookie(session, last), last)
  copyFacts(last, cookie)
  session.cookie = cookie
  record.cookie = cookie
  return cookie
}

/** A cookie as the options set it; without a middleware, as the session had it. */
function configuredCookie({ req }: Session, last: Cookie | undefined): Cookie {
  return req[LIFE]?.newCookie() ?? (last ? reviveCookie(last.data) : new Cookie())
}

/** Makes `req.session` from a loaded record. `cookie`: its cookie, if the request has revived that already. */
export function openSession(req: StoreRequest, record: SessionRecord, cookie?: Cookie, id = record.id): Session {
  const { snapshot } = record as { snapshot: Snapshot }
  const session = new Session(req, snapshot.open(), id)
  bind(session, record, cookie ?? reviveCookie(snapshot.cookie))
  req.session = session
  return session
}

/** The record of a session that was loaded for this request. */
export function loadedRecord(req: StoreRequest, found: FoundSession): SessionRecord {
  return SessionRecord.loaded(found, ownerOf(req), req[LIFE]?.keepsUnmodified === true)
}

/** The owner of a request's record. Without a middleware, as for `store.load`, changes are merged. */
function ownerOf({ [LIFE]: life }: StoreRequest): RecordOwner {
  return life ?? { overwrites: false }
}

/** Fills a session object with a loaded record instead of replacing it, for hosts with `keepsObject`. */
function reopenSession(session: Session, record: SessionRecord): void {
  const { snapshot } = record as { snapshot: Snapshot }
  emptyOut(session)
  fill(session, snapshot.open())
  setId(session, record.id)
  bind(session, record, reviveCookie(snapshot.cookie))
}

/** Connects a session with its cookie and its record. */
function bind(session: Session, record: SessionRecord, cookie: Cookie): void {
  session.cookie = cookie
  record.cookie = cookie
  session[RECORD] = record
}

/** Copies data into a session. Skips keys that are the names of its methods. */
export function fill(session: Session, data: object): void {
  for (const key in data) {
    const value = (data as Record<string, unknown>)[key]
    if (key === 'flash') writeFlash(session, value, true)
    else if (hasData(session, key) || !(key in session)) (session as unknown as Record<string, unknown>)[key] = value
  }
}

/** Whether the app has data under this key. */
function hasData(session: object, key: string): boolean {
  return key !== 'cookie' && Object.prototype.propertyIsEnumerable.call(session, key)
}

/** Gives the request a new session under the slot's id. Nothing is stored yet. */
export function newSession(req: StoreRequest, slot: SessionSlot, cookie: Cookie): Session {
  const session = new Session(req, undefined, slot.id)
  bind(session, SessionRecord.create(slot, ownerOf(req)), cookie)
  req.session = session
  return session
}

/** Empties a session object and gives it a new id instead of replacing it, for hosts with `keepsObject`. */
export function renewSession(session: Session, slot: SessionSlot, cookie: Cookie): void {
  emptyOut(session)
  setId(session, slot.id)
  bind(session, SessionRecord.create(slot, ownerOf(session.req)), cookie)
}

/** Deletes data from a session: all of it, or that under `keys`. */
export function emptyOut(session: Session, keys: string[] = Object.keys(session)): void {
  const target = session as unknown as Record<string, unknown>
  for (const key of keys) if (hasData(session, key)) delete target[key]
}

/** Gives the request a new, empty session. */
function generate(req: StoreRequest): Session {
  const life = req[LIFE]
  if (life) life.generate()
  else (req.sessionStore as { generate(req: StoreRequest): void }).generate(req)
  return req.session as Session
}

/** What `regenerate({ keep: true })` copies to the new session. */
interface Kept {
  /** The data as JSON. */
  readonly data: string
  readonly cookie: CookieData
}

/** `immediately`: makes the new session synchronously, otherwise when the store has destroyed the old one. */
function regenerate(session: Session, keep: boolean, immediately: boolean): Awaitable<void> {
  const { req } = session
  const record = (req.session as Session | null | undefined)?.[RECORD] ?? recordOf(session)
  const old = keep ? { ...session, cookie: reviveCookie(cookieOf(session).data) } : undefined
  const kept: Kept | undefined = old && { data: serializeData(old), cookie: old.cookie.data }
  const isStored = record.wasStored && !record.isGone
  const from = record.id
  const { user } = factsOf(record.cookie ?? {})
  let next: { readonly session: Session; readonly cookie: CookieData } | undefined

  const start = (): void => {
    if (next) return
    const started = generate(req)
    next = { session: started, cookie: started.cookie.data }
    if (isStored) req[LIFE]?.regenerated(from, old ? undefined : user)
    if (!old) return
    const { cookie, ...data } = old
    Object.assign(started, data)
    keepUser(cookie, cookieOf(started))
    setCookie(started, cookie)
  }
  const finish = (stored: object | undefined): void => {
    start()
    if (!kept || !next) return
    // Another request has ended it, and with it whose it was.
    if (!stored) forgetUser(cookieOf(next.session))
    mergeStored(next.session, kept, (stored ?? { cookie: next.cookie }) as WithCookie)
  }
  // As in express-session, the request gets a new session even if the store cannot destroy the old one.
  const fail = (error: unknown): never => {
    start()
    throw error
  }

  if (immediately) start()
  let finished: Awaitable<void>
  try {
    finished = chain(old ? record.take(old) : chain(record.destroy(), () => undefined), finish)
  } catch (error) {
    return fail(error)
  }
  if (!isPromise(finished)) return undefined
  // A save under the new id must wait until the changes of other requests were merged.
  if (kept) next?.session[RECORD]?.after(finished)
  return finished.catch(fail)
}

type WithCookie = { cookie: Cookie | CookieData }

/**
 * Merges what other requests have stored under the old id into the new session. `stored`: the last record under the old
 * id, or only a cookie if another request has destroyed the session: then what was kept of its data goes.
 */
function mergeStored(session: Session, kept: Kept, stored: WithCookie): void {
  const data = serializeData(stored)
  if (data !== kept.data) {
    const merged = mergeData(kept.data, serializeData(session), data)
    emptyOut(session)
    fill(session, JSON.parse(merged))
  }
  const cookie = isCookie(stored.cookie) ? stored.cookie.data : stored.cookie
  setCookie(session, mergeCookie(kept.cookie, cookieOf(session).data, cookie))
}

/** Replaces a session's cookie, but keeps the facts that belong to its id. */
function setCookie(session: Session, cookie: Cookie): void {
  const record = recordOf(session)
  copyFacts(record.cookie, cookie)
  bind(session, record, cookie)
}
