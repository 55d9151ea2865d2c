// The base class of stores, and the shapes in which a store may come.

import { EventEmitter } from 'node:events'
import { chain, settle } from './awaitable.ts'
import { type AnyStore, ownerOf, portOf } from './port/port.ts'
import { SessionSlot } from './port/renewed.ts'
import type { Version } from './port/slot.ts'
import { foundSession } from './record.ts'
import {
  type ErrorCallback,
  loadedRecord,
  openSession,
  type Session,
  type SessionData,
  type StoreRequest,
} from './session.ts'

// `any` in these callbacks, as in the types that stores for express-session were written against.
// biome-ignore lint/suspicious/noExplicitAny: see above
export type GetCallback = (error: any, session?: SessionData | null) => void
// biome-ignore lint/suspicious/noExplicitAny: see above
export type AllCallback = (error: any, sessions?: SessionData[] | { [sid: string]: SessionData } | null) => void
// biome-ignore lint/suspicious/noExplicitAny: see above
export type LengthCallback = (error: any, length?: number) => void

/**
 * The base class of stores, with the contract of express-session's. An id that is unknown or has expired is not an
 * error: `get` calls back with nothing, `destroy` and `touch` do nothing. An error means that the store could not do
 * its work. `class X extends Store`, `util.inherits(X, Store)` and `Store.call(this)` all work.
 */
declare abstract class StoreBase extends EventEmitter {
  constructor(options?: unknown)

  /** Destroys the request's session and gives the request a new one, even if destroying fails. */
  regenerate(req: StoreRequest, callback: ErrorCallback): void
  /** Loads a session outside of a request; calls back with `undefined` if there is none. */
  load(sid: string, callback: GetCallback): void
  /** Makes `req.session` of a record, as `get` gives it. */
  createSession(req: StoreRequest, session: SessionData): Session & SessionData
  /** Gives the request a new session. `session()` assigns it: that of the last middleware on a store counts. */
  generate?(req: StoreRequest): void

  abstract get(sid: string, callback: GetCallback): void
  abstract set(sid: string, session: SessionData, callback?: ErrorCallback): void
  abstract destroy(sid: string, callback?: ErrorCallback): void
  all?(callback: AllCallback): void
  length?(callback: LengthCallback): void
  clear?(callback?: ErrorCallback): void
  touch?(sid: string, session: SessionData, callback?: () => void): void
}

export type Store = StoreBase

export const Store: typeof StoreBase = function Store(this: EventEmitter): void {
  EventEmitter.call(this)
} as unknown as typeof StoreBase

Object.setPrototypeOf(Store.prototype, EventEmitter.prototype)
Object.setPrototypeOf(Store, EventEmitter)

Store.prototype.regenerate = function regenerate(req: StoreRequest, callback: ErrorCallback): void {
  const generate = (error?: unknown): void => {
    this.generate?.(req)
    callback(error)
  }
  settle(undefined, () => chain(slotIn(this, req.sessionID).end(), () => undefined), generate)
}

Store.prototype.load = function load(sid: string, callback: GetCallback): void {
  const slot = slotIn(this, sid)
  const open = (version: Version | undefined): Session | undefined => {
    if (!version || slot.isRefused) return undefined
    const req = { sessionID: slot.id, sessionStore: this }
    return openSession(req, loadedRecord(req, foundSession(slot, version)))
  }
  settle(undefined, () => chain(slot.read(), open), callback as ErrorCallback)
}

Store.prototype.createSession = function createSession(req: StoreRequest, data: SessionData): Session & SessionData {
  const found = foundSession(slotIn(this, req.sessionID), { record: data as never })
  return openSession(req, loadedRecord(req, { ...found, fromApp: true })) as Session & SessionData
}

/** The slot of a session for a caller without a middleware. */
function slotIn(store: Store, id: unknown): SessionSlot {
  return new SessionSlot(portOf(store as AnyStore), id as string, ownerOf(store).secrets)
}

/** The methods that `session()` needs of a store of another package, whose types may differ in all else. */
export interface CallbackStore {
  // biome-ignore lint/suspicious/noExplicitAny: see above
  get(sid: string, callback: (error: any, session?: any) => void): unknown
  // biome-ignore lint/suspicious/noExplicitAny: see above
  set(sid: string, session: any, callback?: ErrorCallback): unknown
  destroy(sid: string, callback?: ErrorCallback): unknown
}

/** A store whose methods return promises, as bunWay and bun-router document theirs. */
export interface PromiseStore {
  get(sid: string): Promise<object | null | undefined>
  /**
   * `ttl`: how long the session lasts, in milliseconds, under `unisession/bun-router` in seconds; undefined if its
   * cookie has no date.
   */
  set(sid: string, session: never, ttl?: number): Promise<unknown>
  destroy(sid: string): Promise<unknown>
  touch?(sid: string, second: never): Promise<unknown>
}
