// What layers are made of: a slot around a slot, which passes on what it does not change.

import type { Awaitable } from '../awaitable.ts'
import type { CookieData } from '../cookie.ts'
import type { Outgoing } from '../snapshot.ts'
import type { Layer, Make, Slot, Touched, Version } from './slot.ts'

/** Passes everything on. A layer overrides what it is about. */
export class OuterSlot implements Slot {
  readonly inner: Slot

  constructor(inner: Slot) {
    this.inner = inner
  }

  get id(): string {
    return this.inner.id
  }

  get isGone(): boolean {
    return this.inner.isGone
  }

  get mutates(): boolean {
    return this.inner.mutates
  }

  read(): Awaitable<Version | undefined> {
    return this.inner.read()
  }

  create(record: Outgoing): Awaitable<Version> {
    return this.inner.create(record)
  }

  add(record: Outgoing): Awaitable<Version> {
    return this.inner.add(record)
  }

  update(from: Version, make: Make): Awaitable<Version | undefined> {
    return this.inner.update(from, make)
  }

  touch(record: Outgoing, loaded?: CookieData): Awaitable<Touched> {
    return this.inner.touch(record, loaded)
  }

  take(): Awaitable<Version | undefined> {
    return this.inner.take()
  }

  end(): Awaitable<Version | undefined> {
    return this.inner.end()
  }

  remove(): Awaitable<void> {
    return this.inner.remove()
  }
}

/** The layer that puts such a slot around every slot. `copies`: the store is given no live session, but a copy. */
export function layerOf(around: (inner: Slot) => Slot, copies = false): Layer {
  return (port) => ({
    touches: port.touches,
    get mutates() {
      return port.mutates && !copies
    },
    slot: (id) => around(port.slot(id)),
  })
}
