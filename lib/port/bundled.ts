// A bundled store: straight to its driver.

import type { Awaitable } from '../awaitable.ts'
import { type CookieData, expiryOf } from '../cookie.ts'
import type { Outgoing } from '../snapshot.ts'
import { DRIVER, type Driver, type Make, type Slot, type StorePort, type Touched, type Version } from './slot.ts'

/** A store that may have a driver. */
interface BundledStore {
  [DRIVER]?(): Driver | undefined
}

export class BundledSlot implements Slot {
  readonly id: string
  readonly isGone = false
  readonly mutates = false
  readonly #driver: Driver

  constructor(driver: Driver, id: string) {
    this.#driver = driver
    this.id = id
  }

  read(): Awaitable<Version | undefined> {
    return this.#driver.read(this.id)
  }

  create(record: Outgoing): Awaitable<Version> {
    return this.#driver.write(this.id, record, expiryOf(record.cookie))
  }

  update(from: Version, make: Make): Awaitable<Version | undefined> {
    return this.#driver.update(this.id, from, make)
  }

  touch(record: Outgoing, loaded?: CookieData): Awaitable<Touched> {
    return this.#driver.touch(this.id, record, expiryOf(record.cookie), loaded)
  }

  take(): Awaitable<Version | undefined> {
    return this.#driver.take(this.id)
  }

  end(): Awaitable<Version | undefined> {
    return this.#driver.take(this.id)
  }

  remove(): Awaitable<void> {
    return this.#driver.remove(this.id)
  }
}

/** The port of a bundled store. Where the app has replaced a public method, `foreign` calls the methods instead. */
export class BundledPort implements StorePort {
  readonly touches = true
  readonly #store: BundledStore
  readonly #foreign: StorePort

  constructor(store: BundledStore, foreign: StorePort) {
    this.#store = store
    this.#foreign = foreign
  }

  get mutates(): boolean {
    return this.#store[DRIVER]?.() === undefined
  }

  slot(id: string): Slot {
    const driver = this.#store[DRIVER]?.()
    return driver ? new BundledSlot(driver, id) : this.#foreign.slot(id)
  }
}
