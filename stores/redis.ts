// RedisStore: sessions in Redis, under the keys and in the format of connect-redis.
// Three parts: the store; the connection, which bounds how long anything waits; the clients, brought into one shape.

import crypto from 'node:crypto'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type CookieData, expiryOf, hasOtherLifetime } from '../lib/cookie.ts'
import { debug, warn } from '../lib/diagnostics.ts'
import { optionError, SessionError } from '../lib/errors.ts'
import { lintSeconds } from '../lib/lint.ts'
import { isPromise, type Maybe, settle } from '../lib/maybe.ts'
import type { Driver, Make, Touched } from '../lib/port.ts'
import { type Outgoing, type Stored, type StoredObject, splitRecord } from '../lib/snapshot.ts'
import { isPointer, POINTER_HEAD } from '../lib/successor.ts'
import { alarm, now, sleep } from '../lib/timers.ts'
import { type AllCallback, DriverStore, type ErrorCallback, type LengthCallback, type PlainSession } from './driver.ts'
import { REDIS_OPTIONS, readStoreOptions } from './options.ts'

/**
 * A Redis client: of `redis` 4 to 6 (single, cluster, pool or sentinel), of `ioredis` (single or cluster), Bun's own
 * `RedisClient`, or any object with these three methods, called as those of `redis` are:
 * `set(key, value, { EX: seconds })`. Such an object may also have `expire(key, seconds)`,
 * `eval(script, { keys, arguments })` and `scan(cursor, { MATCH, COUNT })`. Without `eval` a session that other
 * processes change at the same moment is not merged atomically; without `scan` there is no `all()`, `ids()`,
 * `length()` and `clear()`.
 */
export interface RedisStoreClient {
  get(key: string): unknown
  set(key: string, value: string, options: never): unknown
  del(key: string): unknown
  // The packages declare these too differently for one type.
  expire?: unknown
  eval?: unknown
  scan?: unknown
}

/** Turns a session into a string and back; `JSON` is one. */
export interface RedisSerializer {
  parse(text: string): unknown
  stringify(session: object): string
}

export interface RedisStoreOptions {
  /**
   * The client to use; it stays the app's, `close()` leaves it alone. One of `redis` that nobody has connected is
   * connected by the first command. Default: a client of the store's own, Bun's on Bun, one of the package `redis` on
   * Node; it connects with the first command and keeps no process alive.
   */
  client?: RedisStoreClient | undefined
  /** The server of the store's own client. Default: `REDIS_URL` of the environment, else `redis://localhost:6379`. */
  url?: string | undefined
  /** What the keys begin with; the session's id follows. Default `'sess:'`. */
  prefix?: string | undefined
  /** How long a session is kept whose cookie sets no date, in seconds. Default 86 400, a day. */
  ttl?: number | undefined
  /** Default `JSON`. With another, a session is parsed each time it is read. */
  serializer?: RedisSerializer | undefined
  /** How many keys `all()`, `ids()`, `length()` and `clear()` ask for at a time. Default 100. */
  scanCount?: number | undefined
}

type Updating = Promise<Stored | undefined>

/** Until when Redis is known to keep a session. */
interface Kept {
  readonly until: number
  /** What says so is still on its way. */
  pending: Promise<Touched> | undefined
}

// A session's life that is extended by less than this, or by less than this part of it, is left to the next request.
const SLACK_MS = 60_000
const SLACK_PART = 0.05
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

// Sent whole each time: Redis looks a known script up by itself, and an EVALSHA fails after each restart, failover and
// SCRIPT FLUSH, on each node of a cluster. The value that is replaced goes as its digest.
const REPLACE = `local held = redis.call('GET', KEYS[1])
if not held then return false end
local digest = redis.sha1hex(held)
if digest ~= ARGV[1] then return { held, digest } end
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) else redis.call('DEL', KEYS[1]) end
return 1`

