// What a host tells of a request, and what its documentation promises of sessions.

import type { FlashShape } from '../flash.ts'
import type { StoreRequest } from '../session.ts'
import type { Secret } from '../signature.ts'

/** The request, as its host tells it. */
export interface HostRequest {
  /** The Cookie header. */
  readonly cookieHeader: string | undefined
  /** In capitals. */
  readonly method: string
  /** The path of the request's URL, before any router has cut it. */
  readonly path: string
  /** The connection itself is encrypted. */
  readonly encrypted: boolean
  /** What the host says about HTTPS, its own proxy settings considered; undefined if it has no opinion. */
  readonly secure: boolean | undefined
  /** The X-Forwarded-Proto header. */
  readonly forwardedProto: string | undefined
  /** The host's own proxy settings trust the connection's other end; undefined if it has none. */
  readonly trustsProxy?: boolean | undefined
  readonly traits?: HostTraits
  /** A header of the request, by its name in lower case. */
  header(name: string): string | undefined
}

/** The head of a response that leaves. */
export interface ResponseHead {
  /** A header as one line. */
  get(name: string): string | undefined
  set(name: string, value: string): void
  /** Adds a `Set-Cookie` to those that the app has set. */
  addCookie(value: string): void
}

/** What a host's documentation promises of the session itself. */
export interface HostTraits {
  /** One session object serves the whole request: `regenerate` and `destroy` empty it instead of replacing it. */
  readonly keepsObject?: boolean
  /** The app may answer in the callback of a session method, so callbacks count as pending work. */
  readonly awaitsCallbacks?: boolean
  /** An answer is made only when the session is stored: after a failed save no answer leaves. */
  readonly withholds?: boolean
  readonly flash?: FlashShape
  /** Methods that the session has besides its own; hidden, like those. */
  readonly methods?: Record<string, (...args: never[]) => unknown>
}

/** The request object that the app sees, as far as sessions go. */
export interface RequestLike extends StoreRequest {
  /** cookie-parser's secret. */
  secret?: Secret
  /** cookie-parser's unsigned cookies. */
  cookies?: Record<string, unknown>
  /** cookie-parser's signed cookies. */
  signedCookies?: Record<string, unknown>
}

/** The first value of X-Forwarded-Proto is HTTPS. */
export function isForwardedHttps({ forwardedProto }: HostRequest): boolean {
  return forwardedProto?.split(',', 1)[0]?.trim().toLowerCase() === 'https'
}

/** Whether the browser's connection is encrypted. `proxy`: the option of that name. */
export function isSecure(host: HostRequest, proxy: boolean | undefined): boolean {
  if (host.encrypted) return true
  if (proxy === false) return false
  return proxy === true ? isForwardedHttps(host) : host.secure === true
}

/** Whether a cookie of this `scope` is sent for `path` (RFC 6265 §5.1.4). */
export function isWithin(path: string, scope: string): boolean {
  if (scope === '/') return true
  return path.startsWith(scope) && (path.length === scope.length || scope.endsWith('/') || path[scope.length] === '/')
}
