// What stays under an id that was renewed: where its session is now, for requests that still carry the old id. Pure.
//
// It is sealed under the old id and each of the secrets that cookies are signed with: whoever reads the store learns
// no id from it, and a process that knows but one of the secrets finds the session.

import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { Cookie } from '../cookie.ts'
import type { Secret } from '../signature.ts'
import { Outgoing, type Stored } from '../snapshot.ts'

export interface Successor {
  /** The session's id now. */
  readonly id: string
  /** Until when a request that carries the old id is served, in ms since the epoch. */
  readonly until: number
}

const KEY = '__unisession_successor'
const CIPHER = 'aes-256-gcm'
const IV_BYTES = 12
const TAG_BYTES = 16

function keyOf(oldId: string, secret: Secret): Buffer {
  return createHmac('sha256', secret as string)
    .update(`${KEY}\0${oldId}`)
    .digest()
}

/** What a pointer's JSON begins with. A session's begins with its cookie. */
export const POINTER_HEAD: string = `{"${KEY}":"`

/** Whether this is no session, but what was left in the place of one. */
export function isPointer(stored: Stored): boolean {
  return typeof stored === 'string' ? stored.startsWith(POINTER_HEAD) : typeof stored[KEY] === 'string'
}

/** What is left under an id that was renewed. Its cookie is for stores that ask a record for its date. */
export class Pointer extends Outgoing {
  readonly #sealed: string

  constructor(successor: Successor, oldId: string, secrets: readonly Secret[], expires: number) {
    const cookie = new Cookie({ expires: new Date(expires) })
    const sealed = secrets.map((secret) => seal(successor, oldId, secret)).join('.')
    super(cookie, () => ({ cookie, [KEY]: sealed }))
    this.#sealed = sealed
  }

  override get isPointer(): boolean {
    return true
  }

  override get json(): string {
    return `${POINTER_HEAD}${this.#sealed}","cookie":${JSON.stringify(this.cookie)}}`
  }
}

function seal(successor: Successor, oldId: string, secret: Secret): string {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv(CIPHER, keyOf(oldId, secret), iv)
  const text = Buffer.concat([cipher.update(JSON.stringify(successor)), cipher.final()])
  return Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64url')
}

/** Where the session is that had `oldId`, by the pointer that was left there; undefined where none of the secrets opens it. */
export function successorOf(pointer: Stored, oldId: string, secrets: readonly Secret[]): Successor | undefined {
  let sealed: unknown
  try {
    sealed = ((typeof pointer === 'string' ? JSON.parse(pointer) : pointer) as Record<string, unknown>)[KEY]
  } catch {
    // Cut off, or somebody else's: it leads nowhere.
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
    // Sealed with another secret, or by nobody of us.
    return undefined
  }
}
