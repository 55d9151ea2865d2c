// How the bundled stores read their options: names that are no options are warned about, anything but options is refused.

import { isPromise } from '../lib/awaitable.ts'
import { warn } from '../lib/diagnostics.ts'
import { optionError } from '../lib/errors.ts'
import { lintNames } from '../lib/lint.ts'

/** The names of a store's options, and what to say of others. */
export interface OptionNames<T> {
  readonly store: string
  readonly known: readonly (keyof T & string)[]
  /** Options of similar packages, with what to do instead. */
  readonly instead: Readonly<Record<string, string>>
  /** The option for a text that was given in place of the options. */
  readonly text?: keyof T & string
  /** The option for a client that was given in place of the options. */
  readonly client?: keyof T & string
  /** Anything else in place of the options is ignored with a warning, because express-session ignores it. Default: an error. */
  readonly lenient?: boolean
}

/** The same advice for several names, which are separated by spaces. */
export const each = (names: string, advice: string): Record<string, string> =>
  Object.fromEntries(names.split(' ').map((name) => [name, advice]))

/**
 * The options that were given. Warns about each name that is not an option.
 * @throws TypeError `ERR_SESSION_OPTION` for anything else in place of the options; it says what to write instead.
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

/** What was given in place of the options, in words; undefined for options. */
function inPlaceOfOptions(given: unknown): string | undefined {
  if (typeof given === 'string' || given instanceof URL) return 'a text'
  if (typeof given !== 'object' || given === null) return `a ${typeof given}`
  if (isPromise(given)) return 'a promise'
  return typeof (given as { get?: unknown }).get === 'function' ? 'a client' : undefined
}
