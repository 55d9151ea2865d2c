// One session's record as one request knows it: what was loaded, what has been saved, whether it is gone.
// Every `Session` has one, which does for the session's methods what they ask of the store.

import { type Awaitable, chain, isPromise } from './awaitable.ts'
import type { Cookie, CookieData } from './cookie.ts'
import { debug } from './diagnostics.ts'
import { SessionError } from './errors.ts'
import { amend, factsOf, markSeen } from './facts.ts'
import { isCookieChanged, mergeCookie, mergeData } from './merge.ts'
import type { SessionSlot } from './port/renewed.ts'
import type { Version } from './port/slot.ts'
import { Outgoing, Snapshot, serializeData } from './snapshot.ts'

/** What a record asks of the request that it lives in. */
export interface RecordOwner {
  /** Each save writes the whole session, whatever other requests have made of it: `concurrency: 'overwrite'`. */
  readonly overwrites: boolean
  /** A session that is not known to be in the store is about to be stored. */
  creating?(id: string): void
  /**
   * A session is about to be written; at the end of the request, if it is the `last` time. Answers with another id where
   * it has to move to one. @throws SessionError where it may not be written.
   */
  writing?(record: SessionRecord, ours: Outgoing, last: boolean): string | undefined
  /** The store has the session. `from`: the id that it had before, if it has another now. */
  written?(record: SessionRecord, written: Outgoing, isNew: boolean, from?: string): void
  /** Runs the work that ends a session. */
  destroying?<T>(id: string, work: () => Awaitable<T>): Awaitable<T>
}

/** A session that was found in the store: its slot, and what was there. */
export interface FoundSession {
  readonly slot: SessionSlot
  readonly version: Version
  readonly snapshot: Snapshot
  /** The app has handed the record over itself, and may mean to create it. */
  readonly fromApp?: boolean
}

/** See {@link Snapshot} for `fallback` and what is thrown. */
export function foundSession(slot: SessionSlot, version: Version, fallback?: CookieData): FoundSession {
  return { slot, version, snapshot: new Snapshot(version.record, fallback) }
}

export interface RecordStanding {
  /** The id under which the store has the session. */
  readonly id: string
  /** The session is known to be gone. */
  readonly isGone: boolean
  /** The store has been found to hold the session, or has been given it. */
  readonly isStored: boolean
  /** The store held the session at some time in this request. A loaded one counts where `resave` is off. */
  readonly wasSaved: boolean
  /** This request has written the session. */
  readonly wasWritten: boolean
}

/** What the request and the store agreed on last. */
interface Stored {
  readonly in: 'store'
  readonly version: Version
  /** The data as this request knew it: its changes are measured against it. */
  readonly data: string
  readonly cookie: CookieData
  /** The store holds other requests' changes, too, which this request has never seen. */
  readonly merged: boolean
}

/** Where the session is. In the store it may be changed, nowhere it may be created, and once it is gone neither. */
type Whereabouts = { readonly in: 'nowhere' } | Stored | { readonly in: 'nowhere any more' }

export class SessionRecord {
  /** The cookie that was stored where another request had changed it, too: the one for the browser. */
  mergedCookie: Cookie | undefined
  /** The session's cookie, also after the app has put something else in its place. */
  cookie: Cookie | undefined
  /** What was loaded; undefined for a session that was not in the store. */
  readonly snapshot: Snapshot | undefined

  readonly #owner: RecordOwner
  readonly #overwrites: boolean
  readonly #fromApp: boolean
  /** The data that "modified" is measured against: as it was when the request got the session. */
  readonly #base: string
  #slot: SessionSlot
  #where: Whereabouts
  /** The data that need not be written again. */
  #saved: string | undefined
  #written = false
  /** What a save waits for. */
  #waiting: Promise<void> | undefined
  /** The write that is under way. */
  #writing: Promise<void> | undefined
  /** What the app itself has saved, or tried to save. */
  #tried: Outgoing | undefined
  /** The last of it, where that failed. */
  #failed: Outgoing | undefined

