// Finds apps that change a session after its response, which nobody saves. Outside of production only.

import { warn } from '../diagnostics.ts'

/** A request that was answered. */
export interface AnsweredRequest {
  readonly path: string
  /** The app has changed the session since its commit. */
  readonly isChangedLate: boolean
}

/** So many requests show whether an app does it; to look after each would cost them all. */
const WATCHED = 1_000

export class LateChanges {
  #left = process.env.NODE_ENV === 'production' ? 0 : WATCHED
  #last: AnsweredRequest | undefined

  get isWatching(): boolean {
    return this.#left > 0
  }

  /** The next request looks back at this one. */
  watch(request: AnsweredRequest): void {
    this.#left--
    this.#last = request
  }

  /** Warns where the session of the last request was changed since its commit. */
  lookBack(): void {
    const last = this.#last
    this.#last = undefined
    if (!last?.isChangedLate) return
    warn(
      'WARN_SESSION_CHANGED_LATE',
      'a session was changed after its response, which is not saved; do it earlier, or call req.session.save()',
      `The request was for ${last.path}`,
    )
  }
}
