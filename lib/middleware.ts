// session(options): puts a service together, and hands each request to the host that its arguments show.

import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { MemoryStore } from '../stores/memory.ts'
import type { Awaitable } from './awaitable.ts'
import { debugging, debugRequest, warn } from './diagnostics.ts'
import { SessionError } from './errors.ts'
import { type BunwayNext, type BunwayRequest, type BunwayResponse, serveBunway } from './hosts/bunway.ts'
import { type Next, serveConnect } from './hosts/connect.ts'
import { type FetchNext, serveFetch } from './hosts/fetch.ts'
import { Identity } from './identity.ts'
import { checkStore } from './lint.ts'
import { type Dialect, readOptions, type SessionOptions, type Settings } from './options.ts'
import { encryptWith } from './port/encrypt.ts'
import { hashIds } from './port/hash.ts'
import { type AnyStore, ownerOf, portOf, setOwner } from './port/port.ts'
import { SessionSlot } from './port/renewed.ts'
import { limitSize } from './port/size.ts'
import type { Layer, StorePort } from './port/slot.ts'
import { endAfter } from './port/timeouts.ts'
import { keepUsers } from './port/users.ts'
import { foundSession } from './record.ts'
import { emit, type SessionEvent } from './request/events.ts'
import type { RequestLike } from './request/host.ts'
import { LateChanges } from './request/late-changes.ts'
import { generateSession } from './request/lifecycle.ts'
import type { Service } from './request/service.ts'
import { type UserMethods, userMethods } from './request/users.ts'
import { loadedRecord, openSession, type StoreRequest } from './session.ts'
import { publicIdOf, Signer } from './signature.ts'
import type { Stored } from './snapshot.ts'
import { Store } from './store.ts'

/** Where a middleware carries what it works with, for the helpers that come with the package. */
export const SERVICE: unique symbol = Symbol.for('unisession.service') as never

type Listener = (...args: unknown[]) => void

/**
 * The events of a middleware, and what their listeners are given. Each act is one event. Sessions have hashed ids there, as
 * in `list`; a listener that throws does no harm to the request.
 */
export interface SessionEvents {
  /** A session was stored for the first time. */
  create: [session: SessionEvent]
  /** The app has destroyed a session that was stored. */
  destroy: [session: SessionEvent]
  /** `regenerate()` has put the session `id` in the place of `previous`. */
  regenerate: [session: SessionEvent & { readonly previous: string }]
  /**
   * A session has the id `id` instead of `previous`: for its `age` (`renewAfter`), because somebody signed in or out in it
   * (`rotateOnSignIn`), or because its user was confirmed (`confirm`).
   */
  renew: [session: SessionEvent & { readonly previous: string; readonly reason: RenewReason }]
  /** Somebody has signed in. */
  signin: [session: SessionEvent]
  /** Nobody is signed in any more in a session, or it was destroyed while somebody was. */
  signout: [session: SessionEvent]
  /** Sessions of a user were ended, or `all`. `limit`: because of `maxSessions`. */
  revoke: [sessions: RevokedSessions | { readonly all: true }]
  /** A request carried a session whose time was over, by the option `reason`. */
  expire: [session: SessionEvent & { readonly reason: string }]
  /** The store holds something under this id that is no session. */
  corrupt: [session: { readonly id: string; readonly error: unknown }]
  /** A store failed when nobody waited for it any more. */
  error: [error: unknown]
  /** A request carried an id that was renewed longer than `renewGrace` ago. */
  reuse: [use: SessionReuse]
}

/** Why a session has another id. */
export type RenewReason = 'age' | 'signin' | 'signout' | 'confirm'

/** Sessions of one user that were ended. */
export interface RevokedSessions {
  /** The user, as `userOf` names them. */
  readonly user: string
  /** Their ids, hashed. */
  readonly ids: string[]
  /** The id that `revoke` was given. */
  readonly id?: string
  readonly reason?: 'limit'
}

/** A request carried an id that was renewed longer than `renewGrace` ago: a copy of it is about, or a browser that was away. */
export interface SessionReuse {
  /** The id, hashed (HMAC-SHA-256 under the first secret): to tell one from another, not to be used as an id. */
  readonly id: string
  /**
   * Ends the session that had the id, wherever it is by now, so that whoever has it signs in again. The response waits for
   * it; where it fails and nobody looks, the request does.
   */
  end(): Promise<void>
  /** The request; not enumerable. */
  readonly req: object
}