const IS_POINTER = `string.sub(held, 1, ${POINTER_HEAD.length}) == '${POINTER_HEAD}'`

const TAKE = `local held = redis.call('GET', KEYS[1])
if held and not (${IS_POINTER}) then redis.call('DEL', KEYS[1]) end
return held`

// EXPIRE, unless another request has given the session another lifetime.
const EXTEND = `local held = redis.call('GET', KEYS[1])
if not held then return 0 end
local lifetime = string.match(held, '^{"cookie":{"originalMaxAge":([^,}]*)')
if lifetime and lifetime ~= ARGV[1] then return 2 end
if not lifetime and ${IS_POINTER} then return 3 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])`

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
  /** What an object was parsed from, with a serializer other than JSON. */
  readonly #texts = new WeakMap<object, string>()

  /** @throws TypeError for wrong options. */
  constructor(options?: RedisStoreOptions) {
    super()
    const given = readStoreOptions(options, REDIS_OPTIONS)
    const { client, url, prefix = 'sess:', ttl = 86_400, serializer = JSON, scanCount = 100 } = given
    if ('client' in given && client === undefined && url === undefined) {
      const cure = 'so the store makes a client of its own; leave the option out where that is meant'
      warn('WARN_SESSION_OPTION_VALUE', `client option of RedisStore is undefined, ${cure}`)
    }
    if (client !== undefined) checkClient(client)
    if (typeof prefix !== 'string') throw wrong('prefix', 'a string')
    if (!(Number.isFinite(ttl) && ttl > 0)) throw wrong('ttl', 'a number of seconds above 0')
    lintSeconds('ttl option of RedisStore', ttl)
    if (typeof serializer?.parse !== 'function' || typeof serializer.stringify !== 'function')
      throw wrong('serializer', 'an object with parse() and stringify(), as JSON is')
    if (!(Number.isInteger(scanCount) && scanCount > 0)) throw wrong('scanCount', 'a whole number above 0')
    this.client = client
    this.prefix = prefix
    this.ttl = ttl
    this.serializer = serializer
    this.scanCount = scanCount
    this.#own = client ? undefined : new OwnLink(checkUrl(url))
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
    update: (sid, from, make) => this.#update(sid, from, make),
    touch: (sid, session, expires, loaded) => this.#touch(sid, session, expires, loaded),
    take: (sid) => this.#take(sid),
    remove: (sid) => this.#remove(sid),
  }

  #read(sid: string): Promise<Stored | undefined> {
    return this.#get(sid).then((text) => {
      if (text !== undefined) return this.#open(sid, text)
      this.#kept.delete(sid)
      return undefined
    })
  }

  async #write(sid: string, session: Outgoing, expires: number | undefined): Promise<void> {
    const seconds = this.#seconds(expires)
    if (seconds <= 0) return this.#remove(sid)
    const text = this.#textOf(session)
    await this.#connection.run((commands) => commands.set(this.prefix + sid, text, seconds))
    this.#keep(sid, expires)
  }

  /** Updates of one session in this process wait for each other: each begins with what the last one left. */
  #update(sid: string, from: Stored, make: Make): Updating {
    return this.#inTurn(sid, (left = from) => this.#replace(sid, left, make))
  }

  /** `work` is given what the last in its turn has left, where that is known. */
  #inTurn<T>(sid: string, work: (left?: Stored) => Promise<T>, left = (result: T): unknown => result): Promise<T> {
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
  #change<T>(sid: string, work: (commands: Commands) => Maybe<T>): Promise<T> {
    const run = (): Promise<T> => this.#run(work)
    const nothing = (): undefined => undefined
    return this.#scripts ? run() : this.#inTurn(sid, run, nothing)
  }

  /** Runs commands, without scripts where Redis, or a proxy before it, refuses them. */
  async #run<T>(work: (commands: Commands) => Maybe<T>): Promise<T> {
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

  async #replace(sid: string, from: Stored, make: Make): Updating {
    const key = this.prefix + sid
    let current: Stored = from
    let digest = this.#digestOf(from)
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

  #touch(sid: string, session: Outgoing, expires: number | undefined, loaded: CookieData | undefined): Maybe<Touched> {
    const until = this.#until(expires)
    const kept = this.#kept.get(sid)
    if (kept && !session.announced) {
      const longer = until - kept.until
      if (longer >= 0 && longer < Math.min(SLACK_MS, (until - Date.now()) * SLACK_PART)) return kept.pending
    }
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

  async #take(sid: string): Promise<Stored | undefined> {
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
  #open(sid: string, text: string): Maybe<Stored | undefined> {
    if (this.serializer === JSON || isPointer(text)) return text
    const opened = (record: unknown): StoredObject => {
      this.#texts.set(record as StoredObject, text)
      return record as StoredObject
    }
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

  /** The digest of the text that `stored` was made from; no digest at all where that is not known. */
  #digestOf(stored: Stored): string {
    const isText = typeof stored === 'string'
    const text = isText && this.serializer === JSON ? stored : isText ? undefined : this.#texts.get(stored)
    return text === undefined ? '' : sha1(text)
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

