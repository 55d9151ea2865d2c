// The commands that RedisStore sends, and the scripts that make several commands one step on the server.

import crypto from 'node:crypto'
import type { Awaitable } from '../../lib/awaitable.ts'
import { type CookieData, hasOtherLifetime } from '../../lib/cookie.ts'
import { isPointer, POINTER_HEAD } from '../../lib/port/pointer.ts'
import type { Touched } from '../../lib/port/slot.ts'
import { splitRecord } from '../../lib/snapshot.ts'

/** Sends SCAN to one server, and returns one page of keys. */
export type ScanNode = (
  cursor: string,
  pattern: string,
  count: number,
) => Awaitable<{ cursor: unknown; keys: unknown[] }>

/** The commands of a client, whatever its package. Replies are unknown: an app can configure its client to return Buffers, for one. */
export interface Commands {
  get(key: string): Awaitable<unknown>
  set(key: string, value: string, seconds: number): Awaitable<unknown>
  del(key: string): Awaitable<unknown>
  /** Truthy if the key exists. */
  expire(key: string, seconds: number): Awaitable<unknown>
  /** Runs a script with one key. */
  eval?: ((script: string, key: string, args: string[]) => Awaitable<unknown>) | undefined
  /** Sends any command whose first argument is the key. */
  send?: ((command: string, key: string, args: string[]) => Awaitable<unknown>) | undefined
  /** A function for each master server, which scans its keys. */
  nodes?: (() => Awaitable<ScanNode[]>) | undefined
  /** What the client itself puts in front of keys, except in SCAN. */
  readonly keyPrefix?: string | undefined
}

// Scripts are sent as text each time. Redis caches what it has compiled anyway, and EVALSHA would fail after a restart, a
// failover or SCRIPT FLUSH, on each node of a cluster.

// Sets a value if the present one has a certain digest. Replies 1, the present value and its digest, or nil.
const REPLACE = `local held = redis.call('GET', KEYS[1])
if not held then return false end
local digest = redis.sha1hex(held)
if digest ~= ARGV[1] then return { held, digest } end
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) else redis.call('DEL', KEYS[1]) end
return 1`

// Sets a value if there is none. Replies nil, or the present value.
const ADD = `if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return false end
return redis.call('GET', KEYS[1])`

const IS_POINTER = `string.sub(held, 1, ${POINTER_HEAD.length}) == '${POINTER_HEAD}'`

// Deletes a value unless it is a pointer. Replies the value.
const TAKE = `local held = redis.call('GET', KEYS[1])
if held and not (${IS_POINTER}) then redis.call('DEL', KEYS[1]) end
return held`

// EXPIRE, unless another request has given the session another lifetime. Replies an index of OUTCOMES.
const EXTEND = `local held = redis.call('GET', KEYS[1])
if not held then return 0 end
local lifetime = string.match(held, '^{"cookie":{"originalMaxAge":([^,}]*)')
if lifetime and lifetime ~= ARGV[1] then return 2 end
if not lifetime and ${IS_POINTER} then return 3 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])`

// crypto.hash() is faster than createHash(), which makes an object. Node 20.12 and later have it, and Bun.
export function sha1(text: string): string {
  const { hash } = crypto as Partial<typeof crypto>
  return hash ? hash('sha1', text) : crypto.createHash('sha1').update(text).digest('hex')
}

/** Replaces the text that has the given digest. Returns true, or the text that Redis holds instead; undefined: none. */
export async function replace(
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

/** Stores a text if there is none; returns the one that there is. */
export async function add(commands: Commands, key: string, text: string, seconds: number): Promise<string | undefined> {
  if (commands.eval) {
    const held = await commands.eval(ADD, key, [text, String(seconds)])
    return held ? String(held) : undefined
  }
  const held = await commands.get(key)
  if (!held) await commands.set(key, text, seconds)
  return held ? String(held) : undefined
}

/** Deletes a text unless it is a pointer, and returns it. */
export async function take(commands: Commands, key: string): Promise<unknown> {
  if (commands.eval) return commands.eval(TAKE, key, [])
  const held = await commands.get(key)
  if (held && !isPointer(String(held))) await commands.del(key)
  return held
}

/** By the replies of EXTEND. */
const OUTCOMES: readonly Touched[] = ['gone', 'extended', 'changed', 'moved']

/** Sets a session's time to live, unless its lifetime is no longer that of the cookie `loaded`. */
export async function extend(
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
