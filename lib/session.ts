// `req.session`: the user's data, and the methods on it. Knows its record, never a host or a store's inside.

import { type Awaitable, chain, isPromise, ObservedPromise, settle } from './awaitable.ts'
import { Cookie, type CookieData, cookieFrom, isCookie, reviveCookie } from './cookie.ts'
import { copyFacts } from './facts.ts'
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

/** The request, as far as a session knows it. */
export interface StoreRequest {
  session?: unknown
  sessionID?: unknown
  sessionStore?: unknown
  /** @internal */
  [LIFE]?: RequestLife
}

/** What a session asks of the request that it lives in. */
export interface RequestLife extends RecordOwner {
  /** The session has been committed: who handles the request again begins anew. */
  readonly isCommitted: boolean
  /** The app has put nothing, or no session, into `req.session`. */
  readonly isAway: boolean
  /** Loaded sessions count as saved until they change: the `resave: false` rule. */
  readonly keepsUnmodified: boolean
  /** The app keeps one session object through `regenerate` and `destroy`, as bunWay's documentation has it. */
  readonly keepsObject: boolean
  /** The response waits for this. Where nobody observes its failure, the request fails. */
  track(work: ObservedPromise<void>): ObservedPromise<void>
  /** The callback of a session method as the host wants it called; the response waits for that. */
  expect(callback: ErrorCallback): ErrorCallback
  /** The app ends this session, and the request has none until it gets another. */
  ending(session: Session): void
  /** The store has ended this session. */
  ended(session: Session): void
  /** Gives a session what its host promises of it. */
  applyTraits(session: Session): Session
  /** The session has another id than the browser's cookie. */
  adoptRenewedId(id: string): void
  /** Gives the request a new, empty session under a new id. @throws SessionError when `genid` gives none. */
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
       * Messages for the next page, kept until they are read.
       * `flash(type, message, …formatArguments)` adds and returns the count of that type; `flash(type)` returns that
       * type's messages and clears them; `flash()` all of them by type. Shared with connect-flash and express-flash.
       */
      get flash(): Flash
      set flash(value: unknown)
    }

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
  declare readonly req: StoreRequest
  /** @internal */
  declare [RECORD]: SessionRecord | undefined

  /** @internal Sessions are made by the middleware and by `Store.createSession`. */
  constructor(req: StoreRequest, data?: object | null, id = req.sessionID) {
    hide(this, 'req', req, false)
    setId(this, id)
    hide(this, RECORD, undefined)
    // Own, so that a wrapper assigned over them stays out of the data.
    hide(this, 'save', Session.prototype.save)
    hide(this, 'reload', Session.prototype.reload)

    if (typeof data === 'object' && data !== null) fill(this, data)
  }

  /** Lets the session live for its full `originalMaxAge` from now on. */
  touch(): this {
    return this.resetMaxAge()
  }

  /** Sets `cookie.maxAge` back to `cookie.originalMaxAge`. */
  resetMaxAge(): this {
    const cookie = cookieOf(this)
    cookie.maxAge = cookie.originalMaxAge as number
    return this
  }

  /**
   * Saves now rather than at the end of the request, for the session's full lifetime from now on. Rejects with the
   * store's error, or with `ERR_SESSION_SERIALIZE` when the data is not JSON (a cycle, a BigInt).
   */
  save(callback: ErrorCallback): this
  save(): Promise<void>
  save(callback?: ErrorCallback): this | Promise<void>
  save(callback?: ErrorCallback): this | Promise<void> {
    const save = (): Awaitable<void> => recordOf(this).save(this.resetMaxAge())
    return settleFor(this, save, callback) as this | Promise<void>
  }

  /**
   * Replaces `req.session` by what the store holds now, dropping changes that were not saved.
   * Rejects with `failed to load session` when the session is gone.
   */
  reload(callback: ErrorCallback): this
  reload(): Promise<void>
  reload(callback?: ErrorCallback): this | Promise<void> {
    const { req } = this
    const open = (found: FoundSession): void => {
      const life = req[LIFE]
      // The app has ended it meanwhile.
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
    return settleFor(this, () => chain(recordOf(this).reload(), open), callback) as this | Promise<void>
  }

  /** Ends the session: `req.session` is gone at once, the record when the store says so. */
  destroy(callback: ErrorCallback): this
  destroy(): Promise<void>
  destroy(callback?: ErrorCallback): this | Promise<void> {
    const life = this.req[LIFE]
    if (life?.keepsObject) emptyOut(this)
    else delete this.req.session
    life?.ending(this)
    const end = (): Awaitable<void> => chain(recordOf(this).destroy(), () => life?.ended(this))
    return settleFor(this, end, callback) as this | Promise<void>
  }

  /**
   * Replaces the session by an empty one under a new id: do it whenever a user signs in
   * (OWASP Session Management, "Renew the Session ID After Any Privilege Level Change").
   * `keep: true` carries the data and the cookie's lifetime over. Use `req.session` afterwards, not this object: without
   * a callback the new session is there at once, with one when it is called, as in express-session.
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
  /** Carries the data over to the new id. Default `false`. */
  keep?: boolean
}

