// Waiting that no test can stop by faking clocks and timers. Test runners replace what the globals and the modules
// give (`setTimeout`, `setImmediate`, `nextTick`, `queueMicrotask`, `performance`, `hrtime`), some before this package is
// loaded; jsdom has other timers than Node, or none. What a request waits for goes through here.

import { randomBytes } from 'node:crypto'
import { MessageChannel } from 'node:worker_threads'

/** Milliseconds of a clock that only goes forward. */
export function now(): number {
  return process.uptime() * 1000
}

/**
 * Calls a function of the app from within a promise's reaction. What it throws is thrown as usual, an uncaught
 * exception, where the promise would make a rejection of it.
 */
export function callFree<Args extends unknown[]>(call: (...args: Args) => unknown, ...args: Args): void {
  try {
    call(...args)
  } catch (error) {
    // The next callback that comes from outside of JavaScript, by something that nobody fakes.
    randomBytes(1, () => {
      throw error
    })
  }
}

/** Calls a function of the app as soon as the running code is through. */
export function soon<Args extends unknown[]>(call: (...args: Args) => unknown, ...args: Args): void {
  Promise.resolve().then(() => callFree(call, ...args))
}

/** What the timers were when this package was loaded. */
const atLoad = { setTimeout: globalThis.setTimeout, setImmediate: globalThis.setImmediate }

/** Whether a global timer is there and the runtime's own: the libraries that fake them mark theirs by a `clock`. */
function isReal(name: keyof typeof atLoad): boolean {
  const timer: unknown = globalThis[name]
  return typeof timer === 'function' && timer === atLoad[name] && !('clock' in timer)
}

/** A timer that has been set. */
export interface Alarm {
  /** It keeps no process alive. */
  unref(): Alarm
  cancel(): void
}

/** ECMAScript 2024. */
const { waitAsync } = Atomics as unknown as {
  waitAsync(cell: Int32Array, index: 0, value: 0, ms: number): { value: Promise<string> }
}

/** Calls after `ms` milliseconds, also where the timers are faked. */
export function alarm(ms: number, ring: () => void): Alarm {
  let over = false
  let unfaked: Unfaked | undefined
  const end = (): void => {
    over = true
    clearTimeout(timer as NodeJS.Timeout)
    unfaked?.cancel()
  }
  const go = (): void => {
    if (over) return
    end()
    ring()
  }
  const timer: number | { unref(): unknown } = setTimeout(go, ms)
  if (!isReal('setTimeout')) unfaked = new Unfaked(ms, go)
  return {
    unref() {
      unref(timer)
      unfaked?.unref()
      return this
    },
    cancel: end,
  }
}

/** A timer that is made of none. */
class Unfaked {
  readonly #cell = new Int32Array(new SharedArrayBuffer(4))
  /** What is waited for keeps no process alive; an open port does. */
  readonly #port = new MessageChannel().port1

  constructor(ms: number, ring: () => void) {
    this.#port.ref()
    // Nobody wakes it: the time runs out.
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

/** In jsdom a timer is a number. */
function unref(timer: number | { unref(): unknown }): void {
  if (typeof timer === 'object') timer.unref()
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void alarm(ms, resolve))
}

/** Lets the event loop turn once. */
export function turn(): Promise<void> {
  return isReal('setImmediate') ? new Promise((resolve) => setImmediate(resolve)) : sleep(0)
}

/** Calls after `ms` milliseconds of the clock that tests fake, for work that nobody waits for; keeps no process alive. */
export function inBackground(ms: number, work: () => void): void {
  unref(setTimeout(work, ms))
}
