// The life of a session in one request: load → use → head → commit. Knows no host and no store:
// hosts call the four acts, stores are behind their port.

import type { EventEmitter } from 'node:events'
import { Cookie, type CookieOptions, expiryOf, readCookies, reviveCookie, serializeCookie } from './cookie.ts'
import { debug, debugging, deprecate, warn } from './diagnostics.ts'
import { SessionError } from './errors.ts'
import { type FlashShape, shapeFlash } from './flash.ts'
import { chain, isPromise, type Maybe, Outcome } from './maybe.ts'
import type { Settings } from './options.ts'
import type { Loaded, StorePort } from './port.ts'
import { type Concurrency, SessionRecord } from './record.ts'
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
  type StoreRequest,
  setId,
} from './session.ts'
import { hashId, LONGEST_COOKIE, type Secret, type Signer } from './signature.ts'
import { Slot } from './slot.ts'
import { Outgoing, Snapshot, serializeData } from './snapshot.ts'
import { Pointer } from './successor.ts'

/** For how many milliseconds at least an id that was renewed is remembered, if its session lasts that long. */
const REMEMBERED_MS = 86_400_000
const HEAD_LEFT = 'the head of the response had left'

/** What one `session()` call works with. */
export interface Service {
  readonly settings: Settings
  readonly store: object
  readonly port: StorePort
  readonly signer: Signer
  readonly events: EventEmitter
  /** What the store has said of itself last: `isUp` is false from a `disconnect` to a `connect`. */
  readonly connection: { readonly isUp: boolean }
  /** The store's class has its own way to make a session of a record. */
  readonly createSession: ((req: StoreRequest, record: object) => unknown) | undefined
  /** For how many requests more changes are looked for that came after the response. */
  watched: number
  /** The last of them. */
  last: Lifecycle | undefined
}

/** The request, as its host tells it. */
export interface HostRequest {
  /** The Cookie header. */
  readonly cookieHeader: string | undefined
  /** The path of the request's URL, before any router has cut it. */
  readonly path: string
  /** The connection itself is encrypted. */
  readonly encrypted: boolean
  /** What the host says about HTTPS, its own proxy settings considered; undefined if it has no opinion. */
  readonly secure: boolean | undefined
  /** The X-Forwarded-Proto header. */
  readonly forwardedProto: string | undefined
  readonly manners?: Manners
}

/** What a host's documentation promises of the session itself. */
export interface Manners {
  /** One session object serves the whole request: `regenerate` and `destroy` empty it instead of replacing it. */
  readonly keepsObject?: boolean
  /** The answer may come from the callback of a session method: {@link Lifecycle.settled} waits for it. */
  readonly awaitsCallbacks?: boolean
  /** An answer is made only when the session is stored: one that is not never leaves. */
  readonly withholds?: boolean
  readonly flash?: FlashShape
  /** Methods that the session has besides its own; hidden, like those. */
  readonly methods?: Record<string, (...args: never[]) => unknown>
}

/** The request object that the app sees, as far as sessions go. */
export interface Carrier extends StoreRequest {
  /** cookie-parser's secret. */
  secret?: Secret
  /** cookie-parser's unsigned cookies. */
  cookies?: Record<string, unknown>
  /** cookie-parser's signed cookies. */
  signedCookies?: Record<string, unknown>
}

// One descriptor for all requests: the session is made when the app first looks at it.
const LAZY: PropertyDescriptor & ThisType<Carrier & { [LIFE]: Lifecycle }> = {
  configurable: true,
  enumerable: true,
  get() {
    return this[LIFE].session
  },
  set(value: unknown) {
    this[LIFE].replace(value)
  },
}

export class Lifecycle implements RequestLife {
  readonly #service: Service
  readonly #req: Carrier
  readonly #host: HostRequest
  readonly #secrets: readonly Secret[]
  /** The cookie's attributes for this request; used up by the first session, which they were asked for. */
  #cookieOptions: CookieOptions | undefined

