// Finds out how a foreign store answers: by callback or by promise. The declared parameters of its methods tell little,
// so it is called with a callback, and the first valid answer, by callback or by promise, decides.

import { type Awaitable, chain, isPromise } from '../awaitable.ts'
import { debug } from '../diagnostics.ts'
import { SessionError } from '../errors.ts'
import { type Alarm, alarm, sleep, turn } from '../timers.ts'

export type Callback = (error?: unknown, value?: unknown) => void

/** Calls a method of a store: with a callback if one is given, otherwise for its promise. */
type Call = (callback?: Callback) => unknown

type Method = (...args: never[]) => unknown

/** The methods of a store that show how it answers. */
interface ProbedStore {
  get(sid: string, callback?: Callback): unknown
  destroy?: Method
}

/**
 * How long to wait for a callback after the store's promise has resolved to no answer, in milliseconds. Async functions
 * around a callback store return such promises. Applies until the style of the store is confirmed.
 */
const CALLBACK_WAIT = 1_000
/** The same for a store whose methods declare a callback, in milliseconds: it may still be connecting. */
const DECLARED_CALLBACK_WAIT = 10_000
/** How long a callback can come after an answer by promise, in milliseconds, from stores that give both. */
const SECOND_ANSWER_WAIT = 5

/** Calls the methods of one store, and remembers how it answers. */
export class Calls {
  readonly #store: ProbedStore
  /** How the store seems to answer; undefined while nothing is known. */
  #style: 'callback' | 'promise' | undefined
  /** The store has answered so, or cannot answer otherwise. A later callback still changes the style to `callback`. */
  #isConfirmed = false
  /** Resolves when it is known whether a callback follows the first answer by promise. */
  #confirming: Promise<void> | undefined
  /** `destroy` declares a second parameter, which only a callback can be. */
  readonly #takesCallbacks: boolean