  private constructor(slot: SessionSlot, owner: RecordOwner, found: FoundSession | undefined, isSaved: boolean) {
    this.snapshot = found?.snapshot
    this.#owner = owner
    this.#overwrites = owner.overwrites
    this.#fromApp = found?.fromApp === true
    this.#base = found ? found.snapshot.data : '{}'
    this.#slot = slot
    this.#where = found
      ? { in: 'store', version: found.version, data: this.#base, cookie: found.snapshot.cookie, merged: false }
      : { in: 'nowhere' }
    this.#saved = isSaved ? this.#base : undefined
  }

  /** The record of a session that the store does not hold. */
  static create(slot: SessionSlot, owner: RecordOwner): SessionRecord {
    return new SessionRecord(slot, owner, undefined, false)
  }

  /** The record of a session that was found. `isSaved`: it is written only where it changes. */
  static loaded(found: FoundSession, owner: RecordOwner, isSaved: boolean): SessionRecord {
    return new SessionRecord(found.slot, owner, found, isSaved)
  }

  /** The id under which the store has the session; another one after it was renewed. */
  get id(): string {
    return this.#slot.id
  }

  /** The session is known to be gone: to this request, or to another of this process. */
  get isGone(): boolean {
    return this.#where.in === 'nowhere any more' || (!this.#overwrites && this.#slot.isGone)
  }

  /** How the record stands, for the decisions at the end of a request. */
  standing(): RecordStanding {
    return {
      id: this.id,
      isGone: this.isGone,
      isStored: this.#where.in === 'store' && !this.#fromApp,
      wasSaved: this.#saved !== undefined,
      wasWritten: this.#written,
    }
  }

  /** The same of a session that nobody has looked at, so that it cannot have changed. */
  standingUnopened(): RecordStanding & { isModified: boolean; isSaved: boolean } {
    const { id, isGone, isStored, wasSaved, wasWritten } = this.standing()
    return { id, isGone, isStored, wasSaved, wasWritten, isModified: false, isSaved: wasSaved }
  }

  /** The same of a session that is committed now, with this data and this cookie. */
  standingOf(data: string, cookie: CookieData): RecordStanding & { isModified: boolean; isSaved: boolean } {
    const { id, isGone, isStored, wasSaved, wasWritten } = this.standing()
    const [isModified, isSaved] = [this.isModified(data), this.isSaved(data, cookie)]
    return { id, isGone, isStored, wasSaved, wasWritten, isModified, isSaved }
  }

  /** The store has held the session, as far as this request knows. */
  get wasStored(): boolean {
    return this.#written || (this.snapshot !== undefined && !this.#fromApp)
  }

  isModified(data: string): boolean {
    if (data === this.#base) return false
    return data !== (this.snapshot?.canonicalData ?? this.#base)
  }

  /** The store holds the session as it is: its data, and its cookie's attributes where they matter. */
  isSaved(data: string, cookie: CookieData): boolean {
    const where = this.#where
    if (where.in === 'nowhere any more') return true
    if (this.#tried?.data === data && !isCookieChanged(this.#tried.attributes, cookie)) return true
    if (this.#saved !== data && !(this.#saved === this.#base && !this.isModified(data))) return false
    return this.#overwrites || where.in === 'nowhere' || !isCookieChanged(where.cookie, cookie)
  }

  /** The app has tried to save this data, which failed. */
  hasFailed(data: string): boolean {
    return this.#failed?.data === data
  }

  /** Lets what is saved from now on wait for `work`, whether it succeeds or fails. */
  after(work: Promise<unknown>): void {
    const done = (): void => {
      if (this.#waiting === waiting) this.#waiting = undefined
    }
    const waiting = work.then(done, done)
    this.#waiting = waiting
  }

  /** Writes the session as it is now. The app hears how that goes: the commit does not try the same data again. */
  save(session: { cookie: Cookie }): Awaitable<void> {
    if (this.#waiting) return this.#waiting.then(() => this.save(session))
    markSeen(session.cookie)
    const ours = new Outgoing(session.cookie, () => session, serializeData(session))
    this.#tried = ours
    this.#failed = undefined
    const fail = (): void => {
      this.#failed = ours
    }
    return failing(() => this.write(ours), fail)
  }

  /** Writes `ours`, after what this request began to write before. `last`: nobody will ask afterwards what was saved. */
  write(ours: Outgoing, last = false): Awaitable<void> {
    if (this.#overwrites) return this.#write(ours, last)
    const write = (): Awaitable<void> => this.#write(ours, last)
    const written = this.#writing ? this.#writing.then(write, write) : write()
    if (!isPromise(written)) return undefined
    const done = (): void => {
      if (this.#writing === written) this.#writing = undefined
    }
    this.#writing = written
    written.then(done, done)
    return written
  }

  #write(ours: Outgoing, last: boolean): Awaitable<void> {
    const where = this.#where
    if (where.in === 'nowhere any more' && !this.#overwrites) {
      debug('not saved: the session is gone')
      return undefined
    }
    if (this.snapshot) ours.base = this.#base
    const id = this.#owner.writing?.(this, ours, last)
    if (id !== undefined && where.in === 'store') return this.#moveTo(id, where, ours, last)
    if (where.in !== 'store' || this.#overwrites) return this.#create(ours, last)
    let merged = false
    let written = ours
    const make = (current: Version): Outgoing => {
      merged = where.merged || current !== where.version
      if (!merged) return ours
      written = merge(where, ours, current)
      this.mergedCookie = written.cookie
      return written
    }
    const updated = this.#slot.update(where.version, make)
    const saved = this.#stamped(ours, last)
    return chain(updated, (version) => {
      if (version) {
        this.#stored(ours, saved, version, merged)
        return this.#owner.written?.(this, written, false)
      }
      if (this.#fromApp) return this.#create(ours, last)
      this.#lose('not saved: the session was destroyed, or ran out, while this request went on')
    })
  }

  #create(ours: Outgoing, last: boolean): Awaitable<void> {
    this.#owner.creating?.(this.id)
    const created = this.#slot.create(ours)
    const saved = this.#stamped(ours, last)
    return chain(created, (version) => {
      const isNew = !this.wasStored
      this.#stored(ours, saved, version)
      this.#owner.written?.(this, ours, isNew)
    })
  }

  /**
   * Stores the session under another id, and ends it under its own. What other requests have made of it comes along; where
   * one of them has moved or ended it, this is a session of its own.
   */
  #moveTo(id: string, where: Stored, ours: Outgoing, last: boolean): Awaitable<void> {
    const old = this.#slot
    const from = old.id
    const target = old.other(id)
    amend(ours, { indexedUntil: undefined, ...(ours.attributes.issuedAt !== undefined && { issuedAt: Date.now() }) })
    this.#owner.creating?.(id)
    const created = target.create(ours)
    const saved = this.#stamped(ours, last)
    return chain(created, (version) =>
      chain(
        failing(
          () => old.take(),
          () => target.end(),
        ),
        (taken): Awaitable<void> => {
          this.#slot = target
          const isOthers = taken && !this.#overwrites && !isSame(taken, where.version, where.cookie)
          const make = (): Outgoing => {
            const both = merge(where, ours, taken as Version)
            this.mergedCookie = both.cookie
            return both
          }
          return chain(isOthers ? target.update(version, make) : version, (held) => {
            this.#stored(ours, saved, held ?? version, isOthers === true)
            this.#owner.written?.(this, ours, false, from)
          })
        },
      ),
    )
  }

  /** The data after the store had the session in its hands: some stores stamp it, which is not the app's change. */
  #stamped(ours: Outgoing, last: boolean): string {
    return this.#slot.mutates && !last ? serializeData(ours.session) : ours.data
  }

  #stored(ours: Outgoing, saved: string, version: Version, merged = false): void {
    this.#written = true
    this.#saved = saved
    // The app may have ended the session while the store was at work.
    if (this.#where.in === 'nowhere any more') return
    this.#where = { in: 'store', version, data: saved, cookie: ours.attributes, merged }
  }

  #lose(reason: string): void {
    debug(reason)
    this.#where = { in: 'nowhere any more' }
  }

  /** Tells the store that the session goes on until its cookie expires. */
  touch(session: Outgoing): Awaitable<void> {
    const loaded = this.#where.in === 'store' && !this.#overwrites ? this.#where.cookie : undefined
    const lose = (): void => {
      if (this.#overwrites) debug('not touched: the session is gone')
      else this.#lose('not touched: the session is gone')
    }
    return chain(this.#slot.touch(session, loaded), (outcome) => {
      if (outcome === 'gone') return lose()
      if (outcome !== 'changed' || !loaded || !session.cookieWillBeSent) return undefined
      // The browser must not be told the lifetime that the session had before.
      return chain(this.#slot.read(), (version) => {
        if (!version) return lose()
        this.mergedCookie = mergeCookie(loaded, session.attributes, new Snapshot(version.record).cookie)
      })
    })
  }

  /**
   * Moves the session to another id, as far as it has been saved; what `pointTo` makes stays under the old one. Other
   * requests may be at work on the session, whose changes come along. The new id is published when its record is whole.
   */
  renew(id: string, cookie: Cookie, pointTo: (cookie: Cookie) => Outgoing): Awaitable<void> {
    const where = this.#where
    if (where.in !== 'store' || this.isGone) return undefined
    const ours = { attributes: cookie.data, data: where.data }
    const slot = this.#slot
    const target = slot.other(id)
    const from = slot.id
    const move = (current: Version): Awaitable<void> => {
      const next = merge(where, ours, current)
      factsOf(next.cookie).issuedAt = Date.now()
      next.replaces = from
      let other: Version | undefined
      const make = (held: Version): Outgoing | undefined => {
        // Another request was first.
        const moved = slot.id !== from
        other = !moved && isSame(held, current, where.cookie) ? undefined : held
        return other ? undefined : pointTo(next.cookie)
      }
      return chain(target.create(next), (created) =>
        chain(slot.update(current, make), (held): Awaitable<void> => {
          if (!held) {
            this.#where = { in: 'nowhere any more' }
            return target.remove()
          }
          if (other) {
            if (slot.id === from) return move(other)
            this.#where = { ...where, version: held, merged: true }
            return target.remove()
          }
          this.#slot = target
          this.#where = { in: 'store', version: created, data: where.data, cookie: next.attributes, merged: true }
          this.mergedCookie = next.cookie
        }),
      )
    }
    return move(where.version)
  }

  /** Ends the session and answers with its data, others' changes included; undefined: it was gone. */
  take(session: { cookie: Cookie }): Awaitable<object | undefined> {
    const where = this.#where
    const kept = { ...session }
    if (where.in === 'nowhere' || this.#overwrites) return chain(this.destroy(), () => kept)
    const ours = new Outgoing(session.cookie, () => session, serializeData(session))
    const wasGone = this.isGone
    return chain(
      this.#ending(() => this.#slot.take()),
      (version) => {
        if (!version || wasGone || where.in !== 'store') return undefined
        const { attributes, data } = merge(where, ours, version)
        return { ...(JSON.parse(data) as object), cookie: attributes }
      },
    )
  }

  /** Ends the session. From now on this request does not write it, lest a save creates it again. */
  destroy(): Awaitable<void> {
    return this.#ending(() => chain(this.#slot.end(), () => undefined))
  }

  #ending<T>(end: () => Awaitable<T>): Awaitable<T> {
    this.#where = { in: 'nowhere any more' }
    return this.#owner.destroying ? this.#owner.destroying(this.id, end) : end()
  }

  /** What the store holds now. @throws SessionError `failed to load session` when it holds nothing. */
  reload(): Awaitable<FoundSession> {
    const slot = this.#slot.other(this.id)
    return chain(slot.read(), (version) => {
      if (!version) throw new SessionError('ERR_SESSION_MISSING', 'failed to load session')
      return foundSession(slot, version, this.#where.in === 'store' ? this.#where.cookie : this.snapshot?.cookie)
    })
  }
}

/** Runs `work`. Where it fails, undoes what came before, and fails. */
function failing<T>(work: () => Awaitable<T>, undo: () => Awaitable<unknown>): Awaitable<T> {
  const fail = (error: unknown): Awaitable<never> =>
    chain(undo(), () => {
      throw error
    })
  try {
    const done = work()
    return isPromise(done) ? done.catch(fail) : done
  } catch (error) {
    return fail(error)
  }
}

/** Our changes on top of what another request has stored. */
function merge(base: Stored, ours: Pick<Outgoing, 'attributes' | 'data'>, current: Version): Outgoing {
  const theirs = new Snapshot(current.record, base.cookie)
  const data = mergeData(base.data, ours.data, theirs.data)
  const cookie = mergeCookie(base.cookie, ours.attributes, theirs.cookie)
  debug('merged with what another request has stored')
  const merged = new Outgoing(cookie, () => Object.assign({ cookie }, JSON.parse(data)), data)
  merged.base = theirs.data
  return merged
}

/** Whether two versions of a record differ in nothing but its date. */
function isSame(held: Version, known: Version, fallback: CookieData): boolean {
  if (held === known || held.record === known.record) return true
  const [one, other] = [held, known].map(({ record }) => new Snapshot(record, fallback)) as [Snapshot, Snapshot]
  return one.data === other.data && !isCookieChanged(one.cookie, other.cookie)
}
