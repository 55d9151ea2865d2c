// The format of a session's file: one line of JSON with the session's id, its date of expiry, and the session itself,
// whose cookie comes first.
//
// The mtime of the file is the date of expiry too. Therefore a touch need not rewrite the file, and the reaper need not
// read it. The date inside is the date at the last write. The later of the two counts, because a copy or an editor sets
// the mtime to the current time.
//
// A pointer (what replaces a session whose id was renewed) is a record as well. Its date of expiry is a whole second, a
// session's hardly ever is. `length()` therefore reads only the files whose date is a whole second, and of all others
// looks only at the date.

import type fs from 'node:fs'
import { Cookie, type CookieData, hasOtherLifetime } from '../../lib/cookie.ts'
import { isPointer } from '../../lib/port/pointer.ts'
import type { Touched } from '../../lib/port/slot.ts'
import { cookieIn, splitRecord, withCookie } from '../../lib/snapshot.ts'
import { codeOf, disk, readText, unlessMissing } from './disk.ts'

/** A record, as its file holds it. */
export interface FileRecord {
  readonly id: string
  /** The session with its cookie. */
  readonly json: string
  /** In ms since the epoch. */
  readonly expires: number
}

/** A record that was read. */
export interface LoadedRecord {
  readonly record: FileRecord
  /** The file's stats at that moment; undefined where a later change might leave the same ones. */
  readonly stats: fs.Stats | undefined
  readonly damage?: never
}

/** A file that was read: a record, or something that cannot be read as one. */
export type Loaded = LoadedRecord | { readonly damage: SyntaxError; readonly record?: never }

/** The latest mtime, in seconds, that every file system can hold. The date inside the file has no such limit. */
const MAX_TIME = 2 ** 32 - 1
/** File systems round an mtime down, by this many milliseconds at most. */
const MAX_ROUNDING_MS = 2_000
/** `extend` reads this many bytes of a file, and expects the cookie within them. */
const HEAD_BYTES = 4_096
/** What stands between the head of a file and the session. It is nowhere earlier: quotes within an id are escaped. */
const SESSION = ',"session":'
/** Two changes within this many milliseconds may leave the same times. */
const SAME_TIME_MS = 20

/** The text of a file without its opening brace, which the lock writes. */
export function encode(id: string, expires: number, json: string): string {
  return `"id":${JSON.stringify(id)},"expires":${expires}${SESSION}${json}}\n`
}

/** Rounds a pointer's date of expiry up to a whole second, by which it is told from a session's. */
export function pointerExpiry(expires: number): number {
  return Math.ceil(expires / 1000) * 1000
}

/**
 * Reads a record. Undefined: there is no such file. With `sid`, the record of another id counts as damage.
 */
export async function load(file: string, sid?: string): Promise<Loaded | undefined> {
  const fd = await unlessMissing(() => disk.open(file, 'r'))
  if (fd === undefined) return undefined
  let text: string
  let stats: fs.Stats
  let isFresh: boolean
  try {
    stats = await disk.fstat(fd)
    isFresh = Date.now() - stats.ctimeMs < SAME_TIME_MS
    text = await readText(fd, stats.size)
  } finally {
    await disk.close(fd)
  }
  try {
    return { record: decode(text, Math.round(stats.mtimeMs), sid), stats: isFresh ? undefined : stats }
  } catch (cause) {
    return { damage: new SyntaxError(`${file} is damaged: ${(cause as Error).message}`, { cause }) }
  }
}

/** Whether neither the content of a file nor its date has changed since it was loaded. */
export async function isUnchanged(file: string, { stats: before }: LoadedRecord): Promise<boolean> {
  if (!before) return false
  const stats = await unlessMissing(() => disk.stat(file))
  return (
    stats !== undefined &&
    stats.ino === before.ino &&
    stats.dev === before.dev &&
    stats.size === before.size &&
    stats.ctimeMs === before.ctimeMs &&
    stats.mtimeMs === before.mtimeMs
  )
}

/** @throws SyntaxError for a text that is no session. */
function decode(text: string, mtime: number, sid: string | undefined): FileRecord {
  const { id, expires, json } = decodeOwn(text) ?? decodeForeign(text)
  // An mtime that this store did not set means that somebody else has changed the file: check that the session is JSON.
  if (mtime < Math.min(expires, MAX_TIME * 1000) - MAX_ROUNDING_MS) JSON.parse(json)
  if (sid !== undefined && id !== sid) throw new SyntaxError('it is the session of another id')
  return mtime > expires ? { id, expires: mtime, json: withDate(json, mtime) } : { id, expires, json }
}