function wrong(option: string, what: string): TypeError {
  return optionError(`${option} option of RedisStore must be ${what}`)
}

function checkClient(client: RedisStoreClient): void {
  const shape = client as Partial<RedisStoreClient> & { internal_send_command?: unknown }
  if (isPromise(client)) throw wrong('client', 'a client; this is the promise of one, await it first')
  if (shape?.internal_send_command) throw wrong('client', 'of redis 4 or later; this one is older')
  if (typeof shape?.get !== 'function' || typeof shape.set !== 'function' || typeof shape.del !== 'function')
    throw wrong('client', 'a client of redis, ioredis or Bun, or an object with get(), set() and del()')
}

function checkUrl(given: string | undefined): string {
  const url = given ?? (process.env.REDIS_URL || 'redis://localhost:6379')
  if (typeof url === 'string' && URL.canParse(url) && /^(redis|valkey)/.test(url)) return url
  if (given !== undefined) throw wrong('url', 'the URL of a Redis server, such as redis://localhost:6379')
  throw optionError(
    'REDIS_URL must be the URL of a Redis server, such as redis://localhost:6379; or set the url option',
  )
}

// One native object less than createHash; Node 20.12 and later have it, and Bun.
function sha1(text: string): string {
  const { hash } = crypto as Partial<typeof crypto>
  return hash ? hash('sha1', text) : crypto.createHash('sha1').update(text).digest('hex')
}

/** `true`: it is replaced; otherwise what is held instead, or undefined for nothing. */
async function replace(
  commands: Commands,
  key: string,
  digest: string,
  text: string,
  seconds: number,
): Promise<true | { text: string; digest: string } | undefined> {
  if (commands.eval) {
    const reply = await commands.eval(REPLACE, key, [digest, text, String(seconds)])
    return Array.isArray(reply) ? { text: String(reply[0]), digest: String(reply[1]) } : reply ? true : undefined
  }
  const held = await commands.get(key)
  if (!held) return undefined
  const current = String(held)
  if (digest !== sha1(current)) return { text: current, digest: sha1(current) }
  await (seconds > 0 ? commands.set(key, text, seconds) : commands.del(key))
  return true
}

async function take(commands: Commands, key: string): Promise<unknown> {
  if (commands.eval) return commands.eval(TAKE, key, [])
  const held = await commands.get(key)
  if (held && !isPointer(String(held))) await commands.del(key)
  return held
}

/** By the reply of EXTEND. */
const OUTCOMES: readonly Touched[] = ['gone', 'extended', 'changed', 'moved']

