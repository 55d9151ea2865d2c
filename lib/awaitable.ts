// A value now or a promise of it. A store that answers at once is served without a trip
// through the event loop; one that does not is awaited.

import { callFree, soon } from './timers.ts'

export type Awaitable<T> = T | Promise<T>

export function isPromise<T>(value: Awaitable<T>): value is Promise<T>
export function isPromise(value: unknown): value is PromiseLike<unknown>
export function isPromise(value: unknown): boolean {
  return value !== null && typeof value === 'object' && typeof (value as { then?: unknown }).then === 'function'
}

/** `then(value)` at once when the value is there, later when it is a promise. */
export function chain<T, U>(value: Awaitable<T>, then: (value: T) => Awaitable<U>): Awaitable<U> {
  return isPromise(value) ? value.then(then) : then(value)
}

const ignore = (): void => {}

/** A promise that knows whether anybody has observed it. */
export class ObservedPromise<T> extends Promise<T> {
  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  /** Runs `work` now. */
  static of<T>(work: () => Awaitable<T>): ObservedPromise<T> {
    return new ObservedPromise((resolve, reject) => {
      const result = work()
      if (isPromise(result)) result.then(resolve, reject)
      else resolve(result)
    })
  }

  /** Somebody has awaited it, or given it a handler. */
  observed = false

  // Also what `await` calls, as this is no plain promise.
  // biome-ignore lint/suspicious/noThenProperty: see above
  override then<A = T, B = never>(
    done?: ((value: T) => A | PromiseLike<A>) | null,
    failed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.observed = true
    return super.then(done, failed)
  }

  /** Runs one of the two when the promise settles. Does not mark it as observed. */
  watch(done: () => void, failed: (reason: unknown) => void): void {
    super.then(done, failed)
  }
}

/** As in express-session: no error argument at all where there is nothing to say. */
function success<T>(value: T): [error?: null, value?: T] {
  return value === undefined ? [] : [null, value]
}

/**
 * Ends a method that takes an optional Node-style callback. With a callback: it is called exactly once, never
 * synchronously, and outside of any promise, so that what it throws is thrown as usual; `self` is returned for chaining.
 * Without: a promise, whose rejection kills no process when nobody handles it. An {@link ObservedPromise}, whose maker
 * handles it, is passed on as it is.
 */
export function settle<S, T>(
  self: S,
  work: () => Awaitable<T>,
  callback: ((error?: unknown, value?: T) => void) | undefined,
): S | Promise<T> {
  let result: Awaitable<T>
  try {
    result = work()
  } catch (error) {
    result = Promise.reject(error)
  }
  if (typeof callback === 'function') {
    if (isPromise(result)) {
      result.then(
        (value) => callFree(callback, ...success(value)),
        (error: unknown) => callFree(callback, error ?? new Error('session operation failed')),
      )
    } else soon(callback, ...success(result))
    return self
  }
  const promise = isPromise(result) ? result : Promise.resolve(result)
  if (!(promise instanceof ObservedPromise)) promise.catch(ignore)
  return promise
}
