// One session's record as one request knows it: what was loaded, what has been saved, whether it is gone.
// Every `Session` has one; it does for the session's methods what they ask of the store.

import type { Cookie, CookieData } from './cookie.ts'
import { debug } from './diagnostics.ts'
import { SessionError } from './errors.ts'
import { chain, isPromise, type Maybe } from './maybe.ts'
import { isCookieChanged, mergeCookie, mergeData } from './merge.ts'
import type { StorePort } from './port.ts'
import type { Secret } from './signature.ts'
import { Slot } from './slot.ts'
import { Outgoing, Snapshot, type Stored, serializeData } from './snapshot.ts'

/**
 * How a session that others may have changed is written. `merge`: our changes on top of theirs, never what is gone.
 * `reread`: the same, with a look at the store before each write, for stores that cannot compare and replace.
 * `overwrite`: the whole record whatever there is, as express-session does.
 */
export type Concurrency = 'merge' | 'reread' | 'overwrite'

/** What a record asks of the request that it lives in. */
export interface RecordOwner {
  readonly concurrency: Concurrency
  /** Ids are renewed here, and so perhaps by other processes. */
  readonly renews: boolean
  /** What cookies are signed with, and pointers to renewed ids are sealed with. */
  readonly secrets: readonly Secret[]
  /** A session that is not known to be in the store is about to be stored. */
  creating?(id: string): void
}

/** What the request and the store agreed on last. */
interface Agreed {
  /** The data as this request knew it: its changes are measured against it. */
  readonly data: string
  readonly cookie: CookieData
  /** What the store held then. */
  readonly stored: () => Stored
  /** That was more than this request's own: others' changes were in it, which the request has never seen. */
  readonly merged: boolean
}

export class SessionRecord {
  /** The data that "modified" is measured against: as it was when the request got the session. */
  readonly #base: string
  readonly #snapshot: Snapshot | undefined
  /** The store was found to hold this session no more; or this request has destroyed it. */
  gone = false

  /** The cookie that was stored where another request had changed it, too: the one for the browser. */
  mergedCookie: Cookie | undefined
  /** The session's cookie, also after the app has put something else in its place. */
  cookie: Cookie | undefined

  /** Where the store has the session. */
  #slot: Slot
  readonly #owner: RecordOwner
  /** Undefined for a session that has never been in the store: it may be created there. */
  #agreed: Agreed | undefined
  /** The data that need not be written again. */
  #saved: string | undefined
  #written = false
  /** What a save waits for. */
  #waiting: Promise<void> | undefined
  /** The write that is under way. */
  #writing: Promise<void> | undefined
  /** The data that the app itself has saved, or tried to. */
  #tried: Outgoing | undefined

  private constructor(id: string, port: StorePort, owner: RecordOwner, snapshot?: Snapshot, saved = false) {
    this.#slot = new Slot(port, id, owner.secrets, owner.concurrency === 'overwrite' ? undefined : snapshot?.ticket)
    this.#base = snapshot ? snapshot.data : '{}'
    this.#snapshot = snapshot
    this.#owner = owner
    this.#saved = saved ? this.#base : undefined
    if (snapshot) {
      this.#agreed = { data: this.#base, cookie: snapshot.cookie, stored: () => snapshot.stored, merged: false }
    }
  }

  /** The record of a session that the store does not hold. */
  static create(id: string, port: StorePort, owner: RecordOwner): SessionRecord {
    return new SessionRecord(id, port, owner)
  }

  /** The record of a session that was loaded. `saved`: there is no need to write it unless it changes. */
  static loaded(id: string, port: StorePort, owner: RecordOwner, snapshot: Snapshot, saved: boolean): SessionRecord {
    return new SessionRecord(id, port, owner, snapshot, saved)
  }

