// A record as a file: one line of JSON with the session's id, its date of expiry, and the session with its cookie first.
//
// The file's mtime is the date on which the session expires: a touch need not rewrite the file, a reaper need not read
// it. The date inside is the one of the last write. The later of the two holds, as a copy or an editor sets the mtime to
// its own.
//
// A pointer, which stands in the place of a session whose id was renewed, is a record like any other. Its date is a whole
// second, so that who counts sessions reads those few files that have such a date, and of all others only the date.

import type fs from 'node:fs'
import { Cookie, type CookieData, hasOtherLifetime } from '../../lib/cookie.ts'
import { isPointer } from '../../lib/port/pointer.ts'
import type { Touched } from '../../lib/port/slot.ts'
import { cookieIn, splitRecord, withCookie } from '../../lib/snapshot.ts'
import { codeOf, disk, readText, unlessMissing } from './disk.ts'

/** The content of a file. */
export interface Content {
  readonly id: string
  readonly json: string
  readonly expires: number
}

/** What is in a record's place: a record, or what cannot be read as one. */
export type Found =
  | { readonly content: Content; readonly stats: fs.Stats; readonly isRacy: boolean; readonly damage?: never }
  | { readonly damage: SyntaxError; readonly content?: never }
export type FoundRecord = Extract<Found, { content: Content }>

/** The last date, in seconds, that every file system can hold; the date inside the record has no such limit. */
const LAST_TIME = 2 ** 32 - 1
/** By how many milliseconds a file system may round a time down. */
const COARSE = 2_000
/** Bytes of a record in which `extend` looks for the cookie before it gives up. */
const HEAD = 4_096
/** Where our part of a file ends and the record begins. Quotes within an id are escaped, so this is nowhere before. */
const SESSION = ',"session":'
/** Milliseconds after a change in which a file system may give another change the same date. */
const RACY = 20
// A session's life that is extended by less than this, or by less than this part of it, is left to the next request.
const SLACK = 60_000
const SLACK_PART = 0.05

/** The text of a file without its first brace, which the lock writes. */
export function encode(id: string, expires: number, json: string): string {
  return `"id":${JSON.stringify(id)},"expires":${expires}${SESSION}${json}}\n`
}

/** The date of expiry of a pointer, by which it is told from a session. */
export function pointerExpiry(expires: number): number {
  return Math.ceil(expires / 1000) * 1000
}

/** Reads what is in the place of a record; one of another id than `sid` is damage. Undefined: nothing is there. */
export async function load(file: string, sid?: string): Promise<Found | undefined> {
  const fd = await unlessMissing(() => disk.open(file, 'r'))
  if (fd === undefined) return undefined
  let text: string
  let stats: fs.Stats
  let isRacy: boolean
  try {
    stats = await disk.fstat(fd)
    // A change right after this one may leave the same date.
    isRacy = Date.now() - stats.ctimeMs < RACY
    text = await readText(fd, stats.size)
  } finally {
    await disk.close(fd)
  }
  try {
    return { content: decode(text, Math.round(stats.mtimeMs), sid), stats, isRacy }
  } catch (cause) {
    return { damage: new SyntaxError(`${file} is damaged: ${(cause as Error).message}`, { cause }) }
  }
}

/** Whether a file is still the one that was read, its content never changed nor its date. */
export async function isUnchanged(file: string, seen: fs.Stats): Promise<boolean> {
  const stats = await unlessMissing(() => disk.stat(file))
  return (
    stats !== undefined &&
    stats.ino === seen.ino &&
    stats.dev === seen.dev &&
    stats.size === seen.size &&
    stats.ctimeMs === seen.ctimeMs &&
    stats.mtimeMs === seen.mtimeMs
  )
}

/** @throws SyntaxError for a text that is no session. */
function decode(text: string, mtime: number, sid: string | undefined): Content {
  const { id, expires, json } = slice(text) ?? dissect(text)
  // A file that still has the mtime of somebody else's change may not be what was written here.
  if (mtime < Math.min(expires, LAST_TIME * 1000) - COARSE) JSON.parse(json)
  if (sid !== undefined && id !== sid) throw new SyntaxError('it is the session of another id')
  return mtime > expires ? { id, expires: mtime, json: withDate(json, mtime) } : { id, expires, json }
}