  constructor(store: ProbedStore) {
    this.#store = store
    // express-session accepts a store without `destroy`: then only `get` can tell.
    const { get, destroy = get } = store
    this.#takesCallbacks = destroy.length >= 2
    if (takesNoCallback(get) || (get.length < 2 && takesNoCallback(destroy))) {
      this.#style = 'promise'
      this.#isConfirmed = true
    } else if (this.#takesCallbacks && get.length >= 2) this.#style = 'callback'
  }

  /** The store seems to answer by promise. */
  get byPromise(): boolean {
    return this.#style === 'promise'
  }

  /** Calls `get`. The result is undefined or null if there is no such session. */
  get(sid: string): Awaitable<unknown> {
    if (this.#style === 'promise' && this.#isConfirmed) return byPromise(() => this.#store.get(sid))
    return this.#byEither((callback) => this.#store.get(sid, callback), true)
  }

  /** Calls a method that changes a session. `call` gets a callback if the store takes one. */
  do(sid: string, call: Call): Awaitable<unknown> {
    if (this.#confirming) return this.#confirming.then(() => this.do(sid, call))
    // A callback could be taken for a TTL, with any effect. So finds the style out first, by a harmless `get`.
    if (!this.#style) return chain(this.#probe(sid), () => this.do(sid, call))
    return this.#style === 'promise' ? byPromise(call) : this.#byEither(call, false)
  }

  /** Calls `get` only to find out how the store answers. */
  #probe(sid: string): Awaitable<unknown> {
    try {
      const found = this.get(sid)
      return isPromise(found) ? found.then(undefined, ignoreNotFound) : found
    } catch (error) {
      return ignoreNotFound(error)
    }
  }

  /**
   * Calls a method with a callback and takes the first answer, by callback or by promise. Returns synchronously if the
   * store calls back before it returns. `isGet`: the method is `get`, whose answer is a session.
   */
  #byEither(call: Call, isGet: boolean): Awaitable<unknown> {
    let outcome: { readonly value?: unknown; readonly failure?: { readonly error: unknown } } | undefined
    let resume: (() => void) | undefined
    let callbackWait: Alarm | undefined
    let called = false
    const finish = (result: NonNullable<typeof outcome>): void => {
      outcome ??= result
      resume?.()
    }
    const fail = (error: unknown): void => finish({ failure: { error } })

    const returned = call((error, value) => {
      this.#style = 'callback'
      this.#isConfirmed = true
      if (called) debug('store answered twice; the second answer is ignored')
      called = true
      if (error) fail(error)
      else finish({ value })
    })
    if (isPromise(returned)) {
      returned.then(
        (value) => {
          if (outcome) return
          if (isGet && isGetAnswer(value)) {
            this.#noteAnswerByPromise()
            finish({ value })
          } else if (isGet && this.#style === 'promise') finish({ value })
          else if (!this.#isConfirmed) {
            callbackWait = alarm(this.#takesCallbacks ? DECLARED_CALLBACK_WAIT : CALLBACK_WAIT, () => {
              if (!this.#takesCallbacks) this.#style = 'promise'
              // Must fail: to report a missing session would sign a user out.
              if (isGet && this.#takesCallbacks) fail(noAnswer())
              else finish({ value })
            })
          }
        },
        (error) => {
          if (outcome) return
          if (isGet && isNotFound(error)) this.#noteAnswerByPromise()
          fail(error ?? unknownReason())
        },
      )
    } else if (!outcome) this.#style ??= 'callback'

    const takeOutcome = (): unknown => {
      callbackWait?.cancel()
      if (outcome?.failure) throw outcome.failure.error
      return outcome?.value
    }
    if (outcome) return takeOutcome()
    return new Promise<void>((resolve) => {
      resume = resolve
    }).then(takeOutcome)
  }

  /** Notes that `get` has answered by promise. Confirms that style unless a callback comes soon after. */
  #noteAnswerByPromise(): void {
    if (this.#isConfirmed || this.#confirming) return
    // One turn more: on a busy machine, a callback that was deferred by setImmediate could come after the timer.
    const waited = sleep(SECOND_ANSWER_WAIT).then(turn)
    this.#confirming = waited.then(() => {
      this.#confirming = undefined
      if (this.#isConfirmed) return
      this.#style = 'promise'
      this.#isConfirmed = true
    })
  }
}

/** Calls a method of a store that answers by promise. */
function byPromise(call: Call): Awaitable<unknown> {
  const answer = call()
  return isPromise(answer)
    ? answer.then(undefined, (reason: unknown) => {
        throw reason ?? unknownReason()
      })
    : answer
}

/** Whether an error means that there is no such session. express-session takes ENOENT for that. */
export function isNotFound(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 'ENOENT'
}

function ignoreNotFound(error: unknown): undefined {
  if (!isNotFound(error)) throw error
}

/** The error for a promise that rejects with nothing. */
function unknownReason(): Error {
  return new Error('store rejected without a reason')
}

/** The error for a `get` that neither calls back nor resolves to a session or null. */
function noAnswer(): SessionError {
  return new SessionError(
    'ERR_SESSION_STORE',
    'store.get() did not call back, and its promise came to nothing; one that answers by promise must resolve to the ' +
      'session or to null',
  )
}

/** Whether a promise's value is an answer of `get`: a session, or `null` for none. Undefined is not. */
function isGetAnswer(value: unknown): boolean {
  if (value === null) return true
  return typeof value === 'object' && typeof (value as { cookie?: unknown }).cookie === 'object'
}

/** Whether a method has exactly one parameter and cannot access another, by `arguments` or a rest parameter. */
function takesNoCallback(method: Method): boolean {
  const text = Function.prototype.toString.call(method)
  return method.length === 1 && ONE_PARAMETER.test(text) && !text.includes('arguments')
}

const ONE_PARAMETER = /^(?:async\s+)?(?:function\s*)?[\w$]*\s*(?:\(\s*[\w$]+\s*\)|=>)/
