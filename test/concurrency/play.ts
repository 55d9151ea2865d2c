// Plays requests against the real middleware, in an order of one's choice, beside the model of what must come of it.

import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import { isDeepStrictEqual } from 'node:util'
import { sign } from 'cookie-signature'
import type { SessionOptions } from '../../lib/index.ts'
import { session } from '../../lib/index.ts'
import { isPointer, successorOf } from '../../lib/port/pointer.ts'
import type { Stored } from '../../lib/snapshot.ts'
import type { AnyStore } from './fixture/kinds.ts'
import {
  addMessage,
  isPointerView,
  Model,
  newView,
  type Party,
  pointerTo,
  readMessages,
  rebased,
  setLifetime,
  type View,
  viewOf,
} from './model.ts'
import { Schedule } from './schedule.ts'
import { secret } from './support.ts'

export const STEPS = [
  'set a',
  'set b',
  'set o.x',
  'set o.y',
  'set o to a value',
  'delete a',
  'delete o.x',
  'delete o',
  'add a message',
  'read messages',
  'set the lifetime',
  'touch',
  'save',
  'reload',
  'regenerate',
  'regenerate, keep',
  'destroy',
  'unset',
] as const

export type Step = (typeof STEPS)[number]

export interface Scene {
  /** What each request does, after it has its session. */
  readonly requests: readonly (readonly Step[])[]
  /** Which of them come with the cookie that the browser was given last, rather than with the one it had at first. */
  readonly newest?: readonly boolean[]
  /** See {@link Schedule}. */
  readonly choices: readonly number[]
  readonly options: Pick<SessionOptions, 'rolling' | 'resave' | 'concurrency'>
  /** Which of two processes, that serve the requests in turn, give each id another at once. */
  readonly renewing?: readonly [boolean, boolean]
}

/** What a store under test tells: every call, before and after which the model looks at what it holds. */
export interface Watcher {
  readonly schedule: Schedule
  /** Does `work`, which calls the store about `sid`; `reads`: it is answered with the record. */
  watch<T>(sid: string, reads: boolean, work: () => Promise<T>): Promise<T>
  /** The same for a store that answers at once. */
  watchSync<T>(sid: string, reads: boolean, work: () => T): T
  /** The name of the request that calls. */
  readonly caller: string
}

/** A stage for one scene: stores, one for each process that is played, over the same records. */
export interface Stage {
  readonly stores: readonly AnyStore[]
  /** After a write of its own it counts on what it knows, rather than to look whether the session is still there. */
  readonly trusts?: boolean
  /** The record under `sid` as it is at this moment, or the pointer. */
  peek(sid: string): object | undefined | Promise<object | undefined>
}

export type SetStage = (watcher: Watcher) => Stage

const LIFETIME = 3_600_000
let scenes = 0
const parties = new AsyncLocalStorage<Party>()

