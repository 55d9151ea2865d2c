// The layer of `maxSize`: a session that is too large is refused before it reaches the store.

import type { Awaitable } from '../awaitable.ts'
import { SessionError } from '../errors.ts'
import type { Outgoing } from '../snapshot.ts'
import { layerOf, OuterSlot } from './layer.ts'
import type { Layer, Make, Slot, Version } from './slot.ts'

/** `max`: bytes of the record as JSON, in UTF-8. */
export function limitSize(max: number): Layer {
  return layerOf((inner) => new SizedSlot(inner, max))
}

/** A slot that refuses what is too large. */
class SizedSlot extends OuterSlot {
  readonly #max: number

  constructor(inner: Slot, max: number) {
    super(inner)
    this.#max = max
  }

  override create(record: Outgoing): Awaitable<Version> {
    return super.create(this.#checked(record))
  }

  override update(from: Version, make: Make): Awaitable<Version | undefined> {
    return super.update(from, (current) => {
      const record = make(current)
      return record && this.#checked(record)
    })
  }

  /** The record, unless it is too large. @throws SessionError `ERR_SESSION_SIZE`. */
  #checked(record: Outgoing): Outgoing {
    const bytes = record.isPointer ? 0 : Buffer.byteLength(record.json)
    if (bytes <= this.#max) return record
    throw new SessionError(
      'ERR_SESSION_SIZE',
      `session is ${bytes} bytes of JSON, and the maxSize option allows ${this.#max}; keep large data elsewhere, and its key in the session`,
    )
  }
}
