// The session cookie: the `Cookie` object that apps see, and the Cookie and Set-Cookie headers. Knows no signatures.

import { parse, serialize } from 'cookie'
import { deprecate } from './diagnostics.ts'
import { type Facts, factsIn } from './facts.ts'

/** Attributes of the session cookie, as in express-session (RFC 6265). */
export interface CookieOptions {
  /** Lifetime in milliseconds; sets `expires`. `null`: until the browser closes. Default `null`. */
  maxAge?: number | null | undefined
  /** Date of expiry. Prefer `maxAge`: a fixed date passes. If both are given, the last one counts. */
  expires?: Date | null | false | undefined
  /** Sends the cookie over HTTPS only. `'auto'`: as secure as the connection of each request. Default: not set. */
  secure?: boolean | 'auto' | undefined
  /** Hides the cookie from scripts in the browser. Default `true`. */
  httpOnly?: boolean | undefined
  /** The path under which browsers send the cookie. Default `'/'`. Requests to other paths have no session. */
  path?: string | undefined
  /** The domain that gets the cookie, with its subdomains. Default: only the host that answers. */
  domain?: string | undefined
  /** `true` is `'strict'`. `'auto'`: `'none'` on a secure connection, otherwise `'lax'`. Default: not set. */
  sameSite?: boolean | 'lax' | 'strict' | 'none' | 'auto' | undefined
  /** Gives each top-level site a cookie of its own (CHIPS). Default: not set. */
  partitioned?: boolean | undefined
  priority?: 'low' | 'medium' | 'high' | undefined
  /** Ignored by the package; kept for code written for express-session. */
  encode?: ((value: string) => string) | undefined
  /** Ignored by the package; kept for code written for express-session. */
  signed?: boolean | undefined
  originalMaxAge?: number | null | undefined
}

/** A cookie as it is stored in a record, and as `Set-Cookie` is made from. */
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
 * The cookie of a session, as apps see it. As in the types of express-session, a plain object with an `originalMaxAge`
 * is assignable to it; other members of the class are internal.
 */
export interface SessionCookie {
  /** The lifetime in milliseconds that was set last, to which `touch()` returns. `null`: until the browser closes. */
  originalMaxAge: number | null
  /** Milliseconds until the cookie expires. Setting it sets `originalMaxAge`, too. */
  maxAge?: number | undefined
  /** Date of expiry: the same as `maxAge`, as a date. `null`: until the browser closes. */
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

export interface Cookie extends SessionCookie {
  /** @internal */
  user?: string | undefined
}

/**
 * The cookie of one session, as in express-session: `expires` and `maxAge` are the same date, and setting either sets
 * `originalMaxAge`, to which `touch()` returns.
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

  /** @internal `null` for a cookie that lasts until the browser closes, which express-session's types do not say. */
  get maxAge(): number | undefined {
    const expires = this.expires
    return expires instanceof Date ? expires.valueOf() - Date.now() : (expires as undefined)
  }

  /** @internal */
  set maxAge(ms: number | Date | null | undefined) {
    if (ms && typeof ms !== 'number' && !(ms instanceof Date)) throw new TypeError('maxAge must be a number or Date')
    if (ms instanceof Date) deprecate('maxAge as Date; pass number of milliseconds instead')
    this.expires = typeof ms === 'number' ? new Date(Date.now() + ms) : ms
    // The setter of `expires` computes it from the clock: each touch could lose a millisecond.
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

/** Whether a value is a `Cookie`, of this or another copy of the package: apps may assign any object. */
export function isCookie(cookie: unknown): cookie is Cookie {
  return typeof (cookie as Cookie | undefined)?.toJSON === 'function'
}

/** The attributes of a cookie that an app can change, without its lifetime. */
export const ATTRIBUTES = ['secure', 'httpOnly', 'domain', 'path', 'sameSite', 'priority', 'partitioned'] as const

/**
 * Makes a cookie of what an app has assigned to `session.cookie`, such as `{ maxAge }` or a copy from JSON: sets the
 * attributes of `assigned` on `configured`, and returns that. `last`: the session's cookie before the assignment.
 * @throws TypeError when `maxAge` is not a number.
 */
export function cookieFrom(assigned: unknown, configured: Cookie, last: Cookie | undefined): Cookie {
  if (typeof assigned !== 'object' || assigned === null) return configured
  const { _expires, expires = _expires, maxAge, ...attributes } = assigned as Record<string, unknown>
  const target = configured as unknown as Record<string, unknown>
  for (const key of ATTRIBUTES) if (attributes[key] !== undefined) target[key] = attributes[key]
  if (maxAge !== undefined) configured.maxAge = maxAge as number
  else if (expires !== undefined) {
    configured.expires = expires as Date
    // An unchanged date comes from a copy of the last cookie: it is no new lifetime.
    if (last && expiryOf(last) === expiryOf(configured)) configured.originalMaxAge = last.originalMaxAge
  }
  return configured
}

/**
 * When a cookie expires, in milliseconds since the epoch; undefined for a cookie without a valid date. Records of
 * various stores have the date as ISO or UTC text, or in milliseconds.
 */
export function expiryOf(cookie: { expires?: unknown; originalMaxAge?: unknown } | undefined): number | undefined {
  const expires = cookie?.expires
  const date = typeof expires === 'string' || typeof expires === 'number' ? new Date(expires) : expires
  const time = date instanceof Date ? date.getTime() : Number.NaN
  return Number.isNaN(time) ? undefined : time
}

/** Whether another request has changed a session's lifetime since it was loaded; false if either cookie is unknown. */
export function hasOtherLifetime(stored: CookieData | undefined, loaded: CookieData | undefined): boolean {
  return stored !== undefined && loaded !== undefined && stored.originalMaxAge !== loaded.originalMaxAge
}

/**
 * Makes a cookie of a stored one. A date that has passed is replaced by one after the full lifetime: a store that still
 * returns the session has extended it without writing the date.
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

/** A `Set-Cookie` value. @throws TypeError `option … is invalid`, as express-session does, for an invalid attribute. */
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

/** All values of a cookie in a Cookie header, in their order: browsers send one for each path and domain that match. */
export function readCookies(header: string | undefined, name: string): string[] {
  const values: string[] = []
  if (!header?.includes(name)) return values
  for (const pair of header.split(';')) {
    if (!pair.trimStart().startsWith(name)) continue
    const value = parse(pair)[name]
    // Removes the quotes that a value may have (RFC 6265 §4.1.1): `cookie` 1.x does not.
    if (value !== undefined) values.push(/^".*"$/s.test(value) ? value.slice(1, -1) : value)
  }
  return values
}
