// What the store asks of a client: a few commands, and the scripts that make one step of several.

import crypto from 'node:crypto'
import type { Awaitable } from '../../lib/awaitable.ts'
import { type CookieData, hasOtherLifetime } from '../../lib/cookie.ts'
import { isPointer, POINTER_HEAD } from '../../lib/port/pointer.ts'
import type { Touched } from '../../lib/port/slot.ts'
import { splitRecord } from '../../lib/snapshot.ts'

export type ScanNode = (
  cursor: string,
  pattern: string,
  count: number,
) => Awaitable<{ cursor: unknown; keys: unknown[] }>

/** Replies may be of another type where the app has set the client up so. */
export interface Commands {
  get(key: string): Awaitable<unknown>
  set(key: string, value: string, seconds: number): Awaitable<unknown>
  del(key: string): Awaitable<unknown>
  /** True when there was such a key. */
  expire(key: string, seconds: number): Awaitable<unknown>
  eval?: ((script: string, key: string, args: string[]) => Awaitable<unknown>) | undefined
  /** One SCAN for each master. */
  nodes?: (() => Awaitable<ScanNode[]>) | undefined
  /** What the client puts in front of keys by itself; in SCAN it does not. */
  readonly keyPrefix?: string | undefined
}

// Sent whole each time: Redis looks a known script up by itself, and an EVALSHA fails after each restart, failover and
// SCRIPT FLUSH, on each node of a cluster. The value that is replaced goes as its digest.
const REPLACE = `local held = redis.call('GET', KEYS[1])
if not held then return false end
local digest = redis.sha1hex(held)
if digest ~= ARGV[1] then return { held, digest } end
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) else redis.call('DEL', KEYS[1]) end
return 1`

const ADD = `if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return false end
return redis.call('GET', KEYS[1])`

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

// One native object less than createHash; Node 20.12 and later have it, and Bun.
export function sha1(text: string): string {
  const { hash } = crypto as Partial<typeof crypto>
  return hash ? hash('sha1', text) : crypto.createHash('sha1').update(text).digest('hex')
}

/** `true`: it is replaced; otherwise what is held instead, or undefined for nothing. */
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

/** Stores a text where there is none, and answers with the one that is there otherwise. */
export async function add(commands: Commands, key: string, text: string, seconds: number): Promise<string | undefined> {
  if (commands.eval) {
    const held = await commands.eval(ADD, key, [text, String(seconds)])
    return held ? String(held) : undefined
  }
  const held = await commands.get(key)
  if (!held) await commands.set(key, text, seconds)
  return held ? String(held) : undefined
}

export async function take(commands: Commands, key: string): Promise<unknown> {
  if (commands.eval) return commands.eval(TAKE, key, [])
  const held = await commands.get(key)
  if (held && !isPointer(String(held))) await commands.del(key)
  return held
}

/** By the reply of EXTEND. */
const OUTCOMES: readonly Touched[] = ['gone', 'extended', 'changed', 'moved']

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
