// One session's record as one request knows it: what was loaded, what has been saved, whether it is gone.
// Every `Session` has one; it does for the session's methods what they ask of the store.

import type { Cookie } from './cookie.ts'
import { SessionError } from './errors.ts'
import { chain, type Maybe } from './maybe.ts'
import type { StorePort } from './port.ts'
import { Outgoing, Snapshot, sameData, serializeData } from './snapshot.ts'

export class SessionRecord {
  readonly id: string
  readonly port: StorePort
  /** The data that "modified" is measured against. */
  readonly base: string
  /** The data that the store is known to hold; undefined: to be saved in any case. */
  #saved: string | undefined
  /** The store has acknowledged a destroy. */
  destroyed = false

  /** `saved`: the store holds `base` already, and there is no need to write it again. */
  constructor(id: string, port: StorePort, base: string, saved: boolean) {
    this.id = id
    this.port = port
    this.base = base
    this.#saved = saved ? base : undefined
  }

  get wasSaved(): boolean {
    return this.#saved !== undefined
  }

  isModified(data: string): boolean {
    return !sameData(this.base, data)
  }

  isSaved(data: string): boolean {
    return this.#saved !== undefined && sameData(this.#saved, data)
  }

  /** Writes the session. `last`: nobody will ask what was saved. */
  save(session: { cookie: Cookie }, data: string = serializeData(session), last = false): Maybe<void> {
    const written = this.port.write(this.id, new Outgoing(session.cookie, () => session, data))
    // Some stores stamp the session that they are given; the stamp is not the app's change.
    const saved = this.port.mutates && !last ? serializeData(session) : data
    return chain(written, () => {
      this.#saved = saved
    })
  }

  destroy(): Maybe<void> {
    return chain(this.port.remove(this.id), () => {
      this.destroyed = true
    })
  }

  /** What the store holds now. @throws SessionError `failed to load session` when it holds nothing. */
  reload(): Maybe<Snapshot> {
    return chain(this.port.read(this.id), (stored) => {
      if (!stored) throw new SessionError('ERR_SESSION_MISSING', 'failed to load session')
      return new Snapshot(stored)
    })
  }
}
