// What the store and the browser are told at the end of a request, as a truth table: every combination is held against
// the rules of express-session 1.19 (shouldSave, shouldTouch, shouldSetCookie), and what goes beyond them has its rows.

import { describe, expect, it } from 'vitest'
import { readOptions, type SessionOptions } from '../lib/options.ts'
import { type CookieStanding, cookieAct, extensionOf, type StoreStanding, storeAct } from '../lib/request/decisions.ts'

/** Every combination of true and false under these names. */
function everyCase<Name extends string>(...names: Name[]): Record<Name, boolean>[] {
  return Array.from({ length: 2 ** names.length }, (_, bits) =>
    Object.fromEntries(names.map((name, n) => [name, (bits & (1 << n)) !== 0])),
  ) as Record<Name, boolean>[]
}

describe('what the store is told', () => {
  const stored: StoreStanding = {
    browserHasId: true,
    storeTouches: true,
    isGone: false,
    isModified: false,
    isSaved: true,
    wasSaved: true,
    hasFailed: false,
    isUndated: false,
    extends: true,
    extension: 'touch',
  }
  const settings = { saveUninitialized: false }

  it('is what express-session tells it', () => {
    const cases = everyCase('browserHasId', 'storeTouches', 'isModified', 'isSaved', 'wasSaved', 'saveUninitialized')
    for (const { saveUninitialized, ...session } of cases) {
      const { browserHasId, storeTouches, isModified, isSaved, wasSaved } = session
      const shouldSave = !saveUninitialized && !wasSaved && !browserHasId ? isModified : !isSaved
      // Neither session can be: it is saved as it is, and was never saved.
      if (isSaved && !wasSaved && !browserHasId && isModified) continue
      const shouldTouch = browserHasId && !shouldSave && storeTouches
      const { act } = storeAct({ ...stored, ...session }, { ...settings, saveUninitialized })
      expect([session, saveUninitialized, act]).toEqual([
        session,
        saveUninitialized,
        shouldSave ? 'save' : shouldTouch ? 'touch' : 'none',
      ])
    }
  })

  it.each<[string, Partial<StoreStanding>, Partial<typeof settings>, string]>([
    ['a loaded session that nobody changed', {}, {}, 'touch'],
    ['one that was changed', { isModified: true, isSaved: false }, {}, 'save'],
    ['one that was changed, and that the app has saved', { isModified: true }, {}, 'touch'],
    [
      'a new one with nothing in it',
      { browserHasId: false, isSaved: false, wasSaved: false },
      {},
      'nothing was put into the session',
    ],
    ['a new one with data', { browserHasId: false, isModified: true, isSaved: false, wasSaved: false }, {}, 'save'],
    [
      'a new one with data, and that the app has saved',
      { browserHasId: false, isModified: true },
      {},
      'the store has it',
    ],
    ['one that is gone', { isGone: true }, {}, 'the session is gone'],
    [
      'one that nobody changed, where reading does not extend it',
      { extends: false },
      {},
      'the store has it, and an unchanged session is not extended',
    ],
    ['one that was changed there', { isModified: true, isSaved: false, extends: false }, {}, 'save'],
    ['one whose extension is to be recorded', { extension: 'write' }, {}, 'save'],
    ['the same, in a store without touch', { extension: 'write', storeTouches: false }, {}, 'save'],
    [
      'one that was extended a moment ago',
      { extension: 'none' },
      {},
      'the store has it, and it was extended less than touchAfter ago',
    ],
    [
      'one that the app could not save, where its extension is to be recorded',
      { extension: 'write', hasFailed: true },
      {},
      'the app has tried to save it, and knows that it failed',
    ],
    ['one whose record lacks a date', { isUndated: true }, {}, 'save'],
    ['the same, where reading does not extend it', { isUndated: true, extends: false }, {}, 'stamp'],
    [
      'one that nobody changed, in a store without touch',
      { storeTouches: false },
      {},
      'the store has it, and cannot extend a session',
    ],
  ])('of %s', (_, session, options, expected) => {
    const decision = storeAct({ ...stored, ...session }, { ...settings, ...options })
    expect(decision.act === 'none' ? decision.why : decision.act).toBe(expected)
  })
})

