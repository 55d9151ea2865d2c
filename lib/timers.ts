// Timers for everything that a request waits for. They work when a test fakes clocks and timers: test runners replace
// `setTimeout`, `setImmediate`, `nextTick`, `queueMicrotask`, `performance` and `hrtime`, some of them before this
// package is loaded, and jsdom's timers differ from Node's.

import { randomBytes } from 'node:crypto'
import { MessageChannel } from 'node:worker_threads'

/** A monotonic clock, in milliseconds. */
export function now(): number {
  return process.uptime() * 1000
}

/**
 * Calls a function of the app from a promise's handler. What it throws becomes an uncaught exception, as from any
 * callback, instead of a rejection of that promise.
 */
export function callOutsidePromise<Args extends unknown[]>(call: (...args: Args) => unknown, ...args: Args): void {
  try {
    call(...args)
  } catch (error) {
    // Throws from a native callback. `randomBytes` has one that no test fakes.
    randomBytes(1, () => {
      throw error
    })
  }
}

/** Calls a function of the app in a microtask, after the running code. Throws like {@link callOutsidePromise}. */
export function soon<Args extends unknown[]>(call: (...args: Args) => unknown, ...args: Args): void {
  Promise.resolve().then(() => callOutsidePromise(call, ...args))
}

/** The global timers when this package was loaded. */
const originals = { setTimeout: globalThis.setTimeout, setImmediate: globalThis.setImmediate }

/**
 * Whether a global timer exists and is the runtime's own: libraries that fake timers put a `clock` property on theirs.
 */
function isReal(name: keyof typeof originals): boolean {
  const timer: unknown = globalThis[name]
  return typeof timer === 'function' && timer === originals[name] && !('clock' in timer)
}

/** A timer that was started with {@link alarm}. */
export interface Alarm {
  /** Lets the process exit while the timer runs. */
  unref(): Alarm
  cancel(): void
}

/** ECMAScript 2024; TypeScript's library for the target does not declare it. */
const { waitAsync } = Atomics as unknown as {
  waitAsync(cell: Int32Array, index: 0, value: 0, ms: number): { value: Promise<string> }
}

/** The longest delay that a timer takes, in milliseconds: 24 days. With a longer one it rings at once. */
export const LONGEST_DELAY: number = 2 ** 31 - 1

/** Calls `ring` after `ms` milliseconds, or after {@link LONGEST_DELAY} if that is sooner, even when timers are faked. */
export function alarm(ms: number, ring: () => void): Alarm {
  let isDone = false
  let realTimer: AtomicsTimer | undefined
  const cancel = (): void => {
    isDone = true
    clearTimeout(timer as NodeJS.Timeout)
    realTimer?.cancel()
  }
  const fire = (): void => {
    if (isDone) return
    cancel()
    ring()
  }
  const timer: number | { unref(): unknown } = setTimeout(fire, Math.min(ms, LONGEST_DELAY))
  if (!isReal('setTimeout')) realTimer = new AtomicsTimer(ms, fire)
  return {
    unref() {
      unref(timer)
      realTimer?.unref()
      return this
    },
    cancel,
  }
}

/** A timer that uses no timer function: it waits on a cell of shared memory until the wait times out. */
class AtomicsTimer {
  readonly #cell = new Int32Array(new SharedArrayBuffer(4))
  /** Keeps the process alive while it is open; the wait itself does not. */
  readonly #port = new MessageChannel().port1

  constructor(ms: number, ring: () => void) {
    this.#port.ref()
    // Only `cancel` notifies the cell; otherwise the wait times out.
    waitAsync(this.#cell, 0, 0, Math.max(ms, 1)).value.then(ring)
  }

  unref(): void {
    this.#port.close()
  }

  cancel(): void {
    this.#port.close()
    Atomics.notify(this.#cell, 0)
  }
}

/** Lets the process exit while the timer runs. In jsdom a timer is a number, which cannot be unreferenced. */
function unref(timer: number | { unref(): unknown }): void {
  if (typeof timer === 'object') timer.unref()
}

/** Resolves after `ms` milliseconds, even when timers are faked. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void alarm(ms, resolve))
}

/** Resolves in a later turn of the event loop. */
export function turn(): Promise<void> {
  return isReal('setImmediate') ? new Promise((resolve) => setImmediate(resolve)) : sleep(0)
}

/**
 * Calls `work` after `ms` milliseconds, for work that nothing waits for. Tests can fake this timer. It lets the process
 * exit.
 */
export function inBackground(ms: number, work: () => void): void {
  unref(setTimeout(work, ms))
}
