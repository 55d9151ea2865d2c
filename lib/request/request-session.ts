// What `req.session` stands for in one request, as the app looks at it, replaces it, puts it away or ends it; and what the
// session's own methods ask of their request.

import type { EventEmitter } from 'node:events'
import type { Awaitable, ObservedPromise } from '../awaitable.ts'
import { type Cookie, type CookieOptions, reviveCookie } from '../cookie.ts'
import { debug, shorten, warn } from '../diagnostics.ts'
import { SessionError } from '../errors.ts'
import { amend, dateIn, dateOf, factsOf, lastSeenOf } from '../facts.ts'
import { shapeFlash } from '../flash.ts'
import { SessionSlot } from '../port/renewed.ts'
import { isIndexed } from '../port/users.ts'
import { type FoundSession, type RecordStanding, SessionRecord } from '../record.ts'
import {
  cookieOf,
  type ErrorCallback,
  emptyOut,
  fill,
  hasOwnSave,
  hide,
  LIFE,
  loadedRecord,
  newSession,
  openSession,
  RECORD,
  type RequestLife,
  renewSession,
  type Session,
  setId,
} from '../session.ts'
import type { Secret } from '../signature.ts'
import { type Outgoing, type Snapshot, serializeData } from '../snapshot.ts'
import type { Browser } from './browser.ts'
import { type CookieStanding, type Extension, extensionOf, type StoreStanding } from './decisions.ts'
import { announce, trace } from './events.ts'
import type { HostRequest, RequestLike } from './host.ts'
import type { AnsweredRequest } from './late-changes.ts'
import { PendingWork } from './pending.ts'
import { cookieOptionsOf, createCookie, reportLate, type Service } from './service.ts'

/** What `req.session` stands for. A session is opened when the app first looks at it. */
type State =
  /** The store has not answered, or has failed. */
  | { readonly at: 'unloaded' }
  | Fresh
  | Found
  | Open
  /** The app has put something else into `req.session`, or nothing. */
  | { readonly at: 'put away'; readonly value: unknown; readonly behind: Fresh | Found | Open }
  /** The app has called `destroy()` on the session of `record`. */
  | {
      readonly at: 'ended'
      readonly value: unknown
      readonly behind: Fresh | Found | Open
      readonly record: SessionRecord | undefined
    }

/** The request has a new id, and no session yet. */
interface Fresh {
  readonly at: 'fresh'
}

/** The store has the session. Its record and its cookie are made when they are first needed. */
interface Found {
  readonly at: 'found'
  readonly found: FoundSession
  record?: SessionRecord
  cookie?: Cookie
}

interface Open {
  readonly at: 'open'
  readonly session: Session
}

// One descriptor for all requests.
const LAZY: PropertyDescriptor & ThisType<RequestLike & { [LIFE]: RequestSession }> = {
  configurable: true,
  enumerable: true,
  get() {
    return this[LIFE].value
  },
  set(value: unknown) {
    this[LIFE].replace(value)
  },
}

/** The session of a request when the head of its response leaves. */
export interface Leaving {
  readonly id: string
  readonly record: SessionRecord | undefined
  readonly cookie: Cookie | undefined
  readonly standing: CookieStanding
  /** The app has looked at the session. */
  readonly isLooked: boolean
}

const NOT_STORED: RecordStanding = { id: '', isGone: false, isStored: false, wasSaved: false, wasWritten: false }

/** The session of a request at its commit. */
export interface Conclusion {
  /** Undefined: nobody has looked at it. */
  readonly session: Session | undefined
  /** The app, or a library, has put its own `save` in place of ours. */
  readonly hasOwnSave: boolean
  readonly record: SessionRecord
  readonly cookie: Cookie
  readonly data: string
  readonly standing: StoreStanding
}

