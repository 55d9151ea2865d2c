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
  readonly id: string
  readonly port: StorePort
  /** The data that "modified" is measured against: as it was when the request got the session. */
  readonly #base: string
  readonly #snapshot: Snapshot | undefined
  /** The store was found to hold this session no more; or this request has destroyed it. */
  gone = false

  /** The cookie that was stored where another request had changed it, too: the one for the browser. */
  mergedCookie: Cookie | undefined

  readonly #concurrency: Concurrency
  /** Undefined for a session that has never been in the store: it may be created there. */
  #agreed: Agreed | undefined
  /** The data that need not be written again. */
  #saved: string | undefined
  /** The record was put into the request by hand: the app may mean to create it. */
  readonly #mayCreate: boolean
  #ticket: Ticket | undefined
  #written = false
  /** The write that is under way. */
  #writing: Promise<void> | undefined
  /** The data that the app itself has saved, or tried to. */
  #tried: Outgoing | undefined

  private constructor(
    id: string,
    port: StorePort,
    concurrency: Concurrency,
    snapshot?: Snapshot,
    saved = false,
    mayCreate = false,
  ) {
    this.id = id
    this.port = port
    this.#base = snapshot ? snapshot.data : '{}'
    this.#snapshot = snapshot
    this.#concurrency = concurrency
    this.#saved = saved ? this.#base : undefined
    this.#mayCreate = mayCreate
    if (concurrency !== 'overwrite') this.#ticket = snapshot?.ticket
    if (snapshot) {
      this.#agreed = { data: this.#base, cookie: snapshot.cookie, stored: () => snapshot.stored, merged: false }
    }
  }

  /** The record of a session that the store does not hold. */
  static create(id: string, port: StorePort, concurrency: Concurrency): SessionRecord {
    return new SessionRecord(id, port, concurrency)
  }

  /** The record of a session that was loaded. `saved`: there is no need to write it unless it changes. */
  static loaded(
    id: string,
    port: StorePort,
    concurrency: Concurrency,
    snapshot: Snapshot,
    saved: boolean,
  ): SessionRecord {
    return new SessionRecord(id, port, concurrency, snapshot, saved, snapshot.byHand)
  }

  /** The session is known to be gone: to this request, or to another of this process. */
  get isGone(): boolean {
    return this.gone || (this.#concurrency !== 'overwrite' && this.#ticket?.gone === true)
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
    return this.#concurrency === 'overwrite' || !this.#agreed || !isCookieChanged(this.#agreed.cookie, cookie)
  }

  /** Writes the session as it is now. The app hears how that goes: the same data is not tried again behind its back. */
  save(session: { cookie: Cookie }): Maybe<void> {
    const ours = new Outgoing(session.cookie, () => session, serializeData(session))
    this.#tried = ours
    return this.write(ours)
  }

  /** Writes `ours`, after what this request began to write before. `last`: nobody will ask afterwards what was saved. */
  write(ours: Outgoing, last = false): Maybe<void> {
    if (this.#concurrency === 'overwrite') return this.#create(ours, last)
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
    const updated = this.port.update(this.id, from, make, this.#ticket, this.#concurrency === 'reread')
    const saved = this.#stamped(ours, last)
    return chain(updated, (held) => {
      if (held !== undefined) return this.#agree(ours, saved, () => held, merged)
      if (this.#mayCreate) return this.#create(ours, last)
      debug('not saved: the session was destroyed, or ran out, while this request went on')
      this.gone = true
      return undefined
    })
  }

  #create(ours: Outgoing, last: boolean): Maybe<void> {
    if (this.#concurrency !== 'overwrite') this.#ticket ??= this.port.enter(this.id)
    const written = this.port.write(this.id, ours, this.#ticket)
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
    const known = this.#concurrency === 'overwrite' ? undefined : this.#agreed?.cookie
    const gone = (): void => {
      debug('not touched: the session is gone')
      this.gone = this.#concurrency !== 'overwrite'
    }
    return chain(this.port.touch(this.id, session, known, this.#ticket), (outcome) => {
      if (outcome === 'gone') return gone()
      if (outcome !== 'changed' || !session.announced || !known) return undefined
      // The browser must not be told the lifetime that the session had before.
      return chain(this.port.read(this.id), (loaded) => {
        if (!loaded) return gone()
        this.mergedCookie = mergeCookie(known, session.attributes, new Snapshot(loaded.stored).cookie)
      })
    })
  }

  /** The session's data on top of what others have stored of it since; undefined when it is gone. */
  latest(session: { cookie: Cookie }): Maybe<object | undefined> {
    const agreed = this.#agreed
    if (this.isGone) return undefined
    if (!agreed || this.#concurrency === 'overwrite') return { ...session }
    const ours = new Outgoing(session.cookie, () => session, serializeData(session))
    return chain(this.port.read(this.id), (loaded) => {
      if (!loaded) return undefined
      const { attributes, data } = merge(agreed, ours, loaded.stored)
      return { ...(JSON.parse(data) as object), cookie: attributes }
    })
  }

  destroy(): Maybe<void> {
    return chain(this.port.remove(this.id, this.#ticket), () => {
      this.gone = true
    })
  }

  /** What the store holds now. @throws SessionError `failed to load session` when it holds nothing. */
  reload(): Maybe<Snapshot> {
    return chain(this.port.read(this.id), (loaded: Loaded | undefined) => {
      if (!loaded) throw new SessionError('ERR_SESSION_MISSING', 'failed to load session')
      return new Snapshot(loaded.stored, loaded.ticket, false, this.#agreed?.cookie)
    })
  }
}

/** Our changes on top of what another request has stored. */
function merge(agreed: Agreed, ours: Outgoing, current: Stored): Outgoing {
  const theirs = new Snapshot(current, undefined, false, agreed.cookie)
  const data = mergeData(agreed.data, ours.data, theirs.data)
  const cookie = mergeCookie(agreed.cookie, ours.attributes, theirs.cookie)
  debug('merged with what another request has stored')
  return new Outgoing(cookie, () => Object.assign({ cookie }, JSON.parse(data)), data)
}
