// What the bundled stores share: the public surface of a store, written once over a small driver.

import { chain, settle } from '../lib/awaitable.ts'
import type { Cookie } from '../lib/cookie.ts'
import { BundledSlot } from '../lib/port/bundled.ts'
import { isSealed } from '../lib/port/encrypt.ts'
import { isKey } from '../lib/port/hash.ts'
import { isPointer } from '../lib/port/pointer.ts'
import { around, ownerOf } from '../lib/port/port.ts'
import { SessionSlot } from '../lib/port/renewed.ts'
import { DRIVER, type Driver, type Slot } from '../lib/port/slot.ts'
import type { ErrorCallback, SessionData } from '../lib/session.ts'
import { Outgoing, type Stored } from '../lib/snapshot.ts'
import { type AllCallback, type GetCallback, type LengthCallback, Store } from '../lib/store.ts'

/** The longest delay that a timer takes, in milliseconds. */
export const LONGEST_DELAY: number = 2 ** 31 - 1

/** An extension by less than this many milliseconds, or by less than this part of the lifetime, can be postponed. */
const SLACK_MS = 60_000
const SLACK_PART = 0.05

/** Whether extending a session from one expiry date to another makes so little difference that a later request can do it. */
export function livesAlmostAsLong(expires: number, wanted: number): boolean {
  const difference = wanted - expires
  return difference >= 0 && difference < Math.min(SLACK_MS, (wanted - Date.now()) * SLACK_PART)
}

/** A session as `get` answers it: plain data, its cookie as it was stored. */
export type PlainSession = SessionData & Record<string, unknown>

/**
 * Base of the bundled stores. Every method takes express-session's callback, or returns a promise without one.
 * The middleware goes straight to the driver as long as nobody has replaced a method of the store.
 */
export abstract class DriverStore extends Store {
  /** @internal */
  protected abstract readonly driver: Driver
  /** @internal What `get` answers for a session that is not there. */
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

  /** @internal A record as an object of the caller's own; one that is not JSON is missing, and said so by `corrupt`. */
  protected parse(sid: string, stored: Stored): PlainSession | undefined {
    try {
      return (typeof stored === 'string' ? JSON.parse(stored) : stored) as PlainSession
    } catch (error) {
      this.emit('corrupt', sid, error)
      return undefined
    }
  }

  override set(sid: string, session: object, callback: ErrorCallback): void
  /** `ttl`: the time in milliseconds that a session without a date of its own has, as bunWay's stores take it. */
  override set(sid: string, session: object, ttl?: number): Promise<void>
  override set(sid: string, session: object, third?: ErrorCallback | number): void | Promise<void> {
    const given = typeof third === 'number' ? Date.now() + third : undefined
    return settle(
      undefined,
      () => chain(this.#slot(sid, session, given).create(outgoing(session)), () => undefined),
      typeof third === 'function' ? third : undefined,
    )
  }

  /** Extends the session to its cookie's expiry; nothing happens to one that is gone. */
  override touch(sid: string, session: object, callback: ErrorCallback): void
  override touch(sid: string, session: object): Promise<void>
  override touch(sid: string, session: object, callback?: ErrorCallback): void | Promise<void> {
    return settle(undefined, () => chain(this.#slot(sid, session).touch(outgoing(session)), () => undefined), callback)
  }

  /** Ends the session, also where its id was renewed: it is the one that a request with this id would find. */
  override destroy(sid: string, callback: ErrorCallback): void
  override destroy(sid: string): Promise<void>
  override destroy(sid: string, callback?: ErrorCallback): void | Promise<void> {
    const slot = new SessionSlot({ slot: (id) => this.#slot(id) }, sid, ownerOf(this).secrets)
    return settle(undefined, () => chain(slot.end(), () => undefined), callback)
  }

  /**
   * The session with this id, as the middleware on this store keeps it: under a hash of its id, or encrypted. What comes
   * in that form already, from a middleware that calls these methods, is taken as it is. `expires`: in ms since the epoch,
   * for a session whose cookie sets no date.
   */
  #slot(sid: string, session?: object, expires?: number): Slot {
    const { driver } = this
    const dated = (): Driver => ({ ...driver, write: (id, record, date) => driver.write(id, record, date ?? expires) })
    const raw = (id: string): Slot => new BundledSlot(expires === undefined ? driver : dated(), id)
    const { layers } = ownerOf(this)
    if (layers.length === 0 || isKey(sid) || (session && isSealed(session))) return raw(sid)
    return around({ touches: true, mutates: false, slot: raw }, layers).slot(sid)
  }
}

export type { AllCallback, ErrorCallback, LengthCallback }

type WithCookie = { cookie?: Cookie }

/** What was given to `store.set`: any object, stored as it is. */
class WholeSession extends Outgoing {
  override get json(): string {
    return JSON.stringify(this.session)
  }
}

function outgoing(session: object): Outgoing {
  return new WholeSession((session as WithCookie).cookie as Cookie, () => session)
}
