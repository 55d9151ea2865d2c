// What stays under an id that was renewed: where its session is now, for requests that still carry the old id. Pure.
//
// It is sealed under the old id and the secret that signs cookies: whoever reads the store learns no id from it, and
// no app's own data can be mistaken for it.

import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import type { Secret } from './signature.ts'
import type { Stored } from './snapshot.ts'

export interface Successor {
  /** The session's id now. */
  readonly id: string
  /** Until when a request that carries the old id is served, in ms since the epoch. */
  readonly until: number
}

const KEY = '__unisession_successor'
const MARK = `"${KEY}":"`
const CIPHER = 'aes-256-gcm'
const IV_BYTES = 12
const TAG_BYTES = 16

function keyOf(oldId: string, secret: Secret): Buffer {
  return createHmac('sha256', secret as string)
    .update(`${KEY}\0${oldId}`)
    .digest()
}

/** The data of the record that stays under `oldId`. */
export function seal(successor: Successor, oldId: string, secret: Secret): Record<string, string> {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv(CIPHER, keyOf(oldId, secret), iv)
  const text = Buffer.concat([cipher.update(JSON.stringify(successor)), cipher.final()])
  return { [KEY]: Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64url') }
}

/** Where the session is that had `oldId`; undefined for any other record, and for one that none of the secrets opens. */
export function successorOf(stored: Stored, oldId: string, secrets: readonly Secret[]): Successor | undefined {
  if (typeof stored === 'string' && !stored.includes(MARK)) return undefined
  let sealed: unknown
  try {
    sealed = ((typeof stored === 'string' ? JSON.parse(stored) : stored) as Record<string, unknown>)[KEY]
  } catch {
    // Not JSON: whoever opens it will say so.
  }
  if (typeof sealed !== 'string') return undefined
  const bytes = Buffer.from(sealed, 'base64url')
  for (const secret of secrets) {
    try {
      const decipher = createDecipheriv(CIPHER, keyOf(oldId, secret), bytes.subarray(0, IV_BYTES), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
      const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()])
      return JSON.parse(text.toString()) as Successor
    } catch {
      // Sealed with another secret, or by nobody of us.
    }
  }
  return undefined
}