/** What `session()` returns: a middleware for every host, and an emitter. */
export interface SessionMiddleware extends UserMethods {
  /** Connect, Express, polka and everything alike. */
  (req: IncomingMessage, res: ServerResponse, next: Next): void
  /** bunWay. */
  (req: BunwayRequest, res: BunwayResponse, next: BunwayNext): Awaitable<void>
  /** bun-router, and every host that hands a `Request` on and gets a `Response` back. */
  (req: Request, next: FetchNext): Promise<Response>
  on<E extends keyof SessionEvents>(event: E, listener: (...args: SessionEvents[E]) => void): this
  on(event: string, listener: Listener): this
  once<E extends keyof SessionEvents>(event: E, listener: (...args: SessionEvents[E]) => void): this
  once(event: string, listener: Listener): this
  off(event: string, listener: Listener): this
  addListener(event: string, listener: Listener): this
  removeListener(event: string, listener: Listener): this
  removeAllListeners(event?: string): this
  emit(event: string, ...args: unknown[]): boolean
  listeners(event: string): unknown[]
  listenerCount(event: string): number
}

/** The middleware behind every entry, each with its dialect. @throws TypeError for wrong options. */
export function createMiddleware(options: SessionOptions, dialect: Dialect = {}): SessionMiddleware {
  const settings = readOptions(options, dialect)
  const service = createService(settings, (options.store || new MemoryStore()) as AnyStore, dialect)

  const serve = (req: unknown, second: unknown, third: unknown): unknown => {
    if (typeof second === 'function' && third === undefined && isRequest(req)) {
      return serveFetch(service, req, second as FetchNext)
    }
    if (typeof third === 'function' && typeof second === 'object' && second !== null) {
      return typeof (second as Partial<BunwayResponse>).toResponse === 'function'
        ? serveBunway(service, req as BunwayRequest, second as BunwayResponse, third as BunwayNext)
        : serveConnect(service, req as IncomingMessage, second as ServerResponse, third as Next)
    }
    throw new SessionError(
      'ERR_SESSION_HOST',
      'session middleware was called neither as (req, res, next) nor as (request, next); mount it with app.use(session({ … }))',
    )
  }
  // Three parameters: a fourth would make it an error handler for Express and bunWay.
  const middleware = function session(req: unknown, second: unknown, third: unknown): unknown {
    return debugging ? debugRequest(labelOf(req), () => serve(req, second, third)) : serve(req, second, third)
  }
  const { events } = service
  Object.defineProperty(middleware, SERVICE, { value: service })
  for (const [name, value] of Object.entries(userMethods(service))) {
    Object.defineProperty(middleware, name, { value, configurable: true, writable: true })
  }
  for (const method of EMITTER_METHODS) {
    const call = (...args: never[]): unknown => {
      const result = Reflect.apply(events[method] as (...args: never[]) => unknown, events, args)
      return result === events ? middleware : result
    }
    Object.defineProperty(middleware, method, { value: call, configurable: true, writable: true })
  }
  return middleware as unknown as SessionMiddleware
}

/** The methods of an emitter that a middleware has. */
const EMITTER_METHODS = [
  'on',
  'once',
  'off',
  'addListener',
  'removeListener',
  'removeAllListeners',
  'emit',
  'listeners',
  'listenerCount',
] as const

