// One session in its store, as one request uses it. Where its id was renewed, here or by another process, a pointer
// is in its place: all that is asked of the session is asked of it under the id that it has by now. Knows no host.

import type { CookieData } from './cookie.ts'
import { debug } from './diagnostics.ts'
import { chain, type Maybe } from './maybe.ts'
import { isCookieChanged } from './merge.ts'
import type { Ticket } from './overlap.ts'
import type { Loaded, Make, StorePort, Touched } from './port.ts'
import type { Secret } from './signature.ts'
import { type Outgoing, Snapshot, type Stored } from './snapshot.ts'
import { isPointer, successorOf } from './successor.ts'

/** What ending a session takes, by id: of a port, or of a driver. */
export interface Ends {
  /** See {@link Driver.take}. */
  take(sid: string): Maybe<Stored | undefined>
  /** Removes whatever is there. */
  remove(sid: string): Maybe<void>
}

/**
 * Ends the session that had this id, wherever it is by now, and answers with its record, as far as `take` has it. The
 * pointers that led there go last: until it is over, who comes for the same finds the way.
 */
export function takeFollowing(ends: Ends, sid: string, secrets: readonly Secret[]): Maybe<Stored | undefined> {
  return chain(ends.take(sid), (held): Maybe<Stored | undefined> => {
    if (held === undefined || !isPointer(held)) return held
    const successor = successorOf(held, sid, secrets)
    const taken = successor && takeFollowing(ends, successor.id, secrets)
    return chain(taken, (record) => chain(ends.remove(sid), () => record))
  })
}

export class Slot {
  readonly port: StorePort
  /** What pointers are sealed with. */
  readonly #secrets: readonly Secret[]
  #id: string
  #ticket: Ticket | undefined
  /** What was found under the id that the session was followed to, as long as this request has not written it there. */
  #found: Stored | undefined
  #refused = false

  constructor(port: StorePort, id: string, secrets: readonly Secret[], ticket?: Ticket) {
    this.port = port
    this.#id = id
    this.#secrets = secrets
    this.#ticket = ticket
  }

  /** The id under which the store has the session, as far as this request knows. */
  get id(): string {
    return this.#id
  }

  /** Another request of this process has ended the session. */
  get isGone(): boolean {
    return this.#ticket?.gone === true
  }

  /** `load` has found that the id was renewed longer than its grace ago. */
  get isRefused(): boolean {
    return this.#refused
  }

  /** Takes a place among the requests that use the session, where it is not in the store yet. */
  enter(): void {
    this.#ticket ??= this.port.enter(this.#id)
  }

  /** What there is for a request that comes with this id: nothing where it was renewed longer than its grace ago. */
  load(): Maybe<Loaded | undefined> {
    return chain(this.port.read(this.#id), (loaded) => this.#arrive(loaded, Date.now()))
  }

  /** What the store holds now, wherever. */
  read(): Maybe<Loaded | undefined> {
    return chain(this.port.read(this.#id), (loaded) => this.#arrive(loaded))
  }

  /** Goes from what was found under the id to where the session is; not past a grace that was over at `now`. */
  #arrive(found: Loaded | undefined, now = 0): Maybe<Loaded | undefined> {
    if (!found || !isPointer(found.stored)) return found
    return this.#follow(found.stored, now)
  }

  #follow(pointer: Stored, now = 0): Maybe<Loaded | undefined> {
    const successor = successorOf(pointer, this.#id, this.#secrets)
    if (!successor) {
      debug('the session has another id by now, which none of the secrets opens')
      return undefined
    }
    debug('the session has another id by now')
    this.#id = successor.id
    this.#ticket = undefined
    this.#refused = successor.until < now
    if (this.#refused) return undefined
    return chain(this.port.read(successor.id), (loaded) => {
      this.#ticket = loaded?.ticket
      this.#found = loaded?.stored
      return this.#arrive(loaded, now)
    })
  }

  /** See {@link StorePort.write}. */
  write(session: Outgoing): Maybe<void> {
    return this.port.write(this.#id, session, this.#ticket)
  }

  /** See {@link StorePort.update}. */
  update(from: Stored, make: Make, reread: boolean): Maybe<Stored | undefined> {
    let pointer: Stored | undefined
    const makeHere: Make = (current) => {
      pointer = isPointer(current) ? current : undefined
      return pointer ? undefined : make(current)
    }
    return chain(this.port.update(this.#id, this.#found ?? from, makeHere, this.#ticket, reread), (held) => {
      if (pointer !== undefined)
        return chain(this.#follow(pointer), (loaded) => loaded && this.update(from, make, reread))
      this.#found = undefined
      return held
    })
  }

  /** See {@link StorePort.touch}. */
  touch(session: Outgoing, loaded: CookieData | undefined): Maybe<Touched> {
    return chain(this.port.touch(this.#id, session, loaded, this.#ticket), (outcome): Maybe<Touched> => {
      if (outcome !== 'moved') return outcome
      return chain(this.read(), (found): Maybe<Touched> => {
        if (!found) return 'gone'
        const isChanged = loaded && isCookieChanged(loaded, new Snapshot(found.stored, undefined, false, loaded).cookie)
        return isChanged ? 'changed' : this.touch(session, loaded)
      })
    })
  }

  /** Ends the session, and answers with what the store held. */
  take(): Maybe<Stored | undefined> {
    return this.#end(true)
  }

  /**
   * Ends the session. A store that cannot say what it removes is asked before, with `look`; without, a renewal by
   * another process may go unseen.
   */
  remove(look: boolean): Maybe<void> {
    return chain(this.#end(look), () => undefined)
  }

  #end(look: boolean): Maybe<Stored | undefined> {
    const { port } = this
    const [known, ticket] = [this.#id, this.#ticket]
    const ticketOf = (sid: string): Ticket | undefined => (sid === known ? ticket : undefined)
    return takeFollowing(
      {
        take: (sid) => port.take(sid, ticketOf(sid), look || sid !== known),
        remove: (sid) => port.remove(sid, ticketOf(sid)),
      },
      known,
      this.#secrets,
    )
  }
}
