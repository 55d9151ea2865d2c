// Two requests changed one session: what both made of it. Pure.
//
// A three-way merge of what a request had loaded (base), what it made of that (ours), and what the store holds by
// now (theirs): our changes on top of theirs. Nested plain objects are merged key by key; arrays and scalars are
// one value; a deletion is a change; of two changes to one key the later commit, ours, wins. Only the lists of flash
// messages are merged item by item.

import { ATTRIBUTES, type Cookie, type CookieData, expiryOf, reviveCookie } from './cookie.ts'
import { mergeFacts } from './facts.ts'

type Plain = Record<string, unknown>

function isPlain(value: unknown): value is Plain {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function same(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  return keys.every((key) => Object.hasOwn(b, key) && same((a as Plain)[key], (b as Plain)[key]))
}

/** What becomes of a key that our request has changed; undefined stands for no such key. */
type MergeKey = (base: unknown, ours: unknown, theirs: unknown, key: string) => unknown

function mergeKeys(base: Plain, ours: Plain, theirs: Plain, mergeKey: MergeKey): Plain {
  // Without a prototype, `__proto__` is a key like any other.
  const merged: Plain = Object.assign(Object.create(null), theirs)
  const read = (from: Plain, key: string): unknown => (Object.hasOwn(from, key) ? from[key] : undefined)
  for (const key of new Set([...Object.keys(base), ...Object.keys(ours)])) {
    const before = read(base, key)
    const after = read(ours, key)
    if (same(before, after)) continue
    const value = mergeKey(before, after, read(theirs, key), key)
    if (value === undefined) delete merged[key]
    else merged[key] = value
  }
  return merged
}

const mergeValue: MergeKey = (base, ours, theirs) => {
  // An object that they deleted comes back with our changes and no more.
  const held = theirs === undefined ? {} : theirs
  if (!isPlain(ours) || !isPlain(held)) return ours
  return mergeKeys(isPlain(base) ? base : {}, ours, held, mergeValue)
}

/** A key of the session itself: `flash` holds messages, unless the app keeps data of its own there. */
const mergeTop: MergeKey = (base, ours, theirs, key) => {
  if (key !== 'flash' || ![base, ours, theirs].every(isMessages)) return mergeValue(base, ours, theirs, key)
  const [before, after, held] = [base, ours, theirs].map((messages) => messages ?? {}) as [Plain, Plain, Plain]
  const messages = mergeKeys(before, after, held, mergeMessages)
  return ours === undefined && Object.keys(messages).length === 0 ? undefined : messages
}

/** Lists of messages by type. */
function isMessages(value: unknown): boolean {
  return value === undefined || (isPlain(value) && Object.values(value).every(Array.isArray))
}

/** What we read goes, what we added comes, all else that they have stays. */
const mergeMessages: MergeKey = (base, ours, theirs) => {
  const [before, after, held] = [base, ours, theirs].map((list) => list ?? []) as [unknown[], unknown[], unknown[]]
  const list = [...without(held, without(before, after)), ...without(after, before)]
  return ours === undefined && list.length === 0 ? undefined : list
}

/** The items of `list` that are left when each of `others` has taken one equal to it. */
function without(list: unknown[], others: unknown[]): unknown[] {
  const rest = [...list]
  for (const other of others) {
    const at = rest.findIndex((item) => same(item, other))
    if (at !== -1) rest.splice(at, 1)
  }
  return rest
}

/** Merges the data of a session, each side as JSON. */
export function mergeData(base: string, ours: string, theirs: string): string {
  if (theirs === base) return ours
  if (ours === base) return theirs
  const [before, after, held] = [base, ours, theirs].map((json) => JSON.parse(json)) as [Plain, Plain, Plain]
  return JSON.stringify(mergeKeys(before, after, held, mergeTop))
}

/** What an app can change on a cookie; its date follows from its lifetime. */
const CHANGEABLE = ['originalMaxAge', ...ATTRIBUTES] as const satisfies (keyof CookieData)[]

function differs(a: CookieData, b: CookieData, key: keyof CookieData): boolean {
  return (a[key] ?? null) !== (b[key] ?? null)
}

/** Whether an app changed its session's cookie, other than by letting it live on. */
export function isCookieChanged(base: CookieData, ours: CookieData): boolean {
  return CHANGEABLE.some((key) => differs(base, ours, key))
}

/** Merges the cookie of a session: the attributes that we changed, and the date that belongs to the lifetime. */
export function mergeCookie(base: CookieData, ours: CookieData, theirs: CookieData): Cookie {
  const changed = CHANGEABLE.filter((key) => differs(base, ours, key)).map((key) => [key, ours[key]])
  const merged: CookieData = { ...theirs, ...Object.fromEntries(changed), ...mergeFacts(base, ours, theirs) }
  const isLater = (expiryOf(ours) ?? 0) >= (expiryOf(theirs) ?? 0)
  if (differs(ours, theirs, 'originalMaxAge') ? !differs(ours, merged, 'originalMaxAge') : isLater) {
    merged.expires = ours.expires
  }
  return reviveCookie(merged)
}
