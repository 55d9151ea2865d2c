// The layer of `encrypt`: the data of a session is kept as AES-256-GCM, bound to the session's id. The cookie's
// attributes stay readable, so that a store can extend a session without its data.

import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { type Awaitable, chain } from '../awaitable.ts'
import type { CookieData } from '../cookie.ts'
import { debug, shorten } from '../diagnostics.ts'
import { isKey, keyOf, type Secret } from '../signature.ts'
import { joinRecord, Outgoing, Snapshot, type Stored } from '../snapshot.ts'
import { layerOf, OuterSlot } from './layer.ts'
import { isPointer } from './pointer.ts'
import type { Layer, Make, Slot, Touched, Version } from './slot.ts'

const KEY = '__unisession_sealed'
const CIPHER = 'aes-256-gcm'
const IV_BYTES = 12
const TAG_BYTES = 16

/** The first secret encrypts, all of them decrypt. Records that are not encrypted are read, and encrypted when they are written. */
export function encryptWith(secrets: readonly Secret[]): Layer {
  const keys = keysOf(secrets)
  return layerOf((inner) => new SealedSlot(inner, keys), true)
}

/** The keys of AES made of secrets. Keys of their own: the same secret may sign the cookie. */
export function keysOf(secrets: readonly Secret[]): Buffer[] {
  return secrets.map((secret) =>
    createHmac('sha256', secret as string)
      .update(`${KEY}\0key`)
      .digest(),
  )
}

/** A record that was opened. */
interface OpenVersion extends Version {
  /** What the store held. */
  readonly inner: Version
}

/** A slot whose store holds ciphertext. The request sees plain records, and versions that carry what the store held. */
class SealedSlot extends OuterSlot {
  readonly #keys: readonly Buffer[]

  constructor(inner: Slot, keys: readonly Buffer[]) {
    super(inner)
    this.#keys = keys
  }

  /** It is given what was encrypted. */
  override get mutates(): boolean {
    return false
  }

  /** What the data is bound to: the hash of the id, whichever of the two the store has it under. */
  get #owner(): string {
    const { key } = this.inner
    return isKey(key) ? key : keyOf(key)
  }

  override read(): Awaitable<Version | undefined> {
    return chain(super.read(), (version) => version && this.#open(version))
  }

  override create(record: Outgoing): Awaitable<Version> {
    return chain(super.create(this.#seal(record)), (inner): OpenVersion => new Written(record, inner))
  }

  override add(record: Outgoing): Awaitable<Version> {
    return chain(super.add(this.#seal(record)), (inner) => this.#open(inner) ?? new Written(record, inner))
  }

  /** The version carries the ciphertext, so that an update needs no second trip to compare it. */
  override update(from: Version, make: Make): Awaitable<Version | undefined> {
    const { inner = from } = from as Partial<OpenVersion>
    let opened: Version | undefined
    let record: Outgoing | undefined
    const makeSealed: Make = (current) => {
      opened = current === inner ? from : this.#open(current)
      record = opened && make(opened)
      return record && this.#seal(record)
    }
    return chain(super.update(inner, makeSealed), (held): OpenVersion | undefined => {
      if (!held || !opened) return undefined
      return record ? new Written(record, held) : { record: opened.record, inner: held }
    })
  }

  override touch(record: Outgoing, loaded?: CookieData): Awaitable<Touched> {
    return super.touch(this.#seal(record), loaded)
  }

  override take(): Awaitable<Version | undefined> {
    return chain(super.take(), (version) => version && this.#open(version))
  }

  override end(): Awaitable<Version | undefined> {
    return chain(super.end(), (version) => version && this.#open(version))
  }

  /** A pointer is sealed already, by the ids that it belongs to. */
  #seal(record: Outgoing): Outgoing {
    return record.isPointer || record instanceof SealedOutgoing
      ? record
      : new SealedOutgoing(record, (data) => seal(data, this.#owner, this.#keys[0] as Buffer))
  }

  /** Undefined: none of the secrets opens it, or it was sealed for another id. It is left as it is. */
  #open(version: Version): OpenVersion | undefined {
    const { record } = version
    if (isPointer(record)) return { record, inner: version }
    const sealed = sealedIn(record)
    if (!sealed) return { record, inner: version }
    for (const key of this.#keys) {
      const data = unseal(sealed.text, this.#owner, key)
      if (data !== undefined) return { record: joinRecord(JSON.stringify(sealed.cookie), data), inner: version }
    }
    debug('session %s cannot be decrypted: it counts as missing', shorten(this.id))
    return undefined
  }
}

/** What this process has written; its JSON is made where somebody asks for it. */
class Written implements OpenVersion {
  readonly inner: Version
  readonly #record: Outgoing

  constructor(record: Outgoing, inner: Version) {
    this.#record = record
    this.inner = inner
  }

  get record(): Stored {
    return this.#record.json
  }
}

/** A record whose data is sealed when a store asks for it. */
class SealedOutgoing extends Outgoing {
  readonly #seal: (data: string) => string
  readonly #open: Outgoing
  #text: string | undefined

  constructor(record: Outgoing, seal: (data: string) => string) {
    super(record.cookie, () => ({ cookie: record.cookie, [KEY]: this.#sealed }))
    this.cookieWillBeSent = record.cookieWillBeSent
    this.replaces = record.replaces
    this.#open = record
    this.#seal = seal
  }

  get #sealed(): string {
    this.#text ??= this.#seal(this.#open.data)
    return this.#text
  }
}

/** Whether a record is encrypted. */
export function isSealed(record: Stored): boolean {
  return sealedIn(record) !== undefined
}

interface Sealed {
  readonly text: string
  readonly cookie: CookieData
}

/** Undefined for a record that is not encrypted. */
function sealedIn(record: Stored): Sealed | undefined {
  if (typeof record !== 'string') {
    const text = record[KEY]
    return typeof text === 'string' ? { text, cookie: record.cookie } : undefined
  }
  if (!record.includes(KEY)) return undefined
  try {
    const { cookie, data } = new Snapshot(record)
    const text = (JSON.parse(data) as Record<string, unknown>)[KEY]
    return typeof text === 'string' ? { text, cookie } : undefined
  } catch {
    // Whoever reads it on finds it corrupt.
    return undefined
  }
}

/** `iv | tag | ciphertext`, with the id as additional data: a record that is copied under another id is not opened. */
export function seal(data: string, id: string, key: Buffer): string {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv(CIPHER, key, iv).setAAD(Buffer.from(id))
  const text = Buffer.concat([cipher.update(data), cipher.final()])
  return Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64url')
}

/** Undefined: the key is another, the id is another, or somebody has changed the text. */
export function unseal(sealed: string, id: string, key: Buffer): string | undefined {
  const bytes = Buffer.from(sealed, 'base64url')
  try {
    const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(id)).setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
    return decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
  } catch {
    return undefined
  }
}
