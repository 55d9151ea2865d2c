// The session cookie: the `Cookie` object apps see, and the two header grammars.
// Strings only; signing lives in signature.ts.

import { parse, serialize } from 'cookie'
import { deprecate } from './diagnostics.ts'
import { type Facts, factsIn } from './facts.ts'

/** Attributes of the session cookie, as in express-session. */
export interface CookieOptions {
  /** Lifetime in milliseconds; sets `expires`. `null`: until the browser closes. Default `null`. */
  maxAge?: number | null | undefined
  /** Date of expiry; prefer `maxAge`. The one of the two given last wins. */
  expires?: Date | null | false | undefined
  /** Sends the cookie over HTTPS only. `'auto'` follows the connection of each request. */
  secure?: boolean | 'auto' | undefined
  /** Hides the cookie from scripts. Default `true`. */
  httpOnly?: boolean | undefined
  /** Default `'/'`. Requests outside of it have no session. */
  path?: string | undefined
  /** Default: none, the host that answered. */
  domain?: string | undefined
  /** `true` is `'strict'`. `'auto'`: `'none'` on a secure connection, else `'lax'`. */
  sameSite?: boolean | 'lax' | 'strict' | 'none' | 'auto' | undefined
  /** Cookies Having Independent Partitioned State (CHIPS). */
  partitioned?: boolean | undefined
  priority?: 'low' | 'medium' | 'high' | undefined
  /** Ignored by the package; kept for code written for express-session. */
  encode?: ((value: string) => string) | undefined
  /** Ignored by the package; kept for code written for express-session. */
  signed?: boolean | undefined
  originalMaxAge?: number | null | undefined
}

/** What a cookie is stored as, and what `Set-Cookie` is made of. */
export interface CookieData extends Facts {
  originalMaxAge: number | null
  partitioned?: boolean | undefined
  priority?: 'low' | 'medium' | 'high' | undefined
  expires?: Date | string | null | false | undefined
  secure?: boolean | 'auto' | undefined
  httpOnly?: boolean | undefined
  domain?: string | undefined
  path?: string | undefined
  sameSite?: boolean | 'lax' | 'strict' | 'none' | 'auto' | undefined
}

/**
 * What apps see of a session's cookie: as in the types that code for express-session was written against, a plain
 * object with an `originalMaxAge` is one. All else that the class declares stays internal.
 */
export interface SessionCookie {
  /** The lifetime in milliseconds that was asked for; `null` for a cookie of the browser's session. */
  originalMaxAge: number | null
  /** Milliseconds until the cookie expires; an assignment becomes the new `originalMaxAge`. */
  maxAge?: number | undefined
  /** Date of expiry, another view of `maxAge`; `null`: until the browser closes. */
  expires?: Date | null | undefined
  secure?: boolean | 'auto' | undefined
  httpOnly?: boolean | undefined
  path?: string | undefined
  domain?: string | undefined
  sameSite?: boolean | 'lax' | 'strict' | 'none' | 'auto' | undefined
  partitioned?: boolean | undefined
  priority?: 'low' | 'medium' | 'high' | undefined
  signed?: boolean | undefined
}

export interface Cookie extends SessionCookie {}

/**
 * The cookie of one session, as express-session's: `expires` and `maxAge` are two views of one date,
 * and every assignment to either becomes the new `originalMaxAge`, to which `touch()` returns.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: see above
export class Cookie implements CookieOptions {
  /** @internal */
  declare private _expires: Date | null | false | undefined

  /** @throws TypeError when `options` is not an object or `maxAge` not a number. */
  constructor(options?: CookieOptions) {
    this.path = '/'
    this.maxAge = null
    this.httpOnly = true

    if (options) {
      if (typeof options !== 'object') throw new TypeError('argument options must be a object')
      const target = this as unknown as Record<string, unknown>
      for (const key in options) {
        if (key !== 'data') target[key] = (options as Record<string, unknown>)[key]
      }
    }

    if (this.originalMaxAge === undefined || this.originalMaxAge === null)
      this.originalMaxAge = this.maxAge as number | null
  }

  /** @internal */
  get expires(): Date | null | undefined {
    return this._expires as Date | null | undefined
  }

  /** @internal */
  set expires(date: Date | string | number | null | false | undefined) {
    this._expires = typeof date === 'string' || typeof date === 'number' ? new Date(date) : date
    this.originalMaxAge = this.maxAge as number | null
  }

  /** @internal `null` for a cookie of the browser's session, which the types for express-session do not say. */
  get maxAge(): number | undefined {
    const expires = this.expires
    return expires instanceof Date ? expires.valueOf() - Date.now() : (expires as undefined)
  }

  /** @internal */
  set maxAge(ms: number | Date | null | undefined) {
    if (ms && typeof ms !== 'number' && !(ms instanceof Date)) throw new TypeError('maxAge must be a number or Date')
    if (ms instanceof Date) deprecate('maxAge as Date; pass number of milliseconds instead')
    this.expires = typeof ms === 'number' ? new Date(Date.now() + ms) : ms
    // Not by the clock, which may have gone on meanwhile: a lifetime must not shrink at each touch.
    if (typeof ms === 'number') this.originalMaxAge = ms
  }

  /** @internal */
  get data(): CookieData {
    return {
      originalMaxAge: this.originalMaxAge,
      ...factsIn(this),
      partitioned: this.partitioned,
      priority: this.priority,
      expires: this._expires,
      secure: this.secure,
      httpOnly: this.httpOnly,
      domain: this.domain,
      path: this.path,
      sameSite: this.sameSite,
    }
  }

  /** @internal The `Set-Cookie` value that gives the browser `value` under `name`. */
  serialize(name: string, value: string): string {
    return serializeCookie(name, value, this.data)
  }

  /** @internal */
  toJSON(): CookieData {
    return this.data
  }
}

