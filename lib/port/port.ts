// Which port a store gets, and what is known of a store whoever uses it.

import type { Secret } from '../signature.ts'
import { BundledPort } from './bundled.ts'
import { ForeignPort, type ForeignStore, ForeignStoreState } from './foreign.ts'
import { DRIVER, type Driver, type Layer, type StorePort, type StoreUse } from './slot.ts'

/** A store as `session()` is given it. */
export interface AnyStore extends ForeignStore {
  [DRIVER]?(): Driver | undefined
}

/** What a middleware does with the sessions of its store, which the store's own methods do as well. */
export interface StoreOwner {
  /** What pointers are sealed with. */
  readonly secrets: readonly Secret[]
  /** Transformations of ids and records, the innermost first. */
  readonly layers: readonly Layer[]
  /** Told of a record that cannot be read. */
  readonly corrupt?: (id: string, error: unknown) => void
}

/** One for each store, so that all who use it know of each other. */
interface StoreState {
  readonly foreign: ForeignStoreState
  owner: StoreOwner
}

const states = new WeakMap<object, StoreState>()
const NOBODY: StoreOwner = { secrets: [], layers: [] }

/** Made when a store is first used. */
function stateOf(store: AnyStore): StoreState {
  let state = states.get(store)
  if (!state) {
    state = { foreign: new ForeignStoreState(store), owner: NOBODY }
    states.set(store, state)
  }
  return state
}

/** The middleware that was made last on a store. */
export function ownerOf(store: object): StoreOwner {
  return states.get(store)?.owner ?? NOBODY
}

/** Called by each middleware that is made on a store. */
export function setOwner(store: AnyStore, owner: StoreOwner): void {
  stateOf(store).owner = owner
}

/** How a store is used by its own methods, which belong to no middleware. */
const BY_ITSELF: StoreUse = { unit: 'ms', concurrency: 'merge', renews: false, timeout: undefined }

/** The port of a store, inside of its layers. */
export function portOf(store: AnyStore, use: StoreUse = BY_ITSELF, layers = ownerOf(store).layers): StorePort {
  const state = stateOf(store).foreign
  const foreign = new ForeignPort(store, state, use)
  const port =
    typeof store[DRIVER] === 'function' ? new BundledPort(store, foreign, state.patience, use.timeout) : foreign
  return around(port, layers)
}

/** The first layer is the innermost one. */
export function around(port: StorePort, layers: readonly Layer[]): StorePort {
  return layers.reduce((inner, layer) => layer(inner), port)
}
