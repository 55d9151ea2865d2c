// Sends commands to Redis, and limits how long each waits: for the connection, and for the answer.

import { type Awaitable, isPromise } from '../../lib/awaitable.ts'
import { SessionError } from '../../lib/errors.ts'
import { alarm, now, sleep } from '../../lib/timers.ts'
import type { Link } from './clients.ts'
import type { Commands } from './commands.ts'

/** How long commands wait for the first connection. */
const FIRST_MS = 3_000
/** How long commands wait for a connection that was lost. */
const LOST_MS = 1_000
/** The pause between two looks at the client while it is not connected. */
const RETRY_MS = 20
/** One pause counts as so much waiting at most: it takes longer only when the process itself is held up. */
const MAX_PAUSE_MS = 250
/** A command waits for so many times `MAX_PAUSE_MS` for its answer, half as many while the client is not connected. */
const MAX_PAUSES = 12

export class Connection {
  readonly #link: Link
  /** For how many ms commands may still wait for a connection. */
  #msLeft = FIRST_MS
  /** Why the last attempt to connect failed. */
  #cause: unknown
  /** The wait for a connection, which all waiting commands share. */
  #recovery: Promise<void> | undefined

  constructor(link: Link) {
    this.#link = link
  }

  /** Runs commands when the client is connected. @throws SessionError `ERR_SESSION_STORE` when that, or the answer, takes too long. */
  run<T>(work: (commands: Commands) => Awaitable<T>): Promise<T> {
    // While other commands wait, this one waits too: commands are sent in the order in which they came.
    if (!this.#recovery && this.#link.ready()) {
      this.#msLeft = LOST_MS
      this.#cause = undefined
      return this.#send(work)
    }
    this.#recovery ??= this.#recover().finally(() => {
      this.#recovery = undefined
    })
    return this.#recovery.then(() => this.#send(work))
  }

  /** Some clients keep an unanswered command for the next connection, so the wait is limited here. */
  #send<T>(work: (commands: Commands) => Awaitable<T>): Promise<T> {
    const link = this.#link
    return withTimeout(
      () => work(link.commands),
      () => !link.ready(),
    )
  }

  /** Tries to connect until the client is ready or the time is up. */
  async #recover(): Promise<void> {
    do {
      const start = now()
      this.#open()
      await sleep(RETRY_MS)
      if (this.#link.ready()) return
      this.#msLeft -= Math.min(Math.max(RETRY_MS, now() - start), MAX_PAUSE_MS)
    } while (this.#msLeft > 0)
    const reason = this.#cause instanceof Error ? this.#cause.message : 'the client is not connected'
    throw new SessionError('ERR_SESSION_STORE', `Redis cannot be reached: ${reason}`, { cause: this.#cause })
  }

  /** `#recover` does not await this: one attempt may last as long as Redis is unreachable. */
  async #open(): Promise<void> {
    try {
      await this.#link.open()
    } catch (error) {
      this.#cause = error
    }
  }

  /** The keys that begin with `prefix`, without it, page by page. */
  async *scan(prefix: string, count: number): AsyncGenerator<string[]> {
    const nodes = await this.run(({ nodes }) => nodes?.())
    if (!nodes) {
      throw new SessionError(
        'ERR_SESSION_STORE',
        'the client of RedisStore has no scan(), which all(), ids(), length() and clear() need',
      )
    }
    const start = (this.#link.commands.keyPrefix ?? '') + prefix
    const pattern = `${start.replace(/[\\*?[\]^]/g, '\\$&')}*`
    for (const node of nodes) {
      let cursor = '0'
      do {
        const page = await this.run(() => node(cursor, pattern, count))
        cursor = String(page.cursor)
        yield page.keys.map((key) => String(key).slice(start.length))
      } while (cursor !== '0')
    }
  }
}

/** Rejects when the answer takes too long. Its timer keeps the process alive meanwhile; the client might not. */
function withTimeout<T>(work: () => Awaitable<T>, isDisconnected: () => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const result = work()
    if (!isPromise(result)) return resolve(result)
    const fail = (): void => reject(new SessionError('ERR_SESSION_STORE', 'Redis does not answer'))
    // Several short timers, not a long one: when the process was held up, a timer runs before the answer is read.
    let pauses = 0
    const check = (): void => {
      pauses++
      if (pauses === MAX_PAUSES || (pauses >= MAX_PAUSES / 2 && isDisconnected())) fail()
      else timer = alarm(MAX_PAUSE_MS, check)
    }
    let timer = alarm(MAX_PAUSE_MS, check)
    result.then(
      (value) => {
        timer.cancel()
        resolve(value)
      },
      (error) => {
        timer.cancel()
        reject(error)
      },
    )
  })
}
