// Connect, Express and everything else that speaks `(req, res, next)`, over Node's http and http2 and Bun's node:http.
// The only file that patches a response.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Awaitable, isPromise } from '../awaitable.ts'
import { debug } from '../diagnostics.ts'
import type { HostRequest, RequestLike, ResponseHead } from '../request/host.ts'
import { Lifecycle } from '../request/lifecycle.ts'
import type { Service } from '../request/service.ts'
import type { Session, SessionData } from '../session.ts'
import type { Store } from '../store.ts'
import { callFree, soon } from '../timers.ts'
import { goesWithAnswer } from '../withheld.ts'
import { Connection, headersSent } from './connection.ts'

declare global {
  namespace Express {
    type SessionStore = Store & { generate(req: Request): void }

    interface Request {
      /** This request's session; its data is typed by `SessionData`. */
      session: Session & Partial<SessionData>
      /** The session's id. */
      sessionID: string
      sessionStore: SessionStore
    }
  }
}

export type Next = (error?: unknown) => void

/** The head of a `writeHead` call that has not been made yet. */
interface Head {
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

  header(name: string): string | undefined {
    const value = this.#req.headers?.[name]
    return Array.isArray(value) ? value.join(', ') : value
  }

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
    const life = Lifecycle.begin(service, req as RequestLike, new ConnectRequest(req))
    if (life) HeldResponse.hold(req, res, life, next)
    loading = life?.load()
  } catch (error) {
    next(error)
    return
  }
  // Outside of the promise: what the handlers throw is theirs.
  if (isPromise(loading)) {
    loading.then(
      () => callFree(next),
      (error) => callFree(next, error),
    )
  } else next()
}

/** What stands still between the app's last word and the store's. Values are read as properties of the response. */
const FROZEN_HEAD = {
  headersSent: { get: (): boolean => true },
  setHeader: { value: refuse },
  setHeaders: { value: refuse },
  appendHeader: { value: refuse },
  removeHeader: { value: refuse },
  writeHead: { value: refuse },
  _implicitHeader: { value: (): void => {} },
} satisfies Record<string, PropertyDescriptor>

// Not `writableEnded` and `finished`: by them a server that closes tells idle connections, and an adapter for serverless
// platforms that a response is complete.
const FROZEN_STREAM = {
  write: {
    value(this: ServerResponse, ...args: unknown[]): boolean {
      debug('write after end is ignored')
      soon(refuseWrite, this, callbackOf(args))
      return false
    },
  },
} satisfies Record<string, PropertyDescriptor>

const FROZEN_WHOLE = {
  ...FROZEN_HEAD,
  ...FROZEN_STREAM,
  flushHeaders: { value: (): void => {} },
} satisfies Record<string, PropertyDescriptor>

function refuse(): never {
  throw headersSent()
}

/** Tells of a write after the end all who listen, a `pipeline` for one. Where nobody does, it must not end the process. */
function refuseWrite(res: ServerResponse, callback: ((error: Error) => void) | undefined): void {
  const error = Object.assign(new Error('write after end'), { code: 'ERR_STREAM_WRITE_AFTER_END' })
  callback?.(error)
  res.on?.('error', ignore)
  res.emit?.('error', error)
  res.off?.('error', ignore)
}

const ignore = (): void => {}

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
 * A response that is held until its session is in the store. To the app it looks sent: the head is frozen, a second
 * `end` does nothing, and the connection cannot be cut. To everything below it looks as if the app had called `end` a
 * little later, so the cookie is decided when the outcome of the save is known, and body, lengths and encodings are made
 * as without us.
 */
class HeldResponse {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #life: Lifecycle
  readonly #next: Next
  /** The response's methods as we found them. */
  readonly #own: Pick<ServerResponse, 'writeHead' | 'write' | 'end' | 'flushHeaders'>
  /** A stand-in for a response, as engine.io makes for a WebSocket: it has no state to hold. */
  readonly #bare: boolean

