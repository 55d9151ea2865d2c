// A session as JSON: what a store held when it was read, and what a request made of it.
// Pure; knows no store and no host.

import { type Cookie, type CookieData, isCookie } from './cookie.ts'
import { SessionError } from './errors.ts'
import { withPlainFlash } from './flash.ts'

/** A record as a store hands it over: its JSON, or the object made of it. */
export type Stored = string | StoredObject
export type StoredObject = Record<string, unknown> & { cookie: CookieData }

const HEAD = '{"cookie":'

/** A session's data (everything but its cookie) as JSON. @throws SessionError when it has a cycle or a BigInt. */
export function serializeData(session: object): string {
  const { cookie: _, ...data } = session as Record<string, unknown>
  try {
    return JSON.stringify(data)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new SessionError('ERR_SESSION_SERIALIZE', `session cannot be saved as JSON: ${reason}`, { cause })
  }
}

/** The record's JSON from its two parts, the cookie always first, so that it can be read alone. */
export function joinRecord(cookie: string, data: string): string {
  return data === '{}' ? `${HEAD}${cookie}}` : `${HEAD}${cookie},${data.slice(1)}`
}

export interface RecordParts {
  readonly cookie: CookieData
  /** The data as JSON. */
  readonly data: string
  /** The cookie as it stands in the record. */
  readonly cookieText: string
}

/** The two parts of a record whose cookie comes first, without parsing its data; undefined for any other JSON. */
export function splitRecord(json: string): RecordParts | undefined {
  if (!json.startsWith(`${HEAD}{`)) return undefined
  // A `}` inside a string of the cookie ends a slice that does not parse: look for the next, a few times.
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

/** The cookie of a record; undefined where there is none. */
export function cookieIn(json: string): CookieData | undefined {
  const parts = splitRecord(json)
  if (parts) return parts.cookie
  try {
    return (JSON.parse(json) as Partial<StoredObject> | null)?.cookie
  } catch {
    return undefined
  }
}

/** A record with another cookie. */
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

/** What a store held when the session was read. Its data is parsed only when somebody looks at it. */
export class Snapshot {
  readonly #object: StoredObject | undefined
  readonly #parts: RecordParts | undefined
  #data: string | undefined

  /**
   * `fallback`: the cookie of a record that has none, as promise-style stores may keep them.
   * @throws SyntaxError for a text that is no object, and for an object that cannot be a session what reading its cookie
   * throws: express-session's TypeError.
   */
  constructor(stored: Stored, fallback?: CookieData) {
    if (typeof stored === 'string') this.#parts = splitRecord(stored)
    if (!this.#parts) {
      this.#object = typeof stored === 'string' ? parseObject(stored) : stored
      if (fallback && !this.#object.cookie) this.#object = { ...withFlash(this.#object), cookie: fallback }
      void this.#object.cookie.expires
    }
  }

  /** The cookie as it was stored. */
  get cookie(): CookieData {
    return (this.#parts ?? (this.#object as StoredObject)).cookie
  }

  /** The data as JSON. Of a store that hands over objects: read it before anybody can change the object. */
  get data(): string {
    this.#data ??= this.#parts?.data ?? serializeData(this.#object as StoredObject)
    return this.#data
  }

  /**
   * The data as our own `JSON.stringify` writes it. Another writer may have spaced or escaped it otherwise, which shows
   * in its cookie. @throws SyntaxError when the data is not JSON.
   */
  get canonicalData(): string {
    if (!this.#parts || JSON.stringify(this.#parts.cookie) === this.#parts.cookieText) return this.data
    return JSON.stringify(JSON.parse(this.data))
  }

  /** The record as an object of the caller's own. @throws SyntaxError when its data is not JSON. */
  open(): StoredObject {
    if (this.#parts)
      return {
        cookie: this.#parts.cookie,
        ...(JSON.parse(this.#parts.data) as object),
      }
    return this.#object as StoredObject
  }
}

/** bunWay's own session keeps its flash messages under another name. */
function withFlash({ _flash, ...record }: StoredObject): Record<string, unknown> {
  return _flash === undefined ? record : { flash: _flash, ...record }
}

/** A session on its way to a store: each part is made only for the store that wants it. */
export class Outgoing {
  /** The browser will be told that the session lives on: a store must not take that for granted. */
  cookieWillBeSent = false
  /** The id that the session has until this has been written: of the two, one is to be counted. */
  replaces: string | undefined
  readonly cookie: Cookie
  /** The cookie's attributes at this moment: the app may change them while the store is at work. */
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

  /** It is no session, but what is left under an id that was renewed: a session to nobody who counts or lists them. */
  get isPointer(): boolean {
    return false
  }

  /** The live session, for stores that serialise it themselves, by whatever means. */
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