export type { Flash, FlashMessages }

/** Gives a session the id that it has now; the app can only read it. */
export function setId(session: object, id: unknown): void {
  Object.defineProperty(session, 'id', { value: id, configurable: true, writable: false, enumerable: false })
}

/** Runs a session's method: the response waits for it, and its callback is called as the host wants it. */
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

/** Defines a property that is not part of the data. */
export function hide(session: object, key: PropertyKey, value: unknown, writable = true): void {
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
function recordOf(session: Session): SessionRecord {
  const record = session[RECORD]
  if (record) return record
  throw new TypeError('this session belongs to no request; make it with store.createSession(req, data)')
}

/** The session's cookie. Where the app has put something else in its place, a cookie is made of that. */
export function cookieOf(session: Session): Cookie {
  const given: unknown = session.cookie
  const record = session[RECORD]
  if (given instanceof Cookie || isCookie(given) || !record) return given as Cookie
  const last = record.cookie
  const configured = session.req[LIFE]?.newCookie() ?? (last ? reviveCookie(last.data) : new Cookie())
  copyFacts(last, configured)
  session.cookie = cookieFrom(given, configured, last)
  record.cookie = session.cookie
  return session.cookie
}

/** Makes `req.session` of what was loaded. `cookie`: its cookie, where the request has made that already. */
export function openSession(req: StoreRequest, record: SessionRecord, cookie?: Cookie, id = record.id): Session {
  const { snapshot } = record as { snapshot: Snapshot }
  const session = new Session(req, snapshot.open(), id)
  bind(session, record, cookie ?? reviveCookie(snapshot.cookie))
  req.session = session
  return session
}

/** The record behind a session that was loaded for this request. */
export function loadedRecord(req: StoreRequest, found: FoundSession): SessionRecord {
  return SessionRecord.loaded(found, ownerOf(req), req[LIFE]?.keepsUnmodified === true)
}

/** The request's life. A session outside of any request is merged. */
function ownerOf({ [LIFE]: life }: StoreRequest): RecordOwner {
  return life ?? { overwrites: false }
}

/** Makes this very object what was loaded, for apps that hold on to it. */
function reopenSession(session: Session, record: SessionRecord): void {
  const { snapshot } = record as { snapshot: Snapshot }
  emptyOut(session)
  fill(session, snapshot.open())
  setId(session, record.id)
  bind(session, record, reviveCookie(snapshot.cookie))
}

function bind(session: Session, record: SessionRecord, cookie: Cookie): void {
  session.cookie = cookie
  record.cookie = cookie
  session[RECORD] = record
}

/** Puts data into a session, except under the names of its methods. */
export function fill(session: Session, data: object): void {
  for (const key in data) {
    const value = (data as Record<string, unknown>)[key]
    if (key === 'flash') writeFlash(session, value, true)
    else if (holds(session, key) || !(key in session)) (session as unknown as Record<string, unknown>)[key] = value
  }
}

/** Whether the session holds data under `key`. */
function holds(session: object, key: string): boolean {
  return key !== 'cookie' && Object.prototype.propertyIsEnumerable.call(session, key)
}

/** Makes `req.session` a new one, which the store does not hold under this slot's id. */
export function newSession(req: StoreRequest, slot: SessionSlot, cookie: Cookie): Session {
  const session = new Session(req, undefined, slot.id)
  bind(session, SessionRecord.create(slot, ownerOf(req)), cookie)
  req.session = session
  return session
}

/** Makes this very object the request's new session, for apps that hold on to it. */
export function renewSession(session: Session, slot: SessionSlot, cookie: Cookie): void {
  emptyOut(session)
  setId(session, slot.id)
  bind(session, SessionRecord.create(slot, ownerOf(session.req)), cookie)
}

/** Takes the data out of a session. */
export function emptyOut(session: Session, keys: string[] = Object.keys(session)): void {
  const target = session as unknown as Record<string, unknown>
  for (const key of keys) if (holds(session, key)) delete target[key]
}

/** Gives the request a new, empty session. */
function startAnew(req: StoreRequest): Session {
  const life = req[LIFE]
  if (life) life.generate()
  else (req.sessionStore as { generate(req: StoreRequest): void }).generate(req)
  return req.session as Session
}

/** What a request knows of a session that goes on under a new id. */
interface Kept {
  /** The data as JSON. */
  readonly data: string
  readonly cookie: CookieData
}

/** `atOnce`: the new session is there when this returns, otherwise when the store has ended the old one. */
function regenerate(session: Session, keep: boolean, atOnce: boolean): Awaitable<void> {
  const { req } = session
  const record = (req.session as Session | null | undefined)?.[RECORD] ?? recordOf(session)
  const old = keep ? { ...session, cookie: reviveCookie(cookieOf(session).data) } : undefined
  const kept: Kept | undefined = old && { data: serializeData(old), cookie: old.cookie.data }
  let next: { readonly session: Session; readonly cookie: CookieData } | undefined

  const start = (): void => {
    if (next) return
    const started = startAnew(req)
    next = { session: started, cookie: started.cookie.data }
    if (!old) return
    const { cookie, ...data } = old
    Object.assign(started, data)
    setCookie(started, cookie)
  }
  const finish = (held: object | undefined): void => {
    start()
    if (kept && next) bringAlong(next.session, kept, (held ?? { cookie: next.cookie }) as WithCookie)
  }
  // As in express-session, the new session is there even when the old one could not be destroyed.
  const fail = (error: unknown): never => {
    start()
    throw error
  }

  if (atOnce) start()
  let finished: Awaitable<void>
  try {
    finished = chain(old ? record.take(old) : chain(record.destroy(), () => undefined), finish)
  } catch (error) {
    return fail(error)
  }
  if (!isPromise(finished)) return undefined
  // What is saved under the new id must not come before what others have made of the session.
  if (kept) next?.session[RECORD]?.after(finished)
  return finished.catch(fail)
}

type WithCookie = { cookie: Cookie | CookieData }

/** Adds what others have stored under the old id, the end of the session included, to what this request has made of it since. */
function bringAlong(session: Session, kept: Kept, held: WithCookie): void {
  const data = serializeData(held)
  if (data !== kept.data) {
    const merged = mergeData(kept.data, serializeData(session), data)
    emptyOut(session)
    fill(session, JSON.parse(merged))
  }
  const cookie = isCookie(held.cookie) ? held.cookie.data : held.cookie
  setCookie(session, mergeCookie(kept.cookie, cookieOf(session).data, cookie))
}

/** Gives a session another cookie, for the id that it has. */
function setCookie(session: Session, cookie: Cookie): void {
  const record = recordOf(session)
  copyFacts(record.cookie, cookie)
  bind(session, record, cookie)
}
