// The base class of stores, and the shapes in which a store may come.

import { EventEmitter } from 'node:events'
import { chain, settle } from './maybe.ts'
import { type ForeignStore, type Loaded, portOf, secretsOf } from './port.ts'
import { type ErrorCallback, openSession, type Session, type SessionData, type StoreRequest } from './session.ts'
import { Slot } from './slot.ts'
import { Snapshot } from './snapshot.ts'

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
  const slot = new Slot(portOf(this as ForeignStore), req.sessionID as string, secretsOf(this))
  settle(undefined, () => slot.remove(false), renew)
}

Store.prototype.load = function load(sid: string, callback: GetCallback): void {
  const port = portOf(this as ForeignStore)
  const slot = new Slot(port, sid, secretsOf(this))
  const open = (loaded: Loaded | undefined): Session | undefined => {
    const req = { sessionID: slot.id, sessionStore: this }
    return loaded && openSession(req, port, new Snapshot(loaded.stored, loaded.ticket))
  }
  settle(undefined, () => chain(slot.load(), open), callback as ErrorCallback)
}

Store.prototype.createSession = function createSession(req: StoreRequest, data: SessionData): Session & SessionData {
  return openSession(req, portOf(this as ForeignStore), new Snapshot(data as never, undefined, true)) as Session &
    SessionData
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
