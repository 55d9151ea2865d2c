// The layer of users: what it records of a sign-in, the index of each user's sessions, and how many sessions they may have.
//
// An entry of the index is reserved before its session is stored, and confirmed afterwards. Who ends the sessions of a user
// drops their entries, so that a session which is just being stored finds that it was ended.

import { type Awaitable, chain, isPromise } from '../awaitable.ts'
import { type CookieData, expiryOf } from '../cookie.ts'
import { debug } from '../diagnostics.ts'
import { SessionError } from '../errors.ts'
import { amend, dateIn, type Facts, factsOf, forgetUser } from '../facts.ts'
import type { Identity } from '../identity.ts'
import type { Outgoing, Stored } from '../snapshot.ts'
import { cookieIn } from '../snapshot.ts'
import { layerOf, OuterSlot } from './layer.ts'
import { isPointer, Pointer } from './pointer.ts'
import type { Layer, Make, Slot, StorePort, UserIndex, Version } from './slot.ts'

/** How many sessions of one user there may be: the option `maxSessions`. */
export interface SessionLimit {
  readonly n: number
  readonly then: 'end-oldest' | 'refuse'
}

/** What this layer needs to know. */
export interface UserRules {
  readonly identity: Identity
  readonly limit: SessionLimit | undefined
  /** Told of the sessions that were ended because of the limit, by their keys. */
  ended(user: string, keys: string[]): void
}

/** How many sessions are read at a time. */
const BATCH = 50
/** How often a sign-in is tried again when others' sessions have ended meanwhile. */
const MAX_TRIES = 5
/** How often sessions of a user are looked for that were stored, or got new ids, while others were ended. */
const MAX_ROUNDS = 10

export function keepUsers(rules: UserRules): Layer {
  return layerOf((inner, port) => new UserSlot(inner, port, rules))
}

/** A slot that knows whose session is stored in it. */
class UserSlot extends OuterSlot {
  readonly #port: StorePort
  readonly #rules: UserRules

  constructor(inner: Slot, port: StorePort, rules: UserRules) {
    super(inner)
    this.#port = port
    this.#rules = rules
  }

