// RedisStore: sessions in Redis, under the keys and in the format of connect-redis.

import { type Awaitable, isPromise, settle } from '../lib/awaitable.ts'
import { type CookieData, expiryOf } from '../lib/cookie.ts'
import { warn } from '../lib/diagnostics.ts'
import { SessionError } from '../lib/errors.ts'
import { isPointer } from '../lib/port/pointer.ts'
import type { Driver, Make, Touched, Version } from '../lib/port/slot.ts'
import type { Outgoing, StoredObject } from '../lib/snapshot.ts'
import {
  type AllCallback,
  DriverStore,
  type ErrorCallback,
  type LengthCallback,
  livesAlmostAsLong,
  type PlainSession,
} from './driver.ts'
import { linkTo, OwnLink } from './redis/clients.ts'
import { add, type Commands, extend, replace, sha1, take } from './redis/commands.ts'
import { Connection } from './redis/connection.ts'
import {
  type RedisSerializer,
  type RedisStoreClient,
  type RedisStoreOptions,
  readRedisOptions,
} from './redis/options.ts'

export type { RedisSerializer, RedisStoreClient, RedisStoreOptions } from './redis/options.ts'

/** A record and the text that Redis held. */
interface RedisVersion extends Version {
  /** Undefined where it is the record itself. */
  readonly text?: string
  /** The text's SHA-1, as far as it has been needed. */
  digest?: string
}

type Updating = Promise<Version | undefined>

/** Until when Redis is known to keep a session. */
interface Kept {
  readonly until: number
  /** What says so is still on its way. */
  pending: Promise<Touched> | undefined
}

/** Sessions whose expiry is remembered; of others each touch is sent. */
const MAX_KEPT = 50_000
/** How EVAL is refused, by an access list or by a proxy that does not know it. */
const REFUSED = /(unknown command|no permissions to run the).*\beval\b/i
/** How often a session may change between a look at it and the attempt to replace it. */
const MAX_TRIES = 1_000

/**
 * What is left under an id that was renewed has a second key beside it, by which `length()` and `ids()`, which read no
 * values, tell it from a session.
 */
const RENEWED = ':renewed'

function isMark(name: string): boolean {
  return name.endsWith(RENEWED)
}

/**
 * Keeps sessions in Redis, on a single server or a cluster. Keys and values are those of connect-redis, so that either
 * can take over from the other while everybody stays logged in.
 *
 * While Redis is away a command waits for it: three seconds for the first connection, one for a connection that was
 * lost. After that commands fail at once until it is back. A command that is not answered within three seconds fails,
 * after half of that when the connection has been lost.
 */
export class RedisStore extends DriverStore {
  /** The client that was given; undefined when the store has its own. */
  readonly client: RedisStoreClient | undefined
  readonly prefix: string
  /** Seconds. */
  readonly ttl: number
  readonly serializer: RedisSerializer
  readonly scanCount: number

  readonly #own: OwnLink | undefined
  readonly #connection: Connection
  /** In the order in which they were last written, oldest first. */
  readonly #kept = new Map<string, Kept>()
  /** A change is made by a script, in one step on the server. */
  #scripts: boolean
  /** The last change of each session that is on its way, and what it leaves. */
  readonly #turns = new Map<string, Updating>()

  /** @throws TypeError for wrong options. */
  constructor(options?: RedisStoreOptions) {
    super()
    const { client, url, prefix, ttl, serializer, scanCount } = readRedisOptions(options)
    this.client = client
    this.prefix = prefix
    this.ttl = ttl
    this.serializer = serializer
    this.scanCount = scanCount
    this.#own = url === undefined ? undefined : new OwnLink(url)
    const link = this.#own ?? linkTo(client as RedisStoreClient)
    this.#connection = new Connection(link)
    this.#scripts = link === this.#own || link.commands.eval !== undefined
  }

