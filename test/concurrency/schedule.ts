// Decides which of several requests goes on next, so that every order of their steps can be tried, and tried again.

export class Schedule {
  /** What has gone on, in order. */
  readonly trace: string[] = []
  readonly #choices: readonly number[]
  readonly #waiting: { label: string; proceed: () => void }[] = []
  #working: Promise<unknown> | undefined
  #steps = 0

  /** `choices` picks among those who wait, modulo their number; when they are used up, the longest waiting goes on. */
  constructor(choices: readonly number[]) {
    this.#choices = choices
  }

  /** Resolves when the caller is to go on. */
  turn(label: string): Promise<void> {
    return new Promise((proceed) => {
      this.#waiting.push({ label, proceed })
    })
  }

  /** A call to a store: `work` is done in one turn, with nothing beside it; its answer arrives in another. */
  async call<T>(label: string, work: () => Promise<T>): Promise<T> {
    await this.turn(label)
    const working = work()
    this.#working = working.catch(() => {})
    try {
      return await working
    } finally {
      await this.turn(`${label}: answered`)
    }
  }

  /** Lets them go on one by one until all of them are done. @throws Error when nobody can. */
  async run(actors: readonly Promise<unknown>[]): Promise<void> {
    let done = false
    const all = Promise.all(actors).finally(() => {
      done = true
    })
    all.catch(() => {})
    for (;;) {
      await this.#settle()
      if (done) return void (await all)
      if (this.#waiting.length === 0) throw new Error('nobody can go on')
      const choice = this.#choices[this.#steps++] ?? 0
      const [next] = this.#waiting.splice(choice % this.#waiting.length, 1)
      this.trace.push(next?.label as string)
      next?.proceed()
    }
  }

  /** Waits until all that follows from the last turn has happened. */
  async #settle(): Promise<void> {
    // The middleware goes on by way of `nextTick`, and of one `setImmediate`.
    for (let rounds = 0; rounds < 2; rounds++) {
      await new Promise(setImmediate)
      while (this.#working) {
        const working = this.#working
        await working
        if (this.#working === working) this.#working = undefined
        rounds = 0
      }
    }
  }
}