  override create(record: Outgoing): Awaitable<Version> {
    // Whoever calls a store may give it a session without a cookie.
    if (record.isPointer || !record.attributes) return super.create(record)
    const user = this.#userOf(record)
    if (user === undefined && record.attributes.user === undefined) return super.create(record)
    const change = this.#rules.identity.change(record.attributes, user, record.base)
    const write = (): Awaitable<Version> => {
      // What is new with its user is as old as their sign-in.
      this.#sign(record, user, change, Date.now())
      return super.create(record)
    }
    // The entry of a session that is renewed moves when its old id is replaced.
    if (user === undefined || record.replaces !== undefined || !this.#needsEntry(record, user, change)) return write()
    return chain(this.#reserve(user, change === 'in'), () =>
      chain(this.#dropIfFails(user, write), (version) => chain(this.#confirm(user, record), () => version)),
    )
  }

  override update(from: Version, make: Make): Awaitable<Version | undefined> {
    return this.#update(from, make, undefined)
  }

  /** `reserved`: the user in whose index there is an entry for the session already. */
  #update(from: Version, make: Make, reserved: string | undefined): Awaitable<Version | undefined> {
    let written: Outgoing | undefined
    let before: string | undefined
    let user: string | undefined
    let change: 'in' | 'out' | undefined
    let lacksEntry = false
    const makeSigned: Make = (current) => {
      const record = make(current)
      written = record
      lacksEntry = false
      if (!record || record.isPointer) return record
      user = this.#userOf(record)
      before = record.attributes.user
      if (user === undefined && before === undefined) return record
      change = this.#rules.identity.change(record.attributes, user, record.base)
      lacksEntry = user !== undefined && user !== reserved && this.#needsEntry(record, user, change)
      if (lacksEntry) return undefined
      this.#sign(record, user, change)
      return record
    }
    return chain(super.update(from, makeSigned), (held): Awaitable<Version | undefined> => {
      const isWritten = written !== undefined && held !== undefined
      if (isWritten && lacksEntry) {
        const entered = user as string
        const update = (): Awaitable<Version | undefined> => this.#update(from, make, entered)
        // The entry of a session that was signed in before stays, whatever becomes of this write.
        return chain(this.#reserve(entered, change === 'in'), () =>
          change === 'in' ? this.#dropIfFails(entered, update) : update(),
        )
      }
      if (!isWritten) return reserved === undefined ? held : chain(this.#drop(reserved), () => held)
      const record = written as Outgoing
      if (record instanceof Pointer) return this.#moved(record, from, held)
      const left = before !== undefined && before !== record.attributes.user ? this.#dropKey(before) : undefined
      return chain(left, () => {
        if (reserved === undefined) return held
        if (reserved !== user) return chain(this.#drop(reserved), () => held)
        return chain(this.#confirm(reserved, record), (isThere) => (isThere ? held : undefined))
      })
    })
  }

  override take(): Awaitable<Version | undefined> {
    return chain(super.take(), (version) => this.#left(version))
  }

  override end(): Awaitable<Version | undefined> {
    return chain(super.end(), (version) => this.#left(version))
  }

  #userOf(record: Outgoing): string | undefined {
    return this.#rules.identity.userOf(record.session)
  }

  /** Records who has signed in, or that nobody is signed in any more; and until when the index has the session. */
  #sign(record: Outgoing, user: string | undefined, change: 'in' | 'out' | undefined, createdAt?: number): void {
    record.signs = change
    if (user === undefined) {
      for (const cookie of [record.cookie, record.attributes]) forgetUser(cookie)
      return
    }
    const needsEntry = this.#port.users && !record.replaces && this.#needsEntry(record, user, change)
    const now = Date.now()
    if (change === 'in') amend(record, { authenticatedAt: now, createdAt: record.attributes.createdAt ?? createdAt })
    amend(record, { user: this.#rules.identity.keyOf(user) })
    if (!needsEntry) return
    // Twice its lifetime, so that the index is seldom told again.
    const needed = neededUntil(record.attributes, this.#port.lifetime)
    amend(record, { indexedUntil: needed === undefined ? 0 : needed + (needed - now) })
  }

  /** The store keeps an index, which does not have the session, or not for as long as it may last. */
  #needsEntry(record: Outgoing, user: string, change: 'in' | 'out' | undefined): boolean {
    if (!this.#port.users) return this.#rules.limit !== undefined && change === 'in'
    const isKnown = change === undefined && record.attributes.user === this.#rules.identity.keyOf(user)
    return !isKnown || !isIndexed(record.attributes, this.#port.lifetime)
  }

  #reserve(user: string, signsIn: boolean): Awaitable<void> {
    const { limit, identity } = this.#rules
    const { users } = this.#port
    const refuses = signsIn && limit?.then === 'refuse' ? limit.n : undefined
    if (users && refuses !== undefined) return this.#reserveOneOf(users, user, refuses)
    if (users) return chain(users.reserve(identity.keyOf(user), this.key), () => undefined)
    if (refuses === undefined) return undefined
    return new UserSessions(this.#port, identity).find(user).then((found) => {
      if (found.filter(({ key }) => key !== this.key).length >= refuses) throw limitError(refuses)
    })
  }

  /** Entries of sessions that are over do not count, but only who is refused looks. */
  async #reserveOneOf(users: UserIndex, user: string, n: number): Promise<void> {
    const { identity } = this.#rules
    const name = identity.keyOf(user)
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      if (await users.reserve(name, this.key, n)) return
      await new UserSessions(this.#port, identity).find(user)
      if ((await users.list(name)).length >= n) break
    }
    throw limitError(n)
  }

  /** After the session was stored. False: somebody has ended it meanwhile. */
  #confirm(user: string, record: Outgoing): Awaitable<boolean> {
    const { limit, identity } = this.#rules
    const { users } = this.#port
    const { indexedUntil } = record.attributes
    const confirmed = users?.confirm(identity.keyOf(user), this.key, indexedUntil || undefined) ?? true
    return chain(confirmed, (isThere): Awaitable<boolean> => {
      if (!isThere) {
        debug('the session was ended while it was stored')
        return chain(this.inner.end(), () => false)
      }
      if (!limit || limit.then === 'refuse' || record.signs !== 'in') return true
      return this.#endOldest(user, limit.n)
    })
  }

  /** Answers whether this session is still there. */
  async #endOldest(user: string, n: number): Promise<boolean> {
    const { identity, ended } = this.#rules
    const keys = await new UserSessions(this.#port, identity).endChosen(user, (found) => newestFirst(found).slice(n))
    if (keys.length > 0) ended(user, keys)
    return !keys.includes(this.key)
  }

  /** The session has another id. Where its entry is gone, somebody is about to end it: then the pointer is gone, too. */
  #moved(pointer: Pointer, from: Version, held: Version): Awaitable<Version | undefined> {
    const { users } = this.#port
    const { user, indexedUntil } = factsIn(from.record)
    if (!users || user === undefined) return held
    const next = this.#port.slot(pointer.successor.id)
    return chain(users.move(user, this.key, next.key), (isMoved) => {
      if (isMoved) return held
      return chain(this.inner.read(), (found): Awaitable<Version | undefined> => {
        if (!found) return chain(next.end(), () => undefined)
        return chain(users.reserve(user, next.key), () =>
          chain(users.confirm(user, next.key, indexedUntil || undefined), () => held),
        )
      })
    })
  }

  /** A session was ended: its user's index need not have it any more. */
  #left(version: Version | undefined): Awaitable<Version | undefined> {
    if (!version || isPointer(version.record) || !this.#port.users) return version
    const { user } = factsIn(version.record)
    return user === undefined ? version : chain(this.#dropKey(user), () => version)
  }

  #drop(user: string): Awaitable<void> {
    return this.#dropKey(this.#rules.identity.keyOf(user))
  }

  #dropKey(user: string): Awaitable<void> {
    return this.#port.users?.drop(user, [this.key])
  }

  /** A session that could not be stored takes no room. */
  #dropIfFails<T>(user: string, write: () => Awaitable<T>): Awaitable<T> {
    const fail = (error: unknown): Awaitable<never> =>
      chain(this.#drop(user), () => {
        throw error
      })
    let written: Awaitable<T>
    try {
      written = write()
    } catch (error) {
      return fail(error)
    }
    return isPromise(written) ? written.catch(fail) : written
  }
}

