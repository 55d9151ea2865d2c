// The browser's side of a session: the ids that the request's cookies prove, and the cookie that the response carries.

import { type CookieData, readCookies, serializeCookie } from '../cookie.ts'
import { debug, deprecate, warn } from '../diagnostics.ts'
import type { Settings } from '../options.ts'
import { LONGEST_COOKIE, type Secret, type Signer } from '../signature.ts'
import { type HostRequest, isForwardedHttps, isSecure, type RequestLike } from './host.ts'

const HEAD_LEFT = 'the head of the response had left'

/** What one request's browser knows, and is told, of its session. */
export class Browser {
  /** The id in the browser's cookie; undefined where it sent none that proves one. */
  sentId: string | undefined
  /** The id that the session of that cookie has now. */
  sessionId: string | undefined
  readonly #settings: Settings
  readonly #signer: Signer
  readonly #secrets: readonly Secret[]
  readonly #host: HostRequest
  /** The values that cookies came in, by id, as far as they can be sent again as they are. */
  readonly #sentValues = new Map<string, string>()
  /** The id in the cookie that was sent, or would have been over HTTPS. */
  #toldId: string | undefined
  /** Why no cookie can be sent any more. */
  #closed: string | undefined
  /** The cookie of a session that was ended. */
  #ended: CookieData | undefined

  constructor(settings: Settings, signer: Signer, secrets: readonly Secret[], host: HostRequest) {
    this.#settings = settings
    this.#signer = signer
    this.#secrets = secrets
    this.#host = host
  }

  /** The browser's cookie has an id that was renewed. */
  get hasOldId(): boolean {
    return this.sessionId !== this.sentId
  }

  /** See {@link isSecure}. */
  get isSecure(): boolean {
    return isSecure(this.#host, this.#settings.proxy)
  }

  /** No cookie can be sent any more. */
  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  /** No cookie can be sent from now on. */
  close(reason = HEAD_LEFT): void {
    this.#closed ??= reason
  }

  /** Warns of a new session whose cookie can neither reach the browser nor has reached it. */
  expect(id: string): void {
    if (!this.reaches(id)) this.warnUnreachable('data was first put into a session')
  }

  /** The browser has this id, or can still be told it. */
  reaches(id: string): boolean {
    return this.#closed === undefined || id === this.sessionId || id === this.#toldId
  }

  /** Says that the next request will not find the session, and why. */
  warnUnreachable(what: string): void {
    const reason = this.#closed ?? HEAD_LEFT
    debug('no cookie: %s', reason)
    warn(
      'WARN_SESSION_HEAD_SENT',
      `${what} when no cookie could be sent any more, as ${reason}: the next request will not find it; do it earlier`,
      `The request was for ${this.#host.path}`,
    )
  }

  /** The ids that the request's cookies prove, best first. */
  readIds(req: RequestLike): string[] {
    const { name } = this.#settings
    const ids: string[] = []
    for (const value of readCookies(this.#host.cookieHeader, name)) {
      const id = this.#verify(value)
      if (id !== undefined && !ids.includes(id)) ids.push(id)
    }
    if (ids.length > 0) return ids

    const signed = req.signedCookies?.[name]
    if (typeof signed === 'string' && signed) {
      deprecate('cookie should be available in req.headers.cookie')
      return [signed]
    }
    const plain = req.cookies?.[name]
    const id = typeof plain === 'string' ? this.#verify(plain) : undefined
    if (id === undefined) return ids
    deprecate('cookie should be available in req.headers.cookie')
    return [id]
  }

  /** The id that a cookie's value proves under one of the secrets. What is not signed by us is ignored. */
  #verify(value: string): string | undefined {
    const verified = this.#signer.verify(value, this.#secrets)
    if (!verified) {
      debug('cookie ignored: %s', whyRefused(value))
      return undefined
    }
    if (verified.current) this.#sentValues.set(verified.id, value)
    return verified.id
  }

  /** Whether a cookie with this id may be sent over this connection. */
  accepts(id: string, secure: CookieData['secure']): boolean {
    this.#toldId = id
    if (!secure || this.isSecure) return true
    this.#explainInsecure()
    return false
  }

  /** The `Set-Cookie` value. @throws TypeError for attributes that cannot be sent. */
  cookieFor(id: string, attributes: CookieData): string {
    const value = this.#sentValues.get(id) ?? this.#signer.sign(id, this.#secrets[0] as Secret)
    const sent = serializeCookie(this.#settings.name, value, attributes)
    if (sent.length > LONGEST_COOKIE && sent.indexOf(';') > LONGEST_COOKIE) {
      const words = `the session's cookie is longer than ${LONGEST_COOKIE} bytes, so each request will have a new session`
      warn('WARN_SESSION_COOKIE_TOO_LONG', `${words}; make shorter ids with genid`)
    }
    return sent
  }

  /** A session with this cookie was ended: `clearCookie` takes it from the browser. */
  ended(cookie: CookieData): void {
    this.#ended = cookie
  }

  /** The `Set-Cookie` value that takes the browser's cookie away, where the session was ended and the options ask for it. */
  expiredCookie(): string | undefined {
    const { name, clearCookie } = this.#settings
    if (!clearCookie || !this.#ended || this.sentId === undefined) return undefined
    return serializeCookie(name, '', { ...this.#ended, expires: new Date(0) })
  }

  /** Says why no cookie is sent over a connection that is not secure: once as a warning, each time as a debug line. */
  #explainInsecure(): void {
    const forwarded = isForwardedHttps(this.#host)
    const reason = forwarded
      ? 'secure cookie over http; X-Forwarded-Proto is https but proxy is not trusted'
      : 'secure cookie over http'
    debug('no cookie: %s', reason)
    // In production, a request over plain HTTP that no proxy has passed on is a health check rather than a browser's.
    if (process.env.NODE_ENV === 'production' && !forwarded) return
    const mend = forwarded
      ? 'set the option proxy: true, or app.set("trust proxy", 1)'
      : 'use https, or cookie: { secure: "auto" } while you develop'
    warn('WARN_SESSION_COOKIE_NOT_SENT', `no session cookie was sent: ${reason}; ${mend}`)
  }
}

/** Why a cookie proves nothing, for the debug line. */
function whyRefused(value: string): string {
  if (!value.startsWith('s:')) return 'unsigned'
  return value.length > LONGEST_COOKIE ? `longer than ${LONGEST_COOKIE} bytes` : 'signature invalid'
}