/** @throws Error with the trace of all steps, when a promise was broken. */
export async function play(scene: Scene, setStage: SetStage): Promise<void> {
  const { requests, newest = [], choices, options, renewing = [false, false] } = scene
  const schedule = new Schedule(choices)
  const model = new Model()
  const prefix = `scene${++scenes}-`
  const failures: unknown[] = []
  let ids = 0

  const look = (sid: string, record: object | undefined): View | undefined => {
    if (!record || !isPointer(record as Stored)) return record && viewOf(record)
    return pointerTo(String(successorOf(record as Stored, sid, [secret])?.id))
  }
  const peek = async (sid: string): Promise<View | undefined> => look(sid, await stage.peek(sid))
  const read = (party: Party, view: View | undefined): void => {
    party.read = isPointerView(view) ? undefined : view
  }
  const current = (): Party => parties.getStore() as Party
  const stage = setStage({
    schedule,
    get caller() {
      return current().name
    },
    async watch(sid, reads, work) {
      const party = current()
      const before = await peek(sid)
      if (reads) read(party, before)
      const result = await work()
      model.observe(party, sid, before, await peek(sid))
      return result
    },
    watchSync(sid, reads, work) {
      const party = current()
      const before = look(sid, stage.peek(sid) as object | undefined)
      if (reads) read(party, before)
      const result = work()
      model.observe(party, sid, before, look(sid, stage.peek(sid) as object | undefined))
      return result
    },
  })
  const overwrites = options.concurrency === 'overwrite'
  const trusts = stage.trusts === true && options.rolling !== true
  const processes = [...renewing, false].map((renews, n) => ({
    renews,
    serve: session({
      secret,
      store: stage.stores[n % stage.stores.length],
      saveUninitialized: false,
      resave: false,
      unset: 'destroy',
      cookie: { maxAge: LIFETIME },
      genid: () => `${prefix}${ids++}`,
      ...options,
      ...(renews && { renewAfter: Number.MIN_VALUE, renewGrace: LIFETIME }),
    }) as unknown as Serve,
  }))
  const [opener, , plain] = processes as [Process, Process, Process]

  const as = (name: string, { renews }: Process, sid: string): Request => {
    const party: Party = {
      name,
      sid,
      base: undefined,
      current: newView(LIFETIME),
      read: undefined,
      saved: undefined,
      wrote: false,
      renews,
      moved: false,
    }
    return new Request(party, { schedule, model, failures, trusts, overwrites })
  }

  try {
    // Somebody has signed in before.
    const first = `${prefix}0`
    const browser = { sid: first }
    const opening = as('first', opener, '')
    await schedule.run([opening.serve(opener.serve, ['set a', 'set o.x', 'set o.y', 'add a message'])])
    if (!model.get(first)) throw new Error('there is no session to begin with')

    const request = async (steps: readonly Step[], n: number): Promise<void> => {
      const process = processes[n % 2] as Process
      await schedule.turn(`r${n + 1} leaves the browser`)
      const sent = await as(`r${n + 1}`, process, newest[n] ? browser.sid : first).serve(process.serve, steps)
      if (sent !== undefined) browser.sid = sent
    }
    await schedule.run(requests.map(request))
    if (failures.length > 0) throw failures[0]

    model.over()
    if (!model.isMeantToEnd(first) && model.now(browser.sid) !== model.now(first)) {
      throw new Error(`the browser has ${browser.sid} at the end, which is not its session`)
    }
    const all = Array.from({ length: ids }, (_, n) => `${prefix}${n}`)
    for (const sid of all) {
      const held = await peek(sid)
      if (!isDeepStrictEqual(held, model.get(sid))) throw new Error(`${sid} holds ${JSON.stringify(held)} at the end`)
    }
    for (const sid of all) await schedule.run([as(`a visitor with ${sid}`, plain, sid).visit(plain.serve)])
  } catch (error) {
    const trace = schedule.trace.join('\n  ').replaceAll(prefix, '')
    throw new Error(`${(error as Error).message.replaceAll(prefix, '')}\n  ${trace}`, { cause: error })
  }
}

type Serve = (req: object, res: object, next: (error?: unknown) => void) => void

interface Process {
  readonly renews: boolean
  readonly serve: Serve
}

/** As much of a response as the middleware looks at. */
class Response extends EventEmitter {
  statusCode = 200
  headersSent = false
  readonly headers = new Map<string, unknown>()