async function extend(
  commands: Commands,
  key: string,
  seconds: number,
  loaded: CookieData | undefined,
): Promise<Touched> {
  if (loaded && commands.eval) {
    const lifetime = JSON.stringify(loaded.originalMaxAge ?? null)
    const reply = Number(await commands.eval(EXTEND, key, [lifetime, String(seconds)]))
    return OUTCOMES[reply]
  }
  if (loaded) {
    const held = await commands.get(key)
    if (!held) return 'gone'
    if (isPointer(String(held))) return 'moved'
    if (hasOtherLifetime(splitRecord(String(held))?.cookie, loaded)) return 'changed'
  }
  return (await commands.expire(key, seconds)) ? 'extended' : 'gone'
}

// The connection: nothing that is asked of a client waits for ever.

/** How long commands wait for the first connection, and for one that was lost. */
const FIRST_MS = 3_000
const LOST_MS = 1_000
const RETRY_MS = 20
/** What a look at the connection counts for at most: a process that was held up has not waited. */
const TURN_MS = 250
/** How often it is looked for an answer, every `TURN_MS`; half as often where the client is not ready. */
const LOOKS = 12
/** How long an attempt of the store's own client may take. */
const CONNECT_MS = 2_000

class Connection {
  readonly #link: Link
  #patience = FIRST_MS
  #cause: unknown
  #recovery: Promise<void> | undefined

  constructor(link: Link) {
    this.#link = link
  }

  run<T>(work: (commands: Commands) => Maybe<T>): Promise<T> {
    // Not past those that wait: what was asked first is done first.
    if (!this.#recovery && this.#link.ready()) {
      this.#patience = LOST_MS
      this.#cause = undefined
      return this.#send(work)
    }
    // All that wait do so together: no command makes an attempt of its own.
    this.#recovery ??= this.#recover().finally(() => {
      this.#recovery = undefined
    })
    return this.#recovery.then(() => this.#send(work))
  }

  /** Some clients keep what was sent and not answered for a new connection: when that does not come, it is over. */
  #send<T>(work: (commands: Commands) => Maybe<T>): Promise<T> {
    const link = this.#link
    return answered(
      () => work(link.commands),
      () => !link.ready(),
    )
  }

  async #recover(): Promise<void> {
    do {
      const start = now()
      this.#open()
      await sleep(RETRY_MS)
      if (this.#link.ready()) return
      this.#patience -= Math.min(Math.max(RETRY_MS, now() - start), TURN_MS)
    } while (this.#patience > 0)
    const reason = this.#cause instanceof Error ? this.#cause.message : 'the client is not connected'
    throw new SessionError('ERR_SESSION_STORE', `Redis cannot be reached: ${reason}`, { cause: this.#cause })
  }

  /** Not waited for: an attempt may take as long as Redis is away. */
  async #open(): Promise<void> {
    try {
      await this.#link.open()
    } catch (error) {
      this.#cause = error
    }
  }

  /** The ends of the keys that begin with `prefix`, page by page. */
  async *scan(prefix: string, count: number): AsyncGenerator<string[]> {
    const nodes = await this.run(({ nodes }) => nodes?.())
    if (!nodes) {
      throw new SessionError(
        'ERR_SESSION_STORE',
        'the client of RedisStore has no scan(), which all(), ids(), length() and clear() need',
      )
    }
    const start = (this.#link.commands.keyPrefix ?? '') + prefix
    const pattern = `${start.replace(/[\\*?[\]^]/g, '\\$&')}*`
    for (const node of nodes) {
      let cursor = '0'
      do {
        const page = await this.run(() => node(cursor, pattern, count))
        cursor = String(page.cursor)
        yield page.keys.map((key) => String(key).slice(start.length))
      } while (cursor !== '0')
    }
  }
}

/** Fails when an answer is late, earlier when it is `hopeless`. Its timer keeps the process alive: a client may not. */
function answered<T>(work: () => Maybe<T>, hopeless: () => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const result = work()
    if (!isPromise(result)) return resolve(result)
    const fail = (): void => reject(new SessionError('ERR_SESSION_STORE', 'Redis does not answer'))
    // Timers come before I/O: after something has held the process up, one runs while the answer lies there unread.
    let looks = 0
    const look = (): void => {
      looks++
      if (looks === LOOKS || (looks >= LOOKS / 2 && hopeless())) fail()
      else patience = alarm(TURN_MS, look)
    }
    let patience = alarm(TURN_MS, look)
    result.then(
      (value) => {
        patience.cancel()
        resolve(value)
      },
      (error) => {
        patience.cancel()
        reject(error)
      },
    )
  })
}

