// What layers are made of: a slot around a slot, which passes on what it does not change.

import type { Awaitable } from '../awaitable.ts'
import type { CookieData } from '../cookie.ts'
import type { Outgoing } from '../snapshot.ts'
import type { Layer, Make, Slot, StorePort, Touched, UserIndex, Version } from './slot.ts'

/** Passes everything on. A layer overrides what it is about. */
export class OuterSlot implements Slot {
  readonly inner: Slot

  constructor(inner: Slot) {
    this.inner = inner
  }

  get id(): string {
    return this.inner.id
  }

  get key(): string {
    return this.inner.key
  }

  get isGone(): boolean {
    return this.inner.isGone
  }

  get mutates(): boolean {
    return this.inner.mutates
  }

  get over(): string | undefined {
    return this.inner.over
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

/** A port around a port, which passes on what it does not change. */
export class OuterPort implements StorePort {
  readonly inner: StorePort

  constructor(inner: StorePort) {
    this.inner = inner
  }

  get touches(): boolean {
    return this.inner.touches
  }

  get mutates(): boolean {
    return this.inner.mutates
  }

  get lifetime(): number | undefined {
    return this.inner.lifetime
  }

  get users(): UserIndex | undefined {
    return this.inner.users
  }

  slot(id: string): Slot {
    return this.inner.slot(id)
  }

  at(key: string): Slot {
    return this.inner.at(key)
  }

  keys(): Awaitable<string[]> {
    return this.inner.keys()
  }

  clear(): Awaitable<void> {
    return this.inner.clear()
  }
}

/** Makes a slot around a slot of a port. */
type Around = (inner: Slot, port: StorePort) => Slot

/** The layer that puts such a slot around every slot. `copies`: the store is given no live session, but a copy. */
export function layerOf(around: Around, copies = false): Layer {
  return (port) => new SlotLayer(port, around, copies)
}

class SlotLayer extends OuterPort {
  readonly #around: Around
  readonly #copies: boolean

  constructor(inner: StorePort, around: Around, copies: boolean) {
    super(inner)
    this.#around = around
    this.#copies = copies
  }

  override get mutates(): boolean {
    return super.mutates && !this.#copies
  }

  override slot(id: string): Slot {
    return this.#around(this.inner.slot(id), this.inner)
  }

  override at(key: string): Slot {
    return this.#around(this.inner.at(key), this.inner)
  }
}
