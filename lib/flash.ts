// Flash messages: stored in the session until they are read.
//
// connect-flash stores its messages in the data property `session.flash`, and `session.flash()` is a method of this
// package. So the value is both, a "bag": a function whose own properties are the lists of messages by type.

import { format } from 'node:util'

/** Messages by type. */
export type FlashMessages = Record<string, unknown[]>

/**
 * Adds, reads and clears flash messages; see {@link Session.flash}. `formatArguments`: fill in the message as by
 * `util.format`.
 */
export interface Flash {
  (): FlashMessages
  (type: string): unknown[]
  (type: string, message: unknown, ...formatArguments: unknown[]): number
}

/** Turns what connect-flash's `flash(…)` returns into what a host documents. `adding`: a message was added. */
export type FlashShape = (result: unknown, adding: boolean) => unknown

interface FlashOwner {
  [FLASH]?: Bag | undefined
}

const FLASH = Symbol.for('unisession.flash')
type Bag = Flash & FlashMessages

/** The state of a bag, kept outside of it: all its own properties are messages. */
interface BagState {
  /** It is an enumerable property of the session, and so part of its data. */
  attached: boolean
  /** Another value replaced it in the session: it can no longer add or clear, and calling it returns its messages. */
  detached: boolean
  /** The stored session had the key `flash`: it is stored again even when it is empty. */
  stored: boolean
}

const states = new WeakMap<object, BagState>()

function isBag(value: unknown): value is Bag {
  return typeof value === 'function' && states.has(value)
}

/**
 * Whether a value can be connect-flash's messages: lists by type. Any other value of `session.flash` is the app's data.
 */
function isMessages(value: unknown): value is FlashMessages {
  if (isBag(value)) return true
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.values(value).every(Array.isArray)
}

/** Makes a bag for a session, with a copy of `messages`. It is not attached yet. */
function createBag(session: object, messages?: FlashMessages): Bag {
  const state: BagState = { attached: false, detached: false, stored: false }

  // Must be an arrow function: the `prototype` of any other cannot be deleted.
  const bag = ((type?: string, message?: unknown, ...args: unknown[]): unknown => {
    if (state.detached) return { ...bag }
    // connect-flash takes an empty message for none, and then reads.
    const adding = type !== undefined && message != null && message !== ''
    let result: unknown
    if (adding) {
      if (!state.attached) attach(session, bag, state)
      const added = Array.isArray(message) ? message : [args.length > 0 ? format(message, ...args) : message]
      const list = Object.hasOwn(bag, type) ? (bag[type] as unknown[]) : []
      list.push(...added)
      define(bag, type, list, true)
      result = list.length
    } else if (type !== undefined) {
      result = Object.hasOwn(bag, type) ? bag[type] : []
      delete bag[type]
    } else {
      const all = { ...bag }
      for (const key of Object.keys(bag)) delete bag[key]
      result = all
    }
    const shape = shapes.get(session)
    return shape ? shape(result, adding) : result
  }) as Bag

  // Types may be called `name`, `length` or `bind`: removes what functions own and inherit under such names.
  delete (bag as { name?: unknown }).name
  delete (bag as { length?: unknown }).length
  Object.setPrototypeOf(bag, Object.prototype)
  const toJSON = (): FlashMessages | undefined =>
    state.detached || state.stored || Object.keys(bag).length > 0 ? { ...bag } : undefined
  // Template engines call functions that they find, by `call`.
  const call = (_self: unknown, ...args: []): unknown => bag(...args)
  for (const [key, value] of Object.entries({ toJSON, toBSON: toJSON, call })) {
    define(bag, key, value, false)
  }
  states.set(bag, state)
  for (const [type, list] of Object.entries(messages ?? {})) define(bag, type, [...list], true)
  return bag
}

/** Defines a data property, over whatever is inherited under its key. */
function define(target: object, key: PropertyKey, value: unknown, enumerable: boolean): void {
  Object.defineProperty(target, key, { value, configurable: true, writable: true, enumerable })
}

/** Makes the bag an enumerable property of the session, as connect-flash's object is. */
function attach(session: object, bag: Bag, state: BagState): void {
  state.attached = true
  Object.defineProperty(session, 'flash', {
    configurable: true,
    enumerable: true,
    get: () => (session as FlashOwner)[FLASH],
    set: (value: unknown) => writeFlash(session, value),
  })
  define(session, FLASH, bag, false)
}

/** The getter of `session.flash`. */
export function readFlash(session: object): Flash {
  const current = (session as FlashOwner)[FLASH]
  // The own property of an attached bag hides this getter: that we are here means `delete session.flash`.
  if (current && !states.get(current)?.attached) return current
  if (current) detach(current)
  const bag = createBag(session)
  define(session, FLASH, bag, false)
  return bag
}

/**
 * The setter of `session.flash`. The value is connect-flash's messages, or the app's own data under that name.
 * `stored`: it comes from the store.
 */
export function writeFlash(session: object, value: unknown, stored = false): void {
  const current = (session as FlashOwner)[FLASH]
  if (value !== current && current) {
    stored ||= states.get(current)?.stored ?? false
    detach(current)
  }
  if (!isMessages(value)) {
    define(session, 'flash', value, true)
    return
  }
  const bag = value === current ? current : createBag(session, value)
  const state = states.get(bag) as BagState
  state.stored ||= stored
  attach(session, bag, state)
}

/** Marks a bag that the session no longer has. */
function detach(bag: Bag): void {
  const state = states.get(bag)
  if (state) state.detached = true
}

/** The session with its messages as a plain object, for a store that copies sessions by other means than JSON. */
export function withPlainFlash(session: object): object {
  const bag = Object.hasOwn(session, 'flash') ? (session as { flash: unknown }).flash : undefined
  if (!isBag(bag)) return session
  const { flash: _, ...all } = Object.getOwnPropertyDescriptors(session) as Record<string, PropertyDescriptor>
  const copy = Object.create(Object.getPrototypeOf(session), all)
  const messages = (bag as unknown as { toJSON(): FlashMessages | undefined }).toJSON()
  if (messages) define(copy, 'flash', messages, true)
  return copy
}

const shapes = new WeakMap<object, FlashShape>()

/** Makes this session's `flash` return what its host documents. */
export function shapeFlash(session: object, shape: FlashShape): void {
  shapes.set(session, shape)
}
