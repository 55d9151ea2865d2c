// How an added option is checked: each is one row of a table, from its name to one of these rules.

import { createHmac } from 'node:crypto'
import { isPromise } from './awaitable.ts'
import { optionError } from './errors.ts'
import type { Secret } from './signature.ts'

/** Gives an option's value, or its default. `option` is how errors call it. @throws TypeError for a wrong value. */
export type OptionRule<T> = (given: unknown, option: string) => T

/** `true` or `false`. */
export function flag(byDefault: boolean): OptionRule<boolean> {
  return (given = byDefault, option) => {
    if (typeof given === 'boolean') return given
    throw optionError(`${option} option must be true or false`)
  }
}

/** One of some words; the first is the default. */
export function oneOf<const Words extends readonly [string, ...string[]]>(...words: Words): OptionRule<Words[number]> {
  return (given = words[0], option) => {
    if (words.includes(given as string)) return given as Words[number]
    const quoted = words.map((word) => `"${word}"`)
    throw optionError(`${option} option must be ${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`)
  }
}

/** A finite number of milliseconds, above or from a least one. Default: undefined. */
export function milliseconds(least: { above: number } | { from: number }): OptionRule<number | undefined> {
  return (given, option) => {
    const isRight = 'above' in least ? Number(given) > least.above : Number(given) >= least.from
    if (given === undefined || (Number.isFinite(given) && isRight)) return given as number | undefined
    const words = 'above' in least ? `above ${least.above}` : `from ${least.from}`
    throw optionError(`${option} option must be a number of milliseconds ${words}`)
  }
}

/** An app's function that decides about a request. */
export type Predicate = (req: never) => boolean

/** The function checked at each call, as a promise would count as true. Its errors are those of the request. */
function predicate(ask: (req: never) => unknown, option: string): Predicate {
  return (req) => {
    const answer = ask(req)
    if (!isPromise(answer)) return Boolean(answer)
    answer.then(undefined, () => {})
    throw optionError(`${option} option must return true or false, at once; it returned a promise`)
  }
}

/** `true`, `false`, or a function of the request that gives one of them. */
export function flagOf(byDefault: boolean): OptionRule<boolean | Predicate> {
  return (given = byDefault, option) => {
    if (typeof given === 'boolean') return given
    if (typeof given === 'function') return predicate(given as Predicate, option)
    throw optionError(`${option} option must be true, false, or a function of the request`)
  }
}

/** `{ siteData }` of the clearCookie option: what `Clear-Site-Data` takes away besides the cookie. */
export interface ClearCookie {
  siteData: ('storage' | 'cookies')[]
}

/** What a session may ask a browser to clear. `cache` and `*` would clear what is not the session's business. */
const SITE_DATA: readonly unknown[] = ['storage', 'cookies']

/** `true`, `false`, or what to clear besides. Default `false`. */
export const clearCookie: OptionRule<boolean | ClearCookie> = (given = false, option) => {
  if (typeof given === 'boolean') return given
  const { siteData, ...others } = (typeof given === 'object' && given ? given : {}) as Partial<ClearCookie>
  const isRight = Array.isArray(siteData) && siteData.length > 0 && siteData.every((kind) => SITE_DATA.includes(kind))
  if (isRight && Object.keys(others).length === 0) return { siteData: siteData as ClearCookie['siteData'] }
  throw optionError(`${option} option must be true, false, or { siteData: ['storage'] }, with "storage" or "cookies"`)
}

/** `'private'` (the default), `'no-store'` or `false`. */
export const cache: OptionRule<'private' | 'no-store' | false> = (given = 'private', option) => {
  if (given === 'private' || given === 'no-store' || given === false) return given
  throw optionError(`${option} option must be "private", "no-store" or false`)
}

/** What the `crossSite` option says. */
export interface CrossSite {
  readonly mode: 'allow' | 'anonymous' | 'refuse'
  /** Origins that count as the site's own. */
  readonly trusted: ReadonlySet<string>
  readonly except: Predicate | undefined
}

const MODES: readonly unknown[] = ['allow', 'anonymous', 'refuse']