/** The method and the path of a request, as debug lines call it. */
function labelOf(req: unknown): string {
  const { originalUrl, original, url = '' } = (req ?? {}) as { originalUrl?: string; original?: Request; url?: string }
  const { method = 'GET' } = (original ?? req ?? {}) as { method?: string }
  const [path = ''] = (originalUrl ?? original?.url ?? url).replace(/^\w+:\/\/[^/?#]*/, '').split(/[?#]/, 1)
  return `${method} ${path || '/'}`
}

/** A `Request` of the Fetch API, whoever has made it. */
function isRequest(req: unknown): req is Request {
  return typeof (req as Partial<Request> | null)?.headers?.get === 'function'
}

/** Puts together what a middleware works with, and makes it the owner of its store. */
function createService(settings: Settings, store: AnyStore, dialect: Dialect): Service {
  checkStore(store)
  if (process.env.NODE_ENV === 'production' && store instanceof MemoryStore && store.max === undefined) {
    warn(
      'WARN_SESSION_MEMORY_STORE',
      'sessions are kept in a MemoryStore without limit, which is not designed for production: they are lost with the ' +
        'process, and no other shares them; use another store, or new MemoryStore({ max }) to bound its memory',
    )
  }
  const identity = new Identity(settings.userOf, settings.encrypt)
  const events = new EventEmitter()
  const nameOf = (key: string): string => publicIdOf(key, settings.secrets?.[0] ?? '')
  const ended = (user: string, keys: string[]): void => {
    emit(service, 'revoke', { user, ids: keys.map(nameOf), reason: 'limit' })
  }
  const layers = [...layersOf(settings), keepUsers({ identity, limit: settings.maxSessions, ended })]
  const use = {
    unit: dialect.ttlUnit ?? 'ms',
    concurrency: settings.concurrency,
    renews: settings.renewAfter !== undefined,
    timeout: settings.storeTimeout,
  }
  const port = portOf(store, use, layers)
  setOwner(store, {
    secrets: settings.secrets ?? [],
    layers,
    corrupt: (id, error) => emit(service, 'corrupt', { id: nameOf(id), error }),
  })
  const service: Service = {
    settings,
    store,
    port,
    identity,
    nameOf,
    slotOf: (id) => new SessionSlot(port, id, settings.secrets ?? []),
    signer: new Signer(),
    events,
    connection: connectionOf(store),
    createSession: createSessionOf(store, port),
    lateChanges: new LateChanges(),
  }
  if (Object.isExtensible(store)) {
    ;(store as Partial<Store>).generate = (req: StoreRequest): void => generateSession(service, req as RequestLike)
  }
  return service
}

/** What the options make of ids and records on their way to the store, the innermost first. */
function layersOf(settings: Settings): Layer[] {
  const { hashId, encrypt, maxSize, absoluteTimeout, idleTimeout } = settings
  const layers: Layer[] = []
  if (hashId) layers.push(hashIds)
  if (encrypt) layers.push(encryptWith(encrypt))
  if (maxSize !== undefined) layers.push(limitSize(maxSize))
  if (absoluteTimeout !== undefined || idleTimeout !== undefined) layers.push(endAfter(settings))
  return layers
}

const connections = new WeakMap<object, Service['connection']>()

/** Listens to a store once, however many middlewares there are on it. */
function connectionOf(store: AnyStore): Service['connection'] {
  let connection = connections.get(store)
  if (!connection) {
    const made = { isUp: true }
    store.on?.('disconnect', () => {
      made.isUp = false
    })
    store.on?.('connect', () => {
      made.isUp = true
    })
    store.on?.('corrupt', (id, error) => ownerOf(store).corrupt?.(String(id), error))
    connection = made
    connections.set(store, connection)
  }
  return connection
}

/**
 * How records of this store become sessions, where that is not our own way. A store that extends the base class of
 * another express-session gets our methods, unless its own class has them.
 */
function createSessionOf(store: AnyStore, port: StorePort): Service['createSession'] {
  const target = store as Partial<Store> & {
    createSession?: (req: StoreRequest, data: never) => unknown
  }
  if (typeof target.createSession !== 'function' || target.createSession === Store.prototype.createSession)
    return undefined
  let holder: object | null = target
  while (holder && !Object.hasOwn(holder, 'createSession')) holder = Object.getPrototypeOf(holder)
  const isBase = holder && Object.hasOwn(holder, 'regenerate') && Object.hasOwn(holder, 'load')
  if (isBase && holder !== target && Object.isExtensible(target)) {
    const own = (req: StoreRequest, data: object): unknown => {
      const slot = new SessionSlot(port, req.sessionID as string, ownerOf(store).secrets)
      return openSession(req, loadedRecord(req, foundSession(slot, { record: data as Stored })))
    }
    OURS.add(own)
    target.createSession = own as never
    if (target.load === (holder as Partial<Store>).load) target.load = Store.prototype.load
  }
  if (OURS.has(target.createSession)) return undefined
  return (req, record) => target.createSession?.(req, record as never)
}

/** The `createSession` methods that this package has given to stores. */
const OURS = new WeakSet<object>()