export class RequestSession implements RequestLife, AnsweredRequest {
  readonly service: Service
  /** The session methods that the app has called, and that are at work. */
  readonly pending = new PendingWork()
  /** `refused`: the app cannot be served with this session, and nothing more of it is written. */
  phase: 'running' | 'committed' | 'refused' = 'running'
  /**
   * This request extends its session, as the `touch` option says. A function is asked when the request comes: when the
   * response ends, a router may have cut the URL.
   */
  readonly extends: boolean
  readonly #req: RequestLike
  readonly #host: HostRequest
  readonly #secrets: readonly Secret[]
  readonly #browser: Browser
  /** The cookie's attributes for this request; used up by the first session, which they were asked for. */
  #cookieOptions: CookieOptions | undefined
  #state: State = { at: 'unloaded' }
  /** The id that the request started with, or that its session was renewed to. */
  #firstId = ''
  /** The app itself has looked at the session. A store may need it, too. */
  #isLooked = false
  #isRefreshed = false
  /** It extends the session, or has extended it, now. */
  #isExtended: boolean | undefined
  /** The session as the commit has found it. */
  #committed:
    | { readonly session: Session; readonly record: SessionRecord; readonly isModified: boolean; data: string }
    | undefined
  /** The id of a session that continues another one. */
  #continuedId: string | undefined
  /** The app has saved that somebody has signed out, and the session has the id that it had before. */
  #owesNewId = false
  #isConfirming = false
  /** What the app has assigned to `req.session` last, and what was in it then. */
  #assigned: { readonly object: Data; readonly before: Data } | undefined

  constructor(
    service: Service,
    req: RequestLike,
    host: HostRequest,
    secrets: readonly Secret[],
    browser: Browser,
    cookieOptions: CookieOptions,
  ) {
    this.service = service
    this.#req = req
    this.#host = host
    this.#secrets = secrets
    this.#browser = browser
    this.#cookieOptions = cookieOptions
    const { touch } = service.settings
    this.extends = typeof touch === 'function' ? touch(req as never) : touch
  }

  get path(): string {
    return this.#host.path
  }

  /** See {@link RequestLife.keepsUnmodified}. */
  get keepsUnmodified(): boolean {
    return !this.service.settings.resave
  }

  get keepsObject(): boolean {
    return this.#host.traits?.keepsObject === true
  }

  /** See {@link RecordOwner.overwrites}. */
  get overwrites(): boolean {
    return this.service.settings.concurrency === 'overwrite'
  }

  /** The response has been decided, or the request was refused. */
  get isCommitted(): boolean {
    return this.phase !== 'running'
  }

  /** The app has taken the session away: the middleware, if it runs again, loads it anew. */
  get isAway(): boolean {
    return this.isOpened && !this.#req.session
  }

  /** The middleware ran again since, and another session is the request's. So is none that failed to load. */
  get isReplaced(): boolean {
    return this.#req[LIFE] !== this
  }

  /** The request begins with a new id. */
  start(): void {
    const id = this.service.settings.generateId(this.#req)
    this.#attach({ at: 'fresh' }, id)
  }

  /** The request begins with what the store has. */
  startWith(found: FoundSession): void {
    this.#attach({ at: 'found', found }, found.slot.id)
  }

  /** `req.session` becomes an accessor, so that nothing is parsed before somebody looks. */
  #attach(state: Fresh | Found, id: string): void {
    const req = this.#req
    req.sessionID = id
    this.#firstId = id
    this.#state = state
    req[LIFE] = this
    const { createSession } = this.service
    if (state.at === 'found' && createSession) {
      const record = this.#recordOf(state) as SessionRecord
      const returned = createSession(req, state.found.snapshot.open())
      // As in express-session, what counts is what it has put there.
      const session = (req.session ?? returned) as Session | undefined
      if (session) {
        session[RECORD] = record
        record.cookie = session.cookie
      }
      this.replace(session)
    }
    Object.defineProperty(req, 'session', LAZY)
  }

  /** Tells of a record that cannot be read, by the store's event `corrupt`. */
  reportCorrupt(id: string, error: unknown): void {
    debug('session %s is corrupt: %s', shorten(id), error)
    const store = this.service.store as Partial<EventEmitter>
    store.emit?.('corrupt', id, error)
  }

