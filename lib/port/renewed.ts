// A session whose id may have been renewed, by this process or another: a pointer is then in its place, and everything
// is asked of the session under the id that it has now. The only place that follows pointers.

import { type Awaitable, chain } from '../awaitable.ts'
import type { CookieData } from '../cookie.ts'
import { debug } from '../diagnostics.ts'
import { isCookieChanged } from '../merge.ts'
import type { Secret } from '../signature.ts'
import { type Outgoing, Snapshot } from '../snapshot.ts'
import { isSealed } from './encrypt.ts'
import { isPointer, successorOf } from './pointer.ts'
import type { Make, Slot, StorePort, Touched, Version } from './slot.ts'

/**
 * One session, under whichever id it has now. Every request, and every method of a session, goes through one of these.
 */
export class SessionSlot implements Slot {
  readonly #port: Pick<StorePort, 'slot'>
  /** What pointers are sealed with. */
  readonly #secrets: readonly Secret[]
  #slot: Slot
  #servedUntil = Number.POSITIVE_INFINITY
  /** What was found under the id that the session was followed to, until this request has written it there. */
  #found: Version | undefined

  constructor(port: Pick<StorePort, 'slot'>, id: string, secrets: readonly Secret[]) {
    this.#port = port
    this.#secrets = secrets
    this.#slot = port.slot(id)
  }

  /** The id under which the store has the session, as far as this request knows. */
  get id(): string {
    return this.#slot.id
  }

  get key(): string {
    return this.#slot.key
  }

  /** See {@link Slot.isGone}, of the session under the id that it was followed to. */
  get isGone(): boolean {
    return this.#slot.isGone
  }

  get over(): string | undefined {
    return this.#slot.over
  }

  get mutates(): boolean {
    return this.#slot.mutates
  }

  /** The id that this slot was made for was renewed longer than its grace ago. */
  get isRefused(): boolean {
    return this.#servedUntil !== Number.POSITIVE_INFINITY && this.#servedUntil < Date.now()
  }

  /** Another session of the same store, or the same session as somebody else's request would find it. */
  other(id: string): SessionSlot {
    return new SessionSlot(this.#port, id, this.#secrets)
  }

  /** Reads the session, wherever it is by now. See {@link isRefused} for whether this id still stands for it. */
  read(): Awaitable<Version | undefined> {
    return chain(this.#slot.read(), (found) => this.#arrive(found))
  }

  /** Stores the session under the id that the slot has now. */
  create(record: Outgoing): Awaitable<Version> {
    return this.#slot.create(record)
  }

  add(record: Outgoing): Awaitable<Version> {
    return this.#slot.add(record)
  }

  /** Where a pointer is met, the session is looked up under its new id and changed there. */
  update(from: Version, make: Make): Awaitable<Version | undefined> {
    let other: Version | undefined
    const makeHere: Make = (current) => {
      other = isPointer(current.record) || isSealed(current.record) ? current : undefined
      return other ? undefined : make(current)
    }
    return chain(this.#slot.update(this.#found ?? from, makeHere), (held) => {
      if (other) return chain(this.#arrive(other), (found) => found && this.update(from, make))
      this.#found = undefined
      return held
    })
  }

  /** Never answers `moved`. */
  touch(record: Outgoing, loaded?: CookieData): Awaitable<Touched> {
    return chain(this.#slot.touch(record, loaded), (outcome): Awaitable<Touched> => {
      if (outcome !== 'moved') return outcome
      return chain(this.read(), (found): Awaitable<Touched> => {
        if (!found) return 'gone'
        const isChanged = loaded && isCookieChanged(loaded, new Snapshot(found.record, loaded).cookie)
        return isChanged ? 'changed' : this.touch(record, loaded)
      })
    })
  }

  /** Ends the session under whichever id it has, and answers with its record. */
  take(): Awaitable<Version | undefined> {
    return this.#endFollowing(this.#slot, (slot) => slot.take())
  }

  end(): Awaitable<Version | undefined> {
    return this.#endFollowing(this.#slot, (slot) => slot.end())
  }

  /** Removes what is under the id that the slot has now, and nothing else. */
  remove(): Awaitable<void> {
    return this.#slot.remove()
  }

  /**
   * Goes on from a pointer to the session, however often its id was renewed. A session that another process has encrypted,
   * where this one has no secret, is none.
   */
  #arrive(found: Version | undefined): Awaitable<Version | undefined> {
    if (!found) return undefined
    if (!isPointer(found.record)) {
      if (!isSealed(found.record)) return found
      debug('the session is encrypted, and there is no encrypt option: it counts as missing')
      return undefined
    }
    const successor = successorOf(found.record, this.id, this.#secrets)
    if (!successor) {
      debug('the session has another id by now, which none of the secrets opens')
      return undefined
    }
    debug('the session has another id by now')
    this.#slot = this.#port.slot(successor.id)
    this.#servedUntil = Math.min(this.#servedUntil, successor.until)
    return chain(this.#slot.read(), (next) => {
      this.#found = next
      return this.#arrive(next)
    })
  }

  /** The pointers that led to the session go last: until it is over, who comes for the same session finds the way. */
  #endFollowing(slot: Slot, end: (slot: Slot) => Awaitable<Version | undefined>): Awaitable<Version | undefined> {
    return chain(end(slot), (held): Awaitable<Version | undefined> => {
      if (!held || !isPointer(held.record)) return held
      const successor = successorOf(held.record, slot.id, this.#secrets)
      const ended = successor && this.#endFollowing(this.#port.slot(successor.id), (next) => next.take())
      return chain(ended, (record) => chain(slot.remove(), () => record))
    })
  }
}
