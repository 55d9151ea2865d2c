// Connect, Express and other hosts with `(req, res, next)`, on Node's http and http2 and on Bun's node:http.
// The only file that patches a response.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Awaitable, isPromise } from '../awaitable.ts'
import { debug } from '../diagnostics.ts'
import type { HostRequest, RequestLike, ResponseHead } from '../request/host.ts'
import { Lifecycle } from '../request/lifecycle.ts'
import type { Service } from '../request/service.ts'
import type { Session, SessionData } from '../session.ts'
import type { Store } from '../store.ts'
import { callOutsidePromise, soon } from '../timers.ts'
import { isRemovedWithResponse } from '../withheld.ts'
import { Connection, headersSent } from './connection.ts'

declare global {
  namespace Express {
    type SessionStore = Store & { generate(req: Request): void }

    interface Request {
      /** This request's session; its data is typed by `SessionData`. */
      session: Session & Partial<SessionData>
      /** The session's id; a new session has one before it is saved. */
      sessionID: string
      /** The store of the middleware, as in express-session. */
      sessionStore: SessionStore
    }
  }
}

export type Next = (error?: unknown) => void

/** The status line that the app gave to `writeHead` or had set when it called `end`. */
interface Status {
  statusCode: number
  statusMessage: string | undefined
}

/** Node's request, as the lifecycle sees it. */
class ConnectRequest implements HostRequest {
  readonly #req: IncomingMessage & { originalUrl?: string; secure?: boolean; app?: { get?(name: string): unknown } }

  constructor(req: IncomingMessage) {
    this.#req = req
  }

  get cookieHeader(): string | undefined {
    return this.#req.headers?.cookie
  }

  get method(): string {
    return this.#req.method ?? 'GET'
  }

  /** HTTP/2 has the host in a header of its own (RFC 9113 §8.3.1). */
  header(name: string): string | undefined {
    const { headers } = this.#req
    const value = headers?.[name] ?? (name === 'host' ? headers?.[':authority'] : undefined)
    return Array.isArray(value) ? value.join(', ') : value
  }

  /** Express compiles its setting `trust proxy` to a function of an address. */
  get trustsProxy(): boolean | undefined {
    const { app, socket } = this.#req
    const trusts: unknown = typeof app?.get === 'function' ? app.get('trust proxy fn') : undefined
    return typeof trusts === 'function' ? Boolean(trusts(socket?.remoteAddress, 0)) : undefined
  }