// The clients. They are told apart by their shape: several copies and versions of a package may be about.

type ScanNode = (cursor: string, pattern: string, count: number) => Maybe<{ cursor: unknown; keys: unknown[] }>

/** What the store asks of a client. Replies may be of another type where the app has set the client up so. */
interface Commands {
  get(key: string): Maybe<unknown>
  set(key: string, value: string, seconds: number): Maybe<unknown>
  del(key: string): Maybe<unknown>
  /** True when there was such a key. */
  expire(key: string, seconds: number): Maybe<unknown>
  eval?: ((script: string, key: string, args: string[]) => Maybe<unknown>) | undefined
  /** One SCAN for each master. */
  nodes?: (() => Maybe<ScanNode[]>) | undefined
  /** What the client puts in front of keys by itself; in SCAN it does not. */
  readonly keyPrefix?: string | undefined
}

interface Link {
  readonly commands: Commands
  /** A command given to the client now is sent now. */
  ready(): boolean
  /** Does what can be done so that the client gets ready; it may be asked again at any time. */
  open(): Maybe<unknown>
}

function linkTo(client: RedisStoreClient): Link {
  const shape = client as Partial<IoRedis & BunRedis>
  if (typeof shape.defineCommand === 'function') return linkToIoRedis(client as unknown as IoRedis)
  if (typeof shape.send === 'function' && typeof shape.connected === 'boolean')
    return linkToBun(client as unknown as BunRedis)
  return linkToNodeRedis(client as unknown as NodeRedis, false)
}

