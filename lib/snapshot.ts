// A session's record as JSON: a snapshot of what a store held, and what a request writes. Pure: no store, no host.

import { type Cookie, type CookieData, isCookie } from './cookie.ts'
import { SessionError } from './errors.ts'
import { withPlainFlash } from './flash.ts'

/** A record as a store returns it: JSON, or the parsed object. */
export type Stored = string | StoredObject
export type StoredObject = Record<string, unknown> & { cookie: CookieData }

const HEAD = '{"cookie":'

/**
 * A session's data, all but its cookie, as JSON. @throws SessionError `ERR_SESSION_SERIALIZE` for a cycle or a BigInt.
 */
export function serializeData(session: object): string {
  const { cookie: _, ...data } = session as Record<string, unknown>
  try {
    return JSON.stringify(data)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new SessionError('ERR_SESSION_SERIALIZE', `session cannot be saved as JSON: ${reason}`, { cause })
  }
}

/**
 * Joins the JSON of a cookie and of data to that of a record. The cookie comes first, so that it can be parsed alone.
 */
export function joinRecord(cookie: string, data: string): string {
  return data === '{}' ? `${HEAD}${cookie}}` : `${HEAD}${cookie},${data.slice(1)}`
}

/** A record in two parts, of which only the cookie was parsed. */
export interface RecordParts {
  readonly cookie: CookieData
  /** The data as JSON. */
  readonly data: string
  /** The cookie's JSON, exactly as in the record. */
  readonly cookieText: string
}

/** Splits a record without parsing its data; undefined if the cookie does not come first. */
export function splitRecord(json: string): RecordParts | undefined {
  if (!json.startsWith(`${HEAD}{`)) return undefined
  // A `}` may be in a string of the cookie: then the slice does not parse, and the next `}` is tried.
  let end = json.indexOf('}', HEAD.length)
  for (let tries = 0; end !== -1 && tries < 4; tries++, end = json.indexOf('}', end + 1)) {
    const after = json[end + 1]
    if (after !== ',' && after !== '}') continue
    const cookieText = json.slice(HEAD.length, end + 1)
    try {
      const cookie = JSON.parse(cookieText) as CookieData
      return { cookie, cookieText, data: after === ',' ? `{${json.slice(end + 2)}` : '{}' }
    } catch {}
  }
  return undefined
}

/** The cookie of a record; undefined if it has none or is not JSON. */
export function cookieIn(json: string): CookieData | undefined {
  const parts = splitRecord(json)
  if (parts) return parts.cookie
  try {
    return (JSON.parse(json) as Partial<StoredObject> | null)?.cookie
  } catch {
    return undefined
  }
}

/** A record with its cookie replaced. @throws SyntaxError when it is not JSON. */
export function withCookie(json: string, cookie: Cookie | CookieData): string {
  const parts = splitRecord(json)
  if (parts) return joinRecord(JSON.stringify(cookie), parts.data)
  const { cookie: _, ...data } = JSON.parse(json)
  return JSON.stringify({ cookie, ...data })
}

function parseObject(json: string): StoredObject {
  const record: unknown = JSON.parse(json)
  if (typeof record === 'object' && record !== null) return record as StoredObject
  throw new SyntaxError('it is JSON, but no session')
}

/** A session as a store held it when it was read. Its data is parsed only when it is needed. */
export class Snapshot {
  readonly #object: StoredObject | undefined
  readonly #parts: RecordParts | undefined
  #data: string | undefined

  /**
   * `fallback`: the cookie for a record without one, as bunWay and bun-router allow.
   * @throws SyntaxError for text that is not the JSON of an object. @throws TypeError, as express-session does, for an
   * object without a cookie.
   */
  constructor(stored: Stored, fallback?: CookieData) {
    if (typeof stored === 'string') this.#parts = splitRecord(stored)
    if (!this.#parts) {
      this.#object = typeof stored === 'string' ? parseObject(stored) : stored
      if (fallback && !this.#object.cookie) this.#object = { ...withFlash(this.#object), cookie: fallback }
      // Throws for a record without a cookie.
      void this.#object.cookie.expires
    }
  }

  /** The cookie as it was stored. */
  get cookie(): CookieData {
    return (this.#parts ?? (this.#object as StoredObject)).cookie
  }

  /** The data as JSON. If the store returned an object, read this before the app can change it. */
  get data(): string {
    this.#data ??= this.#parts?.data ?? serializeData(this.#object as StoredObject)
    return this.#data
  }

  /**
   * The data as `JSON.stringify` writes it, so that it can be compared. Other writers may use other spaces and escapes:
   * their cookie shows whether they do. @throws SyntaxError when the data is not JSON.
   */
  get canonicalData(): string {
    if (!this.#parts || JSON.stringify(this.#parts.cookie) === this.#parts.cookieText) return this.data
    return JSON.stringify(JSON.parse(this.data))
  }

  /** The record as an object, which the caller may change. @throws SyntaxError when the data is not JSON. */
  open(): StoredObject {
    if (this.#parts)
      return {
        cookie: this.#parts.cookie,
        ...(JSON.parse(this.#parts.data) as object),
      }
    return this.#object as StoredObject
  }
}

/** Renames `_flash`, where bunWay's built-in session stores its flash messages. */
function withFlash({ _flash, ...record }: StoredObject): Record<string, unknown> {
  return _flash === undefined ? record : { flash: _flash, ...record }
}

/** A record to be written. Each form of it, object or JSON, is made only when a store asks for it. */
export class Outgoing {
  /** The response tells the browser that the session was extended: the store must not skip writing the new date. */
  cookieWillBeSent = false
  /** The session's id before a renewal. While both ids are stored, a store counts only one of them. */
  replaces: string | undefined
  /** The data of the session before, as JSON; undefined for one that is new. */
  base: string | undefined
  /** By this record somebody signs in or out, as was found when it was written. */
  signs: 'in' | 'out' | undefined
  readonly cookie: Cookie
  /** A copy of the cookie's attributes: the app may change the cookie while the store writes. */
  readonly attributes: CookieData
  readonly #session: () => object
  #data: string | undefined
  #json: string | undefined

  constructor(cookie: Cookie, session: () => object, data?: string) {
    this.cookie = cookie
    this.attributes = isCookie(cookie) ? cookie.data : cookie
    this.#session = session
    this.#data = data
  }

  /** This is a pointer from a renewed id to the new one. Stores do not count or list it as a session. */
  get isPointer(): boolean {
    return false
  }

  /** The session object, for stores that serialise it themselves. */
  get session(): object {
    return withPlainFlash(this.#session())
  }

  /** The session's data as JSON, without the cookie. */
  get data(): string {
    this.#data ??= serializeData(this.session)
    return this.#data
  }

  /** The whole record as JSON. */
  get json(): string {
    this.#json ??= joinRecord(JSON.stringify(this.cookie), this.data)
    return this.#json
  }
}
