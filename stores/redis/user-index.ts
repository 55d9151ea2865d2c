// The index of each user's sessions in Redis, and which keys it has. Under `<prefix><user>:user-sessions` is a sorted set
// of the keys of sessions. A score is the date in ms since the epoch until which an entry is kept; that of a reserved
// entry is negative. So the entries whose date has passed are those from `-now` to `now`, and one key holds all there is
// to know of a user: each change is one step on a cluster too.
//
// Dates are those of this process, and a key is given a time to live, not a date: as for the records.

import type { Awaitable } from '../../lib/awaitable.ts'
import { SessionError } from '../../lib/errors.ts'
import { type IndexEntry, RESERVED_MS, type UserIndex } from '../../lib/port/slot.ts'
import type { Commands } from './commands.ts'

const SUFFIX = ':user-sessions'
/** The names under which a session would be mistaken for an index, and those that are made of them. */
const AMBIGUOUS = /:user-sessions~*$/

/** Whether a key is the index of a user, of a store with this prefix or with a longer one. */
export function isUserIndex(name: string): boolean {
  return name.endsWith(SUFFIX)
}

/** What follows the prefix in the key of a session: its id, unless that is as an index is named. */
export function nameOf(sid: string): string {
  return AMBIGUOUS.test(sid) ? `${sid}~` : sid
}

/** The id of the session with this name. */
export function idOf(name: string): string {
  return AMBIGUOUS.test(name) ? name.slice(0, -1) : name
}

/** The last date there is: of an entry that is kept until it is dropped. */
const LAST = 8.64e15
/** How many entries are removed at a time. A script can hand on 8 000 arguments at most. */
const BATCH = 1_000

// The scripts that change something are given the present time first. They reply 1; 0 where there is no such entry.

/** Removes what has expired, changes something, and has the key expire with the last of its entries. */
const changing = (change: string): string => `local key, now = KEYS[1], ARGV[1]
redis.call('ZREMRANGEBYSCORE', key, '-' .. now, now)
${change}
local function date(at) return math.abs(tonumber(redis.call('ZRANGE', key, at, at, 'WITHSCORES')[2] or 0)) end
redis.call('PEXPIRE', key, string.format('%.0f', math.max(date(0), date(-1)) - now))
return 1`

const RESERVE = changing(`local limit = tonumber(ARGV[4])
if limit and not redis.call('ZSCORE', key, ARGV[3]) and redis.call('ZCARD', key) >= limit then return 0 end
redis.call('ZADD', key, 'NX', ARGV[2], ARGV[3])`)

const CONFIRM = changing(`if not redis.call('ZSCORE', key, ARGV[3]) then return 0 end
redis.call('ZADD', key, ARGV[2], ARGV[3])`)

// A client that has missed the answer sends the script again; then it finds the entry moved. ZREM may remove the key, and
// with it the time to live, which is set anew in any case.
const MOVE = changing(`local score = redis.call('ZSCORE', key, ARGV[2])
if not score then return redis.call('ZSCORE', key, ARGV[3]) and 1 or 0 end
redis.call('ZREM', key, ARGV[2])
redis.call('ZADD', key, score, ARGV[3])`)

const DROP = changing(`redis.call('ZREM', key, unpack(ARGV, 2))`)

// A client that reads from replicas would send ZRANGE there, which may not know of a session that is being stored.
const LIST = `return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')`

/** Sends a command for one key, without a script. */
type Send = (command: string, ...args: (string | number)[]) => Promise<unknown>

/** Runs commands for one key; without `eval` where the server refuses that, and then one `work` after the other. */
type Run = <T>(name: string, work: (commands: Commands) => Awaitable<T>) => Promise<T>

/**
 * Where there are no scripts a change is several commands, and each waits for the one before: a client may have several
 * connections. Their order is such that no entry that was dropped comes back, and that no key expires too early. Only if
 * one process confirms an entry while another moves it, the entry may keep its earlier date.
 */
export class RedisUserIndex implements UserIndex {
  readonly #prefix: string
  readonly #run: Run

  constructor(prefix: string, run: Run) {
    this.#prefix = prefix
    this.#run = run
  }