  get path(): string {
    const url = this.#req.originalUrl ?? this.#req.url ?? ''
    if (url.startsWith('/')) return url.split(/[?#]/, 1)[0] as string
    // An absolute-form request target (RFC 9112 §3.2.2).
    return URL.canParse(url) ? new URL(url).pathname : '/'
  }

  get encrypted(): boolean {
    const socket = (this.#req.socket ?? this.#req.connection) as { encrypted?: boolean } | undefined
    return Boolean(socket?.encrypted)
  }

  get secure(): boolean | undefined {
    return this.#req.secure
  }

  get forwardedProto(): string | undefined {
    return this.#req.headers?.['x-forwarded-proto'] as string | undefined
  }
}

/** Serves one request of a connect-style host. */
export function serveConnect(service: Service, req: IncomingMessage, res: ServerResponse, next: Next): void {
  let loading: Awaitable<void>
  try {
    const lifecycle = Lifecycle.begin(service, req as RequestLike, new ConnectRequest(req))
    if (lifecycle) HeldResponse.hold(req, res, lifecycle, next)
    loading = lifecycle?.load()
  } catch (error) {
    next(error)
    return
  }
  // `next` runs outside of the promise: an exception of a handler must not become a rejection here.
  if (isPromise(loading)) {
    loading.then(
      () => callOutsidePromise(next),
      (error) => callOutsidePromise(next, error),
    )
  } else next()
}

/** Makes the head look sent while the store saves: the properties that `freeze` puts on the response. */
const FROZEN_HEAD = {
  headersSent: { get: (): boolean => true },
  setHeader: { value: refuse },
  setHeaders: { value: refuse },
  appendHeader: { value: refuse },
  removeHeader: { value: refuse },
  writeHead: { value: refuse },
  _implicitHeader: { value: (): void => {} },
} satisfies Record<string, PropertyDescriptor>

// Does not set `writableEnded` and `finished`: a closing server recognises idle connections by them, and adapters for
// serverless platforms recognise complete responses.
const FROZEN_STREAM = {
  write: {
    value(this: ServerResponse, ...args: unknown[]): boolean {
      debug('write after end is ignored')
      soon(refuseWrite, this, callbackOf(args))
      return false
    },
  },
} satisfies Record<string, PropertyDescriptor>

const FROZEN_RESPONSE = {
  ...FROZEN_HEAD,
  ...FROZEN_STREAM,
  flushHeaders: { value: (): void => {} },
} satisfies Record<string, PropertyDescriptor>

function refuse(): never {
  throw headersSent()
}

/**
 * Emits the error of a write after the end, which a `pipeline` needs. Without any listener it must not end the process.
 */
function refuseWrite(res: ServerResponse, callback: ((error: Error) => void) | undefined): void {
  const error = Object.assign(new Error('write after end'), { code: 'ERR_STREAM_WRITE_AFTER_END' })
  callback?.(error)
  res.on?.('error', ignore)
  res.emit?.('error', error)
  res.off?.('error', ignore)
}

const ignore = (): void => {}

/** Defines the properties on a response. Returns a function that restores what was there. */
function freeze(res: object, descriptors: Record<string, PropertyDescriptor>): () => void {
  const before = Object.keys(descriptors).map((key) => [key, Object.getOwnPropertyDescriptor(res, key)] as const)
  for (const [key, descriptor] of Object.entries(descriptors)) {
    Object.defineProperty(res, key, {
      ...descriptor,
      configurable: true,
      enumerable: false,
    })
  }
  return () => {
    for (const [key, descriptor] of before) {
      if (descriptor) Object.defineProperty(res, key, descriptor)
      else delete (res as Record<string, unknown>)[key]
    }
  }
}

/**
 * A response that is held from the app's `end` until the store has saved the session. To the app it looks sent: the
 * head is frozen, a second `end` does nothing, and the connection cannot be closed. To everything below, the app seems
 * to have called `end` a little later: the cookie is decided after the save, and Node makes body, length and encoding
 * as usual.
 */
class HeldResponse {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #lifecycle: Lifecycle
  readonly #next: Next
  /** The response's methods before they were replaced. */
  readonly #original: Pick<ServerResponse, 'writeHead' | 'write' | 'end' | 'flushHeaders'>
  /**
   * An object in place of a response, as engine.io makes for a WebSocket: it has no `headersSent` and cannot be held.
   */
  readonly #isStandIn: boolean

  /** The app has called `end`. */
  #ended = false
  /** The head was sent, or is being sent. */
  #headSent = false
  #hasSessionHeaders = false
  /** The head of a `writeHead` call that was deferred until the first byte of the body, or the end. */
  #pendingHead: Status | undefined
  #unfreeze: (() => void) | undefined
  /** The status when the app called `end`: the app can still assign another one to a response that looks sent. */
  #statusAtEnd: Status | undefined
  #connection: Connection | undefined

  /** Replaces the methods of the response. Does nothing to an object without `writeHead`. */
  static hold(req: IncomingMessage, res: ServerResponse, lifecycle: Lifecycle, next: Next): void {
    if (typeof res.writeHead === 'function') new HeldResponse(req, res, lifecycle, next).#wrap()
  }

  private constructor(req: IncomingMessage, res: ServerResponse, lifecycle: Lifecycle, next: Next) {
    this.#req = req
    this.#res = res
    this.#lifecycle = lifecycle
    this.#next = next
    const { writeHead, write, end, flushHeaders } = res
    this.#original = { writeHead, write, end, flushHeaders }
    this.#isStandIn = !('headersSent' in res)
  }

  /** Replaces the methods that send the head, the body or the end of the response, as far as it has them. */
  #wrap(): void {
    const held = this
    const res = this.#res
    const { write, end, flushHeaders } = this.#original
    res.writeHead = function (this: ServerResponse, ...args: unknown[]): ServerResponse {
      return held.#writeHead(this, args)
    } as typeof res.writeHead
    if (typeof write === 'function') {
      res.write = function (this: ServerResponse, ...args: unknown[]): boolean {
        held.#sendHead()
        return Reflect.apply(write, this, args) as boolean
      } as typeof res.write
    }
    if (typeof flushHeaders === 'function') {
      res.flushHeaders = function (this: ServerResponse): void {
        held.#sendHead()
        Reflect.apply(flushHeaders, this, [])
      }
    }
    if (typeof end === 'function') {
      res.end = function (this: ServerResponse, ...args: unknown[]): ServerResponse {
        held.#end(args)
        return this
      } as typeof res.end
    }
  }

  /**
   * The app's `writeHead`. Defers a final status until the head is sent; passes on informational ones (1xx, RFC 9110
   * §15.2) and Node's own call for the implicit head. `self`: the object that it was called on, which may wrap the
   * response.
   */
  #writeHead(self: ServerResponse, args: unknown[]): ServerResponse {
    const res = this.#res
    const statusCode = Number(args[0]) | 0
    const final = statusCode >= 200 && statusCode <= 999
    if (this.#headSent || this.#isStandIn || !final || res.headersSent) {
      const send = this.#isStandIn || final ? this.#addSessionHeaders(args) : args
      return Reflect.apply(this.#original.writeHead, self, send) as ServerResponse
    }
    // Node sends nothing before the first byte of the body or the end: the same here.
    applyHeaders(res, args)
    this.#pendingHead = {
      statusCode,
      statusMessage: typeof args[1] === 'string' ? args[1] : undefined,
    }
    setStatus(res, this.#pendingHead)
    this.#unfreeze = freeze(res, FROZEN_HEAD)
    return self
  }

  /** Adds the session's headers. `args`: those of `writeHead`. Returns the arguments that are left to pass on. */
  #addSessionHeaders(args: unknown[]): unknown[] {
    if (this.#hasSessionHeaders) return args
    this.#hasSessionHeaders = true
    const head = new ConnectHead(this.#res, args)
    try {
      this.#lifecycle.head(head)
    } catch (error) {
      this.#reportError(error)
    }
    return head.args
  }

  /** Ends the hold; sends the head of an earlier `writeHead`, or lets Node send the implicit one. */
  #sendHead(): void {
    this.#release()
    if (!this.#headSent) this.#connection?.announceClose()
    this.#headSent = true
    if (!this.#pendingHead) return
    const { statusCode, statusMessage } = this.#pendingHead
    this.#pendingHead = undefined
    // Not `res.writeHead`: middleware that has wrapped it has seen the app's call already.
    this.#addSessionHeaders([])
    const args = statusMessage === undefined ? [statusCode] : [statusCode, statusMessage]
    Reflect.apply(this.#original.writeHead, this.#res, args)
  }

  /** The app's `end`: commits the session, then sends the response. */
  #end(args: unknown[]): void {
    const res = this.#res
    // express-session ignores a second `end` too. In plain Node one with a body is an error.
    if (this.#ended) {
      debug('second end is ignored')
      const callback = callbackOf(args)
      if (callback && !res.writableFinished) res.once('finish', callback)
      return
    }
    this.#ended = true
    let committing: Awaitable<void>
    try {
      committing = this.#lifecycle.commit(!this.#isStandIn && !this.#headSent && !res.headersSent)
    } catch (error) {
      this.#fail(error, args)
      return
    }
    if (!isPromise(committing)) {
      this.#finish(args)
      return
    }
    this.#freeze()
    const finish = (): void => this.#finish(args)
    const fail = (error: unknown): void => this.#fail(error, args)
    committing.then(finish, fail).catch((error) => callOutsidePromise(this.#next, error))
  }

  /** Makes the response look sent. */
  #freeze(): void {
    const res = this.#res
    this.#release()
    // HTTP/2 has no status message: reading it emits a process warning.
    this.#statusAtEnd = { statusCode: res.statusCode, statusMessage: isHttp2(res) ? undefined : res.statusMessage }
    this.#unfreeze = freeze(res, this.#headSent ? FROZEN_STREAM : FROZEN_RESPONSE)
    if (this.#isStandIn) return
    this.#connection = new Connection(this.#req, res, isHttp2(res))
    this.#connection.hold()
  }

  /** Makes the response and its connection usable again. */
  #release(): void {
    this.#unfreeze?.()
    this.#unfreeze = undefined
    this.#connection?.release()
  }

  /** Sends the response: calls the original `end` with the app's arguments. */
  #finish(args: unknown[]): void {
    const res = this.#res
    this.#sendHead()
    if (this.#statusAtEnd && !res.headersSent) setStatus(res, this.#statusAtEnd)
    try {
      Reflect.apply(this.#original.end, res, args)
    } catch (error) {
      // Node has rejected the body, such as a number. Nothing was sent: the app may call `end` again.
      this.#ended = false
      throw error
    }
    this.#connection?.closeAfterResponse()
  }

  /**
   * The commit has failed: withholds the response if the lifecycle says so, otherwise sends it and reports the error.
   */
  #fail(error: unknown, args: unknown[]): void {
    this.#release()
    if (!this.#headSent && !this.#res.headersSent && this.#lifecycle.withholds(error)) this.#withhold(error, args)
    else {
      this.#finish(args)
      if (!this.#lifecycle.reportsLate(error)) this.#reportError(error)
    }
  }

  /** Resets the response, of which nothing was sent, and lets the app's error handlers answer. */
  #withhold(error: unknown, args: unknown[]): void {
    debug('the answer is withheld: %s', error)
    const res = this.#res
    this.#ended = false
    this.#pendingHead = undefined
    this.#statusAtEnd = undefined
    this.#lifecycle.refuse()
    for (const name of res.getHeaderNames?.() ?? []) {
      if (isRemovedWithResponse(name, res.getHeader(name))) res.removeHeader(name)
    }
    res.statusCode = 500
    if (!isHttp2(res)) res.statusMessage = undefined as never
    // The callback of the withheld `end` runs when the response that replaces it has finished.
    const callback = callbackOf(args)
    if (callback) res.once?.('finish', callback)
    this.#next(error)
  }

  /** Passes an error to `next` after the response was sent. */
  #reportError(error: unknown): void {
    whenSent(this.#res, () => {
      if (!this.#isStandIn) {
        this.#connection ??= new Connection(this.#req, this.#res, isHttp2(this.#res))
        this.#connection.keepOpen()
      }
      this.#next(error)
    })
  }
}

/** The head of a response. Some of its headers may still be in the arguments of `writeHead`. */
class ConnectHead implements ResponseHead {
  /** The arguments of `writeHead`, without the headers once they were applied. */
  args: unknown[]
  readonly #res: ServerResponse
  #hasHeaders = false

  constructor(res: ServerResponse, args: unknown[]) {
    this.#res = res
    this.args = args
  }

  get(name: string): string | undefined {
    const value = this.#withHeaders().getHeader?.(name)
    return value === undefined ? undefined : Array.isArray(value) ? value.join(', ') : String(value)
  }

  set(name: string, value: string): void {
    this.#withHeaders().setHeader(name, value)
  }

  addCookie(value: string): void {
    const others = this.#withHeaders().getHeader('Set-Cookie') as string | string[] | undefined
    this.#res.setHeader('Set-Cookie', others === undefined ? [value] : [others, value].flat())
  }

  /** The response, with the headers of the arguments applied. */
  #withHeaders(): ServerResponse {
    if (!this.#hasHeaders) this.args = applyHeaders(this.#res, this.args)
    this.#hasHeaders = true
    return this.#res
  }
}

/** Whether this is a response of Node's http2 module. */
function isHttp2(res: ServerResponse): boolean {
  return 'stream' in res
}

/** The callback among the arguments of `write` or `end`, where it may stand at several places. */
function callbackOf(args: unknown[]): ((error?: Error) => void) | undefined {
  return args.find((arg) => typeof arg === 'function') as (() => void) | undefined
}

function setStatus(res: ServerResponse, { statusCode, statusMessage }: Status): void {
  res.statusCode = statusCode
  if (statusMessage) res.statusMessage = statusMessage
}

/**
 * Calls `call` when the response was sent. Earlier, an error handler that finds the head sent could cut off its body.
 */
function whenSent(res: ServerResponse, call: () => void): void {
  if (typeof res.once !== 'function' || res.writableFinished || res.destroyed) {
    soon(call)
    return
  }
  let called = false
  const once = (): void => {
    if (!called) soon(call)
    called = true
  }
  res.once('finish', once)
  res.once('close', once)
}

/**
 * Sets the headers in the arguments of `writeHead` on the response. Like Node, replaces headers of the same name.
 * Returns the arguments without the headers.
 */
function applyHeaders(res: ServerResponse, args: unknown[]): unknown[] {
  const named = typeof args[1] === 'string'
  const headers = named ? args[2] : (args[2] ?? args[1])
  const rest = args.slice(0, named ? 2 : 1)
  if (typeof headers !== 'object' || headers === null) return rest
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers)) if (name) res.setHeader(name, value as string)
    return rest
  }
  const pairs: [string, string][] = Array.isArray(headers[0])
    ? (headers as [string, string][])
    : Array.from({ length: headers.length >> 1 }, (_, i) => [headers[2 * i], headers[2 * i + 1]])
  for (const [name] of pairs) res.removeHeader(name)
  for (const [name, value] of pairs) res.appendHeader(name, value)
  return rest
}
