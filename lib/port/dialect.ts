// How a store of somebody else's answers: by callback or by promise. What its methods declare tells little, so it is found
// out: whoever answers first, with what can be an answer, is taken at their word.

import { type Awaitable, chain, isPromise } from '../awaitable.ts'
import { debug } from '../diagnostics.ts'
import { SessionError } from '../errors.ts'
import { type Alarm, alarm, sleep, turn } from '../timers.ts'

export type Callback = (error?: unknown, value?: unknown) => void

/** A method of a store, called with a callback, or without one. */
type Call = (callback?: Callback) => unknown

type Method = (...args: never[]) => unknown

/** What of a store shows how it answers. */
interface Asked {
  get(sid: string, callback?: Callback): unknown
  destroy?: Method
}

/**
 * Milliseconds that a store has to call back when a promise of its has come to nothing, as the async wrapper of a callback
 * store gives one. Only until it has been seen to answer in one of the two ways.
 */
const GRACE = 1_000
/** The same where the store takes callbacks by all signs. It may be connecting. */
const PATIENCE = 10_000
/** Milliseconds in which a store that has answered by promise calls back, too, if it does: those that do put it off a little. */
const AFTERWARDS = 5

/** The calls of one store. */
export class Calls {
  readonly #store: Asked
  /** How the store answers, as far as is known; undefined as long as it is not. */
  #style: 'callback' | 'promise' | undefined
  /** It has been seen to, or cannot do otherwise. A callback that comes all the same is believed. */
  #certain = false
  /** Whether a callback follows an answer by promise shows soon. */
  #settling: Promise<void> | undefined
  /** `destroy` declares a second parameter: by promise, there is nothing more to say to it. */
  readonly #takesCallbacks: boolean

  constructor(store: Asked) {
    this.#store = store
    // Without a `destroy`, which express-session takes, `get` tells alone.
    const { get, destroy = get } = store
    this.#takesCallbacks = destroy.length >= 2
    if (knowsNoCallback(get) || (get.length < 2 && knowsNoCallback(destroy))) {
      this.#style = 'promise'
      this.#certain = true
    } else if (this.#takesCallbacks && get.length >= 2) this.#style = 'callback'
  }

  /** The store is known to answer by promise. */
  get byPromise(): boolean {
    return this.#style === 'promise'
  }

  /** Asks for a session: undefined or null where there is none. */
  get(sid: string): Awaitable<unknown> {
    if (this.#style === 'promise' && this.#certain) return byPromise(() => this.#store.get(sid))
    return this.#byEither((callback) => this.#store.get(sid, callback), true)
  }

  /** Has something done about a session. `call` is given a callback where the store wants one. */
  do(sid: string, call: Call): Awaitable<unknown> {
    if (this.#settling) return this.#settling.then(() => this.do(sid, call))
    // What it does with an argument of the wrong kind nobody knows: a question shows how it answers.
    if (!this.#style) return chain(this.#probe(sid), () => this.do(sid, call))
    return this.#style === 'promise' ? byPromise(call) : this.#byEither(call, false)
  }

  #probe(sid: string): Awaitable<unknown> {
    try {
      const found = this.get(sid)
      return isPromise(found) ? found.then(undefined, unlessNotFound) : found
    } catch (error) {
      return unlessNotFound(error)
    }
  }

  /** The first answer counts; a second is dropped. A store that answers before it returns is served synchronously. */
  #byEither(call: Call, asks: boolean): Awaitable<unknown> {
    let outcome: { readonly value?: unknown; readonly failure?: { readonly error: unknown } } | undefined
    let wake: (() => void) | undefined
    let wait: Alarm | undefined
    let called = false
    const settle = (result: NonNullable<typeof outcome>): void => {
      outcome ??= result
      wake?.()
    }
    const fail = (error: unknown): void => settle({ failure: { error } })

    const returned = call((error, value) => {
      this.#style = 'callback'
      this.#certain = true
      if (called) debug('store answered twice; the second answer is ignored')
      called = true
      if (error) fail(error)
      else settle({ value })
    })
    if (isPromise(returned)) {
      returned.then(
        (value) => {
          if (outcome) return
          if (asks && isSession(value)) {
            this.#answersByPromise()
            settle({ value })
          } else if (asks && this.#style === 'promise') settle({ value })
          else if (!this.#certain) {
            wait = alarm(this.#takesCallbacks ? PATIENCE : GRACE, () => {
              if (!this.#takesCallbacks) this.#style = 'promise'
              // To take it for a session that is not there would sign somebody out.
              if (asks && this.#takesCallbacks) fail(silence())
              else settle({ value })
            })
          }
        },
        (error) => {
          if (outcome) return
          if (asks && isNotFound(error)) this.#answersByPromise()
          fail(error ?? reasonless())
        },
      )
    } else if (!outcome) this.#style ??= 'callback'

    const answer = (): unknown => {
      wait?.cancel()
      if (outcome?.failure) throw outcome.failure.error
      return outcome?.value
    }
    if (outcome) return answer()
    return new Promise<void>((resolve) => {
      wake = resolve
    }).then(answer)
  }

  #answersByPromise(): void {
    if (this.#certain || this.#settling) return
    // A turn after that, or what was put off by setImmediate before could come later on a busy machine.
    const settled = sleep(AFTERWARDS).then(turn)
    this.#settling = settled.then(() => {
      this.#settling = undefined
      if (this.#certain) return
      this.#style = 'promise'
      this.#certain = true
    })
  }
}

function byPromise(call: Call): Awaitable<unknown> {
  const answer = call()
  return isPromise(answer)
    ? answer.then(undefined, (reason: unknown) => {
        throw reason ?? reasonless()
      })
    : answer
}

/** An error that says, as that of a file system does, that there is no such session. */
export function isNotFound(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 'ENOENT'
}

function unlessNotFound(error: unknown): undefined {
  if (!isNotFound(error)) throw error
}

/** A failure is an error, also where the store gives no reason. */
function reasonless(): Error {
  return new Error('store rejected without a reason')
}

function silence(): SessionError {
  return new SessionError(
    'ERR_SESSION_STORE',
    'store.get() did not call back, and its promise came to nothing; one that answers by promise must resolve to the ' +
      'session or to null',
  )
}

/** A session, or `null` for none. What else a promise resolves to may be anything. */
function isSession(value: unknown): boolean {
  if (value === null) return true
  return typeof value === 'object' && typeof (value as { cookie?: unknown }).cookie === 'object'
}

/** Whether a method that declares one parameter has no way to come by a second. */
function knowsNoCallback(method: Method): boolean {
  const text = Function.prototype.toString.call(method)
  return method.length === 1 && ONE_PARAMETER.test(text) && !text.includes('arguments')
}

const ONE_PARAMETER = /^(?:async\s+)?(?:function\s*)?[\w$]*\s*(?:\(\s*[\w$]+\s*\)|=>)/
