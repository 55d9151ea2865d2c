// Session ids: how they are generated, and how cookies sign them, as `s:<id>.<HMAC-SHA256>` like express-session.

import { createHash, createHmac, randomFillSync } from 'node:crypto'
import { sign, unsign } from 'cookie-signature'

/** A key for `crypto.createHmac`. */
export type Secret = string | Buffer | NodeJS.ArrayBufferView | import('node:crypto').KeyObject

/**
 * Longer cookie values are not verified: browsers must keep 4096 bytes of name, value and attributes (RFC 6265 §6.1).
 */
export const LONGEST_COOKIE = 4096
/** How many verified cookies each middleware remembers. */
const MAX_REMEMBERED = 1024

const ID_BYTES = 24
/** Random bytes for the next ids: one call for many is cheaper than one for each. */
const pool = Buffer.allocUnsafe(ID_BYTES * 128)
let used = pool.length

/**
 * A new session id: 192 bits from a cryptographic random generator as 32 characters of base64url, as express-session's
 * `uid-safe` makes them (OWASP Session Management asks for at least 64 bits).
 */
export function generateId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const id = pool.toString('base64url', used, used + ID_BYTES)
  // A memory dump must not show ids that are in use.
  pool.fill(0, used, used + ID_BYTES)
  used += ID_BYTES
  return id
}

const KEY_PREFIX = 'sha256-'
const KEY = /^sha256-[\w-]{43}$/

/** The key that `hashId` keeps the session with this id under. */
export function keyOf(id: string): string {
  return KEY_PREFIX + createHash('sha256').update(`unisession id\0${id}`).digest('base64url')
}

/** Whether this is such a key rather than an id. */
export function isKey(id: string): boolean {
  return KEY.test(id)
}

/**
 * A name for a session that does not give away its id, for lists, logs and events: HMAC-SHA-256, under the first secret, of
 * the hash of the id. It is the same in every process. `key`: what a store has the session under, be it the id or its hash.
 */
export function publicIdOf(key: string, secret: Secret): string {
  return createHmac('sha256', secret as string)
    .update(`session id\0${isKey(key) ? key : keyOf(key)}`)
    .digest('base64url')
}

/** What a verified cookie has proved. */
interface Proof {
  readonly id: string
  readonly secret: Secret
  /** The signature is in the encoding that {@link Signer.sign} uses. */
  readonly isCanonical: boolean
}

/**
 * Signs and verifies the cookies of one middleware. Remembers verified cookies, as every HMAC is a native object that
 * must be garbage-collected. A remembered cookie is valid only while the secret that verified it is in the list.
 */
export class Signer {
  readonly #verified = new Map<string, Proof>()

  /** The cookie value for an id. */
  sign(id: string, secret: Secret): string {
    const value = `s:${sign(id, secret as string)}`
    this.#remember(value, { id, secret, isCanonical: true })
    return value
  }

  /**
   * The id in a cookie value; undefined if no secret verifies its signature. Never throws. `current`: the value is what
   * `sign` makes under the first secret, so that the cookie need not be replaced.
   */
  verify(value: string, secrets: readonly Secret[]): { id: string; current: boolean } | undefined {
    if (value.length > LONGEST_COOKIE || !value.startsWith('s:')) return undefined
    const remembered = this.#verified.get(value)
    if (remembered && secrets.includes(remembered.secret)) {
      return { id: remembered.id, current: remembered.isCanonical && remembered.secret === secrets[0] }
    }
    const received = value.slice(2)
    const signed = fromBase64url(received)
    const isCanonical = signed === received
    for (const secret of secrets) {
      const id = unsign(signed, secret as string)
      if (id === false) continue
      this.#remember(value, { id, secret, isCanonical })
      return { id, current: isCanonical && secret === secrets[0] }
    }
    return undefined
  }

  #remember(value: string, proof: Proof): void {
    if (this.#verified.size >= MAX_REMEMBERED) {
      const oldest = this.#verified.keys().next()
      if (!oldest.done) this.#verified.delete(oldest.value)
    }
    this.#verified.set(value, proof)
  }
}

/**
 * Turns a signature in base64url, as bunWay's built-in session makes it, into base64, as `cookie-signature` reads it.
 */
function fromBase64url(signed: string): string {
  const dot = signed.lastIndexOf('.')
  const signature = signed.slice(dot + 1)
  return /[-_]/.test(signature)
    ? signed.slice(0, dot + 1) + signature.replaceAll('-', '+').replaceAll('_', '/')
    : signed
}
