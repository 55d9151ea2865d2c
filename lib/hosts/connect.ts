// Connect, Express and everything else that speaks `(req, res, next)`, over Node's http and http2 and Bun's node:http.
// The only file that patches a response.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { debug } from '../diagnostics.ts'
import { SessionError } from '../errors.ts'
import { type Carrier, type HostRequest, Lifecycle, type Service } from '../lifecycle.ts'
import { isPromise, type Maybe } from '../maybe.ts'
import type { Session, SessionData } from '../session.ts'
import type { Store } from '../store.ts'

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

class ConnectRequest implements HostRequest {
  readonly #req: IncomingMessage & { originalUrl?: string; secure?: boolean }

  constructor(req: IncomingMessage) {
    this.#req = req
  }

  get cookieHeader(): string | undefined {
    return this.#req.headers?.cookie
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
  let loading: Maybe<void>
  try {
    const life = Lifecycle.begin(service, req as Carrier, new ConnectRequest(req))
    if (life) hold(res, life, next)
    loading = life?.load()
  } catch (error) {
    next(error)
    return
  }
  // Outside of the promise: what the handlers throw is theirs.
  if (isPromise(loading)) {
    loading.then(
      () => setImmediate(next),
      (error) => setImmediate(next, error),
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
    value: (...args: unknown[]): boolean => {
      debug('write after end is ignored')
      const callback = args.find((arg) => typeof arg === 'function')
      const error = Object.assign(new Error('write after end'), { code: 'ERR_STREAM_WRITE_AFTER_END' })
      if (callback) process.nextTick(callback as (error: Error) => void, error)
      return false
    },
  },
} satisfies Record<string, PropertyDescriptor>

const FROZEN_WHOLE = {
  ...FROZEN_HEAD,
  ...FROZEN_STREAM,
  flushHeaders: { value: (): void => {} },
} satisfies Record<string, PropertyDescriptor>

/** Node's words for touching a head that has left. */
function refuse(): never {
  throw Object.assign(new Error('Cannot set headers after they are sent to the client'), {
    code: 'ERR_HTTP_HEADERS_SENT',
  })
}

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
 * Holds the response until its session is in the store. To the app it looks sent: the head is frozen, a second
 * `end` does nothing. To everything below it looks as if the app had called `end` a little later, so the cookie is
 * decided when the outcome of the save is known, and body, lengths and encodings are made as without us.
 */
function hold(res: ServerResponse, life: Lifecycle, next: Next): void {
  const { writeHead, write, end, flushHeaders } = res
  if (typeof writeHead !== 'function') return
  // A stand-in for a response, as engine.io makes for a WebSocket: it has no state to hold.
  const bare = !('headersSent' in res)

  let ended = false
  let leaving = false
  let cookieSet = false
  /** The app called `writeHead`, and nothing has followed yet. */
  let head: Head | undefined
  let thaw: (() => void) | undefined

  /** Puts the session's cookie on the head, which may come in the arguments of `writeHead`. */
  const setCookie = (args: unknown[]): unknown[] => {
    if (cookieSet) return args
    cookieSet = true
    let cookie: string | undefined
    try {
      cookie = life.head()
    } catch (error) {
      setImmediate(next, error)
    }
    if (cookie === undefined) return args
    const rest = applyHeaders(res, args)
    const others = res.getHeader('Set-Cookie') as string | string[] | undefined
    res.setHeader(
      'Set-Cookie',
      others === undefined ? [cookie] : [...(Array.isArray(others) ? others : [others]), cookie],
    )
    return rest
  }

  res.writeHead = function (this: ServerResponse, ...args: unknown[]): ServerResponse {
    const statusCode = Number(args[0]) | 0
    const final = statusCode >= 200 && statusCode <= 999
    if (leaving || bare || !final || res.headersSent) {
      const send = bare || final ? setCookie(args) : args
      return Reflect.apply(writeHead, this, send) as ServerResponse
    }
    // As with plain Node, nothing leaves before the first byte of the body or the end.
    applyHeaders(res, args)
    head = {
      statusCode,
      statusMessage: typeof args[1] === 'string' ? args[1] : undefined,
    }
    res.statusCode = statusCode
    if (head.statusMessage !== undefined) res.statusMessage = head.statusMessage
    thaw = freeze(res, FROZEN_HEAD)
    return this
  } as typeof res.writeHead

  /** The head leaves now. */
  const leave = (): void => {
    thaw?.()
    thaw = undefined
    leaving = true
    if (!head) return
    const { statusCode, statusMessage } = head
    head = undefined
    // Those who wrap `writeHead` above us have seen the app's call already.
    setCookie([])
    Reflect.apply(writeHead, res, statusMessage === undefined ? [statusCode] : [statusCode, statusMessage])
  }

  if (typeof write === 'function') {
    res.write = function (this: ServerResponse, ...args: unknown[]): boolean {
      leave()
      return Reflect.apply(write, this, args) as boolean
    } as typeof res.write
  }
  if (typeof flushHeaders === 'function') {
    res.flushHeaders = function (this: ServerResponse): void {
      leave()
      Reflect.apply(flushHeaders, this, [])
    }
  }
  if (typeof end !== 'function') return

  res.end = function (this: ServerResponse, ...args: unknown[]): ServerResponse {
    // express-session ignores a second end; plain Node would crash on one with a body.
    if (ended) {
      debug('second end is ignored')
      const callback = args.find((arg) => typeof arg === 'function') as (() => void) | undefined
      if (callback && !res.writableFinished) res.once('finish', callback)
      return this
    }
    const { statusCode } = res
    // HTTP/2 has none, and warns of a look at it.
    const statusMessage = isHttp2(res) ? undefined : res.statusMessage
    let held = false
    const finish = (): void => {
      leave()
      // The status of a head that looked sent could still be assigned.
      if (held && !res.headersSent) {
        res.statusCode = statusCode
        if (statusMessage) res.statusMessage = statusMessage
      }
      try {
        Reflect.apply(end, this, args)
      } catch (error) {
        // Not a body: as in plain Node the call has failed, and the app may answer otherwise.
        ended = false
        throw error
      }
    }
    const fail = (error: unknown): void => {
      if (error instanceof SessionError && error.code === 'ERR_SESSION_SERIALIZE' && !leaving) {
        // Nothing has left: the app's error page answers, without this session.
        ended = false
        head = undefined
        thaw?.()
        thaw = undefined
        life.abandon()
        next(error)
        return
      }
      finish()
      whenOut(res, () => next(error))
    }

    ended = true
    let committing: Maybe<void>
    try {
      committing = life.commit(!bare && !leaving && !res.headersSent)
    } catch (error) {
      fail(error)
      return this
    }
    if (!isPromise(committing)) {
      finish()
      return this
    }
    held = true
    thaw?.()
    thaw = freeze(res, leaving ? FROZEN_STREAM : FROZEN_WHOLE)
    committing.then(finish, fail).catch((error) => setImmediate(next, error))
    return this
  } as typeof res.end
}

function isHttp2(res: ServerResponse): boolean {
  return 'stream' in res
}

/** Calls when the response is out: an error handler that finds its head sent may cut off what is left of its body. */
function whenOut(res: ServerResponse, call: () => void): void {
  if (typeof res.once !== 'function' || res.writableFinished || res.destroyed) return void setImmediate(call)
  let called = false
  const once = (): void => {
    if (!called) setImmediate(call)
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
