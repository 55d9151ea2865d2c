// Clocks and timers as a test fakes them: they stand, and nothing that was put off ever comes.

import { vi } from 'vitest'

/** All that vitest, sinon and jest can fake, except for `nextTick`, which Node's own streams need. */
const ALL = [
  'setTimeout',
  'clearTimeout',
  'setInterval',
  'clearInterval',
  'setImmediate',
  'clearImmediate',
  'queueMicrotask',
  'performance',
  'hrtime',
  'Date',
] as const

interface Options {
  /** `nextTick` is faked, too, as Jest does; not where `work` needs a socket or a stream. */
  ticks?: boolean
  /** What is not faked. */
  but?: (typeof ALL)[number] | undefined
}

/** Fakes them while `work` goes on. @throws Error when it hangs: while they are faked, the test runner cannot tell. */
export async function whileClocksStand<T>(work: () => Promise<T>, { ticks, but }: Options = {}): Promise<T> {
  const { nextTick } = process
  const missed: (() => void)[] = []
  let limit: NodeJS.Timeout | undefined
  const hanging = new Promise<never>((_, reject) => {
    limit = setTimeout(() => reject(new Error('it hangs while clocks and timers are faked')), 240_000)
  })
  vi.useFakeTimers({ toFake: ALL.filter((name) => name !== but), now: Date.now() })
  if (ticks)
    process.nextTick = (call: (...args: never[]) => void, ...args: never[]) => void missed.push(() => call(...args))
  try {
    return await Promise.race([work(), hanging])
  } finally {
    process.nextTick = nextTick
    vi.useRealTimers()
    clearTimeout(limit)
    for (const call of missed) nextTick(call)
  }
}