  reserve(user: string, key: string, limit?: number): Promise<boolean> {
    const score = -(Date.now() + RESERVED_MS)
    const args = limit === undefined ? [score, key] : [score, key, limit]
    return this.#change(user, RESERVE, args, async (send) => {
      const isAdded = Number(await send('ZADD', 'NX', score, key)) > 0
      if (!isAdded || limit === undefined || Number(await send('ZCARD')) <= limit) return true
      await send('ZREM', key)
      return false
    })
  }

  confirm(user: string, key: string, until: number | undefined): Promise<boolean> {
    const score = Math.min(Math.max(until ?? LAST, 1), LAST)
    return this.#change(user, CONFIRM, [score, key], async (send) => {
      await send('ZADD', 'XX', score, key)
      // One that is reserved by now is another session's: this one was dropped.
      return Number(await send('ZSCORE', key)) > 0
    })
  }

  move(user: string, from: string, to: string): Promise<boolean> {
    return this.#change(user, MOVE, [from, to], async (send) => {
      const score = await send('ZSCORE', from)
      if (score === null || score === undefined) return false
      // Whoever lists the sessions in between finds both.
      const isAdded = Number(await send('ZADD', 'NX', String(score), to)) > 0
      if (Number(await send('ZREM', from)) > 0) return true
      if (isAdded) await send('ZREM', to)
      return false
    })
  }

  async list(user: string): Promise<IndexEntry[]> {
    const reply = await this.#runFor(user, (commands, key) =>
      commands.eval ? commands.eval(LIST, key, []) : plain(commands, key)('ZRANGE', 0, -1, 'WITHSCORES'),
    )
    // RESP3 has pairs where RESP2 has one list.
    const flat = (reply as unknown[]).flat()
    const now = Date.now()
    const entries: IndexEntry[] = []
    for (let at = 0; at < flat.length; at += 2) {
      const score = Number(flat[at + 1])
      if (Math.abs(score) > now) entries.push({ key: String(flat[at]), isReserved: score < 0 })
    }
    return entries
  }

  /** More than a thousand are several steps. */
  async drop(user: string, keys: readonly string[]): Promise<void> {
    const remove = (batch: string[]): Promise<unknown> =>
      this.#change(user, DROP, batch, async (send) => {
        await send('ZREM', ...batch)
        return true
      })
    const batches = Array.from({ length: Math.ceil(keys.length / BATCH) }, (_, n) => n * BATCH)
    await Promise.all(batches.map((start) => remove(keys.slice(start, start + BATCH))))
  }

  #runFor<T>(user: string, work: (commands: Commands, key: string) => Awaitable<T>): Promise<T> {
    const name = user + SUFFIX
    return this.#run(name, (commands) => work(commands, this.#prefix + name))
  }

  /** Makes a change by its script, or by `plainly`. True: there is such an entry. */
  #change(
    user: string,
    script: string,
    args: (string | number)[],
    plainly: (send: Send) => Promise<boolean>,
  ): Promise<boolean> {
    return this.#runFor(user, async (commands, key) => {
      const now = Date.now()
      if (commands.eval) return Number(await commands.eval(script, key, [String(now), ...args.map(String)])) > 0
      const send = plain(commands, key)
      await send('ZREMRANGEBYSCORE', -now, now)
      const isThere = await plainly(send)
      if (isThere) await setExpiry(send, now)
      return isThere
    })
  }
}

function plain({ send }: Commands, key: string): Send {
  if (!send) {
    throw new SessionError(
      'ERR_SESSION_STORE',
      'the client of RedisStore has neither eval() nor sendCommand(), one of which the index of users needs',
    )
  }
  return async (command, ...args) => send(command, key, args.map(String))
}

/** Has the key expire with the last of its entries: the last that sets the time to live has seen all of them. */
async function setExpiry(send: Send, now: number): Promise<void> {
  const dateAt = async (at: number): Promise<number> => {
    const reply = (await send('ZRANGE', at, at, 'WITHSCORES')) as unknown[]
    return Math.abs(Number(reply.flat()[1] ?? 0))
  }
  let set: number | undefined
  for (;;) {
    const date = Math.max(await dateAt(0), await dateAt(-1))
    // Without an entry there is nothing to keep; to set that could remove what somebody has just added.
    if (date === set || date <= now) return
    await send('PEXPIRE', Math.ceil(date - now))
    set = date
  }
}