  /** The id that the browser sent. */
  #sentId: string | undefined
  /** The cookies it came in, by id, as far as they can be sent again as they are. */
  readonly #sentCookies = new Map<string, string>()
  /** The id that the request started with. */
  #originalId: unknown
  #snapshot: Snapshot | undefined
  /** The cookie of a session that nobody has looked at yet. */
  #cookie: Cookie | undefined
  /** What `req.session` is, once somebody has looked at it. */
  #current: unknown
  #looked = false
  #untouched: SessionRecord | undefined
  #touched = false
  #committed = false
  #failed = false
  /** What the commit does, or has done last, is to extend the session. */
  #extending = false
  #settled:
    | { readonly session: Session; readonly record: SessionRecord; readonly modified: boolean; data: string }
    | undefined
  /** Why no cookie can be sent any more. */
  #mute: string | undefined
  /** The id in the cookie that was sent, or would have been over HTTPS. */
  #announced: string | undefined
  /** Session methods at work, and callbacks of theirs that are waited for. */
  readonly #pending = new Set<Promise<void>>()
  /** Those that have failed before the session was committed. */
  readonly #failures: { readonly error: unknown; readonly work: Outcome<void> }[] = []
  #failure: { error: unknown } | undefined
  /** The session that stands behind `req.session`, also after the app has put something else there. */
  #opened: Session | undefined
  /** The app has ended the session, and has got no other since. */
  #isEnding = false
  /** The cookie of the session that the app has ended. */
  #ended: Cookie | undefined
  /** The session has another id than the browser knows. */
  #moved = false
  /** What the app has assigned to `req.session` last, and what was in it then. */
  #assigned: { readonly object: Data; readonly before: Data } | undefined
  /** The life of the session that the app had put away before the middleware ran again. */
  readonly #previous: Lifecycle | undefined

  /**
   * Starts the life of a session in this request, or says with undefined that the request goes on without one:
   * it has one already, the store is away, or the path lies outside of the cookie's. A request whose app has put its
   * session away gets what the store holds now.
   * @throws Error when there is no secret to sign with.
   */
  static begin(service: Service, req: Carrier, host: HostRequest): Lifecycle | undefined {
    if (service.last) {
      service.last.#lookBack()
      service.last = undefined
    }
    const previous = req[LIFE]
    if (previous ? !previous.isAway : req.session) {
      const isOurs = previous instanceof Lifecycle && previous.#service === service
      debug('no session: the request has one already')
      if (previous && !isOurs) {
        warn(
          'WARN_SESSION_SECOND',
          'a request came to a second session middleware, which does nothing: req.session is that of the first; mount one ' +
            'of them, or each on paths of its own',
          `The request was for ${host.path}`,
        )
      }
      return undefined
    }
    if (!service.connection.isUp) {
      debug('no session: store is disconnected')
      return undefined
    }
    const cookieOptions = cookieOptionsOf(service.settings, req)
    const { path = '/' } = cookieOptions
    if (path && !isWithin(host.path, path)) {
      debug('no session: pathname mismatch, %s is outside of %s', host.path, path)
      return undefined
    }
    const secrets = service.settings.secrets ?? (req.secret ? [req.secret] : undefined)
    if (!secrets) throw new SessionError('ERR_SESSION_SECRET', 'secret option required for sessions')
    return new Lifecycle(service, req, host, secrets, cookieOptions, previous as Lifecycle | undefined)
  }

  private constructor(
    service: Service,
    req: Carrier,
    host: HostRequest,
    secrets: readonly Secret[],
    cookieOptions: CookieOptions,
    previous: Lifecycle | undefined,
  ) {
    this.#service = service
    this.#req = req
    this.#host = host
    this.#secrets = secrets
    this.#cookieOptions = cookieOptions
    this.#previous = previous
  }

  get keepsUnmodified(): boolean {
    return !this.#service.settings.resave
  }

  get keepsObject(): boolean {
    return this.#host.manners?.keepsObject === true
  }

  /** The request has been answered. */
  get over(): boolean {
    return this.#committed
  }

  get isAway(): boolean {
    return !this.#lazy && !this.#req.session
  }

  /** The middleware ran again since: another life has the request's session. */
  get isReplaced(): boolean {
    return this.#req[LIFE] !== this
  }

  get concurrency(): Concurrency {
    return this.#service.settings.concurrency
  }

  get renews(): boolean {
    return this.#service.settings.renewAfter !== undefined
  }

  get secrets(): readonly Secret[] {
    return this.#secrets
  }

