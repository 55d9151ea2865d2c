// A bundled store: straight to its driver.

import { type Awaitable, isPromise } from '../awaitable.ts'
import { type CookieData, expiryOf } from '../cookie.ts'
import type { Outgoing } from '../snapshot.ts'
import type { Patience } from './patience.ts'
import {
  DRIVER,
  type Driver,
  type IndexEntry,
  type Make,
  type Slot,
  type StorePort,
  type Touched,
  type UserIndex,
  type Version,
} from './slot.ts'

/** A store that may have a driver. */
interface BundledStore {
  [DRIVER]?(): Driver | undefined
}

/** One session of a bundled store. It passes the expiry of the session's cookie on, as drivers take it. */
export class BundledSlot implements Slot {
  readonly id: string
  readonly isGone = false
  readonly mutates = false
  readonly #driver: Driver
  readonly #patience: Patience | undefined
  readonly #timeout: number | undefined

  /** `patience` is missing where the store itself is asked. */
  constructor(driver: Driver, id: string, patience?: Patience, timeout?: number) {
    this.#driver = driver
    this.id = id
    this.#patience = patience
    this.#timeout = timeout
  }

  get key(): string {
    return this.id
  }

  read(): Awaitable<Version | undefined> {
    return BundledSlot.#wait(this, this.#driver.read(this.id), 'get')
  }

  create(record: Outgoing): Awaitable<Version> {
    return BundledSlot.#wait(this, this.#driver.write(this.id, record, expiryOf(record.cookie)), 'set')
  }

  add(record: Outgoing): Awaitable<Version> {
    return BundledSlot.#wait(this, this.#driver.add(this.id, record, expiryOf(record.cookie)), 'set')
  }

  update(from: Version, make: Make): Awaitable<Version | undefined> {
    return BundledSlot.#wait(this, this.#driver.update(this.id, from, make), 'set')
  }

  touch(record: Outgoing, loaded?: CookieData): Awaitable<Touched> {
    return BundledSlot.#wait(this, this.#driver.touch(this.id, record, expiryOf(record.cookie), loaded), 'touch')
  }

  take(): Awaitable<Version | undefined> {
    return BundledSlot.#wait(this, this.#driver.take(this.id), 'destroy')
  }

  end(): Awaitable<Version | undefined> {
    return this.take()
  }

  remove(): Awaitable<void> {
    return BundledSlot.#wait(this, this.#driver.remove(this.id), 'destroy')
  }

  // A static method, as a private one of each slot costs at each request.
  static #wait<T>(slot: BundledSlot, answer: Awaitable<T>, method: string): Awaitable<T> {
    return slot.#patience && isPromise(answer) ? slot.#patience.wait(answer, method, slot.#timeout) : answer
  }
}

/** The port of a bundled store. Where the app has replaced a public method, `foreign` calls the methods instead. */
export class BundledPort implements StorePort {
  readonly touches = true
  readonly #store: BundledStore
  readonly #foreign: StorePort
  readonly #patience: Patience
  readonly #timeout: number | undefined

  constructor(store: BundledStore, foreign: StorePort, patience: Patience, timeout: number | undefined) {
    this.#store = store
    this.#foreign = foreign
    this.#patience = patience
    this.#timeout = timeout
  }

  /** True where the methods are called, as the app's own code sees the live session then. */
  get mutates(): boolean {
    return this.#store[DRIVER]?.() === undefined
  }

  get lifetime(): number | undefined {
    return this.#store[DRIVER]?.()?.lifetime?.()
  }

  get users(): UserIndex | undefined {
    const index = this.#store[DRIVER]?.()?.users
    return index && new PatientIndex(index, (answer) => this.#patience.wait(answer, 'users', this.#timeout))
  }

  /** The driver is asked for at each request, as an app may replace a method at any time. */
  slot(id: string): Slot {
    const driver = this.#store[DRIVER]?.()
    return driver ? new BundledSlot(driver, id, this.#patience, this.#timeout) : this.#foreign.slot(id)
  }

  at(key: string): Slot {
    return this.slot(key)
  }

  keys(): Awaitable<string[]> {
    return this.#foreign.keys()
  }

  clear(): Awaitable<void> {
    return this.#foreign.clear()
  }
}

/** An index whose answers are waited for as long as those of its store. */
class PatientIndex implements UserIndex {
  readonly #index: UserIndex
  readonly #wait: <T>(answer: Awaitable<T>) => Awaitable<T>

  constructor(index: UserIndex, wait: <T>(answer: Awaitable<T>) => Awaitable<T>) {
    this.#index = index
    this.#wait = wait
  }

  reserve(user: string, key: string, limit?: number): Awaitable<boolean> {
    return this.#wait(this.#index.reserve(user, key, limit))
  }

  confirm(user: string, key: string, until: number | undefined): Awaitable<boolean> {
    return this.#wait(this.#index.confirm(user, key, until))
  }

  move(user: string, from: string, to: string): Awaitable<boolean> {
    return this.#wait(this.#index.move(user, from, to))
  }

  list(user: string): Awaitable<IndexEntry[]> {
    return this.#wait(this.#index.list(user))
  }

  drop(user: string, keys: readonly string[]): Awaitable<void> {
    return this.#wait(this.#index.drop(user, keys))
  }
}
