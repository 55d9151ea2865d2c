// Merges the changes of two requests to one session. Pure.
//
// A three-way merge: base is what a request has loaded, ours what it has made of that, theirs what the store holds now.
// The result is theirs with our changes. Plain objects are merged key by key, at every depth; arrays and scalars are
// single values; a deletion is a change; if both changed a key, the later commit, ours, wins. Only the lists of flash
// messages are merged item by item.

import { ATTRIBUTES, type Cookie, type CookieData, expiryOf, reviveCookie } from './cookie.ts'
import { mergeFacts } from './facts.ts'

type Plain = Record<string, unknown>

function isPlain(value: unknown): value is Plain {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether two values of JSON are equal. */
function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  return keys.every((key) => Object.hasOwn(b, key) && isEqual((a as Plain)[key], (b as Plain)[key]))
}

/** The merged value of a key that our request has changed; undefined stands for a missing key. */
type MergeKey = (base: unknown, ours: unknown, theirs: unknown, key: string) => unknown

/** Theirs, with `mergeKey` applied to each key that ours has changed. */
function mergeKeys(base: Plain, ours: Plain, theirs: Plain, mergeKey: MergeKey): Plain {
  // On an object with a prototype, a key `__proto__` would set that.
  const merged: Plain = Object.assign(Object.create(null), theirs)
  const read = (from: Plain, key: string): unknown => (Object.hasOwn(from, key) ? from[key] : undefined)
  for (const key of new Set([...Object.keys(base), ...Object.keys(ours)])) {
    const before = read(base, key)
    const after = read(ours, key)
    if (isEqual(before, after)) continue
    const value = mergeKey(before, after, read(theirs, key), key)
    if (value === undefined) delete merged[key]
    else merged[key] = value
  }
  return merged
}

const mergeValue: MergeKey = (base, ours, theirs) => {
  // An object that they have deleted comes back with our changes only.
  const current = theirs === undefined ? {} : theirs
  if (!isPlain(ours) || !isPlain(current)) return ours
  return mergeKeys(isPlain(base) ? base : {}, ours, current, mergeValue)
}

/** Merges a key of the session itself. `flash` has messages by type, unless the app stores other data there. */
const mergeTop: MergeKey = (base, ours, theirs, key) => {
  if (key !== 'flash' || ![base, ours, theirs].every(isMessages)) return mergeValue(base, ours, theirs, key)
  const [before, after, current] = [base, ours, theirs].map((messages) => messages ?? {}) as [Plain, Plain, Plain]
  const messages = mergeKeys(before, after, current, mergeMessages)
  return ours === undefined && Object.keys(messages).length === 0 ? undefined : messages
}

/** Whether a value has the shape of flash messages, lists by type, or is missing. */
function isMessages(value: unknown): boolean {
  return value === undefined || (isPlain(value) && Object.values(value).every(Array.isArray))
}

/** Removes the messages that we have read from theirs, and appends those that we have added. */
const mergeMessages: MergeKey = (base, ours, theirs) => {
  const [before, after, current] = [base, ours, theirs].map((list) => list ?? []) as [unknown[], unknown[], unknown[]]
  const list = [...without(current, without(before, after)), ...without(after, before)]
  return ours === undefined && list.length === 0 ? undefined : list
}

/** `list` without one equal item for each of `others`. */
function without(list: unknown[], others: unknown[]): unknown[] {
  const rest = [...list]
  for (const other of others) {
    const at = rest.findIndex((item) => isEqual(item, other))
    if (at !== -1) rest.splice(at, 1)
  }
  return rest
}

/** Merges the data of a session; all three, and the result, as JSON. */
export function mergeData(base: string, ours: string, theirs: string): string {
  if (theirs === base) return ours
  if (ours === base) return theirs
  const [before, after, current] = [base, ours, theirs].map((json) => JSON.parse(json)) as [Plain, Plain, Plain]
  return JSON.stringify(mergeKeys(before, after, current, mergeTop))
}

/** The attributes of a cookie that an app can change. `expires` follows from `originalMaxAge`. */
const CHANGEABLE = ['originalMaxAge', ...ATTRIBUTES] as const satisfies (keyof CookieData)[]

function differs(a: CookieData, b: CookieData, key: keyof CookieData): boolean {
  return (a[key] ?? null) !== (b[key] ?? null)
}

/** Whether an app has changed its session's cookie. A later date alone is no change. */
export function isCookieChanged(base: CookieData, ours: CookieData): boolean {
  return CHANGEABLE.some((key) => differs(base, ours, key))
}

/**
 * Merges the cookie of a session: theirs with the attributes that we changed, and the date that belongs to its
 * lifetime.
 */
export function mergeCookie(base: CookieData, ours: CookieData, theirs: CookieData): Cookie {
  const changed = CHANGEABLE.filter((key) => differs(base, ours, key)).map((key) => [key, ours[key]])
  const merged: CookieData = { ...theirs, ...Object.fromEntries(changed), ...mergeFacts(base, ours, theirs) }
  const isLater = (expiryOf(ours) ?? 0) >= (expiryOf(theirs) ?? 0)
  if (differs(ours, theirs, 'originalMaxAge') ? !differs(ours, merged, 'originalMaxAge') : isLater) {
    merged.expires = ours.expires
  }
  return reviveCookie(merged)
}