/** The parts of a file as we write it, on one line with nothing after it, its record unparsed. */
function slice(text: string): Content | undefined {
  const at = text.indexOf(SESSION)
  // A file system that lost what it was given returns zeros.
  if (at === -1 || !text.endsWith('}\n') || text.includes('\0')) return undefined
  try {
    const { id, expires } = JSON.parse(`${text.slice(0, at)}}`)
    if (typeof id !== 'string' || typeof expires !== 'number') return undefined
    return { id, expires, json: text.slice(at + SESSION.length, -2) }
  } catch {
    return undefined
  }
}

/** The parts of a file that somebody has written otherwise. */
function dissect(text: string): Content {
  const { id, expires, session } = JSON.parse(text) ?? {}
  if (typeof id !== 'string' || typeof expires !== 'number' || session === undefined) {
    throw new SyntaxError('it is JSON, but no session')
  }
  return { id, expires, json: JSON.stringify(session) }
}

export function live(found: Found | undefined): Content | undefined {
  return found?.content && found.content.expires > Date.now() ? found.content : undefined
}

export async function isAlive(file: string): Promise<boolean> {
  const stats = await unlessMissing(() => disk.stat(file))
  if (!stats) return false
  if (stats.mtimeMs > Date.now() && stats.mtimeMs % 1000 !== 0) return true
  const found = live(await load(file))
  return found !== undefined && !isPointer(found.json)
}

/** Whether a session already lives as long as `expires`, or so little less that it is left to a later request. */
export function lastsAlmost(seen: Content | undefined, cookie: Cookie | undefined, expires: number): boolean {
  if (!seen || expires < seen.expires) return false
  if (expires - seen.expires > Math.min(SLACK, (expires - Date.now()) * SLACK_PART)) return false
  const stored = cookieIn(seen.json)
  return !cookie || (stored !== undefined && undated(cookie) === undated(stored))
}

/**
 * Extends a session by nothing but its file's mtime. `differs`: its record has to be written, as the cookie is another
 * or the date is one that the mtime cannot say.
 */
export async function extend(
  file: string,
  sid: string,
  { cookie, expires, loaded }: { cookie: Cookie | undefined; expires: number; loaded: CookieData | undefined },
): Promise<Touched | 'differs'> {
  const fd = await unlessMissing(() => disk.open(file, 'r+'))
  if (fd === undefined) return 'gone'
  try {
    const { size, mtimeMs } = await disk.fstat(fd)
    const head = await readText(fd, Math.min(size, HEAD))
    const at = head.indexOf(SESSION)
    const stored = at === -1 ? undefined : splitRecord(head.slice(at + SESSION.length))?.cookie
    if (!stored) return 'differs'
    const own = JSON.parse(`${head.slice(0, at)}}`)
    if (own.id !== sid) return 'differs'
    if (Math.max(own.expires, mtimeMs) <= Date.now()) return 'gone'
    if (hasOtherLifetime(stored, loaded)) return 'changed'
    if (expires < own.expires || (cookie && undated(cookie) !== undated(loaded ?? stored))) return 'differs'
    await disk.futimes(fd, timeOf(expires))
    return 'extended'
  } catch (error) {
    // Node's permission model has no futimes.
    if (error instanceof SyntaxError || codeOf(error) === 'ERR_ACCESS_DENIED') return 'differs'
    throw error
  } finally {
    await disk.close(fd)
  }
}

/** A cookie without its date, to be compared. */
function undated(cookie: CookieData | Cookie): string {
  const data = cookie instanceof Cookie ? cookie.data : cookie
  return JSON.stringify({ ...data, expires: Boolean(data.expires) })
}

/** A record whose cookie, if it has a date, has this one. */
function withDate(json: string, ms: number): string {
  const cookie = cookieIn(json)
  if (!cookie?.expires) return json
  return withCookie(json, { ...cookie, expires: new Date(ms) })
}

export function timeOf(expires: number): number {
  return Math.min(Math.max(expires / 1000, 1), LAST_TIME)
}

export function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