  /** All sessions, each with its `id`. */
  override all(callback: AllCallback): void
  override all(): Promise<(PlainSession & { id: string })[]>
  override all(callback?: AllCallback): void | Promise<(PlainSession & { id: string })[]> {
    return settle(undefined, () => this.#all(), callback as ErrorCallback)
  }

  /** The ids of all sessions. */
  ids(callback: (error: unknown, ids?: string[]) => void): void
  ids(): Promise<string[]>
  ids(callback?: (error: unknown, ids?: string[]) => void): void | Promise<string[]> {
    return settle(undefined, () => this.#ids(), callback)
  }

  /** The number of sessions. */
  override length(callback: LengthCallback): void
  override length(): Promise<number>
  override length(callback?: LengthCallback): void | Promise<number> {
    return settle(undefined, async () => (await this.#ids()).length, callback as ErrorCallback)
  }

  /** Ends all sessions: removes every key that begins with the prefix. */
  override clear(callback: ErrorCallback): void
  override clear(): Promise<void>
  override clear(callback?: ErrorCallback): void | Promise<void> {
    return settle(undefined, () => this.#clear(), callback)
  }

  /** Closes the client, if the store made it: everything asked of the store from now on fails. */
  close(callback: ErrorCallback): void
  close(): Promise<void>
  close(callback?: ErrorCallback): void | Promise<void> {
    return settle(undefined, () => this.#own?.close(), callback)
  }

  /** @internal */
  protected override readonly driver: Driver = {
    lifetime: () => this.ttl * 1000,
    read: (sid) => this.#read(sid),
    write: (sid, session, expires) => this.#write(sid, session, expires),
    add: (sid, session, expires) => this.#add(sid, session, expires),
    update: (sid, from, make) => this.#update(sid, from, make),
    touch: (sid, session, expires, loaded) => this.#touch(sid, session, expires, loaded),
    take: (sid) => this.#take(sid),
    remove: (sid) => this.#remove(sid),
  }

  #read(sid: string): Promise<Version | undefined> {
    return this.#get(sid).then((text) => {
      if (text !== undefined) return this.#open(sid, text)
      this.#kept.delete(sid)
      return undefined
    })
  }

  async #write(sid: string, session: Outgoing, expires: number | undefined): Promise<Version> {
    const seconds = this.#seconds(expires)
    const text = this.#textOf(session)
    if (seconds <= 0) await this.#remove(sid)
    else {
      await this.#connection.run((commands) => commands.set(this.prefix + sid, text, seconds))
      this.#keep(sid, expires)
    }
    return (await this.#open(sid, text)) ?? { record: session.json }
  }

  async #add(sid: string, session: Outgoing, expires: number | undefined): Promise<Version> {
    const key = this.prefix + sid
    const seconds = this.#seconds(expires)
    const text = this.#textOf(session)
    const held = seconds > 0 ? await this.#change(sid, (commands) => add(commands, key, text, seconds)) : undefined
    if (held === undefined && seconds > 0) this.#keep(sid, expires)
    return (await this.#open(sid, held ?? text)) ?? { record: session.json }
  }

  /** Updates of one session in this process wait for each other: each begins with what the last one left. */
  #update(sid: string, from: Version, make: Make): Updating {
    return this.#inTurn(sid, (left = from) => this.#replace(sid, left, make))
  }

  /** `work` is given what the last in its turn has left, where that is known. */
  #inTurn<T>(sid: string, work: (left?: Version) => Promise<T>, left = (result: T): unknown => result): Promise<T> {
    const last = this.#turns.get(sid)
    const result = last ? last.then(work, () => work()) : work()
    const turn = result.then(left) as Updating
    this.#turns.set(sid, turn)
    const done = (): void => {
      if (this.#turns.get(sid) === turn) this.#turns.delete(sid)
    }
    turn.then(done, done)
    return result
  }

  /** Runs commands; where there are no scripts, nothing of this process comes between those of one change. */
  #change<T>(sid: string, work: (commands: Commands) => Awaitable<T>): Promise<T> {
    const run = (): Promise<T> => this.#run(work)
    const nothing = (): undefined => undefined
    return this.#scripts ? run() : this.#inTurn(sid, run, nothing)
  }

  /** Runs commands, without scripts where Redis, or a proxy before it, refuses them. */
  async #run<T>(work: (commands: Commands) => Awaitable<T>): Promise<T> {
    if (this.#scripts) {
      try {
        return await this.#connection.run(work)
      } catch (error) {
        if (!REFUSED.test(String(error))) throw error
        this.#scripts = false
        warn(
          'WARN_SESSION_REDIS_EVAL',
          'Redis refuses EVAL: sessions that several processes change at the same moment are not merged',
        )
      }
    }
    return this.#connection.run((commands) => work({ ...commands, eval: undefined }))
  }

