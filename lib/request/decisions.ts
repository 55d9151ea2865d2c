// What the store and the browser are told of a session at the end of a request. Pure.
// express-session's names for these are shouldSave, shouldTouch and shouldSetCookie.

import type { Settings } from '../options.ts'
import type { RecordStanding } from '../record.ts'

/**
 * `save` writes the session and extends it, `touch` extends it, `stamp` writes it with a date that its record lacks, and
 * does not extend it. A `none` has its reason, which is the debug line.
 */
export type StoreAct = { readonly act: 'save' | 'touch' | 'stamp' } | { readonly act: 'none'; readonly why: string }

export interface StoreStanding extends Pick<RecordStanding, 'isGone' | 'wasSaved'> {
  /** The browser's cookie has the id of this session. */
  readonly browserHasId: boolean
  /** The store can extend a session without writing its data. */
  readonly storeTouches: boolean
  /** The app has changed the session's data since it was loaded, or has given it a new id. */
  readonly isModified: boolean
  /** The store holds the session as it is now. */
  readonly isSaved: boolean
  /** The app has tried to save it as it is now, and has been told that it failed. */
  readonly hasFailed: boolean
  /** Its record lacks a date that the options need. */
  readonly isUndated: boolean
  /** The request extends its session, as the `touch` option says. */
  readonly extends: boolean
  /** How an extension is stored: see {@link extensionOf}. */
  readonly extension: Extension
}

/** `write` records its date, `touch` needs none, `none` is too soon after the last one. */
export type Extension = 'write' | 'touch' | 'none'

/** How an extension is stored of a session that was extended at `seenAt`, by its record. */
export function extensionOf(
  seenAt: number | undefined,
  { seenEvery, touchAfter }: Pick<Settings, 'seenEvery' | 'touchAfter'>,
  now: number,
): Extension {
  if (seenEvery === undefined) return 'touch'
  // A date in the future is another machine's clock.
  if (seenAt === undefined || seenAt > now || now - seenAt >= seenEvery) return 'write'
  return touchAfter === undefined ? 'touch' : 'none'
}

/** What the store is told of the session: its data (shouldSave), its new expiry (shouldTouch), or nothing. */
export function storeAct(session: StoreStanding, settings: Pick<Settings, 'saveUninitialized'>): StoreAct {
  const isInitialized = settings.saveUninitialized || session.wasSaved || session.browserHasId
  if (!session.isSaved && (isInitialized || session.isModified)) return { act: 'save' }
  if (!session.browserHasId) return no(session.isSaved ? 'the store has it' : NOTHING_IN_IT)
  if (session.isGone) return no(GONE)
  if (session.hasFailed) return no('the app has tried to save it, and knows that it failed')
  if (!session.extends) {
    return session.isUndated ? { act: 'stamp' } : no('the store has it, and an unchanged session is not extended')
  }
  if (session.isUndated || session.extension === 'write') return { act: 'save' }
  if (session.extension === 'none') return no('the store has it, and it was extended less than touchAfter ago')
  if (!session.storeTouches) return no('the store has it, and cannot extend a session')
  return { act: 'touch' }
}

/** `leadsNowhere`: the browser's cookie names no session any more, so that `clearCookie` may take it away. */
export type CookieAct =
  | { readonly act: 'send' }
  | { readonly act: 'none'; readonly why: string; readonly leadsNowhere: boolean }

export interface CookieStanding extends Pick<RecordStanding, 'isGone' | 'isStored' | 'wasWritten'> {
  /** The app has looked at the session, or has put something in its place. */
  readonly isOpened: boolean
  /** `req.session` is a session. */
  readonly isThere: boolean
  /** The session could not be saved, and the answer is not the app's first. */
  readonly isRefused: boolean
  /** The browser's cookie has the id of this session, or one that it had before. */
  readonly browserHasId: boolean
  /** The browser's cookie has an id that was renewed. */
  readonly browserHasOldId: boolean
  /** The cookie has a date of expiry. */
  readonly hasDate: boolean
  /** What is asked only where it matters: to know it, the session may have to be serialised. */
  readonly session: {
    /** See {@link StoreStanding.isModified}. */
    isModified(): boolean
    /** The request extends the session now. */
    isExtended(): boolean
  }
}

/** Whether the response carries the session's cookie (shouldSetCookie). */
export function cookieAct(
  session: CookieStanding,
  settings: Pick<Settings, 'saveUninitialized' | 'rolling' | 'autoCommit'>,
): CookieAct {
  const { browserHasId } = session
  if (session.isRefused && (browserHasId || !session.isOpened)) return noCookie('the session could not be saved')
  if (!session.isOpened && !session.browserHasOldId) {
    const isSent = browserHasId ? settings.rolling && session.session.isExtended() : settings.saveUninitialized
    if (!isSent) return noCookie('nobody looked at the session')
  }
  if (!session.isThere) return noCookie('no session', true)
  if (session.isGone) return noCookie(GONE, true)
  return isCookieDue(session, settings)
    ? { act: 'send' }
    : noCookie(browserHasId ? 'the browser has it' : NOTHING_IN_IT)
}

function isCookieDue(session: CookieStanding, settings: Parameters<typeof cookieAct>[1]): boolean {
  if (session.isRefused || !settings.autoCommit) return session.wasWritten
  if (session.browserHasId) {
    const isRolled = settings.rolling && session.session.isExtended()
    return session.browserHasOldId || isRolled || (session.hasDate && session.session.isModified())
  }
  return settings.saveUninitialized || session.isStored || session.session.isModified()
}

const GONE = 'the session is gone'
const NOTHING_IN_IT = 'nothing was put into the session'

function no(why: string): StoreAct {
  return { act: 'none', why }
}

function noCookie(why: string, leadsNowhere = false): CookieAct {
  return { act: 'none', why, leadsNowhere }
}