  getHeader(name: string): unknown {
    return this.headers.get(name.toLowerCase())
  }
  setHeader(name: string, value: unknown): void {
    this.headers.set(name.toLowerCase(), value)
  }
  writeHead(_status: number): this {
    this.headersSent = true
    return this
  }
  end(): this {
    if (!this.headersSent) this.writeHead(this.statusCode)
    this.emit('finish')
    return this
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the middleware gives it a session
type AnyRequest = any

interface Surroundings {
  readonly schedule: Schedule
  readonly model: Model
  /** What the middleware gives to `next`, at any time. */
  readonly failures: unknown[]
  /** See {@link Stage.trusts}. */
  readonly trusts: boolean
  readonly overwrites: boolean
}

class Request {
  readonly #party: Party
  readonly #failures: unknown[]
  readonly #trusts: boolean
  readonly #overwrites: boolean
  readonly #schedule: Schedule
  readonly #model: Model
  readonly #req: AnyRequest
  readonly #res = new Response()
  /** The id that its cookie names. */
  readonly #sent: string
  #values = 0

  constructor(party: Party, { schedule, model, failures, trusts, overwrites }: Surroundings) {
    this.#party = party
    this.#trusts = trusts
    this.#overwrites = overwrites
    this.#failures = failures
    this.#schedule = schedule
    this.#model = model
    this.#sent = party.sid
    const cookie = party.sid && `connect.sid=${encodeURIComponent(`s:${sign(party.sid, secret)}`)}`
    this.#req = { url: '/', headers: { cookie }, socket: {} }
  }

  /** Answers with the id in the cookie that the response brings. */
  serve(serve: Serve, steps: readonly Step[]): Promise<string | undefined> {
    return parties.run(this.#party, () => this.#serve(serve, steps))
  }

  /** Looks at what there is for who comes with this id, and goes. */
  visit(serve: Serve): Promise<void> {
    return parties.run(this.#party, () => this.#come(serve))
  }

  async #come(serve: Serve): Promise<void> {
    const party = this.#party
    const before = this.#model.get(this.#model.now(this.#sent))
    await new Promise<void>((resolve) => {
      serve(this.#req, this.#res, (error) => {
        if (error) this.#failures.push(error)
        resolve()
      })
    })
    if (this.#failures.length > 0) throw this.#failures[0]
    party.sid = this.#req.sessionID
    if (before && !party.read && !this.#model.isMeantToEnd(this.#sent)) {
      throw new Error(`${party.name} has not found its session`)
    }
    if (party.read) this.#agree(party.read)
  }

  async #serve(serve: Serve, steps: readonly Step[]): Promise<string | undefined> {
    const party = this.#party
    await this.#schedule.turn(`${party.name} comes`)
    await this.#come(serve)
    // One that does nothing is not to look at its session either.
    if (steps.length > 0) this.#compare()

    for (const step of steps) {
      if (!this.#req.session) break
      await this.#schedule.turn(`${party.name}: ${step}`)
      await this.#do(step)
    }
    await this.#schedule.turn(`${party.name} answers`)
    const counts = this.#trusts && party.wrote
    const isSame = this.#model.firstOf(this.#sent) === this.#model.firstOf(this.#req.sessionID)
    const ended = isSame && this.#model.isEnded(this.#sent) && !counts
    const finished = new Promise((resolve) => this.#res.once('finish', resolve))
    this.#res.end()
    await finished
    if (this.#failures.length > 0) throw this.#failures[0]
    if (this.#req.session) this.#model.settled(party)
    else this.#model.ended(party)
    const cookie = String(this.#res.getHeader('set-cookie') ?? '')
    if (ended && cookie) throw new Error(`${party.name} has sent the cookie of a session that is gone: ${cookie}`)
    const told = /=s%3A([^.]+)/.exec(cookie)?.[1]
    if (party.moved && !this.#model.isMeantToEnd(this.#sent) && (told === undefined || told === this.#sent)) {
      throw new Error(`${party.name} has not told the browser of its new id`)
    }
    return told
  }

  #agree(view: View): void {
    this.#party.base = structuredClone(view)
    this.#party.current = structuredClone(view)
  }

  #compare(): void {
    const view = viewOf(this.#req.session)
    if (isDeepStrictEqual(view, this.#party.current)) return
    throw new Error(`${this.#party.name} has ${JSON.stringify(view)} instead of ${JSON.stringify(this.#party.current)}`)
  }

  /** What a session with another id begins with. */
  #rebased(): View | undefined {
    return this.#overwrites ? this.#party.current : rebased(this.#party)
  }

  async #do(step: Step): Promise<void> {
    const party = this.#party
    const { session } = this.#req
    // No two are alike, so that it can be told whose a value is.
    const value = `${party.name}.${++this.#values}`
    const both = (change: (session: AnyRequest) => void): void => {
      change(session)
      change(party.current)
    }
    switch (step) {
      case 'set a':
      case 'set b':
        return both((data) => {
          data[step.slice(-1)] = value
        })
      case 'set o.x':
      case 'set o.y':
        return both((data) => {
          if (typeof data.o === 'object') data.o[step.slice(-1)] = value
          else data.o = { [step.slice(-1)]: value }
        })
      case 'set o to a value':
        return both((data) => {
          data.o = value
        })
      case 'delete a':
      case 'delete o':
        return both((data) => {
          delete data[step.slice(-1)]
        })
      case 'delete o.x':
        return both((data) => {
          if (typeof data.o === 'object') delete data.o.x
        })
      case 'add a message':
        session.flash('info', value)
        return addMessage(party.current, value)
      case 'read messages':
        session.flash('info')
        return readMessages(party.current)
      case 'set the lifetime': {
        const ms = LIFETIME + Number(party.name.replace(/\D/g, '') || 0) * 1000 + this.#values
        session.cookie.maxAge = ms
        return setLifetime(party.current, ms)
      }
      case 'touch':
        session.touch()
        return
      case 'save':
        await session.save()
        return this.#model.settled(party)
      case 'reload':
        party.read = undefined
        try {
          await session.reload()
        } catch (error) {
          if (party.read || !/failed to load session/.test(String(error))) throw error
          return
        }
        this.#agree(party.read as unknown as View)
        return this.#compare()
      case 'regenerate':
      case 'regenerate, keep': {
        const keep = step !== 'regenerate'
        party.read = undefined
        this.#model.ends(party)
        await session.regenerate({ keep })
        this.#model.ended(party)
        party.sid = this.#req.sessionID
        party.current = (keep && this.#rebased()) || newView(LIFETIME)
        party.base = undefined
        return this.#compare()
      }
      case 'destroy':
        this.#model.ends(party)
        await session.destroy()
        return this.#model.ended(party)
      case 'unset':
        this.#model.ends(party)
        this.#req.session = null
        return
    }
  }
}