  /** The app has called `end`. */
  #ended = false
  /** The head has left, or leaves now. */
  #leaving = false
  #cookieSet = false
  /** The app called `writeHead`, and nothing has followed yet. */
  #head: Head | undefined
  #thaw: (() => void) | undefined
  /** The status when the app called `end`: that of a head which looks sent can still be assigned. */
  #status: Head | undefined
  #connection: Connection | undefined

  /** Takes the response over, as far as it is one. */
  static hold(req: IncomingMessage, res: ServerResponse, life: Lifecycle, next: Next): void {
    if (typeof res.writeHead === 'function') new HeldResponse(req, res, life, next).#wrap()
  }

  private constructor(req: IncomingMessage, res: ServerResponse, life: Lifecycle, next: Next) {
    this.#req = req
    this.#res = res
    this.#life = life
    this.#next = next
    const { writeHead, write, end, flushHeaders } = res
    this.#own = { writeHead, write, end, flushHeaders }
    this.#bare = !('headersSent' in res)
  }

  #wrap(): void {
    const held = this
    const res = this.#res
    const { write, end, flushHeaders } = this.#own
    res.writeHead = function (this: ServerResponse, ...args: unknown[]): ServerResponse {
      return held.#writeHead(this, args)
    } as typeof res.writeHead
    if (typeof write === 'function') {
      res.write = function (this: ServerResponse, ...args: unknown[]): boolean {
        held.#leave()
        return Reflect.apply(write, this, args) as boolean
      } as typeof res.write
    }
    if (typeof flushHeaders === 'function') {
      res.flushHeaders = function (this: ServerResponse): void {
        held.#leave()
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

  #writeHead(self: ServerResponse, args: unknown[]): ServerResponse {
    const res = this.#res
    const statusCode = Number(args[0]) | 0
    const final = statusCode >= 200 && statusCode <= 999
    if (this.#leaving || this.#bare || !final || res.headersSent) {
      const send = this.#bare || final ? this.#setCookie(args) : args
      return Reflect.apply(this.#own.writeHead, self, send) as ServerResponse
    }
    // As with plain Node, nothing leaves before the first byte of the body or the end.
    applyHeaders(res, args)
    this.#head = {
      statusCode,
      statusMessage: typeof args[1] === 'string' ? args[1] : undefined,
    }
    setStatus(res, this.#head)
    this.#thaw = freeze(res, FROZEN_HEAD)
    return self
  }

  /** Puts the session's cookie on the head, which may come in the arguments of `writeHead`. */
  #setCookie(args: unknown[]): unknown[] {
    if (this.#cookieSet) return args
    this.#cookieSet = true
    const head = new ConnectHead(this.#res, args)
    try {
      this.#life.head(head)
    } catch (error) {
      this.#tell(error)
    }
    return head.args
  }

  /** The head leaves now. */
  #leave(): void {
    this.#release()
    if (!this.#leaving) this.#connection?.announce()
    this.#leaving = true
    if (!this.#head) return
    const { statusCode, statusMessage } = this.#head
    this.#head = undefined
    // Those who wrap `writeHead` above us have seen the app's call already.
    this.#setCookie([])
    const args = statusMessage === undefined ? [statusCode] : [statusCode, statusMessage]
    Reflect.apply(this.#own.writeHead, this.#res, args)
  }

  #end(args: unknown[]): void {
    const res = this.#res
    // express-session ignores a second end; plain Node would crash on one with a body.
    if (this.#ended) {
      debug('second end is ignored')
      const callback = callbackOf(args)
      if (callback && !res.writableFinished) res.once('finish', callback)
      return
    }
    this.#ended = true
    let committing: Awaitable<void>
    try {
      committing = this.#life.commit(!this.#bare && !this.#leaving && !res.headersSent)
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
    committing.then(finish, fail).catch((error) => callFree(this.#next, error))
  }

  /** The response looks sent from now on. */
  #freeze(): void {
    const res = this.#res
    this.#release()
    // HTTP/2 has no message, and warns of a look at it.
    this.#status = { statusCode: res.statusCode, statusMessage: isHttp2(res) ? undefined : res.statusMessage }
    this.#thaw = freeze(res, this.#leaving ? FROZEN_STREAM : FROZEN_WHOLE)
    if (this.#bare) return
    this.#connection = new Connection(this.#req, res, isHttp2(res))
    this.#connection.hold()
  }

  #release(): void {
    this.#thaw?.()
    this.#thaw = undefined
    this.#connection?.release()
  }

  /** The whole response leaves. */
  #finish(args: unknown[]): void {
    const res = this.#res
    this.#leave()
    if (this.#status && !res.headersSent) setStatus(res, this.#status)
    try {
      Reflect.apply(this.#own.end, res, args)
    } catch (error) {
      // Not a body: as in plain Node the call has failed, and the app may answer otherwise.
      this.#ended = false
      throw error
    }
    this.#connection?.close()
  }

  #fail(error: unknown, args: unknown[]): void {
    this.#release()
    if (!this.#leaving && !this.#res.headersSent && this.#life.withholds(error)) this.#withhold(error, args)
    else {
      this.#finish(args)
      this.#tell(error)
    }
  }

  /** Nothing has left: the app's error handlers answer in place of this answer. */
  #withhold(error: unknown, args: unknown[]): void {
    debug('the answer is withheld: %s', error)
    const res = this.#res
    this.#ended = false
    this.#head = undefined
    this.#status = undefined
    this.#life.refuse()
    for (const name of res.getHeaderNames?.() ?? []) {
      if (goesWithAnswer(name, res.getHeader(name))) res.removeHeader(name)
    }
    res.statusCode = 500
    if (!isHttp2(res)) res.statusMessage = undefined as never
    // It waits for the end of the response, whichever that is.
    const callback = callbackOf(args)
    if (callback) res.once?.('finish', callback)
    this.#next(error)
  }

  /** Tells the app of a failure that came after its answer. */
  #tell(error: unknown): void {
    whenOut(this.#res, () => {
      if (!this.#bare) {
        this.#connection ??= new Connection(this.#req, this.#res, isHttp2(this.#res))
        this.#connection.spare()
      }
      this.#next(error)
    })
  }
}

/** The head of a response, some of which may be in the arguments of `writeHead`. */
class ConnectHead implements ResponseHead {
  /** What is left of the arguments. */
  args: unknown[]
  readonly #res: ServerResponse
  #isApplied = false

  constructor(res: ServerResponse, args: unknown[]) {
    this.#res = res
    this.args = args
  }

  get(name: string): string | undefined {
    const value = this.#applied().getHeader?.(name)
    return value === undefined ? undefined : Array.isArray(value) ? value.join(', ') : String(value)
  }

  set(name: string, value: string): void {
    this.#applied().setHeader(name, value)
  }

  addCookie(value: string): void {
    const others = this.#applied().getHeader('Set-Cookie') as string | string[] | undefined
    this.#res.setHeader('Set-Cookie', others === undefined ? [value] : [others, value].flat())
  }

  #applied(): ServerResponse {
    if (!this.#isApplied) this.args = applyHeaders(this.#res, this.args)
    this.#isApplied = true
    return this.#res
  }
}

function isHttp2(res: ServerResponse): boolean {
  return 'stream' in res
}

function callbackOf(args: unknown[]): ((error?: Error) => void) | undefined {
  return args.find((arg) => typeof arg === 'function') as (() => void) | undefined
}

function setStatus(res: ServerResponse, { statusCode, statusMessage }: Head): void {
  res.statusCode = statusCode
  if (statusMessage) res.statusMessage = statusMessage
}

/** Calls when the response is out: an error handler that finds its head sent may cut off what is left of its body. */
function whenOut(res: ServerResponse, call: () => void): void {
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
 * Puts the headers given to `writeHead` on the response, where those set before and after them are.
 * Returns the arguments without them.
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
