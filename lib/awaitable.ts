// Values that may be promises, and methods that take a callback or return a promise. A store that answers synchronously
// is served synchronously: a promise would cost every request a turn of the microtask queue.

import { callOutsidePromise, soon } from './timers.ts'

/** A value, or a promise of it. */
export type Awaitable<T> = T | Promise<T>

/** Whether a value is a promise of any kind: an object with a `then` method. */
export function isPromise<T>(value: Awaitable<T>): value is Promise<T>
export function isPromise(value: unknown): value is PromiseLike<unknown>
export function isPromise(value: unknown): boolean {
  return value !== null && typeof value === 'object' && typeof (value as { then?: unknown }).then === 'function'
}

/** Calls `then` with the value: synchronously for a plain value, when it resolves for a promise. */
export function chain<T, U>(value: Awaitable<T>, then: (value: T) => Awaitable<U>): Awaitable<U> {
  return isPromise(value) ? value.then(then) : then(value)
}

const ignore = (): void => {}

/** A promise that records whether anything handles it: whether it was awaited, or its `then` or `catch` was called. */
export class ObservedPromise<T> extends Promise<T> {
  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  /** Runs `work` synchronously. The promise has its result; it rejects with what `work` throws. */
  static of<T>(work: () => Awaitable<T>): ObservedPromise<T> {
    return new ObservedPromise((resolve, reject) => {
      const result = work()
      if (isPromise(result)) result.then(resolve, reject)
      else resolve(result)
    })
  }

  /** `then` was called, by `await`, `catch` or `finally` too. */
  observed = false

  // `await` calls it too: it does so for subclasses of Promise.
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

/** The arguments of a callback after success: none at all without a value, as in express-session. */
function success<T>(value: T): [error?: null, value?: T] {
  return value === undefined ? [] : [null, value]
}

/**
 * Runs the work of a method that takes an optional Node-style callback. With a callback: calls it exactly once, never
 * synchronously, and outside of any promise, so that an exception in it is an uncaught exception. Returns `self` for
 * chaining. Without: returns a promise. When nobody handles its rejection, the process goes on; the caller of `settle`
 * handles that of an {@link ObservedPromise}.
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
        (value) => callOutsidePromise(callback, ...success(value)),
        (error: unknown) => callOutsidePromise(callback, error ?? new Error('session operation failed')),
      )
    } else soon(callback, ...success(result))
    return self
  }
  const promise = isPromise(result) ? result : Promise.resolve(result)
  if (!(promise instanceof ObservedPromise)) promise.catch(ignore)
  return promise
}
