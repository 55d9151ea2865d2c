// The life of a session in one request, as its host drives it: begin, load, commit, head. Knows no host and no store:
// stores are behind their port.

import { type Awaitable, chain, isPromise, ObservedPromise } from '../awaitable.ts'
import { type Cookie, type CookieOptions, expiryOf } from '../cookie.ts'
import { debug, shorten, warn } from '../diagnostics.ts'
import { SessionError } from '../errors.ts'
import { factsOf, markSeen } from '../facts.ts'
import { nowhere } from '../port/nowhere.ts'
import { Pointer } from '../port/pointer.ts'
import { SessionSlot } from '../port/renewed.ts'
import type { Version } from '../port/slot.ts'
import { type FoundSession, foundSession } from '../record.ts'
import { LIFE, newSession, type Session } from '../session.ts'
import type { Secret } from '../signature.ts'
import { Outgoing } from '../snapshot.ts'
import { Browser } from './browser.ts'
import { keepPrivate } from './cache-control.ts'
import { whyCrossSite } from './cross-site.ts'
import { cookieAct, storeAct } from './decisions.ts'
import { trace } from './events.ts'
import { type HostRequest, isWithin, type RequestLike, type ResponseHead } from './host.ts'
import type { PendingWork } from './pending.ts'
import { type Leaving, RequestSession } from './request-session.ts'
import { cookieOptionsOf, createCookie, reportLate, type Service } from './service.ts'

/** For how many milliseconds at least a renewed id is remembered, if its session lasts that long. */
const REMEMBERED_MS = 86_400_000

/** Drives the session of one request, from the host's point of view. */
export class Lifecycle {
  readonly #service: Service
  readonly #req: RequestLike
  readonly #host: HostRequest
  readonly #secrets: readonly Secret[]
  readonly #browser: Browser
  readonly #session: RequestSession
  /** What the request had before the app put its session away and the middleware ran again. */
  readonly #previous: RequestSession | undefined
  /** What came of the load, or of the commit, for tracing channels. */
  #outcome = 'none'
  /** The id that was looked for last. */
  #askedFor: string | undefined
  /** What the commit does, or has done last, is to extend the session: its data is stored already. */
  #isExtending = false

