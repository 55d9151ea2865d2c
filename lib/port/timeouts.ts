// The layer of `absoluteTimeout` and `idleTimeout`: a session that has lived too long, or was left alone for too long, is
// ended when it is read, whatever its cookie and the store say (OWASP Session Management, "Session Expiration").

import { type Awaitable, chain } from '../awaitable.ts'
import { debug, shorten } from '../diagnostics.ts'
import { dateIn } from '../facts.ts'
import { cookieIn, type Stored } from '../snapshot.ts'
import { layerOf, OuterSlot } from './layer.ts'
import type { Layer, Slot, Version } from './slot.ts'

/** In milliseconds. */
export interface Timeouts {
  readonly absoluteTimeout: number | undefined
  readonly idleTimeout: number | undefined
}

export function endAfter(timeouts: Timeouts): Layer {
  return layerOf((inner) => new TimedSlot(inner, timeouts))
}

/** A slot that finds no session whose time is over. */
class TimedSlot extends OuterSlot {
  readonly #timeouts: Timeouts
  #over: string | undefined

  constructor(inner: Slot, timeouts: Timeouts) {
    super(inner)
    this.#timeouts = timeouts
  }

  override get over(): string | undefined {
    return this.#over
  }

  override read(): Awaitable<Version | undefined> {
    return chain(super.read(), (version) => {
      const reason = version && whyOver(version.record, this.#timeouts, Date.now())
      if (!reason) return version
      this.#over = reason
      debug('session %s is over: %s', shorten(this.id), reason)
      return chain(this.inner.end(), () => undefined)
    })
  }
}

/** The option that ends the session. One without a date lives on: it counts from its first load, which records one. */
function whyOver(record: Stored, { absoluteTimeout, idleTimeout }: Timeouts, now: number): string | undefined {
  const cookie = typeof record === 'string' ? cookieIn(record) : record.cookie
  if (!cookie) return undefined
  const createdAt = dateIn(cookie, 'createdAt')
  const seenAt = dateIn(cookie, 'seenAt')
  if (absoluteTimeout !== undefined && createdAt !== undefined && createdAt + absoluteTimeout <= now)
    return 'absoluteTimeout'
  return idleTimeout !== undefined && seenAt !== undefined && seenAt + idleTimeout <= now ? 'idleTimeout' : undefined
}
