// Two requests changed one session: what both made of it. Pure.
//
// A three-way merge of what a request had loaded (base), what it made of that (ours), and what the store holds by
// now (theirs): our changes on top of theirs. Nested plain objects are merged key by key; arrays and scalars are
// one value; a deletion is a change; of two changes to one key the later commit, ours, wins.

import { type Cookie, type CookieData, reviveCookie } from './cookie.ts'

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

/** How the value of a key is merged, where our request changed it. */
type MergeValue = (base: unknown, ours: unknown, theirs: unknown) => unknown

function mergeKeys(base: Plain, ours: Plain, theirs: Plain, mergeValue: MergeValue): Plain {
  // Without a prototype, `__proto__` is a key like any other.
  const merged: Plain = Object.assign(Object.create(null), theirs)
  for (const key of new Set([...Object.keys(base), ...Object.keys(ours)])) {
    const before = Object.hasOwn(base, key) ? base[key] : undefined
    const after = Object.hasOwn(ours, key) ? ours[key] : undefined
    if (same(before, after)) continue
    const value = mergeValue(before, after, Object.hasOwn(theirs, key) ? theirs[key] : undefined)
    if (value === undefined) delete merged[key]
    else merged[key] = value
  }
  return merged
}

const mergeValue: MergeValue = (base, ours, theirs) => {
  if (!isPlain(ours)) return ours
  // An object that they deleted, or that is new on both sides, has our changes and no more.
  const known = theirs === undefined ? (isPlain(base) ? {} : undefined) : theirs
  if (!isPlain(known)) return ours
  return mergeKeys(isPlain(base) ? base : {}, ours, known, mergeValue)
}

/** A list of messages is the one array that is merged: what we read goes, what we added comes, theirs stays. */
const mergeMessages: MergeValue = (base, ours, theirs) => {
  const lists = [base ?? [], ours ?? [], theirs ?? []]
  if (!lists.every(Array.isArray)) return mergeValue(base, ours, theirs)
  const [before, after, held] = lists as [unknown[], unknown[], unknown[]]
  const merged = [...without(held, without(before, after)), ...without(after, before)]
  return merged.length > 0 || ours !== undefined ? merged : undefined
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
  if (theirs === base || ours === theirs) return ours
  if (ours === base) return theirs
  const [before, after, held] = [base, ours, theirs].map((json) => JSON.parse(json) as Plain) as [Plain, Plain, Plain]
  const merged = mergeKeys(before, after, held, mergeValue)
  const flashes = [before.flash ?? {}, after.flash ?? {}, held.flash ?? {}]
  if (flashes.every(isPlain) && !same(before.flash, after.flash)) {
    const messages = mergeKeys(...(flashes as [Plain, Plain, Plain]), mergeMessages)
    if (Object.keys(messages).length > 0 || after.flash !== undefined) merged.flash = messages
    else delete merged.flash
  }
  return JSON.stringify(merged)
}

/** The attributes that an app can change on a cookie; its date follows from its lifetime. */
const ATTRIBUTES = [
  'originalMaxAge',
  'secure',
  'httpOnly',
  'domain',
  'path',
  'sameSite',
  'priority',
  'partitioned',
] as const satisfies (keyof CookieData)[]

/** Whether an app changed its session's cookie, other than by letting it live on. */
export function isCookieChanged(base: CookieData, ours: CookieData): boolean {
  return ATTRIBUTES.some((key) => (base[key] ?? null) !== (ours[key] ?? null))
}

/** Merges the cookie of a session: the attributes that we changed, and the date that belongs to the lifetime. */
export function mergeCookie(base: CookieData, ours: CookieData, theirs: CookieData): Cookie {
  const merged: Record<string, unknown> = { ...theirs }
  for (const key of ATTRIBUTES) {
    if ((base[key] ?? null) !== (ours[key] ?? null)) merged[key] = ours[key]
  }
  if (merged.originalMaxAge === ours.originalMaxAge) merged.expires = ours.expires
  return reviveCookie(merged as unknown as CookieData)
}
