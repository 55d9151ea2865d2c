// The options of the bundled stores, as they were given.

import { isPromise } from '../lib/awaitable.ts'
import { warn } from '../lib/diagnostics.ts'
import { optionError } from '../lib/errors.ts'
import { lintNames } from '../lib/lint.ts'

/** What the options of a store are called, here and elsewhere. */
export interface OptionNames<T> {
  readonly store: string
  readonly known: readonly (keyof T & string)[]
  /** Options of the packages that the store takes the place of, and what to do in their place. */
  readonly instead: Readonly<Record<string, string>>
  /** Where a text belongs that was given in place of the options. */
  readonly text?: keyof T & string
  /** Where a client does. */
  readonly client?: keyof T & string
  /** Whatever else is given counts as no options, as express-session has it. */
  readonly lenient?: boolean
}

/** The same cure for several names. */
export const each = (names: string, cure: string): Record<string, string> =>
  Object.fromEntries(names.split(' ').map((name) => [name, cure]))

/**
 * The options of a store, with a warning for each name that is none.
 * @throws TypeError for something else in their place, with what to write instead.
 */
export function readStoreOptions<T extends object>(given: T | undefined, names: OptionNames<T>): Partial<T> {
  if (given === undefined || given === null) return {}
  const { store, known, instead, lenient } = names
  const what = inPlaceOfOptions(given)
  if (what === undefined) {
    lintNames(given, known, { of: store, instead })
    return given
  }
  const option = what === 'a text' ? names.text : what === 'a client' ? names.client : undefined
  const words = `${store} was given ${what} in place of options; use new ${store}(${option ? `{ ${option}: … }` : '{ … }'})`
  if (!lenient) throw optionError(words)
  warn('WARN_SESSION_OPTIONS', words)
  return {}
}

function inPlaceOfOptions(given: unknown): string | undefined {
  if (typeof given === 'string' || given instanceof URL) return 'a text'
  if (typeof given !== 'object' || given === null) return `a ${typeof given}`
  if (isPromise(given)) return 'a promise'
  return typeof (given as { get?: unknown }).get === 'function' ? 'a client' : undefined
}