  /** Finds the session that the request's cookie names, or prepares a new one. Store errors are thrown. */
  load(): Maybe<void> {
    // What the app has begun to do, such as a destroy, comes before.
    if (this.#previous?.busy) return this.#previous.settled().then(() => this.#load())
    return this.#load()
  }

  #load(): Maybe<void> {
    const req = this.#req
    req.sessionStore = this.#service.store
    const ids = this.#sentIds()
    req.sessionID = ids[0]
    this.#sentId = ids[0]
    return ids.length > 0 ? this.#find(ids, 0) : this.#start()
  }

  #find(ids: string[], index: number): Maybe<void> {
    const id = ids[index] as string
    return chain(this.#read(id), (snapshot) => {
      if (snapshot) {
        debug('session %s found', shorten(id))
        this.#attach(this.#sentId as string, snapshot)
      } else if (index + 1 < ids.length) return this.#find(ids, index + 1)
      else {
        debug('session %s not found: a new one', shorten(id))
        this.#moved = false
        this.#start()
      }
    })
  }

  /** The session under `id`, or under the one that it has been given since. */
  #read(id: string): Maybe<Snapshot | undefined> {
    const slot = new Slot(this.#service.port, id, this.#secrets)
    return chain(slot.load(), (loaded): Snapshot | undefined => {
      this.#sentId = slot.id
      this.#moved = slot.id !== id
      if (loaded) return this.#take(slot.id, loaded)
      if (slot.isRefused) this.#refuse(id, slot)
      return undefined
    })
  }

  /** An id that was renewed long ago: the browser has not learnt of it, or somebody else uses it. */
  #refuse(id: string, slot: Slot): void {
    debug('session %s refused: its id was renewed', shorten(id))
    const use = {
      id: hashId(id, this.#secrets[0] as Secret),
      end: (): Promise<void> => this.track(Outcome.of(() => slot.remove(true))),
    }
    this.#service.events.emit('reuse', Object.defineProperty(use, 'req', { value: this.#req }))
  }

  /** A record that a bundled store could not read is as good as missing; what another store hands over is not judged. */
  #take(id: string, { stored, ticket }: Loaded): Snapshot | undefined {
    const fallback = this.#service.settings.bareRecords ? this.newCookie().data : undefined
    try {
      return new Snapshot(stored, ticket, false, fallback)
    } catch (error) {
      if (typeof stored !== 'string') throw error
      this.#corrupt(id, error)
      return undefined
    }
  }

  #corrupt(id: string, error: unknown): void {
    debug('session %s is corrupt: %s', shorten(id), error)
    const store = this.#service.store as Partial<EventEmitter>
    store.emit?.('corrupt', id, error)
  }

  #start(): void {
    this.#attach(this.#service.settings.generateId(this.#req), undefined)
  }

  #attach(id: unknown, snapshot: Snapshot | undefined): void {
    const req = this.#req
    req.sessionID = id
    this.#originalId = id
    this.#snapshot = snapshot
    req[LIFE] = this
    const { createSession } = this.#service
    if (snapshot && createSession) {
      const record = loadedRecord(req, this.#service.port, snapshot)
      const returned = createSession(req, snapshot.open())
      // As in express-session, what counts is what it has put there.
      const session = (req.session ?? returned) as Session | undefined
      if (session) {
        session[RECORD] = record
        record.cookie = session.cookie
        this.#opened = session
      }
      this.replace(session)
    }
    Object.defineProperty(req, 'session', LAZY)
  }

  /** Makes the session that the request was prepared for, because the app looks at it. */
  open(): Session {
    const req = this.#req
    const { port } = this.#service
    this.#looked = true
    let session: Session | undefined
    if (this.#snapshot) {
      try {
        session = openSession(req, port, this.#snapshot, this.#cookie, this.#originalId)
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error
        this.#corrupt(String(req.sessionID), error)
        this.#snapshot = undefined
        this.#cookie = undefined
        req.sessionID = this.#service.settings.generateId(req)
        this.#originalId = req.sessionID
      }
    }
    // Whatever the app has put into req.sessionID meanwhile: an id is not adopted.
    session ??= newSession(req, port, this.newCookie(), this.#originalId)
    return this.dress(session)
  }

  dress(session: Session): Session {
    this.#opened = session
    const { flash, methods } = this.#host.manners ?? {}
    if (flash) shapeFlash(session, flash)
    for (const [name, method] of Object.entries(methods ?? {})) {
      if (!Object.hasOwn(session, name)) hide(session, name, method)
    }
    return session
  }

  /** The session that a request's own method is about. @throws SessionError when the app has ended it. */
  get asked(): Session {
    const session = this.#session()
    if (session) return session
    throw new SessionError('ERR_SESSION_MISSING', 'this request has no session any more')
  }

  /** `req.session`, read. */
  get session(): unknown {
    return this.#looked ? this.#current : this.open()
  }

  /** `req.session = value`: data becomes the session's at once, so that it has a session's methods. */
  replace(value: unknown): void {
    if (isData(value)) this.#adopt(value)
    else {
      this.#looked = true
      this.#current = value
    }
  }

  /** Nobody has looked at the session, nor taken it away. */
  get #lazy(): boolean {
    return !this.#looked && Object.getOwnPropertyDescriptor(this.#req, 'session')?.get === LAZY.get
  }

  generate(): void {
    if (this.#mute !== undefined || this.#committed) this.#sayUnreachable('a session was given a new id')
    const req = this.#req
    const { settings, port } = this.#service
    const session = this.keepsObject ? this.#opened : undefined
    req.sessionID = settings.generateId(req)
    this.#isEnding = false
    if (session) renewSession(session, port, this.newCookie())
    else this.dress(newSession(req, port, this.newCookie()))
  }

  newCookie(): Cookie {
    const options = this.#cookieOptions ?? cookieOptionsOf(this.#service.settings, this.#req)
    this.#cookieOptions = undefined
    const cookie = new Cookie(options)
    if (this.#service.settings.renewAfter !== undefined) cookie.issuedAt = Date.now()
    if (cookie.secure === 'auto') cookie.secure = this.#isSecure()
    if (cookie.sameSite === 'auto') cookie.sameSite = this.#isSecure() ? 'none' : 'lax'
    return cookie
  }

  track(work: Outcome<void>): Outcome<void> {
    const over = this.#begin()
    work.settled(over, (error) => {
      if (!isMissing(error)) {
        if (!this.#committed) this.#failures.push({ error, work })
        else if (!work.heard) reportLate(this.#service, error)
      }
      over()
    })
    return work
  }

  expect(callback: ErrorCallback): ErrorCallback {
    const over = this.#begin()
    if (!this.#host.manners?.awaitsCallbacks) {
      return (error) => {
        over()
        return callback(error)
      }
    }
    return async (error) => {
      try {
        this.#failure = error ? { error } : undefined
        await callback(error)
      } catch (thrown) {
        this.#failure = { error: thrown }
      } finally {
        over()
      }
    }
  }

  /** Something that the response waits for has begun; to be called when it is over. */
  #begin(): () => void {
    let over = (): void => {}
    const going = new Promise<void>((resolve) => {
      over = () => {
        this.#pending.delete(going)
        resolve()
      }
    })
    this.#pending.add(going)
    return over
  }

  /** Session methods that the app has called are still at work, or their callbacks are. */
  get busy(): boolean {
    return this.#pending.size > 0
  }

  /** What the last session method failed with, or its callback threw. */
  get failure(): { error: unknown } | undefined {
    return this.#failure
  }

  /** Waits until no session method is at work any more. @throws the error of one whose outcome nobody has asked for. */
  async settled(): Promise<void> {
    while (this.busy) await Promise.all(this.#pending)
    const failure = this.#failures.splice(0).find(({ work }) => !work.heard)
    if (failure) throw failure.error
  }

  ending(): void {
    this.#isEnding = true
  }

  ended(session: Session): void {
    this.#ended = cookieOf(session)
  }

  /**
   * Whether what `commit` has failed with forbids the answer. A session that was not extended never does: it is what it
   * was, and lasts until the date that it had.
   */
  withholds(error: unknown): boolean {
    if (this.#extending) return false
    if (error instanceof SessionError && error.code === 'ERR_SESSION_SERIALIZE') return true
    return this.#host.manners?.withholds === true || this.#service.settings.onSaveError === 'fail'
  }

  /** The app cannot be served with this session any more: nothing more of it is written. */
  abandon(): void {
    this.#failed = true
  }

  /**
   * The `Set-Cookie` value that the response's head must carry, if any. Called once, when the head leaves.
   * @throws TypeError for cookie attributes that cannot be sent.
   */
  head(): string | undefined {
    const req = this.#req
    if (this.isReplaced) return undefined
    this.mute(HEAD_LEFT)
    const { settings, signer } = this.#service
    if (typeof req.sessionID !== 'string') return undefined
    const known = this.#sentId === req.sessionID
    const untouched = this.#lazy
    // Only of a session that the store has got, under an id that it was saved with before.
    if (this.#failed && (known || untouched)) return undefined
    if (untouched && !this.#moved && (known ? !settings.rolling : !settings.saveUninitialized)) {
      debug('no cookie: nobody looked at the session')
      return undefined
    }

    const session = untouched && known ? undefined : this.#session()
    const record = this.#record(session)
    if ((!untouched && !session) || record?.isGone) {
      debug('no cookie: %s', record ? 'the session is gone' : 'no session')
      return this.#farewell()
    }
    const cookie = session ? cookieOf(session) : this.#loadedCookie()
    const onlyWritten = !settings.autoCommit || this.#failed
    const wanted = onlyWritten
      ? record?.wasWritten
      : known
        ? this.#moved || settings.rolling || (cookie.expires != null && this.#isModified(session as Session))
        : settings.saveUninitialized || record?.isStored || this.#isModified(session as Session)
    if (!wanted) {
      debug('no cookie: %s', known ? 'the browser has it' : 'nothing was put into the session')
      return undefined
    }
    const id = session ? session.id : (this.#originalId as string)
    this.#announced = id
    if (cookie.secure && !this.#isSecure()) {
      this.#explainInsecure()
      return undefined
    }
    if (settings.extendsUnmodified || !known || (session && this.#isModified(session))) this.#touch(session ?? cookie)
    const secret = this.#secrets[0] as Secret
    const value = this.#sentCookies.get(id) ?? signer.sign(id, secret)
    const sent = serializeCookie(settings.name, value, (record?.mergedCookie ?? session?.cookie ?? cookie).data)
    if (sent.length > LONGEST_COOKIE && sent.indexOf(';') > LONGEST_COOKIE) {
      const words = `the session's cookie is longer than ${LONGEST_COOKIE} bytes, so each request will have a new session`
      warn('WARN_SESSION_COOKIE_TOO_LONG', `${words}; make shorter ids with genid`)
    }
    return sent
  }

  /** No cookie can be sent from now on. */
  mute(reason: string): void {
    this.#mute ??= reason
  }

  creating(id: string): void {
    if (this.#mute === undefined || id === this.#sentId || id === this.#announced) return
    this.#sayUnreachable('data was first put into a session')
  }

  #sayUnreachable(what: string): void {
    const reason = this.#mute ?? HEAD_LEFT
    debug('no cookie: %s', reason)
    warn(
      'WARN_SESSION_HEAD_SENT',
      `${what} when no cookie could be sent any more, as ${reason}: the next request will not find it; do it earlier`,
      `The request was for ${this.#host.path}`,
    )
  }

  /** Warns where the app has changed the session since it was committed, which nobody will save. */
  #lookBack(): void {
    if (this.#lazy || this.isReplaced || this.busy) return
    const session = this.#req.session as Session | null | undefined
    const record = session?.[RECORD]
    if (!session || !record || record.isGone) return
    const { record: before, data: committed } = this.#settled ?? {}
    // Another one since then.
    if (before ? record !== before : record.id !== this.#originalId) return
    const data = dataOf(session)
    const isChanged = committed === undefined ? record.isModified(data) : data !== committed
    if (!isChanged || record.isSaved(data, cookieOf(session))) return
    warn(
      'WARN_SESSION_CHANGED_LATE',
      'a session was changed after its response, which is not saved; do it earlier, or call req.session.save()',
      `The request was for ${this.#host.path}`,
    )
  }

  /** The cookie that takes the browser's away, after the app has ended the session. */
  #farewell(): string | undefined {
    const { name, clearCookie } = this.#service.settings
    if (!clearCookie || !this.#ended || this.#sentId === undefined) return undefined
    return serializeCookie(name, '', { ...this.#ended.data, expires: new Date(0) })
  }

  /**
   * Brings the store up to date: exactly one of destroy, save, touch or nothing, after what the app's own calls
   * have begun; and then gives a session whose id is old another one, where `carriesCookie` says that the browser can be
   * told. Store errors are thrown; so is `ERR_SESSION_SERIALIZE`, before anything was written.
   */
  commit(carriesCookie = true): Maybe<void> {
    if (this.#committed || this.#failed) return undefined
    if (this.busy || this.#failures.length > 0) {
      return this.settled().then(() => this.commit(carriesCookie))
    }
    const work = this.#commit()
    this.#committed = true
    return chain(work, () => {
      this.#watch()
      if (this.isReplaced) return undefined
      return chain(this.renews && carriesCookie ? this.#renew() : undefined, () => this.#keepUp())
    })
  }

  /** Has the next request look back at this one. */
  #watch(): void {
    const service = this.#service
    if (service.watched <= 0 || !service.settings.autoCommit) return
    service.watched--
    service.last = this
    // Some stores stamp the session, which is not the app's change.
    if (this.#settled && service.port.mutates) this.#settled.data = dataOf(this.#settled.session)
  }

  /** Others may be at work on the session: what they do under the old id goes to the new one. */
  #renew(): Maybe<void> {
    this.#extending = false
    const { settings } = this.#service
    const { renewAfter = 0, renewGrace } = settings
    const oldId = this.#req.sessionID
    if (!settings.autoCommit || !this.#snapshot || typeof oldId !== 'string' || oldId !== this.#originalId)
      return undefined
    const session = this.#lazy ? undefined : this.#session()
    const record = this.#record(session)
    const cookie = session ? session.cookie : this.#loadedCookie()
    if ((!session && !this.#lazy) || !record || record.isGone || record.id !== oldId) return undefined
    // The browser would not get the new one.
    if (cookie.secure && !this.#isSecure()) return undefined
    const now = Date.now()
    if ((cookie.issuedAt ?? 0) + renewAfter > now) return undefined
    const id = settings.generateId(this.#req)
    debug('renewing the id of session %s', shorten(oldId))
    const leave = (cookie: Cookie): Outgoing => {
      const expires = Math.min(expiryOf(cookie) ?? Infinity, now + Math.max(REMEMBERED_MS, renewAfter + renewGrace))
      return new Pointer({ id, until: now + renewGrace }, oldId, this.#secrets, expires)
    }
    return record.renew(id, cookie, leave)
  }

  /** The session may have another id now, by this request or another. */
  #keepUp(): void {
    const session = this.#lazy ? undefined : this.#session()
    if (!session && !this.#lazy) return
    const record = this.#record(session)
    if (!record || record.id === (session ? session.id : this.#originalId)) return
    this.adopt(record.id)
    if (session) setId(session, record.id)
  }

  adopt(id: string): void {
    this.#req.sessionID = id
    this.#originalId = id
    this.#sentId = id
    this.#moved = true
  }

  #commit(): Maybe<void> {
    const req = this.#req
    const { settings, port } = this.#service
    const id = req.sessionID
    // Also replaced: a life whose store failed to load, which must not take that for an unset session.
    if (!settings.autoCommit || this.isReplaced) return undefined
    if (this.#lazy && (this.#snapshot ? true : !settings.saveUninitialized)) return this.#commitUntouched(id)

    const session = this.#session()
    if (!session) {
      if (req.sessionID && settings.unsetDestroys && req.session == null) {
        debug('destroying: req.session was unset')
        const cookie = this.#opened ? cookieOf(this.#opened) : this.#snapshot && this.#loadedCookie()
        const record = this.#record(this.#opened) ?? SessionRecord.create(id as string, port, this)
        return chain(record.destroy(), () => {
          this.#ended ??= cookie
        })
      }
      return undefined
    }
    if (settings.extendsUnmodified) this.#touch(session)
    if (typeof id !== 'string') {
      debug('session ignored because of bogus req.sessionID %o', id)
      return undefined
    }
    const record = session[RECORD] as SessionRecord
    const data = serializeData(session)
    const modified = record.id !== this.#originalId || record.isModified(data)
    this.#settled = { session, record, modified, data }

    const known = this.#sentId === id
    const saved = record.isSaved(data, cookieOf(session))
    const save = !settings.saveUninitialized && !record.wasSaved && !known ? modified && !saved : !saved
    if (save) {
      debug('saving %s', shorten(id))
      this.#touch(session)
      return hasOwnSave(session)
        ? byCallback((done) => session.save(done))
        : record.write(new Outgoing(session.cookie, () => session, data), true)
    }
    if (known && port.touches && settings.extendsUnmodified && !record.gone) {
      debug('touching %s', shorten(id))
      return this.#extend(record, new Outgoing(session.cookie, () => session, data))
    }
    return undefined
  }

  /** The record of the session, also of one that nobody has looked at. */
  #record(session: Session | undefined): SessionRecord | undefined {
    if (session) return session[RECORD]
    this.#untouched ??= this.#snapshot && loadedRecord(this.#req, this.#service.port, this.#snapshot, this.#originalId)
    return this.#untouched
  }

  #extend(record: SessionRecord, session: Outgoing): Maybe<void> {
    this.#extending = true
    session.announced = this.#service.settings.rolling
    return record.touch(session)
  }

  /** Commits a session that the app never looked at, without parsing its data. */
  #commitUntouched(id: unknown): Maybe<void> {
    const { port } = this.#service
    if (!this.#snapshot || typeof id !== 'string') return undefined
    const snapshot = this.#snapshot
    if (this.keepsUnmodified && !this.#service.settings.extendsUnmodified) return undefined
    const cookie = this.#loadedCookie()
    this.#touch(cookie)
    const session = (): object => this.open() as object
    const record = this.#record(undefined) as SessionRecord
    if (!this.keepsUnmodified) return record.write(new Outgoing(cookie, session, snapshot.data), true)
    if (!port.touches) return undefined
    debug('touching %s', shorten(id))
    return this.#extend(record, new Outgoing(cookie, session))
  }

  /** The session as the request has it at this moment; one that the app put there itself becomes a session. */
  #session(): Session | undefined {
    const value = this.#req.session
    if (value === null || typeof value !== 'object') return undefined
    const session = isData(value) ? this.#adopt(value) : (value as Session)
    this.#catchUp(session)
    return session
  }

  /** `req.session = {…}`: the session holds that data now, except under the names of its methods. */
  #adopt(data: Data): Session {
    if (this.#isEnding) this.generate()
    const session = this.#opened ?? this.open()
    emptyOut(session)
    fill(session, data)
    if (data.cookie) session.cookie = data.cookie as Cookie
    this.#assigned = { object: data, before: { ...data } }
    this.#req.session = session
    return session
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

  #isModified(session: Session): boolean {
    if (this.#settled?.session === session) return this.#settled.modified
    const record = session[RECORD] as SessionRecord
    return record.id !== this.#originalId || record.isModified(serializeData(session))
  }

  #loadedCookie(): Cookie {
    this.#cookie ??= reviveCookie((this.#snapshot as Snapshot).cookie)
    return this.#cookie
  }

  #touch(session: Session | Cookie): void {
    if (!(session instanceof Cookie)) cookieOf(session)
    if (this.#touched) return
    this.#touched = true
    if (session instanceof Cookie) session.maxAge = session.originalMaxAge
    else session.touch()
  }

  /** The ids that the request carries with a valid signature, best first. */
  #sentIds(): string[] {
    const { name } = this.#service.settings
    const req = this.#req
    const ids: string[] = []
    for (const value of readCookies(this.#host.cookieHeader, name)) {
      const id = this.#verify(value)
      if (id !== undefined && !ids.includes(id)) ids.push(id)
    }
    if (ids.length > 0) return ids

    const signed = req.signedCookies?.[name]
    if (typeof signed === 'string' && signed) {
      deprecate('cookie should be available in req.headers.cookie')
      return [signed]
    }
    const plain = req.cookies?.[name]
    const id = typeof plain === 'string' ? this.#verify(plain) : undefined
    if (id === undefined) return ids
    deprecate('cookie should be available in req.headers.cookie')
    return [id]
  }

  #verify(value: string): string | undefined {
    const verified = this.#service.signer.verify(value, this.#secrets)
    if (!verified) {
      debug('cookie ignored: %s', whyRefused(value))
      return undefined
    }
    if (verified.current) this.#sentCookies.set(verified.id, value)
    return verified.id
  }

  #isSecure(): boolean {
    const { encrypted, secure, forwardedProto } = this.#host
    if (encrypted) return true
    const { proxy } = this.#service.settings
    if (proxy === false) return false
    if (proxy !== true) return secure === true
    return forwardedProto?.split(',', 1)[0]?.trim().toLowerCase() === 'https'
  }

  #explainInsecure(): void {
    const forwarded = this.#host.forwardedProto?.split(',', 1)[0]?.trim().toLowerCase() === 'https'
    const reason = forwarded
      ? 'secure cookie over http; X-Forwarded-Proto is https but proxy is not trusted'
      : 'secure cookie over http'
    debug('no cookie: %s', reason)
    // In production, a request over plain HTTP that no proxy has passed on is a health check rather than a browser's.
    if (process.env.NODE_ENV === 'production' && !forwarded) return
    const mend = forwarded
      ? 'set the option proxy: true, or app.set("trust proxy", 1)'
      : 'use https, or cookie: { secure: "auto" } while you develop'
    warn('WARN_SESSION_COOKIE_NOT_SENT', `no session cookie was sent: ${reason}; ${mend}`)
  }
}

/** Gives any request a new session: what `store.generate` does. */
export function generateSession(service: Service, req: Carrier): void {
  if (req[LIFE]) {
    req[LIFE].generate()
    return
  }
  const { settings, port } = service
  req.sessionID = settings.generateId(req)
  const cookie = new Cookie(cookieOptionsOf(settings, req))
  const secure = (req as { secure?: unknown }).secure === true
  if (cookie.secure === 'auto') cookie.secure = secure
  if (cookie.sameSite === 'auto') cookie.sameSite = secure ? 'none' : 'lax'
  newSession(req, port, cookie)
}

/** A failure that nobody waits for any more: to the middleware's `error` event, and to a warning where nobody listens. */
export function reportLate(service: Service, error: unknown): void {
  debug('after the response: %s', error)
  if (service.events.listenerCount('error') > 0) service.events.emit('error', error)
  else {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error)
    warn(
      'WARN_SESSION_LATE_ERROR',
      "a store failed after the response; listen with sessions.on('error', listener)",
      reason,
    )
  }
}

/** A `reload()` found no session: news to those who asked for it, and no failure of the store. */
function isMissing(error: unknown): boolean {
  return error instanceof SessionError && error.code === 'ERR_SESSION_MISSING'
}

/** A session's data as JSON, or what is none. */
function dataOf(session: Session): string {
  try {
    return serializeData(session)
  } catch (error) {
    return String(error)
  }
}

/** An id for the log: enough to follow it, too little to use it. */
function shorten(id: string): string {
  return debugging ? `${id.slice(0, 6)}…` : ''
}

function byCallback(call: (done: (error?: unknown) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const returned = call((error) => (error ? reject(error) : resolve()))
    // The app's own `save` may have forgotten the callback for a promise.
    if (isPromise(returned)) returned.then(() => resolve(), reject)
  })
}

function whyRefused(value: string): string {
  if (!value.startsWith('s:')) return 'unsigned'
  return value.length > LONGEST_COOKIE ? `longer than ${LONGEST_COOKIE} bytes` : 'signature invalid'
}

type Data = Record<string, unknown>

/** An object that is no session yet. */
function isData(value: unknown): value is Data {
  return typeof value === 'object' && value !== null && !(RECORD in value)
}

/** Whether a cookie of this `scope` is sent for `path` (RFC 6265 §5.1.4). */
function isWithin(path: string, scope: string): boolean {
  if (scope === '/') return true
  return path.startsWith(scope) && (path.length === scope.length || scope.endsWith('/') || path[scope.length] === '/')
}

function cookieOptionsOf(settings: Settings, req: object): CookieOptions {
  const { cookie } = settings
  return (typeof cookie === 'function' ? cookie(req) : cookie) ?? {}
}