  /** `req.session`, read. */
  get value(): unknown {
    this.#isLooked = true
    const state = this.#state
    if (state.at === 'fresh' || state.at === 'found') return this.#open(state)
    if (state.at === 'open') return state.session
    return state.at === 'unloaded' ? undefined : state.value
  }

  /** `req.session = value`: data becomes the session's at once, so that it has a session's methods. */
  replace(value: unknown): void {
    if (!isSession(value)) this.#isLooked = true
    if (isData(value)) this.#adopt(value)
    else this.#place(value)
  }

  /** Gives the request a new session under a new id, whatever it had. See {@link RequestLife.generate}. */
  generate(): void {
    if (this.#browser.isClosed || this.phase === 'committed') {
      this.#browser.warnUnreachable('a session was given a new id')
    }
    const req = this.#req
    const state = this.#behind
    const id = this.service.settings.generateId(req)
    req.sessionID = id
    if (this.keepsObject && state.at === 'open') {
      renewSession(state.session, this.slotOf(id), this.newCookie())
      this.#state = state
    } else {
      this.#state = { at: 'open', session: this.applyTraits(newSession(req, this.slotOf(id), this.newCookie())) }
    }
  }

  /** A cookie with the configured attributes, which `'auto'` takes from the connection of this request. */
  newCookie(): Cookie {
    const { settings } = this.service
    const options = this.#cookieOptions ?? cookieOptionsOf(settings, this.#req)
    this.#cookieOptions = undefined
    return createCookie(settings, options, () => this.#browser.isSecure)
  }

  applyTraits(session: Session): Session {
    const { flash, methods } = this.#host.traits ?? {}
    if (flash) shapeFlash(session, flash)
    for (const [name, method] of Object.entries(methods ?? {})) {
      if (!Object.hasOwn(session, name)) hide(session, name, method)
    }
    return session
  }

  /** Lets the response wait for a session method, and makes its failure the request's if nobody else hears of it. */
  track(work: ObservedPromise<void>): ObservedPromise<void> {
    const isOver = (): boolean => this.isCommitted
    return this.pending.track(work, isOver, (error) => reportLate(this.service, error))
  }

  /** Lets the response wait for a callback. bunWay's may be where the app answers. */
  expect(callback: ErrorCallback): ErrorCallback {
    return this.#host.traits?.awaitsCallbacks ? this.pending.expectAnswer(callback) : this.pending.expect(callback)
  }

  ending(session: Session): void {
    const behind = this.#behind
    const value = this.keepsObject && behind.at === 'open' ? behind.session : undefined
    this.#state = { at: 'ended', value, behind, record: session[RECORD] }
  }

  /** The store has ended the session, so the browser's cookie may go. */
  ended(session: Session): void {
    const record = session[RECORD]
    const cookie = cookieOf(session).data
    this.#browser.ended(cookie)
    if (record?.wasStored) this.announceEnd(record.id, cookie.user)
  }

  /** Tells that the app has ended a session. `user`: whose it was. */
  announceEnd(id: string, user: string | undefined): void {
    this.announce('destroy', id)
    if (user !== undefined) this.announce('signout', id)
  }

  /** See {@link RequestLife.regenerated}. */
  regenerated(from: string, user: string | undefined): void {
    const id = this.#req.sessionID as string
    this.#continuedId = id
    if (this.#isConfirming) this.announce('renew', id, from, { reason: 'confirm' })
    else this.announce('regenerate', id, from)
    if (user !== undefined) this.announce('signout', from)
  }

  announce(event: string, id: string, previous?: string, details?: object): void {
    announce(this.service, event, { req: this.#req, id, previous }, details)
  }

  /** See {@link RecordOwner.writing}. */
  writing(record: SessionRecord, ours: Outgoing, last: boolean): string | undefined {
    const { identity, settings } = this.service
    if (!settings.rotateOnSignIn && !settings.describe) return undefined
    const user = identity.userOf(ours.session)
    const change = identity.change(ours.attributes, user, ours.base)
    const isLoaded = record.snapshot !== undefined && record.id === this.#firstId
    // Apps save a sign-out and go on to regenerate, as passport does.
    const isLeft = isLoaded && (change === 'out' || this.#owesNewId)
    this.#owesNewId = settings.rotateOnSignIn && isLeft
    const moves = settings.rotateOnSignIn && ((isLoaded && change === 'in') || (isLeft && last))
    const isUnreachable = settings.rotateOnSignIn && change === 'in' && !this.#browser.reaches(record.id)
    if ((moves && this.#browser.isClosed) || isUnreachable) {
      throw new SessionError(
        'ERR_SESSION_HEAD_SENT',
        'somebody signed in or out after the head of the response had left, so that the session could get no new id: it was not saved; sign in before anything is sent',
      )
    }
    if (user !== undefined && (change === 'in' || moves || !record.wasStored)) this.#describe(ours)
    if (!moves) return undefined
    this.#owesNewId = false
    const id = settings.generateId(this.#req)
    debug('session %s gets another id: somebody has signed in or out', shorten(record.id))
    return id
  }

  /** Adds what the app says about the session. It is asked, and its failure is a warning. */
  #describe(ours: Outgoing): void {
    const about = this.describe()
    if (about !== undefined) amend(ours, { about })
  }

  /** What the app says about the session, as it is stored. */
  describe(): string | undefined {
    const { identity, settings } = this.service
    try {
      const about = settings.describe?.(this.#req as never)
      return typeof about === 'object' && about !== null ? identity.sealAbout(about) : undefined
    } catch (error) {
      warn('WARN_SESSION_DESCRIBE', 'describe option has thrown, so a session has no description', String(error))
      return undefined
    }
  }

  /** See {@link RecordOwner.written}. */
  written(record: SessionRecord, { signs }: Outgoing, isNew: boolean, from?: string): void {
    const { id } = record
    if (from !== undefined) {
      this.adoptRecordId()
      this.announce('renew', id, from, { reason: signs === 'in' ? 'signin' : 'signout' })
    } else if (isNew && id !== this.#continuedId) this.announce('create', id)
    if (signs) this.announce(signs === 'in' ? 'signin' : 'signout', from !== undefined && signs === 'out' ? from : id)
  }

  /** See {@link RecordOwner.destroying}. */
  destroying<T>(id: string, work: () => Awaitable<T>): Awaitable<T> {
    const [idOf, act] = [() => id, () => 'destroy']
    return trace('destroy', this.service, idOf, work, act)
  }

  /** What is known of the session now. It does not count as a look at it. */
  info(): SessionInfo {
    const state = this.#state
    if (state.at !== 'open' && state.at !== 'found') return NOTHING_KNOWN
    const { identity, settings } = this.service
    const record = this.#recordOf(state) as SessionRecord
    const cookie = record.mergedCookie ?? (this.#cookieOf(state) as Cookie)
    const session = state.at === 'open' ? state.session : undefined
    if (record.isGone) return NOTHING_KNOWN
    const user = session ? identity.userOf(session) : identity.userIn((record.snapshot as Snapshot).data)
    if (!record.wasStored && user === undefined) return NOTHING_KNOWN
    const now = Date.now()
    const signsIn = user !== undefined && identity.change(factsOf(cookie), user, record.snapshot?.data) === 'in'
    const authenticatedAt = signsIn ? now : user === undefined ? undefined : dateIn(cookie, 'authenticatedAt')
    const createdAt = dateIn(cookie, 'createdAt')
    const lastSeen = lastSeenOf(cookie)
    const left = (since: number | undefined, ms: number | undefined): number | undefined =>
      since === undefined || ms === undefined ? undefined : Math.max(0, since + ms - now)
    return {
      user,
      createdAt: dateOf(createdAt),
      lastSeen: dateOf(lastSeen),
      authenticatedAt: dateOf(authenticatedAt),
      idleLeft: left(dateIn(cookie, 'seenAt'), settings.idleTimeout),
      absoluteLeft: left(createdAt, settings.absoluteTimeout),
    }
  }

  /**
   * The session's user has proved who they are: it gets a new id, and all its times begin anew.
   * @throws SessionError where nobody is signed in, or no cookie can be sent any more.
   */
  async confirm(): Promise<void> {
    const session = this.info().user === undefined ? undefined : this.current()
    if (!session) throw nobody()
    if (this.#browser.isClosed) {
      throw new SessionError('ERR_SESSION_HEAD_SENT', 'a session was confirmed after the head of the response had left')
    }
    this.#isConfirming = true
    try {
      await session.regenerate({ keep: true })
    } finally {
      this.#isConfirming = false
    }
    // Another request may have signed them out meanwhile.
    if (this.info().user === undefined) throw nobody()
    const confirmed = this.current() as Session
    factsOf(cookieOf(confirmed)).authenticatedAt = Date.now()
    await confirmed.save()
  }

  /** The session has another id: the request, and the cookie that is sent, have it from now on. */
  adoptRenewedId(id: string): void {
    this.#req.sessionID = id
    this.#firstId = id
    this.#browser.sessionId = id
  }

  /** Warns where a session is stored whose cookie can no longer reach the browser. */
  creating(id: string): void {
    this.#browser.expect(id)
  }

  /** A slot of this request's store, for the session with this id. */
  slotOf(id: string): SessionSlot {
    return new SessionSlot(this.service.port, id, this.#secrets)
  }

  /** Makes the session that the request was prepared for. */
  #open(state: Fresh | Found): Session {
    const req = this.#req
    let session: Session | undefined
    if (state.at === 'found') {
      try {
        // Its id may have been renewed meanwhile, which the request has not adopted yet.
        session = openSession(req, this.#recordOf(state) as SessionRecord, state.cookie, this.#firstId)
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error
        this.reportCorrupt(String(req.sessionID), error)
        this.#firstId = this.service.settings.generateId(req)
        req.sessionID = this.#firstId
      }
    }
    // Whatever the app has put into req.sessionID meanwhile: an id is not adopted.
    session ??= newSession(req, this.slotOf(this.#firstId), this.newCookie())
    this.#state = { at: 'open', session }
    return this.applyTraits(session)
  }

  /** Opens the session that is there, or that stands behind what the app has put there. */
  opened(): Session {
    const state = this.#behind
    return state.at === 'open' ? state.session : this.#open(state)
  }

  /** The session that is there, or that stands behind what the app has put there. */
  get #behind(): Fresh | Found | Open {
    const state = this.#state
    if (state.at === 'put away' || state.at === 'ended') return state.behind
    if (state.at !== 'unloaded') return state
    throw new SessionError('ERR_SESSION_MISSING', 'the session of this request was not loaded')
  }

  /** Notes what `req.session` is now. */
  #place(value: unknown): void {
    const state = this.#state
    if (state.at === 'open' && state.session === value) return
    const hasEnded = state.at === 'ended' && (!isSession(value) || value[RECORD] === state.record)
    if (hasEnded) this.#state = { ...state, value }
    else if (isSession(value)) this.#state = { at: 'open', session: value }
    else this.#state = { at: 'put away', value, behind: this.#behind }
  }

  /** The session as the request has it at this moment; data that the app put there itself becomes the session's. */
  current(): Session | undefined {
    const isLooked = this.#isLooked
    const value = this.#req.session
    this.#isLooked = isLooked
    if (isData(value)) this.#adopt(value)
    else this.#place(value)
    if (this.#state.at !== 'open') return undefined
    this.#catchUp(this.#state.session)
    return this.#state.session
  }

  /**
   * What the commit is about: the session as the app leaves it, with its cookie's full lifetime where the request extends
   * it. `unset`: the app has taken it away. Undefined: there is nothing to commit.
   */
  conclude(): Conclusion | 'unset' | undefined {
    const { settings, port } = this.service
    if (!settings.autoCommit || this.isReplaced) return undefined
    const { at } = this.#state
    const isOpened = this.isOpened
    if (!isOpened && at === 'fresh' && !settings.saveUninitialized) return undefined
    const session = isOpened || at === 'fresh' ? this.current() : undefined
    const state = this.#state
    if (state.at !== 'open' && state.at !== 'found') return 'unset'
    const cookie = this.#cookieOf(state) as Cookie
    if (session && this.extends) this.refresh(cookie)
    const id = this.#req.sessionID
    if (typeof id !== 'string') {
      debug('session ignored because of bogus req.sessionID %o', id)
      return undefined
    }
    const record = this.#recordOf(state) as SessionRecord
    const data = session ? serializeData(session) : (record.snapshot as Snapshot).data
    // Nobody can have changed a session that nobody has looked at.
    const stands = session ? record.standingOf(data, cookie) : record.standingUnopened()
    const { isGone, wasSaved } = stands
    const isSaved = stands.isSaved && !this.#owesNewId
    const isModified = session !== undefined && (stands.id !== this.#firstId || stands.isModified)
    if (session) this.#committed = { session, record, data, isModified }
    const extension = this.#isIndexDue(session, cookie) ? 'write' : this.#extensionOf(cookie)
    this.#isExtended ??= isModified || (this.extends && extension !== 'none')
    const standing = {
      browserHasId: this.#browser.sessionId === id,
      storeTouches: port.touches,
      extends: this.extends,
      extension,
      hasFailed: record.hasFailed(data),
      isUndated: this.#stamp(cookie),
      isGone,
      isModified,
      isSaved,
      wasSaved,
    }
    return { session, hasOwnSave: session !== undefined && hasOwnSave(session), record, cookie, data, standing }
  }

  /** What a response that leaves now may tell the browser. Undefined: nothing, as the app has put no id into `req.sessionID`. */
  leaving(): Leaving | undefined {
    if (typeof this.#req.sessionID !== 'string') return undefined
    const { isOpened } = this
    const { settings } = this.service
    if (isOpened) this.current()
    if (this.#state.at === 'fresh' && settings.saveUninitialized) this.#open(this.#state)
    const state = this.#state
    const isThere = state.at === 'fresh' || state.at === 'found' || state.at === 'open'
    const browserHasId = this.#browser.sessionId === this.#req.sessionID
    // Of a session that nobody has looked at, mostly neither is needed.
    const isAsked = isThere && (isOpened || !browserHasId || settings.rolling || this.#browser.hasOldId)
    const record = isAsked ? this.#recordOf(state) : undefined
    const cookie = isAsked ? this.#cookieOf(state) : undefined
    const { isGone, isStored, wasWritten } = record?.standing() ?? NOT_STORED
    const standing: CookieStanding = {
      isOpened,
      isThere,
      isGone,
      isRefused: this.phase === 'refused',
      browserHasId,
      browserHasOldId: this.#browser.hasOldId,
      isStored,
      wasWritten,
      hasDate: cookie?.expires != null,
      session: this,
    }
    const id = state.at === 'open' ? state.session.id : this.#firstId
    return { id, record, cookie, standing, isLooked: this.#isLooked }
  }

  /** See {@link CookieStanding.session}. */
  isModified(): boolean {
    return this.#state.at === 'open' && this.#isModifiedNow(this.#state.session)
  }

  /** See {@link CookieStanding.session}. */
  isExtended(): boolean {
    const state = this.#state
    const cookie = state.at === 'open' || state.at === 'found' ? this.#cookieOf(state) : undefined
    this.#isExtended ??= (this.extends && this.#extensionOf(cookie) !== 'none') || this.isModified()
    return this.#isExtended
  }

  /** How an extension of the session is stored now. */
  #extensionOf(cookie: Cookie | undefined): Extension {
    const { settings } = this.service
    if (settings.seenEvery === undefined) return 'touch'
    return extensionOf(cookie && dateIn(cookie, 'seenAt'), settings, Date.now())
  }

  /** The index of its user's sessions does not have this one, or not for as long as it may last. */
  #isIndexDue(session: Session | undefined, cookie: Cookie): boolean {
    const { identity, port } = this.service
    if (cookie.user === undefined && !session) return false
    if (!port.users) return false
    if (cookie.user === undefined) return identity.userOf(session as Session) !== undefined
    return !isIndexed(cookie.data, port.lifetime)
  }

  /** Gives a session the dates that its record lacks: it counts from now on. Answers whether it lacked one. */
  #stamp(cookie: Cookie): boolean {
    const { absoluteTimeout, seenEvery } = this.service.settings
    const lacksCreation = absoluteTimeout !== undefined && dateIn(cookie, 'createdAt') === undefined
    const lacksVisit = seenEvery !== undefined && dateIn(cookie, 'seenAt') === undefined
    if (lacksCreation) factsOf(cookie).createdAt = Date.now()
    if (lacksVisit) factsOf(cookie).seenAt = Date.now()
    return lacksCreation || lacksVisit
  }

  /** The record and the cookie of the session that the app has put away. */
  unset(): { record: SessionRecord; cookie: Cookie | undefined } {
    const state = this.#behind
    const record = this.#recordOf(state) ?? SessionRecord.create(this.slotOf(this.#req.sessionID as string), this)
    return { record, cookie: this.#cookieOf(state) }
  }

  /** The session that the request has now, if it is one that the app has looked at or the store holds. */
  get #present(): Found | Open | undefined {
    if (this.isOpened) this.current()
    const state = this.#state
    return state.at === 'open' || state.at === 'found' ? state : undefined
  }

  /** The session that was loaded and is still the request's, under the id that the request has; undefined for any other. */
  renewable(): { record: SessionRecord; cookie: Cookie } | undefined {
    const state = this.#present
    const record = state && this.#recordOf(state)
    if (!record || record.isGone || this.#browser.sessionId !== this.#firstId) return undefined
    if (record.id !== this.#firstId || this.#req.sessionID !== this.#firstId) return undefined
    return { record, cookie: this.#cookieOf(state) as Cookie }
  }

  /** The session may have another id now, by this request or another. */
  adoptRecordId(): void {
    const state = this.isReplaced ? undefined : this.#present
    const session = state?.at === 'open' ? state.session : undefined
    const id = state && this.#recordOf(state)?.id
    if (id === undefined || id === (session ? session.id : this.#firstId)) return
    this.adoptRenewedId(id)
    if (session) setId(session, id)
  }

  /** Gives the cookie its full lifetime from now on, once in a request. */
  refresh(cookie: Cookie): void {
    if (this.#isRefreshed) return
    this.#isRefreshed = true
    if (this.#state.at === 'open') this.#state.session.touch()
    else cookie.maxAge = cookie.originalMaxAge as number
  }

  /** `req.session = {…}`: the session holds that data now, except under the names of its methods. */
  #adopt(data: Data): void {
    if (this.#state.at === 'ended') this.generate()
    const session = this.opened()
    emptyOut(session)
    fill(session, data)
    if (data.cookie) session.cookie = data.cookie as Cookie
    this.#assigned = { object: data, before: { ...data } }
    this.#req.session = session
    this.#state = { at: 'open', session }
  }

  /** The app may have gone on with the object that it assigned. */
  #catchUp(session: Session): void {
    if (!this.#assigned) return
    const { object, before } = this.#assigned
    this.#assigned = undefined
    const removed = Object.keys(before).filter((key) => !(key in object))
    const changed = Object.entries(object).filter(([key, value]) => value !== before[key])
    emptyOut(session, removed)
    fill(session, Object.fromEntries(changed))
  }

  /** Somebody has looked at the session, or has put something in its place. */
  get isOpened(): boolean {
    const { at } = this.#state
    if (at !== 'fresh' && at !== 'found') return true
    return Object.getOwnPropertyDescriptor(this.#req, 'session')?.get !== LAZY.get
  }

  /** The app has changed the session since its commit, or where there was none since it was loaded. */
  get isChangedLate(): boolean {
    if (!this.isOpened || this.isReplaced || this.pending.isBusy) return false
    const session = this.#req.session as Session | null | undefined
    const record = session?.[RECORD]
    if (!session || !record || record.isGone) return false
    const before = this.#committed
    // Another session since then.
    if (before ? record !== before.record : record.id !== this.#firstId) return false
    const data = dataOf(session)
    const isChanged = before ? data !== before.data : record.isModified(data)
    return isChanged && !record.isSaved(data, cookieOf(session))
  }

  /** Some stores stamp the session that they are given, which is not the app's change. */
  ignoreStamps(): void {
    const state = this.#state
    if (this.#committed) this.#committed.data = dataOf(this.#committed.session)
    else if (state.at === 'open') {
      // Nobody but the store has looked at it.
      const { session } = state
      this.#committed = { session, record: session[RECORD] as SessionRecord, data: dataOf(session), isModified: false }
    }
  }

  /**
   * The app has changed the session. After the commit, what the commit has found counts. Compares the data as JSON with
   * what was loaded; a new id counts as a change, as in express-session.
   */
  #isModifiedNow(session: Session): boolean {
    const committed = this.#committed
    if (committed?.session === session) return committed.isModified
    const record = session[RECORD] as SessionRecord
    if (record.id !== this.#firstId) return true
    // Opened since the commit: by the store, or too late.
    const isOpenedSince = this.phase === 'committed' && !committed
    return !isOpenedSince && record.isModified(serializeData(session))
  }

  /** The record of the session that stands there; undefined for one that nobody has looked at and nobody has stored. */
  #recordOf(state: Fresh | Found | Open): SessionRecord | undefined {
    if (state.at === 'open') return state.session[RECORD]
    if (state.at === 'found') state.record ??= loadedRecord(this.#req, state.found)
    return state.at === 'found' ? state.record : undefined
  }

  /** The cookie of the session that stands there, with what the app has made of it. */
  #cookieOf(state: Fresh | Found | Open): Cookie | undefined {
    if (state.at === 'open') {
      const { session } = state
      return session.cookie === session[RECORD]?.cookie ? session.cookie : cookieOf(session)
    }
    if (state.at === 'found') state.cookie ??= reviveCookie(state.found.snapshot.cookie)
    return state.at === 'found' ? state.cookie : undefined
  }
}

/** A session's data as JSON, or the reason why it is none. */
export function dataOf(session: Session): string {
  try {
    return serializeData(session)
  } catch (error) {
    return String(error)
  }
}

function nobody(): SessionError {
  return new SessionError('ERR_SESSION_ANONYMOUS', 'nobody is signed in who could be confirmed')
}

/** What is known of the session of a request: `sessions.info(req)`. Each is undefined where it does not apply. */
export interface SessionInfo {
  /** The user's id. */
  readonly user: string | undefined
  /** When the session was created; recorded with the options `userOf` and `absoluteTimeout`. */
  readonly createdAt: Date | undefined
  /** When a request last extended it. */
  readonly lastSeen: Date | undefined
  /** When its user last proved who they are. */
  readonly authenticatedAt: Date | undefined
  /** The milliseconds that `idleTimeout` leaves it, unless a request extends it. */
  readonly idleLeft: number | undefined
  /** The milliseconds that `absoluteTimeout` leaves it. */
  readonly absoluteLeft: number | undefined
}

export const NOTHING_KNOWN: SessionInfo = {
  user: undefined,
  createdAt: undefined,
  lastSeen: undefined,
  authenticatedAt: undefined,
  idleLeft: undefined,
  absoluteLeft: undefined,
}

type Data = Record<string, unknown>

/** An object with a record of ours: made by this package, or bound to a request by it. */
function isSession(value: unknown): value is Session {
  return typeof value === 'object' && value !== null && (value as Partial<Session>)[RECORD] !== undefined
}

/** An object that is no session yet. */
function isData(value: unknown): value is Data {
  return typeof value === 'object' && value !== null && !isSession(value)
}