interface NodeRedis {
  get(key: string): Promise<unknown>
  set(key: string, value: string, options: { EX: number }): Promise<unknown>
  del(key: string): Promise<unknown>
  expire?(key: string, seconds: number): Promise<unknown>
  eval?(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
  scan?(cursor: string, options: { MATCH: string; COUNT: number }): ReturnType<ScanNode>
  readonly isOpen?: boolean
  readonly isReady?: boolean
  connect?(): Promise<unknown>
  on?(event: 'error', listener: (error: unknown) => void): unknown
  close?(): Promise<unknown>
  quit?(): Promise<unknown>
  unref?(): void
  readonly options?: { keyPrefix?: unknown; legacyMode?: boolean }
  readonly _keyPrefix?: unknown
  /** The client with promises, of redis 4 in legacy mode. */
  readonly v4?: NodeRedis
  /** Of a cluster. */
  readonly masters?: unknown[]
  nodeClient?(master: unknown): Maybe<NodeRedis>
  sendCommand?(firstKey: string, isReadonly: boolean, args: string[]): Promise<unknown>
}

const guarded = new WeakSet<object>()

/** `reopens`: a client that was closed is opened again. An app's is not: the app has closed it. */
function linkToNodeRedis(client: NodeRedis, reopens: boolean): Link {
  // Without a listener a broken connection ends the process. Commands tell what is wrong.
  if (typeof client.on === 'function' && !guarded.has(client)) {
    guarded.add(client)
    client.on('error', (error) => debug('redis client: %s', error))
  }
  let wasReady = false
  return {
    commands: commandsOfNodeRedis(client),
    ready() {
      const { isOpen } = client
      if (isOpen === undefined) return true
      if (!isOpen) return wasReady && !reopens
      const isReady = client.isReady ?? (client.masters ? client.masters.length > 0 : true)
      wasReady ||= isReady
      return isReady
    },
    // A second connect() throws: the app may be about it.
    open: () => (client.isOpen === false ? client.connect?.() : undefined),
  }
}

function commandsOfNodeRedis(client: NodeRedis): Commands {
  const on = (client.options?.legacyMode && client.v4) || client
  const scan =
    (node: NodeRedis): ScanNode =>
    (cursor, pattern, count) =>
      (node as Required<NodeRedis>).scan(cursor, { MATCH: pattern, COUNT: count })
  const mastersOf = async ({ masters = [] }: NodeRedis): Promise<ScanNode[]> => {
    const nodes = await Promise.all(masters.map((master) => (client as Required<NodeRedis>).nodeClient(master)))
    return nodes.map(scan)
  }
  const prolong = async (key: string, seconds: number): Promise<boolean> => {
    const value = await on.get(key)
    if (!value) return false
    await (seconds > 0 ? on.set(key, String(value), { EX: seconds }) : on.del(key))
    return true
  }
  const keyPrefix = String(client._keyPrefix ?? client.options?.keyPrefix ?? '')
  const run =
    on.eval && ((script: string, key: string, args: string[]) => on.eval?.(script, { keys: [key], arguments: args }))
  // A cluster of redis 4 looks for the key in the script's text, and asks any node.
  const runOnNode = (script: string, key: string, args: string[]) =>
    client.sendCommand?.(keyPrefix + key, false, ['EVAL', script, '1', keyPrefix + key, ...args])
  return {
    keyPrefix,
    get: (key) => on.get(key),
    set: (key, value, seconds) => on.set(key, value, { EX: seconds }),
    del: (key) => on.del(key),
    expire: (key, seconds) => (on.expire ? on.expire(key, seconds) : prolong(key, seconds)),
    eval: client.nodeClient && client.sendCommand ? runOnNode : run,
    nodes: client.nodeClient ? () => mastersOf(client) : on.scan && (() => [scan(on)]),
  }
}

interface IoRedis {
  get(key: string): Promise<unknown>
  set(key: string, value: string, unit: 'EX', seconds: number): Promise<unknown>
  del(key: string): Promise<unknown>
  expire(key: string, seconds: number): Promise<unknown>
  eval(script: string, keys: 1, key: string, ...args: string[]): Promise<unknown>
  scan(cursor: string, match: 'MATCH', pattern: string, count: 'COUNT', keys: number): Promise<[unknown, unknown[]]>
  defineCommand: unknown
  readonly status: string
  connect(): Promise<unknown>
  readonly options?: { keyPrefix?: unknown }
  /** Of a cluster. */
  nodes?(role: 'master'): IoRedis[]
}

/** States in which a command is put into a queue. */
const IOREDIS_WAITS = ['wait', 'connecting', 'connect', 'close', 'reconnecting']

function linkToIoRedis(client: IoRedis): Link {
  return {
    commands: {
      keyPrefix: String(client.options?.keyPrefix ?? ''),
      get: (key) => client.get(key),
      set: (key, value, seconds) => client.set(key, value, 'EX', seconds),
      del: (key) => client.del(key),
      expire: (key, seconds) => client.expire(key, seconds),
      eval: (script, key, args) => client.eval(script, 1, key, ...args),
      nodes: () =>
        (client.nodes?.('master') ?? [client]).map((node) => async (cursor, pattern, count) => {
          const [next, keys] = await node.scan(cursor, 'MATCH', pattern, 'COUNT', count)
          return { cursor: next, keys }
        }),
    },
    // One that the app has ended says so itself.
    ready: () => !IOREDIS_WAITS.includes(client.status),
    open: () => (client.status === 'wait' ? client.connect() : undefined),
  }
}

interface BunRedis {
  get(key: string): Promise<unknown>
  set(key: string, value: string, unit: 'EX', seconds: number): Promise<unknown>
  del(key: string): Promise<unknown>
  expire(key: string, seconds: number): Promise<unknown>
  send(command: string, args: string[]): Promise<unknown>
  readonly connected: boolean
  connect(): Promise<unknown>
  close(): void
}

function linkToBun(client: BunRedis): Link {
  let opening: Promise<unknown> | undefined
  return {
    commands: {
      get: (key) => client.get(key),
      set: (key, value, seconds) => client.set(key, value, 'EX', seconds),
      del: (key) => client.del(key),
      expire: (key, seconds) => client.expire(key, seconds),
      eval: (script, key, args) => client.send('EVAL', [script, '1', key, ...args]),
      nodes: () => [
        async (cursor, pattern, count) => {
          const args = [cursor, 'MATCH', pattern, 'COUNT', String(count)]
          const [next, keys] = (await client.send('SCAN', args)) as [unknown, unknown[]]
          return { cursor: next, keys }
        },
      ],
    },
    ready: () => client.connected,
    open() {
      opening ??= client.connect().finally(() => {
        opening = undefined
      })
      return opening
    },
  }
}

type RedisPackage = typeof import('redis')

function isMissingModule(error: unknown): boolean {
  return /^(ERR_)?MODULE_NOT_FOUND$/.test(String((error as { code?: unknown } | null)?.code))
}

/** Where `import()` is not to be had, as in Jest, the package is required from the working directory. */
async function importRedis(): Promise<RedisPackage> {
  try {
    return await import(/* webpackIgnore: true */ 'redis')
  } catch (error) {
    if ((error as { code?: unknown })?.code !== 'ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING_FLAG') throw error
    return createRequire(join(process.cwd(), 'package.json'))('redis') as RedisPackage
  }
}

interface BunGlobal {
  RedisClient?: new (url: string, options: object) => BunRedis
}

/**
 * The store's own client. It never reconnects by itself, for that would keep a process alive that is done: the next
 * command does.
 */
class OwnLink implements Link {
  readonly #url: string
  #link: Link | undefined
  #making: Promise<Link> | undefined
  #close: (() => Maybe<unknown>) | undefined
  /** Why there is no use in trying. */
  #failure: SessionError | undefined