  async #replace(sid: string, from: Version, make: Make): Updating {
    const key = this.prefix + sid
    let current = from
    let digest = digestOf(from)
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const session = make(current)
      if (!session) return current
      const text = this.#textOf(session)
      const expires = expiryOf(session.cookie)
      const seconds = this.#seconds(expires)
      if (session.isPointer) await this.#connection.run((commands) => commands.set(key + RENEWED, '1', seconds + 1))
      const held = await this.#run((commands) => replace(commands, key, digest, text, seconds))
      if (held === true) {
        if (seconds > 0 && !session.isPointer) this.#keep(sid, expires)
        else this.#kept.delete(sid)
        return this.#open(sid, text)
      }
      // It is ours: the client has sent it twice, as the connection broke before the answer came.
      if (held?.text === text) return this.#open(sid, text)
      const other = held && (await this.#open(sid, held.text))
      if (!other) {
        this.#kept.delete(sid)
        return undefined
      }
      current = other
      digest = held.digest
    }
    throw new SessionError(
      'ERR_SESSION_STORE',
      `session could not be saved: others changed it ${MAX_TRIES} times in the meantime`,
    )
  }

  #touch(
    sid: string,
    session: Outgoing,
    expires: number | undefined,
    loaded: CookieData | undefined,
  ): Awaitable<Touched> {
    const until = this.#until(expires)
    const kept = this.#kept.get(sid)
    if (kept && !session.cookieWillBeSent && livesAlmostAsLong(kept.until, until)) return kept.pending
    const key = this.prefix + sid
    const seconds = this.#seconds(expires)
    const extending = this.#change(sid, (commands) => extend(commands, key, seconds, loaded))
    const mine = this.#keep(sid, expires)
    const forget = (): void => {
      if (this.#kept.get(sid) === mine) this.#kept.delete(sid)
    }
    mine.pending = extending.then((outcome) => {
      mine.pending = undefined
      if (outcome !== 'extended') forget()
      return outcome
    })
    mine.pending.catch(forget)
    return mine.pending
  }

  async #remove(sid: string): Promise<void> {
    await this.#change(sid, (commands) => commands.del(this.prefix + sid))
    this.#kept.delete(sid)
  }

  async #take(sid: string): Promise<Version | undefined> {
    const key = this.prefix + sid
    const text = await this.#change(sid, (commands) => take(commands, key))
    this.#kept.delete(sid)
    return text ? this.#open(sid, String(text)) : undefined
  }

  async #get(sid: string): Promise<string | undefined> {
    const text = await this.#connection.run((commands) => commands.get(this.prefix + sid))
    return text ? String(text) : undefined
  }

  /** The record in `text`, as drivers hand it over; one that the serializer cannot read is missing. */
  #open(sid: string, text: string): Awaitable<RedisVersion | undefined> {
    if (this.serializer === JSON || isPointer(text)) return { record: text }
    const opened = (record: unknown): RedisVersion => ({ record: record as StoredObject, text })
    const corrupt = (error: unknown): undefined => {
      this.emit('corrupt', sid, error)
    }
    try {
      const record = this.serializer.parse(text)
      return isPromise(record) ? (record as Promise<unknown>).then(opened).catch(corrupt) : opened(record)
    } catch (error) {
      return corrupt(error)
    }
  }

  #textOf(session: Outgoing): string {
    if (this.serializer === JSON || session.isPointer) return session.json
    const text: unknown = this.serializer.stringify(session.session)
    if (typeof text === 'string') return text
    throw new SessionError(
      'ERR_SESSION_STORE',
      'serializer.stringify() of RedisStore must answer with a string, at once',
    )
  }

  #until(expires: number | undefined): number {
    return expires ?? Date.now() + this.ttl * 1000
  }

  #seconds(expires: number | undefined): number {
    return Math.ceil(expires === undefined ? this.ttl : (expires - Date.now()) / 1000)
  }

  #keep(sid: string, expires: number | undefined): Kept {
    const kept: Kept = { until: this.#until(expires), pending: undefined }
    this.#kept.delete(sid)
    this.#kept.set(sid, kept)
    if (this.#kept.size > MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value as string)
    return kept
  }

  /** What follows the prefix in keys, page by page, each once: SCAN may give a key twice. */
  async *#pages(): AsyncGenerator<string[]> {
    const seen = new Set<string>()
    for await (const page of this.#connection.scan(this.prefix, this.scanCount)) {
      const names = page.filter((name) => !seen.has(name) && seen.add(name))
      if (names.length > 0) yield names
    }
  }

  async #ids(): Promise<string[]> {
    const all: string[] = []
    for await (const names of this.#pages()) all.push(...names)
    const renewed = new Set(all.filter(isMark).map((name) => name.slice(0, -RENEWED.length)))
    return all.filter((name) => !isMark(name) && !renewed.has(name))
  }

  async #all(): Promise<(PlainSession & { id: string })[]> {
    const all: (PlainSession & { id: string })[] = []
    for await (const names of this.#pages()) {
      const ids = names.filter((name) => !isMark(name))
      const page = await Promise.all(ids.map((id) => this.get(id)))
      for (const [index, session] of page.entries())
        if (session && typeof session === 'object') all.push(Object.assign(session, { id: ids[index] as string }))
    }
    return all
  }

  async #clear(): Promise<void> {
    for await (const names of this.#pages()) await Promise.all(names.map((name) => this.#remove(name)))
  }
}

/** The same as `new RedisStore(options)`. */
export function redisStore(options?: RedisStoreOptions): RedisStore {
  return new RedisStore(options)
}

/** The digest of the text that Redis held; none for a record that is not from Redis. */
function digestOf(version: RedisVersion): string {
  const { record, text = record } = version
  if (typeof text !== 'string') return ''
  version.digest ??= sha1(text)
  return version.digest
}
