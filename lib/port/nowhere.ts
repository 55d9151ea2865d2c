// A store that holds nothing and keeps nothing: for requests that are served without their visitor's session.

import type { Outgoing } from '../snapshot.ts'
import type { Slot, StorePort, Version } from './slot.ts'

/** The port of such requests. Whatever is written counts as stored, and is gone with the request. */
export const nowhere: StorePort = {
  touches: true,
  mutates: false,
  lifetime: undefined,
  users: undefined,
  slot: (id) => new EmptySlot(id),
  at: (key) => new EmptySlot(key),
  keys: () => [],
  clear: () => undefined,
}

/** A session that is nowhere: no call fails, and none has an effect. */
class EmptySlot implements Slot {
  readonly id: string
  readonly isGone = false
  readonly mutates = false

  constructor(id: string) {
    this.id = id
  }

  get key(): string {
    return this.id
  }

  read(): undefined {}

  create(record: Outgoing): Version {
    return { record: record.json }
  }

  add(record: Outgoing): Version {
    return { record: record.json }
  }

  update(from: Version): Version {
    return from
  }

  touch(): undefined {}

  take(): undefined {}

  end(): undefined {}

  remove(): undefined {}
}
