// How a store of somebody else's answers: by callback or by promise. Nothing that a method declares tells for certain,
// so it is found out: whoever answers first, with what can be an answer, is taken at their word.

import { debug } from './diagnostics.ts'
import { chain, isPromise, type Maybe } from './maybe.ts'
import { type Alarm, alarm } from './timers.ts'

export type Callback = (error?: unknown, value?: unknown) => void

/** A method of a store, called with a callback, or without one. */
type Call = (callback?: Callback) => unknown

/**
 * Milliseconds that a store has to call back when a promise of its has come to nothing, as the async wrapper of a callback
 * store gives one. Only until it has been seen to answer in one of the two ways.
 */
const GRACE = 1_000

/** The calls of one store. */
export class Calls {
  readonly #get: (sid: string, callback?: Callback) => unknown
  /** How the store answers; undefined as long as that is not known. */
  #style: 'callback' | 'promise' | undefined
  /** It has called back. */
  #certain = false

  /** `get` asks the store for a session; `declared` is its method. */
  constructor(get: (sid: string, callback?: Callback) => unknown, declared: (...args: never[]) => unknown) {
    this.#get = get
    if (declared.length >= 2 && !isAsync(declared)) this.#style = 'callback'
    else if (knowsNoCallback(declared)) this.#style = 'promise'
  }

  /** Asks for a session: undefined or null where there is none. */
  get(sid: string): Maybe<unknown> {
    return this.#ask((callback) => this.#get(sid, callback), isRecord)
  }

  /** Has something done about a session. `call` is given a callback where the store wants one. */
  do(sid: string, call: Call): Maybe<unknown> {
    // What it does with an argument too many nobody knows: a question shows how it answers.
    if (!this.#style) return chain(this.get(sid), () => this.#ask(call))
    return this.#ask(call)
  }

  #ask(call: Call, isAnswer: (value: unknown) => boolean = () => false): Maybe<unknown> {
    if (this.#style !== 'promise') return this.#askEither(call, isAnswer)
    const answer = call()
    return isPromise(answer) ? answer.then(undefined, rethrow) : answer
  }

  /** The first answer counts; a second is dropped. A store that answers before it returns is served synchronously. */
  #askEither(call: Call, isAnswer: (value: unknown) => boolean): Maybe<unknown> {
    let outcome: { readonly value?: unknown; readonly failure?: { readonly error: unknown } } | undefined
    let wake: (() => void) | undefined
    let wait: Alarm | undefined
    const settle = (result: NonNullable<typeof outcome>): void => {
      if (outcome) debug('store answered twice; the second answer is ignored')
      outcome ??= result
      wake?.()
    }
    const returned = call((error, value) => {
      this.#style = 'callback'
      this.#certain = true
      settle(error ? { failure: { error } } : { value })
    })
    if (isPromise(returned)) {
      const answered = (value: unknown): void => {
        if (outcome) return
        if (!this.#certain) this.#style = 'promise'
        settle({ value })
      }
      returned.then(
        (value) => {
          if (isAnswer(value)) answered(value)
          else if (!outcome && !this.#certain) wait = alarm(GRACE, () => answered(value))
        },
        (error) => {
          if (!outcome) settle({ failure: { error: error ?? new Error('store rejected without a reason') } })
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
}

/** A session, or `null` for none. What else a promise resolves to may be anything. */
function isRecord(value: unknown): boolean {
  if (value === null) return true
  return typeof value === 'object' && typeof (value as { cookie?: unknown }).cookie === 'object'
}

/** A second parameter of such a method may be a callback, or the options of one that answers by promise. */
function isAsync(method: (...args: never[]) => unknown): boolean {
  return Object.prototype.toString.call(method) === '[object AsyncFunction]'
}

/** Whether a method that declares one parameter has no way to come by a second. */
function knowsNoCallback(method: (...args: never[]) => unknown): boolean {
  const text = Function.prototype.toString.call(method)
  return method.length === 1 && ONE_PARAMETER.test(text) && !text.includes('arguments')
}

const ONE_PARAMETER = /^(?:async\s+)?(?:function\s*)?[\w$]*\s*(?:\(\s*[\w$]+\s*\)|=>)/

/** A failure is an error, also where the store gives no reason. */
function rethrow(reason: unknown): never {
  throw reason ?? new Error('store rejected without a reason')
}
