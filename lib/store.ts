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
 * The contract of express-session's stores. A missing, expired or never issued id is not an error: `get` answers
 * with nothing, `destroy` and `touch` do nothing. An error says that the store could not do its work.
 * `class X extends Store`, `util.inherits(X, Store)` and `Store.call(this)` all work.
 */
declare abstract class StoreBase extends EventEmitter {
  constructor(options?: unknown)

  /** Destroys the request's session and gives it a new one. */
  regenerate(req: StoreRequest, callback: ErrorCallback): void
  /** Loads a `Session` outside of a request; `undefined` when there is none. */
  load(sid: string, callback: GetCallback): void
  /** Makes `req.session` from what `get` answered. */
  createSession(req: StoreRequest, session: SessionData): Session & SessionData
  /** Gives the request a new session; assigned by `session()`, so the last middleware on a store wins. */
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
  const renew = (error?: unknown): void => {
    this.generate?.(req)
    callback(error)
  }
  settle(undefined, () => chain(slotIn(this, req.sessionID).end(), () => undefined), renew)
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

/** A session of a store, for who belongs to no middleware. */
function slotIn(store: Store, id: unknown): SessionSlot {
  return new SessionSlot(portOf(store as AnyStore), id as string, ownerOf(store).secrets)
}

/** A store of any other package: what `session()` needs of it, whatever its types say of sessions and requests. */
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
  /** `ttl`: the time the session has left, in ms (in seconds under `unisession/bun-router`); undefined when its cookie sets no date. */
  set(sid: string, session: never, ttl?: number): Promise<unknown>
  destroy(sid: string): Promise<unknown>
  touch?(sid: string, second: never): Promise<unknown>
}
