// Which port a store gets, and what is known of a store whoever uses it.

import type { Secret } from '../signature.ts'
import { BundledPort } from './bundled.ts'
import { ForeignPort, type ForeignStore, ForeignStoreState } from './foreign.ts'
import { DRIVER, type Driver, type StorePort, type StoreUse } from './slot.ts'

/** A store as `session()` is given it. */
export interface AnyStore extends ForeignStore {
  [DRIVER]?(): Driver | undefined
}

/** One for each store, so that all who use it know of each other. */
interface StoreState {
  readonly foreign: ForeignStoreState
  secrets: readonly Secret[]
}

const states = new WeakMap<object, StoreState>()

function stateOf(store: AnyStore): StoreState {
  let state = states.get(store)
  if (!state) {
    state = { foreign: new ForeignStoreState(store), secrets: [] }
    states.set(store, state)
  }
  return state
}

/** The secrets of the middleware that was made last on a store: for what is asked of the store itself. */
export function secretsOf(store: object): readonly Secret[] {
  return states.get(store)?.secrets ?? []
}

export function setSecrets(store: AnyStore, secrets: readonly Secret[]): void {
  stateOf(store).secrets = secrets
}

/** How a store is used by its own methods, which belong to no middleware. */
const BY_ITSELF: StoreUse = { unit: 'ms', concurrency: 'merge', renews: false }

export function portOf(store: AnyStore, use: StoreUse = BY_ITSELF): StorePort {
  const foreign = new ForeignPort(store, stateOf(store).foreign, use)
  return typeof store[DRIVER] === 'function' ? new BundledPort(store, foreign) : foreign
}
