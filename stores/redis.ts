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
import { idOf, isUserIndex, nameOf, RedisUserIndex } from './redis/user-index.ts'

export type { RedisSerializer, RedisStoreClient, RedisStoreOptions } from './redis/options.ts'

interface RedisVersion extends Version {
  /** The text that Redis held; undefined where the record is that text. */
  readonly text?: string
  /** The SHA-1 of the text, computed when it is first needed. */
  digest?: string
}

/** An expiry date that this process has set in Redis. */
interface KnownExpiry {
  /** In ms since the epoch. */
  readonly expires: number
  /** The touch that sets the date, until Redis has answered. */
  pending: Promise<Touched> | undefined
}

/** For how many sessions the expiry date is remembered. A touch of any other session is always sent. */
const MAX_KNOWN = 50_000
/** The error of a server whose access list forbids EVAL, or of a proxy that does not support it. */
const EVAL_REFUSED = /(unknown command|no permissions to run the).*\beval\b/i
/** How often an update is tried while other processes change the session each time. */
const MAX_TRIES = 1_000

/**
 * The end of the key that marks another key as a pointer, left under an id that was renewed. `length()` and `ids()` read
 * no values, and skip what is marked.
 */
const MARK = ':renewed'

function isMark(name: string): boolean {
  return name.endsWith(MARK)
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
  /** What the keys begin with; the session's id follows. */
  readonly prefix: string
  /** The lifetime in seconds of a session whose cookie has no expiry date. */
  readonly ttl: number
  readonly serializer: RedisSerializer
  readonly scanCount: number

  /** The client that the store has made. */
  readonly #own: OwnLink | undefined
  readonly #connection: Connection
  /** By id, the one that was set longest ago first. */
  readonly #expiries = new Map<string, KnownExpiry>()
  /** A change is one step on the server, by a script. False: the client or the server does not support EVAL. */
  #hasScripts: boolean
  /** The last change of each session that this process is making, and what it leaves in Redis if that is known. */
  readonly #changes = new Map<string, Promise<Version | undefined>>()

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
    this.#hasScripts = link === this.#own || link.commands.eval !== undefined
    if (this.#hasScripts || link.commands.send) {
      this.driver = { ...this.driver, users: new RedisUserIndex(prefix, (name, work) => this.#change(name, work)) }
    }
  }

  /** All sessions, each with its `id`. Walks through all keys, and reads every session. */
  override all(callback: AllCallback): void
  override all(): Promise<(PlainSession & { id: string })[]>
  override all(callback?: AllCallback): void | Promise<(PlainSession & { id: string })[]> {
    return settle(undefined, () => this.#all(), callback as ErrorCallback)
  }

  /** The ids of all sessions. Walks through all keys. */
  ids(callback: (error: unknown, ids?: string[]) => void): void
  ids(): Promise<string[]>
  ids(callback?: (error: unknown, ids?: string[]) => void): void | Promise<string[]> {
    return settle(undefined, () => this.#ids(), callback)
  }

  /** The number of sessions. Walks through all keys. */
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

  /** @internal With `users`, unless the client has neither `eval` nor `sendCommand`. */
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

  #keyOf(sid: string): string {
    return this.prefix + nameOf(sid)
  }

  /** Reads a session. If there is none, its expiry date is forgotten: it was ended elsewhere, or has expired. */
  async #read(sid: string): Promise<Version | undefined> {
    const text = await this.#connection.run((commands) => commands.get(this.#keyOf(sid)))
    if (text) return this.#versionOf(sid, String(text))
    this.#expiries.delete(sid)
    return undefined
  }

  /** Stores a session, whatever was there. One that has expired is removed: Redis refuses a time to live of 0. */
  async #write(sid: string, session: Outgoing, expires: number | undefined): Promise<Version> {
    const seconds = this.#seconds(expires)
    const text = this.#textOf(session)
    if (seconds <= 0) await this.#remove(sid)
    else {
      await this.#connection.run((commands) => commands.set(this.#keyOf(sid), text, seconds))
      this.#remember(sid, expires)
    }
    return (await this.#versionOf(sid, text)) ?? { record: session.json }
  }

  /** Stores a session unless there is one, and returns what is stored then. */
  async #add(sid: string, session: Outgoing, expires: number | undefined): Promise<Version> {
    const key = this.#keyOf(sid)
    const seconds = this.#seconds(expires)
    const text = this.#textOf(session)
    const existing = seconds > 0 ? await this.#change(sid, (commands) => add(commands, key, text, seconds)) : undefined
    if (existing === undefined && seconds > 0) this.#remember(sid, expires)
    return (await this.#versionOf(sid, existing ?? text)) ?? { record: session.json }
  }

  /** Updates of one session in this process wait for each other, and each begins with what the last one has left. */
  #update(sid: string, from: Version, make: Make): Promise<Version | undefined> {
    return this.#inTurn(
      sid,
      (last = from) => this.#replace(sid, last, make),
      (written) => written,
    )
  }

  /**
   * Runs `work` after the earlier changes of the session by this process, with what the last of them has left; `left`
   * says what `work` leaves. Undefined: not known.
   */
  #inTurn<T>(sid: string, work: (last?: Version) => Promise<T>, left: (result: T) => Version | undefined): Promise<T> {
    const earlier = this.#changes.get(sid)
    const result = earlier ? earlier.then(work, () => work()) : work()
    const change = result.then(left)
    this.#changes.set(sid, change)
    const finish = (): void => {
      if (this.#changes.get(sid) === change) this.#changes.delete(sid)
    }
    change.then(finish, finish)
    return result
  }

  /** Makes a change. Without scripts it is several commands: no other change by this process comes between them. */
  #change<T>(sid: string, work: (commands: Commands) => Awaitable<T>): Promise<T> {
    const run = (): Promise<T> => this.#run(work)
    return this.#hasScripts ? run() : this.#inTurn(sid, run, () => undefined)
  }

  /** Runs commands, and from the first time that EVAL is refused on does so without scripts. */
  async #run<T>(work: (commands: Commands) => Awaitable<T>): Promise<T> {
    if (this.#hasScripts) {
      try {
        return await this.#connection.run(work)
      } catch (error) {
        if (!EVAL_REFUSED.test(String(error))) throw error
        this.#hasScripts = false
        warn(
          'WARN_SESSION_REDIS_EVAL',
          'Redis refuses EVAL: sessions that several processes change at the same moment are not merged',
        )
      }
    }
    return this.#connection.run((commands) => work({ ...commands, eval: undefined }))
  }

  /** Replaces the record, if it is still that of the version; if not, `make` is called again with what Redis holds. */
  async #replace(sid: string, from: Version, make: Make): Promise<Version | undefined> {
    const key = this.#keyOf(sid)
    let current = from
    let digest = digestOf(from)
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const session = make(current)
      if (!session) return current
      const text = this.#textOf(session)
      const expires = expiryOf(session.cookie)
      const seconds = this.#seconds(expires)
      if (session.isPointer) await this.#connection.run((commands) => commands.set(key + MARK, '1', seconds + 1))
      const found = await this.#run((commands) => replace(commands, key, digest, text, seconds))
      if (found === true) {
        if (seconds > 0 && !session.isPointer) this.#remember(sid, expires)
        else this.#expiries.delete(sid)
        return this.#versionOf(sid, text)
      }
      // The connection broke before the answer came, and the client has sent the script a second time.
      if (found?.text === text) return this.#versionOf(sid, text)
      const other = found && (await this.#versionOf(sid, found.text))
      if (!other) {
        this.#expiries.delete(sid)
        return undefined
      }
      current = other
      digest = found.digest
    }
    throw new SessionError(
      'ERR_SESSION_STORE',
      `session could not be saved: others changed it ${MAX_TRIES} times in the meantime`,
    )
  }

  /** Extends a session, unless Redis is known to keep it almost as long. */
  #touch(
    sid: string,
    session: Outgoing,
    expires: number | undefined,
    loaded: CookieData | undefined,
  ): Awaitable<Touched> {
    const known = this.#expiries.get(sid)
    if (known && !session.cookieWillBeSent && livesAlmostAsLong(known.expires, this.#dateOf(expires))) {
      return known.pending
    }
    const key = this.#keyOf(sid)
    const seconds = this.#seconds(expires)
    const extending = this.#change(sid, (commands) => extend(commands, key, seconds, loaded))
    const own = this.#remember(sid, expires)
    const forget = (): void => {
      if (this.#expiries.get(sid) === own) this.#expiries.delete(sid)
    }
    own.pending = extending.then((outcome) => {
      own.pending = undefined
      if (outcome !== 'extended') forget()
      return outcome
    })
    own.pending.catch(forget)
    return own.pending
  }

  async #remove(sid: string): Promise<void> {
    await this.#change(sid, (commands) => commands.del(this.#keyOf(sid)))
    this.#expiries.delete(sid)
  }

  /** Removes a session, unless a pointer is in its place, and returns what was there. */
  async #take(sid: string): Promise<Version | undefined> {
    const key = this.#keyOf(sid)
    const text = await this.#change(sid, (commands) => take(commands, key))
    this.#expiries.delete(sid)
    return text ? this.#versionOf(sid, String(text)) : undefined
  }

  /** The version that a text from Redis is. A text that the serializer cannot parse counts as missing. */
  #versionOf(sid: string, text: string): Awaitable<RedisVersion | undefined> {
    if (this.serializer === JSON || isPointer(text)) return { record: text }
    const toVersion = (record: unknown): RedisVersion => ({ record: record as StoredObject, text })
    const corrupt = (error: unknown): undefined => {
      this.emit('corrupt', sid, error)
    }
    try {
      const record = this.serializer.parse(text)
      return isPromise(record) ? (record as Promise<unknown>).then(toVersion).catch(corrupt) : toVersion(record)
    } catch (error) {
      return corrupt(error)
    }
  }

  /** The session as Redis keeps it. @throws SessionError if the serializer returns anything but a string. */
  #textOf(session: Outgoing): string {
    if (this.serializer === JSON || session.isPointer) return session.json
    const text: unknown = this.serializer.stringify(session.session)
    if (typeof text === 'string') return text
    throw new SessionError(
      'ERR_SESSION_STORE',
      'serializer.stringify() of RedisStore must answer with a string, at once',
    )
  }

  /** When a session expires, in ms since the epoch; a cookie without a date gives it the lifetime `ttl`. */
  #dateOf(expires: number | undefined): number {
    return expires ?? Date.now() + this.ttl * 1000
  }

  /** The time to live of a key. */
  #seconds(expires: number | undefined): number {
    return Math.ceil(expires === undefined ? this.ttl : (expires - Date.now()) / 1000)
  }

  /** Remembers the expiry date that Redis has been given, as the newest. */
  #remember(sid: string, expires: number | undefined): KnownExpiry {
    const known: KnownExpiry = { expires: this.#dateOf(expires), pending: undefined }
    this.#expiries.delete(sid)
    this.#expiries.set(sid, known)
    if (this.#expiries.size > MAX_KNOWN) this.#expiries.delete(this.#expiries.keys().next().value as string)
    return known
  }

  /** The keys without the prefix, page by page. SCAN may return a key twice; here each comes once. */
  async *#pages(): AsyncGenerator<string[]> {
    const seen = new Set<string>()
    for await (const page of this.#connection.scan(this.prefix, this.scanCount)) {
      const names = page.filter((name) => !seen.has(name) && seen.add(name))
      if (names.length > 0) yield names
    }
  }

  /** The ids of sessions: all keys but indexes, marks, and the pointers that they mark. */
  async #ids(): Promise<string[]> {
    const all: string[] = []
    for await (const names of this.#pages()) all.push(...names.filter((name) => !isUserIndex(name)))
    const renewed = new Set(all.filter(isMark).map((name) => name.slice(0, -MARK.length)))
    return all.filter((name) => !isMark(name) && !renewed.has(name)).map(idOf)
  }

  async #all(): Promise<(PlainSession & { id: string })[]> {
    const all: (PlainSession & { id: string })[] = []
    for await (const names of this.#pages()) {
      const ids = names.filter((name) => !isMark(name) && !isUserIndex(name)).map(idOf)
      const page = await Promise.all(ids.map((id) => this.get(id)))
      for (const [index, session] of page.entries())
        if (session && typeof session === 'object') all.push(Object.assign(session, { id: ids[index] as string }))
    }
    return all
  }

  async #clear(): Promise<void> {
    const removeIndex = (name: string): Promise<unknown> =>
      this.#connection.run((commands) => commands.del(this.prefix + name))
    for await (const names of this.#pages())
      await Promise.all(names.map((name) => (isUserIndex(name) ? removeIndex(name) : this.#remove(idOf(name)))))
  }
}

/** The same as `new RedisStore(options)`. */
export function redisStore(options?: RedisStoreOptions): RedisStore {
  return new RedisStore(options)
}

/** The SHA-1 of the text that Redis held; '' for a version that no Redis text belongs to, which equals no digest. */
function digestOf(version: RedisVersion): string {
  const { record, text = record } = version
  if (typeof text !== 'string') return ''
  version.digest ??= sha1(text)
  return version.digest
}