/** Decodes a file as this store writes it, without parsing the session; undefined for any other text. */
function decodeOwn(text: string): FileRecord | undefined {
  const at = text.indexOf(SESSION)
  // A file system that has lost data returns zeros in its place.
  if (at === -1 || !text.endsWith('}\n') || text.includes('\0')) return undefined
  try {
    const { id, expires } = JSON.parse(`${text.slice(0, at)}}`)
    if (typeof id !== 'string' || typeof expires !== 'number') return undefined
    return { id, expires, json: text.slice(at + SESSION.length, -2) }
  } catch {
    return undefined
  }
}

/** Decodes a file that somebody else has written, such as an editor or a script. @throws SyntaxError */
function decodeForeign(text: string): FileRecord {
  const { id, expires, session } = JSON.parse(text) ?? {}
  if (typeof id !== 'string' || typeof expires !== 'number' || session === undefined) {
    throw new SyntaxError('it is JSON, but no session')
  }
  return { id, expires, json: JSON.stringify(session) }
}

/** The record that was loaded, unless it has expired or is damaged. */
export function liveRecord(loaded: Loaded | undefined): FileRecord | undefined {
  return loaded?.record && loaded.record.expires > Date.now() ? loaded.record : undefined
}

/** Whether a file holds a session that has not expired, found out without reading the file wherever that is possible. */
export async function isLiveSession(file: string): Promise<boolean> {
  const stats = await unlessMissing(() => disk.stat(file))
  if (!stats) return false
  if (stats.mtimeMs > Date.now() && stats.mtimeMs % 1000 !== 0) return true
  const record = liveRecord(await load(file))
  return record !== undefined && !isPointer(record.json)
}

/**
 * Extends a session by setting nothing but its file's mtime. `'rewrite'`: that does not suffice, because the session has
 * another cookie, or a date that an mtime cannot express.
 */
export async function extend(
  file: string,
  sid: string,
  { cookie, expires, loaded }: { cookie: Cookie | undefined; expires: number; loaded: CookieData | undefined },
): Promise<Touched | 'rewrite'> {
  const fd = await unlessMissing(() => disk.open(file, 'r+'))
  if (fd === undefined) return 'gone'
  try {
    const { size, mtimeMs } = await disk.fstat(fd)
    const head = await readText(fd, Math.min(size, HEAD_BYTES))
    const at = head.indexOf(SESSION)
    const stored = at === -1 ? undefined : splitRecord(head.slice(at + SESSION.length))?.cookie
    if (!stored) return 'rewrite'
    const written = JSON.parse(`${head.slice(0, at)}}`)
    if (written.id !== sid) return 'rewrite'
    if (Math.max(written.expires, mtimeMs) <= Date.now()) return 'gone'
    if (hasOtherLifetime(stored, loaded)) return 'changed'
    // The later date counts, so an earlier one has to be written into the file.
    if (expires < written.expires || (cookie && !differOnlyInDate(cookie, loaded ?? stored))) return 'rewrite'
    await disk.futimes(fd, timeOf(expires))
    return 'extended'
  } catch (error) {
    // Node's permission model refuses futimes.
    if (error instanceof SyntaxError || codeOf(error) === 'ERR_ACCESS_DENIED') return 'rewrite'
    throw error
  } finally {
    await disk.close(fd)
  }
}

/** Whether two cookies are the same but for their date of expiry. */
export function differOnlyInDate(one: CookieData | Cookie, other: CookieData | Cookie): boolean {
  return undated(one) === undated(other)
}

function undated(cookie: CookieData | Cookie): string {
  const data = cookie instanceof Cookie ? cookie.data : cookie
  return JSON.stringify({ ...data, expires: Boolean(data.expires) })
}

/** Sets the date of a record's cookie; a cookie without a date stays without one. */
function withDate(json: string, ms: number): string {
  const cookie = cookieIn(json)
  if (!cookie?.expires) return json
  return withCookie(json, { ...cookie, expires: new Date(ms) })
}

/** A date of expiry as an mtime in seconds, as close as every file system can hold it. */
export function timeOf(expires: number): number {
  return Math.min(Math.max(expires / 1000, 1), MAX_TIME)
}

export function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
