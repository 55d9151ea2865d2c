// A real Chromium without a window, driven by the DevTools protocol over pipes.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

const command = ['chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => spawnSync(name, ['--version']).status === 0,
)

/** Why there is no Chromium here; undefined when there is. */
export const chromiumMissing: string | undefined = command ? undefined : 'chromium is not installed'

interface Message {
  readonly id?: number
  readonly result?: Record<string, unknown>
  readonly error?: { readonly message: string }
}

/** A browser with one page. */
export class Chromium {
  readonly #process: ChildProcess
  readonly #profile: string
  readonly #waiting = new Map<number, (message: Message) => void>()
  #count = 0
  #session: unknown

  private constructor(process: ChildProcess, profile: string) {
    this.#process = process
    this.#profile = profile
    let text = ''
    const from = process.stdio[4] as Readable
    from.setEncoding('utf8')
    from.on('data', (piece: string) => {
      const messages = (text + piece).split('\0')
      text = messages.pop() ?? ''
      for (const message of messages.map((each) => JSON.parse(each) as Message)) {
        if (message.id !== undefined) this.#waiting.get(message.id)?.(message)
      }
    })
  }

  static async start(): Promise<Chromium> {
    const profile = await mkdtemp(join(tmpdir(), 'chromium-'))
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-pipe']
    const process = spawn(command as string, [...flags, `--user-data-dir=${profile}`], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    })
    const browser = new Chromium(process, profile)
    const { targetId } = await browser.#send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await browser.#send('Target.attachToTarget', { targetId, flatten: true })
    browser.#session = sessionId
    return browser
  }

  /** Opens a page, as if its address was typed in. */
  async open(url: string): Promise<void> {
    await this.#send('Page.navigate', { url })
    await this.until(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`)
  }

  /** What a script in the page evaluates to, its promise awaited. */
  async run(script: string): Promise<unknown> {
    const parameters = { expression: script, awaitPromise: true, returnByValue: true, userGesture: true }
    const { result } = await this.#send('Runtime.evaluate', parameters)
    return (result as { value?: unknown }).value
  }

  /** Waits until a condition holds in the page, whichever that is by then. */
  async until(condition: string): Promise<void> {
    while (!(await this.run(`Boolean(${condition})`).catch(() => false))) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve))
    this.#process.kill('SIGKILL')
    await ended
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 })
  }

  #send(method: string, params: object): Promise<Record<string, unknown>> {
    const id = ++this.#count
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result = {}, error }) => {
        this.#waiting.delete(id)
        if (error) reject(new Error(`${method}: ${error.message}`))
        else resolve(result)
      })
      const to = this.#process.stdio[3] as Writable
      to.write(
        `${JSON.stringify({ id, method, params, ...(this.#session !== undefined && { sessionId: this.#session }) })}\0`,
      )
    })
  }
}