/** A mode, or `{ mode, trusted, except }`. Default `'allow'`. */
export const crossSite: OptionRule<CrossSite> = (given = 'allow', option) => {
  const {
    mode,
    trusted = [],
    except,
    ...others
  } = (typeof given === 'object' && given ? given : { mode: given }) as {
    mode?: CrossSite['mode']
    trusted?: unknown
    except?: CrossSite['except']
  }
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw optionError(`${option} option has no ${unknown}; it has mode, trusted and except`)
  if (!mode || !MODES.includes(mode)) throw optionError(`${option} option must be "allow", "anonymous" or "refuse"`)
  if (except !== undefined && typeof except !== 'function')
    throw optionError(`${option}.except option must be a function`)
  if (!Array.isArray(trusted)) throw optionError(`${option}.trusted option must be a list of origins`)
  for (const origin of trusted) {
    if (typeof origin === 'string' && URL.canParse(origin) && new URL(origin).origin === origin.toLowerCase()) continue
    throw optionError(
      `${option}.trusted option must list origins such as "https://example.com", without a path; not ${String(origin)}`,
    )
  }
  return {
    mode,
    trusted: new Set(trusted.map((origin: string) => origin.toLowerCase())),
    except: except && predicate(except, `${option}.except`),
  }
}

/** A whole number above 0. Default: undefined. */
export const wholeNumber: OptionRule<number | undefined> = (given, option) => {
  if (given === undefined || (Number.isInteger(given) && Number(given) > 0)) return given as number | undefined
  throw optionError(`${option} option must be a whole number above 0`)
}

/** How many sessions a user may have, and what becomes of one more: the option `maxSessions`. Default: undefined. */
export const maxSessions: OptionRule<{ n: number; then: 'end-oldest' | 'refuse' } | undefined> = (given, option) => {
  if (given === undefined) return undefined
  const {
    n,
    then = 'end-oldest',
    ...others
  } = (typeof given === 'object' && given ? given : { n: given }) as {
    n?: unknown
    then?: unknown
  }
  const isRight = Number.isInteger(n) && Number(n) > 0 && (then === 'end-oldest' || then === 'refuse')
  if (isRight && Object.keys(others).length === 0) return { n: n as number, then }
  throw optionError(
    `${option} option must be a whole number above 0, or { n: 3, then: 'refuse' }, with "end-oldest" or "refuse"`,
  )
}

/** A function. Default: undefined. `takes` and `gives`: words for errors. */
export function functionOf(takes: string, gives: string): OptionRule<((given: never) => unknown) | undefined> {
  return (given, option) => {
    if (given === undefined || typeof given === 'function') return given as undefined
    throw optionError(`${option} option must be a function of the ${takes} that returns ${gives}`)
  }
}

/** `true`, `false`, or undefined: as other options say. */
export const optionalFlag: OptionRule<boolean | undefined> = (given, option) =>
  given === undefined ? undefined : flag(false)(given, option)

/** One secret or a list of them, the newest first. Default: undefined. */
export const secrets: OptionRule<readonly Secret[] | undefined> = (given, option) => {
  if (given === undefined) return undefined
  const list: unknown[] = Array.isArray(given) ? given : [given]
  if (list.length > 0 && list.every(isSecret)) return list as Secret[]
  throw optionError(`${option} option must be a secret, such as a string of 32 random bytes, or a list of them`)
}

const HMAC_OF_NOTHING = hmacUnder('')

/** Whether `crypto.createHmac` takes it as a key that is not empty. To HMAC, a key of zeros is an empty one. */
function isSecret(secret: unknown): boolean {
  try {
    return hmacUnder(secret) !== HMAC_OF_NOTHING
  } catch {
    return false
  }
}

/** @throws TypeError for what is no key. */
function hmacUnder(secret: unknown): string {
  return createHmac('sha256', secret as string).digest('hex')
}

/** A rule with a default. */
export function withDefault<T>(rule: OptionRule<T | undefined>, byDefault: T): OptionRule<T> {
  return (given, option) => rule(given, option) ?? byDefault
}

type Rules = Readonly<Record<string, OptionRule<unknown>>>
export type Values<R extends Rules> = { readonly [Name in keyof R]: ReturnType<R[Name]> }

/** Reads the options of a table. @throws TypeError for the first that is wrong. */
export function readByRules<R extends Rules>(rules: R, given: object): Values<R> {
  const values = Object.entries(rules).map(([name, rule]) => [
    name,
    rule((given as Record<string, unknown>)[name], name),
  ])
  return Object.fromEntries(values) as Values<R>
}