/** Whether this is a session's cookie, of this or another copy of the package; an app may have put an object there. */
export function isCookie(cookie: unknown): cookie is Cookie {
  return typeof (cookie as Cookie | undefined)?.toJSON === 'function'
}

/** The attributes that an app can change on a cookie, besides its lifetime. */
export const ATTRIBUTES = ['secure', 'httpOnly', 'domain', 'path', 'sameSite', 'priority', 'partitioned'] as const

/**
 * The cookie of a session whose app has put something else in its place, such as `{ maxAge }` or a copy as JSON:
 * `configured`, with the attributes that stand there. `last`: the cookie that was there before.
 * @throws TypeError when `maxAge` is not a number.
 */
export function cookieFrom(given: unknown, configured: Cookie, last: Cookie | undefined): Cookie {
  if (typeof given !== 'object' || given === null) return configured
  const { _expires, expires = _expires, maxAge, ...attributes } = given as Record<string, unknown>
  const target = configured as unknown as Record<string, unknown>
  for (const key of ATTRIBUTES) if (attributes[key] !== undefined) target[key] = attributes[key]
  if (maxAge !== undefined) configured.maxAge = maxAge as number
  else if (expires !== undefined) {
    configured.expires = expires as Date
    // The date of a mere copy stands for the lifetime that it was made from.
    if (last && expiryOf(last) === expiryOf(configured)) configured.originalMaxAge = last.originalMaxAge
  }
  return configured
}

/**
 * When a cookie lets its session expire, in ms since the epoch; undefined when it sets no date. Records hold dates as
 * ISO or UTC text, or in milliseconds.
 */
export function expiryOf(cookie: { expires?: unknown; originalMaxAge?: unknown } | undefined): number | undefined {
  const expires = cookie?.expires
  const date = typeof expires === 'string' || typeof expires === 'number' ? new Date(expires) : expires
  const time = date instanceof Date ? date.getTime() : Number.NaN
  return Number.isNaN(time) ? undefined : time
}

/** Whether a session has been given another lifetime since it was `loaded`; never where that is not known. */
export function hasOtherLifetime(stored: CookieData | undefined, loaded: CookieData | undefined): boolean {
  return stored !== undefined && loaded !== undefined && stored.originalMaxAge !== loaded.originalMaxAge
}

/**
 * A cookie as a store gave it back: the date is a date again, `originalMaxAge` as it was saved. A date that has passed
 * was not kept up to date: the store has kept the session alive without writing it, so it has its full lifetime.
 */
export function reviveCookie(data: CookieData): Cookie {
  const { expires, originalMaxAge, ...attributes } = data
  const cookie = new Cookie(attributes as CookieOptions)
  if (expires !== undefined) cookie.expires = expires as Date
  cookie.originalMaxAge = originalMaxAge
  if (Number(originalMaxAge) > 0 && (expiryOf(cookie) ?? Infinity) <= Date.now())
    cookie.maxAge = originalMaxAge as number
  return cookie
}

/** A `Set-Cookie` value. @throws TypeError `option … is invalid`, worded as express-session's. */
export function serializeCookie(name: string, value: string, data: CookieData): string {
  const { expires, secure, httpOnly, domain, path, sameSite, priority, partitioned } = data
  try {
    return serialize(name, value, {
      expires: expires || undefined,
      secure,
      httpOnly,
      domain,
      path,
      sameSite,
      priority,
      partitioned,
    } as Parameters<typeof serialize>[2])
  } catch (error) {
    // `cookie` 1.x appends the offending value to the message.
    if (error instanceof TypeError) error.message = error.message.replace(/ is invalid: .*/s, ' is invalid')
    throw error
  }
}

/** Every value that a Cookie header gives `name`, in its order; browsers send one for each matching path and domain. */
export function readCookies(header: string | undefined, name: string): string[] {
  const values: string[] = []
  if (!header?.includes(name)) return values
  for (const pair of header.split(';')) {
    if (!pair.trimStart().startsWith(name)) continue
    const value = parse(pair)[name]
    // Quotes around a value are not part of it (RFC 6265 §4.1.1); `cookie` 1.x leaves them there.
    if (value !== undefined) values.push(/^".*"$/s.test(value) ? value.slice(1, -1) : value)
  }
  return values
}