function limitError(n: number): SessionError {
  return new SessionError('ERR_SESSION_LIMIT', `the user has ${n} sessions, as many as the maxSessions option allows`, {
    status: 403,
  })
}

function factsIn(record: Stored): Facts {
  const cookie = typeof record === 'string' ? cookieIn(record) : record.cookie
  return cookie ? factsOf(cookie) : {}
}

/** Until when a session lasts that a request extends now, in ms since the epoch; undefined: for ever. */
function neededUntil(cookie: CookieData, lifetime: number | undefined): number | undefined {
  const expires = expiryOf(cookie)
  const span = Number(cookie.originalMaxAge) > 0 ? (cookie.originalMaxAge as number) : lifetime
  if (span === undefined) return expires
  return Math.max(Date.now() + span, expires ?? 0)
}

/** Whether the index of its user has a session for as long as it lasts. `lifetime`: see {@link StorePort.lifetime}. */
export function isIndexed(cookie: CookieData, lifetime: number | undefined): boolean {
  const { indexedUntil } = factsOf(cookie)
  const needed = neededUntil(cookie, lifetime)
  if (indexedUntil === undefined) return false
  return indexedUntil === 0 || (needed !== undefined && needed <= indexedUntil)
}

/** A session of a user that is in the store. */
export interface UserSession {
  readonly key: string
  /** Its cookie's attributes, and what is known of it. */
  readonly cookie: CookieData
}

/** Whether two records can be one session, under an id and the next. */
function isSameSignIn(one: CookieData, other: CookieData): boolean {
  const [a, b] = [factsOf(one), factsOf(other)]
  return a.authenticatedAt === b.authenticatedAt && a.createdAt === b.createdAt
}

/** The one that signed in last first. */
export function newestFirst(found: UserSession[]): UserSession[] {
  const since = ({ cookie }: UserSession): number => dateIn(cookie, 'authenticatedAt') ?? 0
  return found.sort((a, b) => since(b) - since(a) || (a.key < b.key ? 1 : -1))
}

/** What there is of a user at one moment. */
interface Sighting {
  readonly found: UserSession[]
  /** The keys of entries with a pointer: the session has another id, and the entry is about to follow it. */
  readonly moving: string[]
  /** The keys of entries whose sessions are being stored. */
  readonly reserved: string[]
}

/** Finds and ends the sessions of users, in any store. */
export class UserSessions {
  readonly #port: StorePort
  readonly #identity: Identity

  constructor(port: StorePort, identity: Identity) {
    this.#port = port
    this.#identity = identity
  }

  /** The live sessions of a user. @throws SessionError `ERR_SESSION_USERS` where the store cannot say them. */
  async find(user: string): Promise<UserSession[]> {
    for (let round = 1; ; round++) {
      const { found, moving } = await this.#look(user)
      if (moving.length === 0 || round === MAX_ROUNDS) return found
    }
  }