  get #overwrites(): boolean {
    return this.#owner.concurrency === 'overwrite'
  }

  get port(): StorePort {
    return this.#slot.port
  }

  /** The id under which the store has the session; another one after it was renewed. */
  get id(): string {
    return this.#slot.id
  }

  /** The session is known to be gone: to this request, or to another of this process. */
  get isGone(): boolean {
    return this.gone || (!this.#overwrites && this.#slot.isGone)
  }

  /** The store has been found to hold the session, or has been given it. */
  get isStored(): boolean {
    return this.#agreed !== undefined && !this.#snapshot?.byHand
  }

  /** This request has written the session. */
  get wasWritten(): boolean {
    return this.#written
  }

  get wasSaved(): boolean {
    return this.#saved !== undefined
  }

  isModified(data: string): boolean {
    if (data === this.#base) return false
    return data !== (this.#snapshot?.canonicalData ?? this.#base)
  }

  /** The store holds the session as it is: its data, and where it matters its cookie's attributes. */
  isSaved(data: string, cookie: CookieData): boolean {
    if (this.gone) return true
    if (this.#tried?.data === data && !isCookieChanged(this.#tried.attributes, cookie)) return true
    if (this.#saved !== data && !(this.#saved === this.#base && !this.isModified(data))) return false
    return this.#overwrites || !this.#agreed || !isCookieChanged(this.#agreed.cookie, cookie)
  }

  /** Lets what is saved from now on wait for `work`, whatever comes of it. */
  after(work: Promise<unknown>): void {
    const done = (): void => {
      if (this.#waiting === waiting) this.#waiting = undefined
    }
    const waiting = work.then(done, done)
    this.#waiting = waiting
  }

  /** Writes the session as it is now. The app hears how that goes: the same data is not tried again behind its back. */
  save(session: { cookie: Cookie }): Maybe<void> {
    if (this.#waiting) return this.#waiting.then(() => this.save(session))
    const ours = new Outgoing(session.cookie, () => session, serializeData(session))
    this.#tried = ours
    return this.write(ours)
  }

  /** Writes `ours`, after what this request began to write before. `last`: nobody will ask afterwards what was saved. */
  write(ours: Outgoing, last = false): Maybe<void> {
    if (this.#overwrites) return this.#create(ours, last)
    const write = (): Maybe<void> => this.#write(ours, last)
    const written = this.#writing ? this.#writing.then(write, write) : write()
    if (!isPromise(written)) return undefined
    const done = (): void => {
      if (this.#writing === written) this.#writing = undefined
    }
    this.#writing = written
    written.then(done, done)
    return written
  }

  #write(ours: Outgoing, last: boolean): Maybe<void> {
    if (this.gone) {
      debug('not saved: the session is gone')
      return undefined
    }
    const agreed = this.#agreed
    if (!agreed) return this.#create(ours, last)

    const from = agreed.stored()
    let merged = false
    const make = (current: Stored): Outgoing => {
      merged = agreed.merged || current !== from
      if (!merged) return ours
      const both = merge(agreed, ours, current)
      this.mergedCookie = both.cookie
      return both
    }
    const updated = this.#slot.update(from, make, this.#rereads)
    const saved = this.#stamped(ours, last)
    return chain(updated, (held) => {
      if (held !== undefined) return this.#agree(ours, saved, () => held, merged)
      // Put into the request by hand: the app may mean to create it.
      if (this.#snapshot?.byHand) return this.#create(ours, last)
      debug('not saved: the session was destroyed, or ran out, while this request went on')
      this.gone = true
      return undefined
    })
  }

  get #rereads(): boolean {
    return this.#owner.concurrency === 'reread'
  }

  #create(ours: Outgoing, last: boolean): Maybe<void> {
    this.#owner.creating?.(this.id)
    if (!this.#overwrites) this.#slot.enter()
    const written = this.#slot.write(ours)
    const saved = this.#stamped(ours, last)
    return chain(written, () => this.#agree(ours, saved, () => ours.json))
  }

  /** The data after the store had it in its hands: some stores stamp the session, which is not the app's change. */
  #stamped(ours: Outgoing, last: boolean): string {
    return this.port.mutates && !last ? serializeData(ours.session) : ours.data
  }

  #agree(ours: Outgoing, saved: string, stored: () => Stored, merged = false): void {
    this.#written = true
    this.#saved = saved
    this.#agreed = { data: saved, cookie: ours.attributes, stored, merged }
  }

  /** Tells the store that the session goes on until its cookie expires. */
  touch(session: Outgoing): Maybe<void> {
    const known = this.#overwrites ? undefined : this.#agreed?.cookie
    const gone = (): void => {
      debug('not touched: the session is gone')
      this.gone = !this.#overwrites
    }
    return chain(this.#slot.touch(session, known), (outcome) => {
      if (outcome === 'gone') return gone()
      if (outcome !== 'changed' || !known || !session.announced) return undefined
      // The browser must not be told the lifetime that the session had before.
      return chain(this.#slot.read(), (loaded) => {
        if (!loaded) return gone()
        this.mergedCookie = mergeCookie(known, session.attributes, new Snapshot(loaded.stored).cookie)
      })
    })
  }

  /**
   * Moves the session to another id, as far as it has been saved: what `leave` makes stays under the old one. Others
   * may be at work on it, whose changes come along; the new id is nobody's business before it is complete.
   */
  renew(id: string, cookie: Cookie, leave: (cookie: Cookie) => Outgoing): Maybe<void> {
    const agreed = this.#agreed
    if (!agreed || this.isGone) return undefined
    const ours = { attributes: cookie.data, data: agreed.data }
    const slot = this.#slot
    const there = new Slot(this.port, id, this.#owner.secrets)
    there.enter()
    const from = slot.id
    const move = (current: Stored): Maybe<void> => {
      const next = merge(agreed, ours, current)
      next.cookie.issuedAt = Date.now()
      next.replaces = from
      let other: Stored | undefined
      const make = (held: Stored): Outgoing | undefined => {
        // Another request was first.
        const moved = slot.id !== from
        other = !moved && isSame(held, current, agreed.cookie) ? undefined : held
        return other === undefined ? leave(next.cookie) : undefined
      }
      const replaced = chain(there.write(next), () => slot.update(current, make, this.#rereads))
      return chain(replaced, (held) => {
        if (held === undefined) {
          this.gone = true
          return there.remove(false)
        }
        if (other !== undefined) {
          if (slot.id === from) return move(other)
          this.#agreed = { ...agreed, stored: () => held, merged: true }
          return there.remove(false)
        }
        this.#slot = there
        this.#agreed = { data: agreed.data, cookie: next.attributes, stored: () => next.json, merged: true }
        this.mergedCookie = next.cookie
      })
    }
    return move(agreed.stored())
  }

  /** Ends the session here, and answers with its data, what others have stored of it included; undefined: it was gone. */
  take(session: { cookie: Cookie }): Maybe<object | undefined> {
    const agreed = this.#agreed
    const kept = { ...session }
    if (!agreed || this.#overwrites) return chain(this.destroy(), () => kept)
    const ours = new Outgoing(session.cookie, () => session, serializeData(session))
    const wasGone = this.isGone
    this.gone = true
    return chain(this.#slot.take(), (held) => {
      if (held === undefined || wasGone) return undefined
      const { attributes, data } = merge(agreed, ours, held)
      return { ...(JSON.parse(data) as object), cookie: attributes }
    })
  }

  /** Ends the session. From now on this request does not write it, lest a save creates it again. */
  destroy(): Maybe<void> {
    this.gone = true
    return this.#slot.remove(this.#agreed !== undefined && (this.#owner.renews || this.#rereads))
  }

  /** What the store holds now. @throws SessionError `failed to load session` when it holds nothing. */
  reload(): Maybe<Snapshot> {
    return chain(this.#slot.read(), (loaded) => {
      if (!loaded) throw new SessionError('ERR_SESSION_MISSING', 'failed to load session')
      return new Snapshot(loaded.stored, loaded.ticket, false, this.#agreed?.cookie)
    })
  }
}

/** Our changes on top of what another request has stored. */
function merge(agreed: Agreed, ours: Pick<Outgoing, 'attributes' | 'data'>, current: Stored): Outgoing {
  const theirs = new Snapshot(current, undefined, false, agreed.cookie)
  const data = mergeData(agreed.data, ours.data, theirs.data)
  const cookie = mergeCookie(agreed.cookie, ours.attributes, theirs.cookie)
  debug('merged with what another request has stored')
  return new Outgoing(cookie, () => Object.assign({ cookie }, JSON.parse(data)), data)
}

/** Whether two readings of a record differ in nothing but its date. */
function isSame(held: Stored, known: Stored, fallback: CookieData): boolean {
  if (held === known) return true
  const open = (stored: Stored): Snapshot => new Snapshot(stored, undefined, false, fallback)
  const [one, other] = [open(held), open(known)]
  return one.data === other.data && !isCookieChanged(one.cookie, other.cookie)
}