  constructor(url: string) {
    this.#url = url
  }

  get commands(): Commands {
    if (this.#failure) throw this.#failure
    return (this.#link as Link).commands
  }

  ready(): boolean {
    return this.#failure !== undefined || this.#link?.ready() === true
  }

  async open(): Promise<void> {
    this.#making ??= this.#make()
    this.#link = await this.#making
    await this.#link.open()
  }

  async close(): Promise<void> {
    this.#failure = new SessionError('ERR_SESSION_STORE', 'this RedisStore is closed')
    await this.#close?.()
  }

  async #make(): Promise<Link> {
    const { RedisClient } = (globalThis as { Bun?: BunGlobal }).Bun ?? {}
    if (!RedisClient) return this.#makeOnNode()
    const client = new RedisClient(this.#url, {
      autoReconnect: false,
      enableOfflineQueue: false,
      connectionTimeout: CONNECT_MS,
    })
    this.#close = () => client.close()
    return linkToBun(client)
  }

  async #makeOnNode(): Promise<Link> {
    const { createClient } = await importRedis().catch((cause: unknown) => {
      const reason = isMissingModule(cause)
        ? 'npm install redis'
        : `which cannot be loaded (${(cause as Error)?.message})`
      this.#failure = new SessionError(
        'ERR_SESSION_STORE',
        `RedisStore needs the package redis to connect, ${reason}; or give it a client option`,
        { cause },
      )
      throw this.#failure
    })
    const client = createClient({
      url: this.#url,
      disableOfflineQueue: true,
      socket: { reconnectStrategy: false, connectTimeout: CONNECT_MS },
    }) as unknown as NodeRedis
    client.unref?.()
    this.#close = () => (client.isOpen ? (client.close ?? client.quit)?.call(client) : undefined)
    return linkToNodeRedis(client, true)
  }
}