  async #look(user: string): Promise<Sighting> {
    const { users } = this.#port
    const [found, moving, reserved]: [UserSession[], string[], string[]] = [[], [], []]
    for (const name of users ? this.#identity.keysOf(user) : [undefined]) {
      const entries = users && name !== undefined ? await users.list(name) : undefined
      const keys = entries?.map(({ key }) => key) ?? (await this.#port.keys())
      const dead: string[] = []
      await inBatches(keys, async (key, index) => {
        const version = await this.#port.at(key).read()
        const cookie = version && this.#cookieOf(version, user)
        const entry = entries?.[index]
        if (entry?.isReserved) reserved.push(key)
        if (cookie) found.push({ key, cookie })
        else if (entry && version && isPointer(version.record)) moving.push(key)
        else if (entry && !entry.isReserved) dead.push(key)
      })
      if (dead.length > 0 && name !== undefined) await users?.drop(name, dead)
    }
    return { found, moving, reserved }
  }

  /** Whether the session with this key is the user's, also one that the index does not know yet. */
  async isOf(user: string, key: string): Promise<boolean> {
    const version = await this.#port.at(key).read()
    return version !== undefined && this.#cookieOf(version, user) !== undefined
  }

  /** The cookie of a session, if it is the user's. */
  #cookieOf({ record }: Version, user: string): CookieData | undefined {
    if (isPointer(record)) return undefined
    const cookie = typeof record === 'string' ? cookieIn(record) : record.cookie
    if (!cookie) return undefined
    const isTheirs =
      factsOf(cookie).user === undefined ? this.#identity.userIn(record) === user : this.#identity.isUser(cookie, user)
    return isTheirs ? cookie : undefined
  }

  /**
   * Ends the sessions of a user that `choose` picks among those that there are, also where they are given another id
   * meanwhile. It is asked again then. Answers with the keys of the sessions that were ended.
   */
  async endChosen(user: string, choose: (found: UserSession[]) => UserSession[]): Promise<string[]> {
    const ended = new Set<string>()
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const keys = choose(await this.find(user)).map(({ key }) => key)
      for (const key of keys) ended.add(key)
      if (await this.#endAt(user, keys)) break
    }
    return [...ended]
  }

  /** Ends the session of a user whose key `isMeant`, also where it is given another id meanwhile. */
  async endOne(user: string, isMeant: (key: string) => boolean): Promise<string[]> {
    let meant: UserSession | undefined
    let others: UserSession[] = []
    return this.endChosen(user, (found) => {
      const last = meant
      const isSuccessor = ({ key, cookie }: UserSession): boolean =>
        !others.some((other) => other.key === key) && (last ? isSameSignIn(last.cookie, cookie) : isMeant(key))
      const chosen = found.filter(isSuccessor)
      others = found
      meant = chosen[0]
      return chosen
    })
  }

  /**
   * Ends all sessions of a user but those with the keys that `except` answers with, also those that are stored or given
   * another id meanwhile. Answers with the keys of those that it has found.
   */
  async endAll(user: string, except: () => Awaitable<ReadonlySet<string>>): Promise<string[]> {
    const ended = new Set<string>()
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const { found, moving, reserved } = await this.#look(user)
      // Asked afterwards: what was found under another id has got that by now.
      const kept = await except()
      const others = (keys: string[]): string[] => keys.filter((key) => !kept.has(key))
      const live = others([...found.map(({ key }) => key), ...moving])
      const keys = [...new Set([...others(reserved), ...live])]
      if (keys.length === 0) break
      for (const key of live) ended.add(key)
      // A session that is stored just now finds that its entry is gone.
      await this.#drop(user, others(reserved))
      await this.#endAt(user, keys)
    }
    return [...ended]
  }

  /** False: one of them was given another id meanwhile. */
  async #endAt(user: string, keys: readonly string[]): Promise<boolean> {
    let isComplete = true
    await inBatches(keys, async (key) => {
      if (!(await this.#end(key))) isComplete = false
    })
    // Afterwards: who is about to move one of these entries, and finds none, looks whether the pointer is gone.
    await this.#drop(user, keys)
    return isComplete
  }

  async #drop(user: string, keys: readonly string[]): Promise<void> {
    const { users } = this.#port
    if (users && keys.length > 0) for (const name of this.#identity.keysOf(user)) await users.drop(name, keys)
  }

  /** False: it was given another id, which is not known here. The pointer goes, which the new id needs to be listed. */
  async #end(key: string): Promise<boolean> {
    const slot = this.#port.at(key)
    const held = await slot.take()
    if (!held || !isPointer(held.record)) return true
    await slot.remove()
    return false
  }
}

async function inBatches<T>(items: readonly T[], work: (item: T, index: number) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += BATCH) {
    await Promise.all(items.slice(start, start + BATCH).map((item, at) => work(item, start + at)))
  }
}
