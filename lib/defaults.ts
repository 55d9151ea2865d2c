// How the entries for bunWay and bun-router set their defaults. An option that is undefined counts as not given.

import type { CookieOptions } from './cookie.ts'
import type { AnyStore } from './port/port.ts'
import { DRIVER } from './port/slot.ts'

/** The options, over the defaults. */
export function withDefaults<D extends object, T extends object>(defaults: D, options: T | undefined): D & T {
  const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined)
  return { ...defaults, ...Object.fromEntries(given) } as D & T
}

/**
 * How long a store keeps a session whose cookie has no date, in milliseconds. `otherwise`: the result for a store that
 * is not bundled, or has no such lifetime.
 */
export function lifetimeIn(store: unknown, otherwise: number): number {
  const driver = typeof store === 'object' ? (store as AnyStore | null)?.[DRIVER]?.() : undefined
  return driver?.lifetime?.() ?? otherwise
}

// biome-ignore lint/suspicious/noExplicitAny: the request as the host gives it, see options.ts
type CookieOption = CookieOptions | ((req: any) => CookieOptions)

/** The `cookie` option over its defaults. It may be a function of the request. */
export function cookieWithDefaults(defaults: CookieOptions, cookie: CookieOption | undefined): CookieOption {
  return typeof cookie === 'function' ? (req) => withDefaults(defaults, cookie(req)) : withDefaults(defaults, cookie)
}
