// The pointer that is stored under an id that was renewed. It leads requests with the old id to the session's new id.
// Pure.
//
// It is encrypted, once for each secret that cookies are signed with, under a key made of the secret and the old id.
// So a reader of the store learns no valid id, and a process that has one of the secrets can follow it.

import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { Cookie } from '../cookie.ts'
import type { Secret } from '../signature.ts'
import { Outgoing, type Stored } from '../snapshot.ts'

/** What a pointer leads to. */
export interface Successor {
  /** The session's new id. */
  readonly id: string
  /** Until when requests with the old id are served, in milliseconds since the epoch. */
  readonly until: number
}

/** The member of the JSON that holds the encrypted successor. */
const KEY = '__unisession_successor'
const CIPHER = 'aes-256-gcm'
const IV_BYTES = 12
const TAG_BYTES = 16

/** The key of AES-256 for a pointer under `oldId`. */
function keyOf(oldId: string, secret: Secret): Buffer {
  return createHmac('sha256', secret as string)
    .update(`${KEY}\0${oldId}`)
    .digest()
}

/** The beginning of a pointer's JSON. A session's JSON begins with its cookie. */
export const POINTER_HEAD: string = `{"${KEY}":"`

/** Whether a record is a pointer and not a session. */
export function isPointer(stored: Stored): boolean {
  return typeof stored === 'string' ? stored.startsWith(POINTER_HEAD) : typeof stored[KEY] === 'string'
}

/**
 * A pointer, as it is written to a store. `expires`: when the store may drop it, in milliseconds since the epoch. Its
 * cookie has that date, for stores that read it from there.
 */
export class Pointer extends Outgoing {
  readonly successor: Successor
  readonly #sealed: string

  constructor(successor: Successor, oldId: string, secrets: readonly Secret[], expires: number) {
    const cookie = new Cookie({ expires: new Date(expires) })
    const sealed = secrets.map((secret) => seal(successor, oldId, secret)).join('.')
    super(cookie, () => ({ cookie, [KEY]: sealed }))
    this.successor = successor
    this.#sealed = sealed
  }

  override get isPointer(): boolean {
    return true
  }

  override get json(): string {
    return `${POINTER_HEAD}${this.#sealed}","cookie":${JSON.stringify(this.cookie)}}`
  }
}

/** Encrypts a successor; the result is nonce, tag and ciphertext as base64url. */
function seal(successor: Successor, oldId: string, secret: Secret): string {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv(CIPHER, keyOf(oldId, secret), iv)
  const text = Buffer.concat([cipher.update(JSON.stringify(successor)), cipher.final()])
  return Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64url')
}

/** The successor in a pointer that was stored under `oldId`; undefined if none of the secrets decrypts it. */
export function successorOf(pointer: Stored, oldId: string, secrets: readonly Secret[]): Successor | undefined {
  let sealed: unknown
  try {
    sealed = ((typeof pointer === 'string' ? JSON.parse(pointer) : pointer) as Record<string, unknown>)[KEY]
  } catch {
    // Not JSON: truncated, or not written by this package.
  }
  if (typeof sealed !== 'string') return undefined
  for (const part of sealed.split('.')) {
    for (const secret of secrets) {
      const successor = unseal(part, oldId, secret)
      if (successor) return successor
    }
  }
  return undefined
}

/** Decrypts a successor; undefined if `sealed` was not encrypted under this id and secret. */
function unseal(sealed: string, oldId: string, secret: Secret): Successor | undefined {
  const bytes = Buffer.from(sealed, 'base64url')
  try {
    const decipher = createDecipheriv(CIPHER, keyOf(oldId, secret), bytes.subarray(0, IV_BYTES), {
      authTagLength: TAG_BYTES,
    })
    decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
    const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()])
    return JSON.parse(text.toString()) as Successor
  } catch {
    // Encrypted under another secret, or tampered with.
    return undefined
  }
}
