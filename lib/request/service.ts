// What one `session()` call works with, whichever request it serves.

import type { EventEmitter } from 'node:events'
import { Cookie, type CookieOptions } from '../cookie.ts'
import { debug, warn } from '../diagnostics.ts'
import { factsOf } from '../facts.ts'
import type { Identity } from '../identity.ts'
import type { Settings } from '../options.ts'
import type { SessionSlot } from '../port/renewed.ts'
import type { StorePort } from '../port/slot.ts'
import type { StoreRequest } from '../session.ts'
import type { Signer } from '../signature.ts'
import type { LateChanges } from './late-changes.ts'

export interface Service {
  readonly settings: Settings
  readonly store: object
  readonly port: StorePort
  readonly identity: Identity
  /** A session's hashed id, for lists, events and channels. `key`: its id, or what its store has it under. */
  nameOf(key: string): string
  /** The slot of a session, outside of any request. */
  slotOf(id: string): SessionSlot
  readonly signer: Signer
  readonly events: EventEmitter
  /** What the store has said of itself last: `isUp` is false from a `disconnect` to a `connect`. */
  readonly connection: { readonly isUp: boolean }
  /** The store's class has its own way to make a session of a record. */
  readonly createSession: ((req: StoreRequest, record: object) => unknown) | undefined
  readonly lateChanges: LateChanges
  /** Requests are served with an empty session that is never stored nor sent; the browser's cookie is left alone. */
  readonly isForVisitors?: boolean
}

/** The attributes that the options give the cookie of this request. */
export function cookieOptionsOf({ cookie }: Settings, req: object): CookieOptions {
  return (typeof cookie === 'function' ? cookie(req) : cookie) ?? {}
}

/** The cookie of a new session. */
export function createCookie(settings: Settings, options: CookieOptions, isSecure: () => boolean): Cookie {
  const cookie = new Cookie(options)
  const { absoluteTimeout, renewAfter, seenEvery, userOf } = settings
  const facts = factsOf(cookie)
  if (renewAfter !== undefined) facts.issuedAt = Date.now()
  if (absoluteTimeout !== undefined || userOf) facts.createdAt = Date.now()
  if (seenEvery !== undefined) facts.seenAt = Date.now()
  if (cookie.secure === 'auto') cookie.secure = isSecure()
  if (cookie.sameSite === 'auto') cookie.sameSite = isSecure() ? 'none' : 'lax'
  return cookie
}

/** Reports a failure that no request waits for: by the middleware's `error` event, or by a warning where nobody listens. */
export function reportLate({ events }: Service, error: unknown): void {
  debug('after the response: %s', error)
  if (events.listenerCount('error') > 0) events.emit('error', error)
  else {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error)
    warn(
      'WARN_SESSION_LATE_ERROR',
      "a session failed after the response; listen with sessions.on('error', listener)",
      reason,
    )
  }
}
