// What the bundled stores share: the public methods of a store, written once on top of a small `Driver`.

import { chain, settle } from '../lib/awaitable.ts'
import type { Cookie } from '../lib/cookie.ts'
import { BundledSlot } from '../lib/port/bundled.ts'
import { isSealed } from '../lib/port/encrypt.ts'
import { isPointer } from '../lib/port/pointer.ts'
import { around, ownerOf } from '../lib/port/port.ts'
import { SessionSlot } from '../lib/port/renewed.ts'
import { DRIVER, type Driver, type Slot, type StorePort } from '../lib/port/slot.ts'
import type { ErrorCallback, SessionData } from '../lib/session.ts'
import { isKey } from '../lib/signature.ts'
import { Outgoing, type Stored } from '../lib/snapshot.ts'
import { type AllCallback, type GetCallback, type LengthCallback, Store } from '../lib/store.ts'

/** An extension by less than this many milliseconds, or by less than this part of the lifetime, can be postponed. */
const SLACK_MS = 60_000
const SLACK_PART = 0.05

/** Whether extending a session from one expiry date to another makes so little difference that a later request can do it. */
export function livesAlmostAsLong(expires: number, wanted: number): boolean {
  const difference = wanted - expires
  return difference >= 0 && difference < Math.min(SLACK_MS, (wanted - Date.now()) * SLACK_PART)
}

/** A session as `get` returns it: plain data, its cookie as it was stored. */
export type PlainSession = SessionData & Record<string, unknown>

/**
 * Base of the bundled stores. Every method takes express-session's callback, and returns a promise if there is none.
 * The middleware calls the driver directly, unless the app has replaced a method of the store.
 */
export abstract class DriverStore extends Store {
  /** @internal */
  protected abstract readonly driver: Driver
  /** @internal What `get` returns for a session that does not exist. */
  protected readonly nothing: undefined = undefined;

  /** @internal */
  [DRIVER](): Driver | undefined {
    const { get, set, touch, destroy } = DriverStore.prototype
    return this.get === get && this.set === set && this.touch === touch && this.destroy === destroy
      ? this.driver
      : undefined
  }

  override get(sid: string, callback: GetCallback): void
  override get(sid: string): Promise<PlainSession | undefined>
  override get(sid: string, callback?: GetCallback): void | Promise<PlainSession | undefined> {
    return settle(
      undefined,
      () =>
        chain(this.#slot(sid).read(), (version) =>
          version && !isPointer(version.record) ? this.parse(sid, version.record) : this.nothing,
        ),
      callback as ErrorCallback,
    )
  }

  /** @internal Makes a new object of a record. One that is not JSON counts as missing, and is reported by the event `corrupt`. */
  protected parse(sid: string, stored: Stored): PlainSession | undefined {
    try {
      return (typeof stored === 'string' ? JSON.parse(stored) : stored) as PlainSession
    } catch (error) {
      this.emit('corrupt', sid, error)
      return undefined
    }
  }

  override set(sid: string, session: object, callback: ErrorCallback): void
  /** `ttl`: the lifetime in milliseconds of a session whose cookie has no expiry date, as bunWay's stores take it. */
  override set(sid: string, session: object, ttl?: number): Promise<void>
  override set(sid: string, session: object, third?: ErrorCallback | number): void | Promise<void> {
    const given = typeof third === 'number' ? Date.now() + third : undefined
    return settle(
      undefined,
      () => chain(this.#slot(sid, session, given).create(outgoing(session)), () => undefined),
      typeof third === 'function' ? third : undefined,
    )
  }

  /** Extends the session to the expiry date of its cookie. Does nothing if the session does not exist. */
  override touch(sid: string, session: object, callback: ErrorCallback): void
  override touch(sid: string, session: object): Promise<void>
  override touch(sid: string, session: object, callback?: ErrorCallback): void | Promise<void> {
    return settle(undefined, () => chain(this.#slot(sid, session).touch(outgoing(session)), () => undefined), callback)
  }

  /** Ends the session that a request with this id would find, also if the id was renewed. */
  override destroy(sid: string, callback: ErrorCallback): void
  override destroy(sid: string): Promise<void>
  override destroy(sid: string, callback?: ErrorCallback): void | Promise<void> {
    const slot = new SessionSlot({ slot: (id) => this.#slot(id) }, sid, ownerOf(this).secrets)
    return settle(undefined, () => chain(slot.end(), () => undefined), callback)
  }

  /**
   * The slot of a session, through the layers that the middleware puts around this store: hashing of ids, encryption. An
   * id that is hashed already, or a session that is encrypted already, comes from a middleware that calls these methods,
   * and goes through no layer. `expires`: in ms since the epoch, for a session whose cookie has no expiry date.
   */
  #slot(sid: string, session?: object, expires?: number): Slot {
    const { driver } = this
    const dated = (): Driver => ({ ...driver, write: (id, record, date) => driver.write(id, record, date ?? expires) })
    const raw = (id: string): Slot => new BundledSlot(expires === undefined ? driver : dated(), id)
    const { layers } = ownerOf(this)
    if (layers.length === 0 || isKey(sid) || (session && isSealed(session as Stored))) return raw(sid)
    const { lifetime, users } = driver
    const port: StorePort = {
      touches: true,
      mutates: false,
      lifetime: lifetime?.(),
      users,
      slot: raw,
      at: raw,
      keys: () => [],
      clear: () => undefined,
    }
    return around(port, layers).slot(sid)
  }
}

export type { AllCallback, ErrorCallback, LengthCallback }

type WithCookie = { cookie?: Cookie }

/** A session that was given to `set` or `touch`: any object, stored as it is. */
class WholeSession extends Outgoing {
  override get json(): string {
    return JSON.stringify(this.session)
  }
}

function outgoing(session: object): Outgoing {
  return new WholeSession((session as WithCookie).cookie as Cookie, () => session)
}