  /**
   * Starts the life of a session in this request. Undefined: the request goes on without one, as it has one already,
   * the store is away, or the path lies outside of the cookie's. A request whose app has put its session away gets what
   * the store holds now.
   * @throws SessionError when there is no secret to sign with, or for a cross-site request that the options refuse.
   */
  static begin(service: Service, req: RequestLike, host: HostRequest): Lifecycle | undefined {
    service.lateChanges.lookBack()
    const previous = req[LIFE]
    if (previous ? !previous.isAway : req.session) {
      const isOurs = previous instanceof RequestSession && previous.service.events === service.events
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
    const visitors = crossSiteService(service, req, host)
    const secrets = service.settings.secrets ?? (req.secret ? [req.secret] : undefined)
    if (!secrets) throw new SessionError('ERR_SESSION_SECRET', 'secret option required for sessions')
    return new Lifecycle(visitors ?? service, req, host, secrets, cookieOptions, previous as RequestSession | undefined)
  }

  private constructor(
    service: Service,
    req: RequestLike,
    host: HostRequest,
    secrets: readonly Secret[],
    cookieOptions: CookieOptions,
    previous: RequestSession | undefined,
  ) {
    this.#service = service
    this.#req = req
    this.#host = host
    this.#secrets = secrets
    this.#browser = new Browser(service.settings, service.signer, secrets, host)
    this.#session = new RequestSession(service, req, host, secrets, this.#browser, cookieOptions)
    this.#previous = previous
  }

  /** The session methods that the app has called, and that are at work. */
  get pending(): PendingWork {
    return this.#session.pending
  }

  /** The middleware ran again since: the request's session is another's business. */
  get isReplaced(): boolean {
    return this.#session.isReplaced
  }

  /** @throws SessionError when the app has ended the request's session. */
  requireSession(): Session {
    const session = this.#session.current()
    if (session) return session
    throw new SessionError('ERR_SESSION_MISSING', 'this request has no session any more')
  }

  /**
   * Finds the session that the request's cookie names, or prepares a new one. Store errors are thrown, unless the
   * `onStoreError` option says that the request goes on.
   */
  load(): Awaitable<void> {
    const [idOf, work] = [() => this.#askedFor, () => this.#loadAfterPrevious()]
    return trace('load', this.#service, idOf, work, () => this.#outcome)
  }

  #loadAfterPrevious(): Awaitable<void> {
    // What the app has begun to do, such as a destroy, comes before.
    if (this.#previous?.pending.isBusy) return this.#previous.pending.settle().then(() => this.#load())
    return this.#load()
  }

  /** The ids that the cookies prove are tried in their order. A request without any starts anew, without I/O. */
  #load(): Awaitable<void> {
    this.#req.sessionStore = this.#service.store
    const ids = this.#service.isForVisitors ? [] : this.#browser.readIds(this.#req)
    this.#req.sessionID = ids[0]
    return ids.length > 0 ? this.#find(ids, 0) : this.#session.start()
  }

  /** Looks for the first id whose session exists (RFC 6265 lets a browser send several cookies of one name). */
  #find(ids: string[], index: number): Awaitable<void> {
    const id = ids[index] as string
    this.#askedFor = id
    const goOn = (found: FoundSession | undefined): Awaitable<void> => {
      if (!found && index + 1 < ids.length) return this.#find(ids, index + 1)
      this.#browser.sentId = id
      this.#browser.sessionId = found?.slot.id ?? id
      debug(found ? 'session %s found' : 'session %s not found: a new one', shorten(id))
      this.#outcome = found ? 'found' : 'missing'
      if (found) this.#session.startWith(found)
      else this.#session.start()
    }
    let reading: Awaitable<FoundSession | undefined>
    try {
      reading = this.#read(id)
    } catch (error) {
      return this.#goOnWithout(error)
    }
    return isPromise(reading) ? reading.then(goOn, (error) => this.#goOnWithout(error)) : goOn(reading)
  }

  /** With `onStoreError: 'anonymous'` the request goes on without a session, as while a store is disconnected. */
  #goOnWithout(error: unknown): void {
    if (this.#service.settings.onStoreError === 'fail') throw error
    debug('no session: the store has failed')
    delete this.#req.sessionID
    delete this.#req.sessionStore
    reportLate(this.#service, error)
  }

  /** The session under `id`, or under the id that it was renewed to. */
  #read(id: string): Awaitable<FoundSession | undefined> {
    const slot = this.#session.slotOf(id)
    return chain(slot.read(), (version) => {
      if (slot.over !== undefined) this.#session.announce('expire', slot.id, undefined, { reason: slot.over })
      if (!slot.isRefused) return version && this.#found(slot, version)
      // Renewed long ago: the browser has not learnt of it, or somebody else uses the id.
      debug('session %s refused: its id was renewed', shorten(id))
      const end = (): Promise<void> => this.#session.track(ObservedPromise.of(() => chain(slot.take(), () => {})))
      this.#session.announce('reuse', id, undefined, { end })
      return undefined
    })
  }

  /** A record that a bundled store could not read is as good as missing; what another store hands over is not judged. */
  #found(slot: SessionSlot, version: Version): FoundSession | undefined {
    const fallback = this.#service.settings.bareRecords ? this.#session.newCookie().data : undefined
    try {
      return foundSession(slot, version, fallback)
    } catch (error) {
      if (typeof version.record !== 'string') throw error
      this.#session.reportCorrupt(slot.id, error)
      return undefined
    }
  }

  /**
   * Brings the store up to date: exactly one of destroy, save, touch or nothing, after what the app's own calls have
   * begun. Then renews the id of a session whose id is old, if the browser can be told: `carriesCookie`.
   * Store errors are thrown; so is `ERR_SESSION_SERIALIZE`, before anything was written.
   */
  commit(carriesCookie = true): Awaitable<void> {
    const session = this.#session
    if (session.isCommitted) return undefined
    if (this.pending.isUnsettled) return this.pending.settle().then(() => this.commit(carriesCookie))
    const outcome = (): string => this.#outcome
    return trace(
      'commit',
      this.#service,
      () => this.#req.sessionID,
      () => this.#conclude(carriesCookie),
      outcome,
    )
  }

  #conclude(carriesCookie: boolean): Awaitable<void> {
    const session = this.#session
    const committing = this.#commit()
    session.phase = 'committed'
    return chain(committing, () => {
      this.#watchLateChanges()
      return chain(carriesCookie ? this.#renew() : undefined, () => session.adoptRecordId())
    })
  }

  /** Does what {@link storeAct} decides. */
  #commit(): Awaitable<void> {
    this.#outcome = 'none'
    const concluded = this.#session.conclude()
    if (concluded === 'unset') return this.#commitUnset()
    if (!concluded) return undefined
    const { session, hasOwnSave, record, cookie, data, standing } = concluded
    const { settings } = this.#service
    const decision = storeAct(standing, settings)
    if (decision.act === 'none') {
      debug('not saved: %s', decision.why)
      return undefined
    }
    const { act } = decision
    this.#outcome = act
    debug(act === 'touch' ? 'touching %s' : 'saving %s', shorten(record.id))
    this.#isExtending = act !== 'save' || standing.isSaved
    const isRefreshed = session !== undefined && standing.extends
    if (act !== 'stamp' && !isRefreshed) this.#session.refresh(cookie)
    if (act === 'save') markSeen(session?.cookie ?? cookie)
    if (act === 'save' && session && hasOwnSave) return byCallback((done) => session.save(done))
    const outgoing = new Outgoing(session?.cookie ?? cookie, () => session ?? this.#session.opened(), data)
    if (act !== 'touch') return record.write(outgoing, true)
    outgoing.cookieWillBeSent = settings.rolling
    return record.touch(outgoing)
  }

  /** `req.session = null` ends the session with `unset: 'destroy'`, and leaves it alone otherwise. */
  #commitUnset(): Awaitable<void> {
    const req = this.#req
    if (!req.sessionID || !this.#service.settings.unsetDestroys || req.session != null) return undefined
    debug('destroying: req.session was unset')
    this.#outcome = 'destroy'
    const { record, cookie } = this.#session.unset()
    return chain(record.destroy(), () => {
      if (cookie) this.#browser.ended(cookie.data)
      if (record.wasStored) this.#session.announceEnd(record.id, cookie?.data.user)
    })
  }

  /** Other requests may be at work on the session: what they do under the old id goes to the new one. */
  #renew(): Awaitable<void> {
    const { settings } = this.#service
    const { renewAfter, renewGrace, autoCommit } = settings
    if (renewAfter === undefined || !autoCommit || this.#service.isForVisitors) return undefined
    this.#isExtending = false
    const renewable = this.isReplaced ? undefined : this.#session.renewable()
    if (!renewable) return undefined
    const { record, cookie } = renewable
    const oldId = record.id
    // The browser would not get the new id.
    if (cookie.secure && !this.#browser.isSecure) return undefined
    const now = Date.now()
    if ((factsOf(cookie).issuedAt ?? 0) + renewAfter > now) return undefined
    if (this.#session.extends) this.#session.refresh(cookie)
    const id = settings.generateId(this.#req)
    debug('renewing the id of session %s', shorten(oldId))
    const pointTo = (cookie: Cookie): Outgoing => {
      const expires = Math.min(expiryOf(cookie) ?? Infinity, now + Math.max(REMEMBERED_MS, renewAfter + renewGrace))
      return new Pointer({ id, until: now + renewGrace }, oldId, this.#secrets, expires)
    }
    const about = cookie.data.user === undefined ? undefined : this.#session.describe()
    if (about !== undefined) factsOf(cookie).about = about
    return chain(record.renew(id, cookie, pointTo), () => {
      if (record.id === id) this.#session.announce('renew', id, oldId, { reason: 'age' })
    })
  }

  /** Outside of production the next request looks whether the app has changed this session since. */
  #watchLateChanges(): void {
    const { lateChanges, settings, port } = this.#service
    if (!lateChanges.isWatching || !settings.autoCommit) return
    lateChanges.watch(this.#session)
    if (port.mutates) this.#session.ignoreStamps()
  }

  /**
   * Whether what `commit` has failed with forbids the answer. A session that was not extended never does: it is what it
   * was, and lasts until the date that it had.
   */
  withholds(error: unknown): boolean {
    if (this.#isExtending) return false
    if (error instanceof SessionError && ALWAYS_WITHHELD.has(error.code)) return true
    return this.#host.traits?.withholds === true || this.#service.settings.onSaveError === 'fail'
  }

  /** Whether what `commit` has failed with is told by the event `error`: no error handler can mend a head that has left. */
  reportsLate(error: unknown): boolean {
    const isLate = error instanceof SessionError && error.code === 'ERR_SESSION_HEAD_SENT'
    if (isLate) reportLate(this.#service, error)
    return isLate
  }

  /** The app cannot be served with this session any more: nothing more of it is written. */
  refuse(): void {
    this.#session.phase = 'refused'
  }

  /**
   * Puts on the head of a response what it must carry of the session: the cookie, and who may keep the answer. Called
   * once, when the head leaves. @throws TypeError for cookie attributes that cannot be sent.
   */
  head(response: ResponseHead): void {
    if (this.isReplaced) return
    const leaving = this.#session.leaving()
    this.#browser.close()
    const { cache } = this.#service.settings
    if (cache === 'no-store' && leaving?.isLooked) response.set('Cache-Control', 'no-store')
    if (!leaving || this.#service.isForVisitors) return
    const cookie = this.#cookieFor(leaving, response)
    if (cookie === undefined) return
    response.addCookie(cookie)
    if (cache === 'no-store') response.set('Cache-Control', 'no-store')
    else if (cache === 'private') this.#keepPrivate(response)
  }

  /** Lets no shared cache hand this visitor's cookie to another one. */
  #keepPrivate(response: ResponseHead): void {
    const kept = keepPrivate(response.get('Cache-Control'), response.get('Expires'))
    if (kept === 'public') {
      const { path } = this.#host
      if (warnedPaths.size >= MAX_WARNED_PATHS || warnedPaths.has(path)) return
      warnedPaths.add(path)
      warn(
        'WARN_SESSION_CACHE_PUBLIC',
        `the answer for ${path} carries a session cookie and is marked as public, so a shared cache may hand the cookie to ` +
          'another visitor; mark it as private, or answer without a session there',
      )
    } else if (kept) response.set('Cache-Control', kept.header)
  }

  /** The `Set-Cookie` value, if any. */
  #cookieFor({ id, record, cookie, standing }: Leaving, response: ResponseHead): string | undefined {
    const { settings } = this.#service
    const decision = cookieAct(standing, settings)
    if (decision.act === 'none') {
      debug('no cookie: %s', decision.why)
      return decision.leadsNowhere ? this.#expiredCookie(response) : undefined
    }
    if (!cookie || !this.#browser.accepts(id, cookie.secure)) return undefined
    if (this.#session.extends || !standing.browserHasId || this.#session.isModified()) this.#session.refresh(cookie)
    return this.#browser.cookieFor(id, (record?.mergedCookie ?? cookie).data)
  }

  /** The cookie that takes the browser's away, and what else the browser is to forget. */
  #expiredCookie(response: ResponseHead): string | undefined {
    const cookie = this.#browser.expiredCookie()
    const { clearCookie } = this.#service.settings
    const siteData = typeof clearCookie === 'object' ? clearCookie.siteData : []
    if (cookie !== undefined && siteData.length > 0 && response.get('Clear-Site-Data') === undefined) {
      response.set('Clear-Site-Data', siteData.map((kind) => `"${kind}"`).join(', '))
    }
    return cookie
  }

  /** The answer can carry no cookie. */
  close(reason: string): void {
    this.#browser.close(reason)
  }
}

/** With these, an answer would tell of what is not so. */
const ALWAYS_WITHHELD: ReadonlySet<string> = new Set(['ERR_SESSION_LIMIT', 'ERR_SESSION_SERIALIZE'])

/** Paths may have ids in them. */
const MAX_WARNED_PATHS = 100
/** The paths of answers that were warned of as public. */
const warnedPaths = new Set<string>()

/**
 * What a request from another site is served with, as the `crossSite` option says: undefined, as any other.
 * @throws SessionError `ERR_SESSION_CROSS_SITE` where it is refused.
 */
function crossSiteService(service: Service, req: RequestLike, host: HostRequest): Service | undefined {
  const { crossSite, proxy } = service.settings
  if (crossSite.mode === 'allow') return undefined
  const reason = whyCrossSite(host, crossSite.trusted, proxy)
  if (!reason || crossSite.except?.(req as never)) return undefined
  debug('cross-site request: %s', reason)
  if (crossSite.mode === 'refuse') {
    throw new SessionError('ERR_SESSION_CROSS_SITE', `cross-site request refused: ${reason}`, { status: 403 })
  }
  return { ...service, port: nowhere, isForVisitors: true }
}

/** Gives any request a new session: what `store.generate` does. */
export function generateSession(service: Service, req: RequestLike): void {
  if (req[LIFE]) {
    req[LIFE].generate()
    return
  }
  const { settings, port } = service
  const id = settings.generateId(req)
  req.sessionID = id
  const cookie = createCookie(
    settings,
    cookieOptionsOf(settings, req),
    () => (req as { secure?: unknown }).secure === true,
  )
  newSession(req, new SessionSlot(port, id, settings.secrets ?? []), cookie)
}

/** A session's own `save`, or what the app has put in its place. */
function byCallback(call: (done: (error?: unknown) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const returned = call((error) => (error ? reject(error) : resolve()))
    // The app's own `save` may have forgotten the callback for a promise.
    if (isPromise(returned)) returned.then(() => resolve(), reject)
  })
}
