// Flash messages: kept in the session until somebody reads them.
//
// connect-flash keeps its messages in the data property `session.flash`, and `session.flash()` is also our
// method. So what stands there is both: a function whose own properties are the messages.

import { format } from 'node:util'

/** Messages by type. */
export type FlashMessages = Record<string, unknown[]>

/** Adds, reads and clears flash messages; see {@link Session.flash}. */
export interface Flash {
  (): FlashMessages
  (type: string): unknown[]
  (type: string, message: unknown, ...formatArguments: unknown[]): number
}

/** How a host's docs want `flash(…)` to answer, given what connect-flash answers. */
export type FlashShape = (answer: unknown, adding: boolean) => unknown

interface FlashOwner {
  [FLASH]?: Bag | undefined
}

const FLASH = Symbol.for('unisession.flash')
type Bag = Flash & FlashMessages

interface BagState {
  /** Stands as a data property in the session. */
  kept: boolean
  /** The session has dropped it: it is only an answer any more, and calling it gives its messages. */
  detached: boolean
  /** The record had the key: an empty object stays one. */
  stored: boolean
}

const states = new WeakMap<object, BagState>()

function isBag(value: unknown): value is Bag {
  return typeof value === 'function' && states.has(value)
}

/** What connect-flash can have written: lists by type. Anything else under `flash` is the app's own data. */
function isMessages(value: unknown): value is FlashMessages {
  if (isBag(value)) return true
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.values(value).every(Array.isArray)
}

function createBag(session: object, messages?: FlashMessages): Bag {
  const state: BagState = { kept: false, detached: false, stored: false }

  // An arrow function: it has no `prototype`, which could not be removed.
  const bag = ((type?: string, message?: unknown, ...args: unknown[]): unknown => {
    if (state.detached) return { ...bag }
    // connect-flash reads when there is no message, and takes an empty one for none.
    const adding = type !== undefined && message != null && message !== ''
    let answer: unknown
    if (adding) {
      if (!state.kept) keep(session, bag, state)
      const added = Array.isArray(message) ? message : [args.length > 0 ? format(message, ...args) : message]
      const list = Object.hasOwn(bag, type) ? (bag[type] as unknown[]) : []
      list.push(...added)
      define(bag, type, list)
      answer = list.length
    } else if (type !== undefined) {
      answer = Object.hasOwn(bag, type) ? bag[type] : []
      delete bag[type]
    } else {
      const all = { ...bag }
      for (const key of Object.keys(bag)) delete bag[key]
      answer = all
    }
    const shape = shapes.get(session)
    return shape ? shape(answer, adding) : answer
  }) as Bag

  // Messages of the types `name` and `length` must not meet the function's own, nor those it inherits.
  delete (bag as { name?: unknown }).name
  delete (bag as { length?: unknown }).length
  Object.setPrototypeOf(bag, Object.prototype)
  // An empty bag in a session is no data, unless the record had it.
  const toJSON = (): FlashMessages | undefined =>
    state.detached || state.stored || Object.keys(bag).length > 0 ? { ...bag } : undefined
  // A template engine that finds a function calls it: let it have the messages.
  const call = (_self: unknown, ...args: []): unknown => bag(...args)
  for (const [key, value] of Object.entries({ toJSON, toBSON: toJSON, call })) {
    Object.defineProperty(bag, key, {
      value,
      configurable: true,
      writable: true,
      enumerable: false,
    })
  }
  states.set(bag, state)
  for (const [type, list] of Object.entries(messages ?? {})) define(bag, type, [...list])
  return bag
}

function define(bag: Bag, type: string, list: unknown[]): void {
  Object.defineProperty(bag, type, {
    value: list,
    configurable: true,
    writable: true,
    enumerable: true,
  })
}

/** Makes the bag a data property of its session, as connect-flash's object would be. */
function keep(session: object, bag: Bag, state: BagState): void {
  state.kept = true
  Object.defineProperty(session, 'flash', {
    configurable: true,
    enumerable: true,
    get: () => (session as FlashOwner)[FLASH],
    set: (value: unknown) => writeFlash(session, value),
  })
  Object.defineProperty(session, FLASH, {
    value: bag,
    configurable: true,
    writable: true,
    enumerable: false,
  })
}

/** `session.flash`, read. */
export function readFlash(session: object): Flash {
  const known = (session as FlashOwner)[FLASH]
  // A kept bag is reached through the session's own property; not so after `delete session.flash`.
  if (known && !states.get(known)?.kept) return known
  if (known) detach(known)
  const bag = createBag(session)
  Object.defineProperty(session, FLASH, {
    value: bag,
    configurable: true,
    writable: true,
    enumerable: false,
  })
  return bag
}

/** `session.flash = value`: connect-flash's messages, or the app's own data under that name. */
export function writeFlash(session: object, value: unknown, stored = false): void {
  const known = (session as FlashOwner)[FLASH]
  if (value !== known && known) {
    stored ||= states.get(known)?.stored ?? false
    detach(known)
  }
  if (!isMessages(value)) {
    Object.defineProperty(session, 'flash', {
      value,
      configurable: true,
      writable: true,
      enumerable: true,
    })
    return
  }
  const bag = value === known ? known : createBag(session, value)
  const state = states.get(bag) as BagState
  state.stored ||= stored
  keep(session, bag, state)
}

function detach(bag: Bag): void {
  const state = states.get(bag)
  if (state) state.detached = true
}

/** The session with its messages as plain data, for a store that copies what it is given some other way than as JSON. */
export function withPlainFlash(session: object): object {
  const bag = Object.hasOwn(session, 'flash') ? (session as { flash: unknown }).flash : undefined
  if (!isBag(bag)) return session
  const { flash: _, ...all } = Object.getOwnPropertyDescriptors(session) as Record<string, PropertyDescriptor>
  const copy = Object.create(Object.getPrototypeOf(session), all)
  const messages = (bag as unknown as { toJSON(): FlashMessages | undefined }).toJSON()
  if (messages)
    Object.defineProperty(copy, 'flash', { value: messages, configurable: true, enumerable: true, writable: true })
  return copy
}

const shapes = new WeakMap<object, FlashShape>()

/** Gives this session's `flash` the answers that its host documents. */
export function shapeFlash(session: object, shape: FlashShape): void {
  shapes.set(session, shape)
}
