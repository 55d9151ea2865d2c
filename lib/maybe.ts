// A value now or a promise of it. A store that answers at once is served without a trip
// through the event loop; one that does not is awaited.

export type Maybe<T> = T | Promise<T>

export function isPromise<T>(value: Maybe<T>): value is Promise<T>
export function isPromise(value: unknown): value is PromiseLike<unknown>
export function isPromise(value: unknown): boolean {
  return value !== null && typeof value === 'object' && typeof (value as { then?: unknown }).then === 'function'
}

/** `then(value)` at once when the value is there, later when it is a promise. */
export function chain<T, U>(value: Maybe<T>, then: (value: T) => Maybe<U>): Maybe<U> {
  return isPromise(value) ? value.then(then) : then(value)
}

const ignore = (): void => {}

/**
 * Ends a method that takes an optional Node-style callback. With one: it is called exactly once,
 * never synchronously, outside any promise, so what it throws is thrown as usual; `self` is returned
 * for chaining. Without: a promise, whose rejection kills no process when nobody looks at it.
 */
export function settle<S, T>(
  self: S,
  work: () => Maybe<T>,
  callback: ((error: unknown, value?: T) => void) | undefined,
): S | Promise<T> {
  let result: Maybe<T>
  try {
    result = work()
  } catch (error) {
    result = Promise.reject(error)
  }
  if (typeof callback === 'function') {
    if (isPromise(result)) {
      result.then(
        (value) => process.nextTick(callback, null, value),
        (error: unknown) => process.nextTick(callback, error ?? new Error('session operation failed')),
      )
    } else process.nextTick(callback, null, result)
    return self
  }
  const promise = isPromise(result) ? result : Promise.resolve(result)
  promise.catch(ignore)
  return promise
}
