// The layer of `hashId`: the store sees a hash of each id in its place. A session that the store has under its plain id
// is moved when it is read.

import { type Awaitable, chain, isPromise } from '../awaitable.ts'
import { reviveCookie } from '../cookie.ts'
import { debug, shorten } from '../diagnostics.ts'
import { mergeCookie, mergeData } from '../merge.ts'
import { isKey, keyOf } from '../signature.ts'
import { Outgoing, Snapshot } from '../snapshot.ts'
import { OuterPort, OuterSlot } from './layer.ts'
import { isPointer } from './pointer.ts'
import type { Layer, Slot, StorePort, Version } from './slot.ts'

/** Where a key is part of an id: to some stores `./key` is the same, or a key in capitals. */
const WITH_KEY = /sha256-[\w-]{43}/i

export const hashIds: Layer = (port) => new HashedPort(port)

class HashedPort extends OuterPort {
  readonly #moves = new Moves()

  override slot(id: string): Slot {
    return new HashedSlot(id, this.inner, this.#moves)
  }

  /** A session that the store still has under its plain id is moved when it is read. */
  override at(key: string): Slot {
    return isKey(key) ? this.inner.at(key) : this.slot(key)
  }
}

/** A slot whose store has the session under the hash of its id, or still under its plain id. */
class HashedSlot extends OuterSlot {
  readonly #id: string
  readonly #port: StorePort
  readonly #moves: Moves

  constructor(id: string, port: StorePort, moves: Moves) {
    super(port.slot(keyOf(id)))
    this.#id = id
    this.#port = port
    this.#moves = moves
  }

  override get id(): string {
    return this.#id
  }

  /** The session under its plain id. An id with a key in it is not looked for as it is: a stolen key is no session. */
  get #plain(): Slot | undefined {
    return WITH_KEY.test(this.#id) ? undefined : this.#port.slot(this.#id)
  }

  /**
   * Looks under the hash first. Under the plain id it looks once for each session, and for ids that are not known at all.
   */
  override read(): Awaitable<Version | undefined> {
    return chain(super.read(), (version) => {
      const plain = version ? undefined : this.#plain
      return plain ? this.#moves.run(this.#id, () => this.#move(plain)) : version
    })
  }

  /** The store counts by keys, so the id that is replaced has to be one. */
  override create(record: Outgoing): Awaitable<Version> {
    if (record.replaces !== undefined) record.replaces = keyOf(record.replaces)
    return super.create(record)
  }

  override take(): Awaitable<Version | undefined> {
    return this.#endBoth((slot) => slot.take())
  }

  override end(): Awaitable<Version | undefined> {
    return this.#endBoth((slot) => slot.end())
  }

  override remove(): Awaitable<void> {
    return chain(super.remove(), () => this.#plain?.remove())
  }

  /** A process that died while it moved the session may have left it under both. */
  #endBoth(end: (slot: Slot) => Awaitable<Version | undefined>): Awaitable<Version | undefined> {
    const plain = this.#plain
    return this.#moves.run(this.#id, () => {
      const held = [end(this.inner), plain && end(plain)]
      if (!held.some(isPromise)) return (held as (Version | undefined)[]).find(Boolean)
      return Promise.all(held).then((versions) => versions.find(Boolean))
    })
  }

  /**
   * Stores the session under its key, unless another request has done so, and removes it under its plain id. What a
   * process without this layer has written there in the meantime comes along.
   */
  #move(plain: Slot): Awaitable<Version | undefined> {
    return chain(this.inner.read(), (moved) => {
      if (moved) return moved
      return chain(plain.read(), (found): Awaitable<Version | undefined> => {
        if (!found || isPointer(found.record)) return found
        const before = recordIn(found)
        if (!before) return found
        debug('session %s is moved to the hash of its id', shorten(this.#id))
        return chain(this.inner.add(before), (added) =>
          chain(plain.take(), (taken) => {
            const after = taken && taken.record !== found.record ? recordIn(taken) : undefined
            return after ? this.inner.update(added, (current) => mergeRecords(before, after, current)) : added
          }),
        )
      })
    })
  }
}

/** Work of this process on one id at a time. */
class Moves {
  readonly #last = new Map<string, Promise<unknown>>()

  run<T>(id: string, work: () => Awaitable<T>): Awaitable<T> {
    const last = this.#last.get(id)
    const result = last ? last.then(work, work) : work()
    if (!isPromise(result)) return result
    const done = (): void => {
      if (this.#last.get(id) === result) this.#last.delete(id)
    }
    this.#last.set(id, result)
    result.then(done, done)
    return result
  }
}

/** A record that a store held, on its way to another key; undefined where it is corrupt. */
function recordIn({ record }: Version): Outgoing | undefined {
  try {
    const { cookie, data } = new Snapshot(record)
    const revived = reviveCookie(cookie)
    return new Outgoing(revived, () => ({ ...(JSON.parse(data) as object), cookie: revived }), data)
  } catch {
    return undefined
  }
}

/** What was written under the plain id since it was read, on top of what is under the hash by now. */
function mergeRecords(before: Outgoing, after: Outgoing, current: Version): Outgoing {
  const theirs = new Snapshot(current.record)
  const data = mergeData(before.data, after.data, theirs.data)
  const cookie = mergeCookie(before.attributes, after.attributes, theirs.cookie)
  return new Outgoing(cookie, () => ({ ...(JSON.parse(data) as object), cookie }), data)
}
