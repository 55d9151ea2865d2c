// Signed session ids, `s:<id>.<HMAC-SHA256>`, and the ids themselves.

import { createHmac, randomFillSync } from 'node:crypto'
import { sign, unsign } from 'cookie-signature'

/** Whatever `crypto.createHmac` takes as a key. */
export type Secret = string | Buffer | NodeJS.ArrayBufferView | import('node:crypto').KeyObject

/** Longest cookie value looked at: browsers keep 4096 bytes for name, value and attributes (RFC 6265 §6.1). */
export const LONGEST_COOKIE = 4096
/** Verified cookies remembered for each middleware. */
const REMEMBERED = 1024

const ID_BYTES = 24
const pool = Buffer.allocUnsafe(ID_BYTES * 128)
let used = pool.length

/** 192 random bits as 32 base64url characters, as express-session's `uid-safe` makes them. */
export function generateId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const id = pool.toString('base64url', used, used + ID_BYTES)
  // A used id does not stay readable in the pool.
  pool.fill(0, used, used + ID_BYTES)
  used += ID_BYTES
  return id
}

/**
 * The hash by which a session is named to whoever must not be able to use its id: HMAC-SHA-256 under the first secret,
 * the same on every process. Of more than the id, as that alone would give the signature of its cookie.
 */
export function hashId(id: string, secret: Secret): string {
  return createHmac('sha256', secret as string)
    .update(`session id\0${id}`)
    .digest('base64url')
}

/**
 * Signs and verifies the cookie of one middleware. Making an HMAC is far dearer in a server than in a
 * loop (each is a native object to be finalised), so a cookie once verified is remembered with the secret
 * that proved it, and proves nothing any more once that secret is gone from the list.
 */
export class Signer {
  readonly #verified = new Map<string, { id: string; secret: Secret; ours: boolean }>()

  /** The cookie value for `id`. */
  sign(id: string, secret: Secret): string {
    const value = `s:${sign(id, secret as string)}`
    this.#remember(value, { id, secret, ours: true })
    return value
  }

  /**
   * The id that `value` proves under one of the secrets, and whether that is how it would be signed today.
   * Never throws on foreign input.
   */
  verify(value: string, secrets: readonly Secret[]): { id: string; current: boolean } | undefined {
    if (value.length > LONGEST_COOKIE || !value.startsWith('s:')) return undefined
    const known = this.#verified.get(value)
    if (known && secrets.includes(known.secret)) {
      return {
        id: known.id,
        current: known.ours && known.secret === secrets[0],
      }
    }
    const sent = value.slice(2)
    const signed = fromBase64url(sent)
    const ours = signed === sent
    for (const secret of secrets) {
      const id = unsign(signed, secret as string)
      if (id === false) continue
      this.#remember(value, { id, secret, ours })
      return { id, current: ours && secret === secrets[0] }
    }
    return undefined
  }

  #remember(value: string, proof: { id: string; secret: Secret; ours: boolean }): void {
    if (this.#verified.size >= REMEMBERED) {
      const oldest = this.#verified.keys().next()
      if (!oldest.done) this.#verified.delete(oldest.value)
    }
    this.#verified.set(value, proof)
  }
}

/** bunWay's own session signs in base64url; its signature is read as the base64 that it also is. */
function fromBase64url(signed: string): string {
  const dot = signed.lastIndexOf('.')
  const signature = signed.slice(dot + 1)
  return /[-_]/.test(signature)
    ? signed.slice(0, dot + 1) + signature.replaceAll('-', '+').replaceAll('_', '/')
    : signed
}
