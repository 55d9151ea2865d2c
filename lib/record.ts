// One session's record as one request knows it: what was loaded, what has been saved, whether it is gone.
// Every `Session` has one; it does for the session's methods what they ask of the store.

import type { Cookie, CookieData } from './cookie.ts'
import { debug } from './diagnostics.ts'
import { SessionError } from './errors.ts'
import { chain, isPromise, type Maybe } from './maybe.ts'
import { isCookieChanged, mergeCookie, mergeData } from './merge.ts'
import type { Ticket } from './overlap.ts'
import type { Loaded, StorePort } from './port.ts'
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
  /** Other requests may give the session another id, and keep its data. */
  readonly renews: boolean
  /** Where the session is now, by the record that was left under `id`; undefined where that is the session's own. */
  successorOf(stored: Stored, id: string): string | undefined
}

/** Of a session that lives in no request. */
export const NO_OWNER: RecordOwner = { concurrency: 'merge', renews: false, successorOf: () => undefined }

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
  readonly port: StorePort
  /** The data that "modified" is measured against: as it was when the request got the session. */
  readonly #base: string
  readonly #snapshot: Snapshot | undefined
  /** The store was found to hold this session no more; or this request has destroyed it. */
  gone = false

  /** The cookie that was stored where another request had changed it, too: the one for the browser. */
  mergedCookie: Cookie | undefined
  /** The session's cookie, also after the app has put something else in its place. */
  cookie: Cookie | undefined

  #id: string
  readonly #owner: RecordOwner
  /** Undefined for a session that has never been in the store: it may be created there. */
  #agreed: Agreed | undefined
  /** The data that need not be written again. */
  #saved: string | undefined
  #ticket: Ticket | undefined
  #written = false
  /** What a save waits for. */
  #waiting: Promise<void> | undefined
  /** The write that is under way. */
  #writing: Promise<void> | undefined
  /** The data that the app itself has saved, or tried to. */
  #tried: Outgoing | undefined

  private constructor(id: string, port: StorePort, owner: RecordOwner, snapshot?: Snapshot, saved = false) {
    this.#id = id
    this.port = port
    this.#base = snapshot ? snapshot.data : '{}'
    this.#snapshot = snapshot
    this.#owner = owner
    this.#saved = saved ? this.#base : undefined
    if (!this.#overwrites) this.#ticket = snapshot?.ticket
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

  /** The id under which the store has the session; another one after it was renewed. */
  get id(): string {
    return this.#id
  }

  /** The session is known to be gone: to this request, or to another of this process. */
  get isGone(): boolean {
    return this.gone || (!this.#overwrites && this.#ticket?.gone === true)
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
    let successor: string | undefined
    const make = (current: Stored): Outgoing | undefined => {
      merged = agreed.merged || current !== from
      if (!merged) return ours
      successor = this.#owner.successorOf(current, this.#id)
      if (successor !== undefined) return undefined
      const both = merge(agreed, ours, current)
      this.mergedCookie = both.cookie
      return both
    }
    const updated = this.port.update(this.#id, from, make, this.#ticket, this.#rereads)
    const saved = this.#stamped(ours, last)
    return chain(updated, (held) => {
      if (successor !== undefined) return chain(this.#follow(successor), () => this.#write(ours, last))
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
    if (!this.#overwrites) this.#ticket ??= this.port.enter(this.#id)
    const written = this.port.write(this.#id, ours, this.#ticket)
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
    return chain(this.port.touch(this.#id, session, known, this.#ticket), (outcome) => {
      if (outcome === 'gone') return gone()
      if (outcome !== 'changed' || !known || !(session.announced || this.#owner.renews)) return undefined
      // The browser must not be told the lifetime that the session had before.
      return chain(this.port.read(this.#id), (loaded) => {
        if (!loaded) return gone()
        const successor = this.#owner.successorOf(loaded.stored, this.#id)
        if (successor !== undefined)
          return chain(this.#follow(successor), (there) => (there ? this.touch(session) : undefined))
        this.mergedCookie = mergeCookie(known, session.attributes, new Snapshot(loaded.stored).cookie)
      })
    })
  }

  /** Goes on under the id that another request has given the session; false where it is gone from there. */
  #follow(successor: string): Maybe<boolean> {
    debug('the session has another id by now')
    const { data, cookie } = this.#agreed as Agreed
    return chain(this.port.read(successor), (loaded) => {
      if (!loaded) {
        this.gone = true
        return false
      }
      const next = this.#owner.successorOf(loaded.stored, successor)
      if (next !== undefined) return this.#follow(next)
      this.#id = successor
      this.#ticket = loaded.ticket
      this.#agreed = { data, cookie, stored: () => loaded.stored, merged: true }
      return true
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
    const ticket = this.port.enter(id)
    const move = (current: Stored): Maybe<void> => {
      const next = merge(agreed, ours, current)
      next.cookie.issuedAt = Date.now()
      let other: Stored | undefined
      const make = (held: Stored): Outgoing | undefined => {
        other = isSame(held, current, agreed.cookie) ? undefined : held
        return other === undefined ? leave(next.cookie) : undefined
      }
      const replaced = chain(this.port.write(id, next, ticket), () =>
        this.port.update(this.#id, current, make, this.#ticket, this.#rereads),
      )
      return chain(replaced, (held) => {
        if (other !== undefined) {
          const successor = this.#owner.successorOf(other, this.#id)
          if (successor === undefined) return move(other)
          return chain(this.port.remove(id, ticket), () => chain(this.#follow(successor), () => undefined))
        }
        if (held === undefined) {
          this.gone = true
          return this.port.remove(id, ticket)
        }
        this.#id = id
        this.#ticket = ticket
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
    return chain(this.#remove(), (held) => {
      if (held === undefined || wasGone) return undefined
      const { attributes, data } = merge(agreed, ours, held)
      return { ...(JSON.parse(data) as object), cookie: attributes }
    })
  }

  /** Ends the session. From now on this request does not write it, lest a save creates it again. */
  destroy(): Maybe<void> {
    if (this.#owner.renews && this.#agreed) return chain(this.#remove(), () => undefined)
    this.gone = true
    return this.port.remove(this.#id, this.#ticket)
  }

  /** Removes the session, wherever it is by now, and answers with its record. */
  #remove(): Maybe<Stored | undefined> {
    this.gone = true
    return chain(this.port.take(this.#id, this.#ticket), (held) => {
      const successor = held && this.#owner.successorOf(held, this.#id)
      if (successor === undefined) return held
      return chain(this.#follow(successor), (there) => (there ? this.#remove() : undefined))
    })
  }

  /** What the store holds now. @throws SessionError `failed to load session` when it holds nothing. */
  reload(): Maybe<Snapshot> {
    return chain(this.port.read(this.#id), (loaded: Loaded | undefined): Maybe<Snapshot> => {
      if (!loaded) throw new SessionError('ERR_SESSION_MISSING', 'failed to load session')
      const successor = this.#owner.successorOf(loaded.stored, this.#id)
      if (successor !== undefined) return chain(this.#follow(successor), () => this.reload())
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