describe('how an extension is stored', () => {
  const settingsOf = (options: SessionOptions) =>
    readOptions({ secret: 's'.repeat(32), resave: false, saveUninitialized: false, ...options })
  const userOf = () => undefined

  it.each<[number | undefined, SessionOptions, string]>([
    [undefined, {}, 'touch'],
    [undefined, { idleTimeout: 2_000 }, 'write'],
    [0, { idleTimeout: 2_000 }, 'touch'],
    [99, { idleTimeout: 2_000 }, 'touch'],
    [100, { idleTimeout: 2_000 }, 'write'],
    [undefined, { touchAfter: 500 }, 'write'],
    [499, { touchAfter: 500 }, 'none'],
    [500, { touchAfter: 500 }, 'write'],
    [499, { idleTimeout: 2_000, touchAfter: 500 }, 'none'],
    [500, { idleTimeout: 2_000, touchAfter: 500 }, 'write'],
    [-1, { touchAfter: 500 }, 'write'],
    [undefined, { userOf }, 'write'],
    [59_999, { userOf }, 'touch'],
    [60_000, { userOf }, 'write'],
    [100, { userOf, idleTimeout: 2_000 }, 'write'],
    [60_000, { userOf, idleTimeout: 10 * 3_600_000 }, 'write'],
    [60_000, { userOf, touchAfter: 90_000 }, 'none'],
  ])('%o ms after the last one, with %o', (since, options, expected) => {
    const seenAt = since === undefined ? undefined : 100_000 - since
    expect(extensionOf(seenAt, settingsOf(options), 100_000)).toBe(expected)
  })
})

/** The answers to what is asked of a session only where it matters. */
const asked = (isModified: boolean, isExtended: boolean): CookieStanding['session'] => ({
  isModified: () => isModified,
  isExtended: () => isExtended,
})

describe('what the browser is told', () => {
  const looked: CookieStanding = {
    isOpened: true,
    isThere: true,
    isGone: false,
    isRefused: false,
    browserHasId: true,
    browserHasOldId: false,
    isStored: true,
    wasWritten: false,
    hasDate: false,
    session: asked(false, true),
  }
  const fresh = { browserHasId: false, isStored: false }
  const settings = { saveUninitialized: false, rolling: false, autoCommit: true }

  it('is what express-session tells it', () => {
    for (const { saveUninitialized, rolling, ...session } of everyCase(
      'browserHasId',
      'hasDate',
      'isModified',
      'saveUninitialized',
      'rolling',
    )) {
      const { browserHasId, hasDate, isModified } = session
      const shouldSetCookie = browserHasId ? rolling || (hasDate && isModified) : saveUninitialized || isModified
      const { act } = cookieAct(
        { ...looked, browserHasId, hasDate, session: asked(isModified, true), isStored: browserHasId },
        { ...settings, saveUninitialized, rolling },
      )
      expect([session, saveUninitialized, rolling, act === 'send']).toEqual([
        session,
        saveUninitialized,
        rolling,
        shouldSetCookie,
      ])
    }
  })

  it.each<[string, Partial<CookieStanding>, Partial<typeof settings>, string]>([
    ['a session that it has', {}, {}, 'the browser has it'],
    ['a session that nobody looked at', { isOpened: false }, {}, 'nobody looked at the session'],
    ['such a session, with rolling', { isOpened: false }, { rolling: true }, 'send'],
    [
      'such a session, with rolling, where the request does not extend it',
      { isOpened: false, session: asked(false, false) },
      { rolling: true },
      'nobody looked at the session',
    ],
    [
      'a session that it has, with rolling, where the request does not extend it',
      { session: asked(false, false) },
      { rolling: true },
      'the browser has it',
    ],
    ['a new session with nothing in it', fresh, {}, 'nothing was put into the session'],
    ['a new session that nobody looked at', { ...fresh, isOpened: false }, {}, 'nobody looked at the session'],
    ['such a session, with saveUninitialized', { ...fresh, isOpened: false }, { saveUninitialized: true }, 'send'],
    ['a new session that the app has saved empty', { ...fresh, isStored: true }, {}, 'send'],
    ['a session whose id was renewed', { browserHasOldId: true }, {}, 'send'],
    ['such a session that nobody looked at', { browserHasOldId: true, isOpened: false }, {}, 'send'],
    ['a session that is gone', { isGone: true }, {}, 'the session is gone; its cookie leads nowhere'],
    ['a session that the app has put away', { isThere: false }, {}, 'no session; its cookie leads nowhere'],
    ['a session that could not be saved', { isRefused: true }, {}, 'the session could not be saved'],
    [
      'a new one that could not be saved',
      { ...fresh, isRefused: true, session: asked(true, true) },
      {},
      'nothing was put into the session',
    ],
    ['a new one that an error handler has saved', { ...fresh, isRefused: true, wasWritten: true }, {}, 'send'],
    [
      'a changed session without autoCommit',
      { ...fresh, session: asked(true, true) },
      { autoCommit: false },
      'nothing was put into the session',
    ],
    ['a saved session without autoCommit', { ...fresh, wasWritten: true }, { autoCommit: false }, 'send'],
  ])('of %s', (_, session, options, expected) => {
    const decision = cookieAct({ ...looked, ...session }, { ...settings, ...options })
    if (decision.act === 'send') expect('send').toBe(expected)
    else expect(decision.why + (decision.leadsNowhere ? '; its cookie leads nowhere' : '')).toBe(expected)
  })
})
