// bun-router and every other host of the shape `(req: Request, next) => Response`.

import { settle } from '../awaitable.ts'
import { debug } from '../diagnostics.ts'
import { SessionError } from '../errors.ts'
import type { HostRequest, HostTraits, RequestLike, ResponseHead } from '../request/host.ts'
import { Lifecycle } from '../request/lifecycle.ts'
import { reportLate, type Service } from '../request/service.ts'
import { type FlashMessages, LIFE, type Session, type SessionData } from '../session.ts'

/** What the middleware puts on a `Request`. */
export interface SessionRequestSugar {
  /** The request's session; assigning an object replaces its data, `{}` empties it. */
  session: Session & Partial<SessionData>
  sessionID: string
  /** Adds a message and returns the count of its type; reads and clears one type's messages, or all of them. */
  flash(type: string, message: unknown, ...formatArguments: unknown[]): number
  flash(type: string): unknown[]
  flash(): FlashMessages
  /** Gives the session a new id and keeps its data. */
  regenerateSession(): Promise<void>
  /** Ends the session. */
  destroySession(): Promise<void>
}

/** A request as a handler sees it: `(req: SessionRequest) => Response`. */
export type SessionRequest = Request & SessionRequestSugar

/** Goes on to the handler. */
// biome-ignore lint/suspicious/noExplicitAny: each host gives its handlers a request of its own
export type FetchNext = (req?: any) => any

/** A Fetch request, as the lifecycle sees it. */
class FetchHost implements HostRequest {
  readonly traits = TRAITS
  // RFC 9110 has no notion of a proxied scheme in a Request: only its URL tells.
  readonly secure = undefined
  readonly #req: Request

  constructor(req: Request) {
    this.#req = req
  }

  get cookieHeader(): string | undefined {
    return this.#req.headers.get('cookie') ?? undefined
  }

  get method(): string {
    return this.#req.method
  }

  header(name: string): string | undefined {
    return this.#req.headers.get(name) ?? undefined
  }

  get path(): string {
    return new URL(this.#req.url).pathname
  }

  get encrypted(): boolean {
    return this.#req.url.startsWith('https:')
  }

  get forwardedProto(): string | undefined {
    return this.#req.headers.get('x-forwarded-proto') ?? undefined
  }
}

/** bun-router's documentation reads and writes sessions by method, too. */
const TRAITS: HostTraits = {
  withholds: true,
  methods: {
    get(this: Data, key: string) {
      return this[key]
    },
    set(this: Data, key: string, value: unknown) {
      this[key] = value
    },
    has(this: Data, key: string) {
      return Object.hasOwn(this, key)
    },
    forget(this: Data, key: string) {
      delete this[key]
    },
  },
}

type Data = Record<string, unknown>

/** Serves one request of a fetch-style host. */
export async function serveFetch(service: Service, req: Request, next: FetchNext): Promise<Response> {
  const carrier = req as unknown as RequestLike
  if (carrier[LIFE]?.isCommitted) {
    delete carrier[LIFE]
    delete carrier.session
  }
  let life: Lifecycle | undefined
  try {
    life = Lifecycle.begin(service, carrier, new FetchHost(req))
  } catch (error) {
    if (error instanceof SessionError && error.status) return new Response(error.message, { status: error.status })
    throw error
  }
  if (!life) return next(req)
  await life.load()

  const sugar: Omit<SessionRequestSugar, 'session' | 'sessionID'> = {
    flash: ((...args: [string, unknown]) => life.requireSession().flash(...args)) as SessionRequestSugar['flash'],
    regenerateSession: () => promise(() => life.requireSession().regenerate({ keep: true })),
    destroySession: () => promise(() => carrier.session && life.requireSession().destroy()),
  }
  Object.assign(req, sugar)

  let answer: unknown
  try {
    answer = await next(req)
  } catch (error) {
    // The error's answer is made elsewhere and can carry no cookie. What the app has explicitly done stays done;
    // its other changes go with the request, as those of a failed transaction.
    await life.pending.settle().catch((late) => reportLate(service, late))
    throw error
  }
  const carries = carriesCookies(answer)
  if (!carries) life.close('the answer can carry none')
  try {
    await life.commit(carries)
  } catch (error) {
    if (life.withholds(error)) throw error
    reportLate(service, error)
  }
  if (life.isReplaced) return answer as Response
  const head = new FetchHead(answer)
  life.head(head)
  return withHead(answer, head) as Response
}

/** A promise of what `work` does, which may be ignored: the request hears of a failure in any case. */
const promise = (work: () => unknown): Promise<void> => settle(undefined, work, undefined) as Promise<void>

/** Any class of Response will do. Those without a status, and those that open a WebSocket, are passed on as they are. */
function isResponse(answer: unknown): answer is Response {
  const { status, headers } = (answer ?? {}) as Partial<Response>
  return typeof headers?.append === 'function' && status !== 0 && status !== 101
}

/** The host makes a Response of no answer at all. */
function carriesCookies(answer: unknown): boolean {
  return answer === null || answer === undefined || isResponse(answer)
}

/** Responses that were given a cookie, and which: one that comes again is shared between requests. */
const given = new WeakMap<Response, string>()
/** Responses without a body are often made once and used for ever. */
const isBare = ({ status }: Response): boolean => status === 204 || status === 205 || (status >= 300 && status < 400)

/** What the head of an answer is to be, besides what it is. */
class FetchHead implements ResponseHead {
  cookie: string | undefined
  readonly changes: [name: string, value: string][] = []
  readonly #answer: unknown

  constructor(answer: unknown) {
    this.#answer = answer
  }

  get(name: string): string | undefined {
    return isResponse(this.#answer) ? (this.#answer.headers.get(name) ?? undefined) : undefined
  }

  set(name: string, value: string): void {
    this.changes.push([name, value])
  }

  addCookie(value: string): void {
    this.cookie = value
  }

  get isChanged(): boolean {
    return this.cookie !== undefined || this.changes.length > 0
  }

  applyTo(headers: Headers): Headers {
    for (const [name, value] of this.changes) headers.set(name, value)
    if (this.cookie !== undefined) headers.append('Set-Cookie', this.cookie)
    return headers
  }
}

/** The answer with its head as the session wants it: changed in place where that is possible, otherwise a copy. */
function withHead(answer: unknown, head: FetchHead): unknown {
  const { cookie } = head
  if (!isResponse(answer)) {
    if (!head.isChanged) return answer
    if (carriesCookies(answer)) return new Response(null, { headers: head.applyTo(new Headers()) })
    debug('no cookie: the handler answered with something that can carry none')
    return answer
  }
  const old = given.get(answer)
  if (!head.isChanged && old === undefined) return answer
  if (old !== undefined) debug('the answer carries the cookie of another request: a copy goes without it')
  if (head.isChanged && old === undefined && !isBare(answer)) {
    try {
      // In place: a body that has been looked at loses its content type under Bun.
      head.applyTo(answer.headers)
      if (cookie !== undefined) given.set(answer, cookie)
      return answer
    } catch {
      debug('the answer is immutable: a copy carries the cookie')
    }
  }
  const headers = new Headers(answer.headers)
  headers.delete('Set-Cookie')
  for (const other of answer.headers.getSetCookie()) if (other !== old) headers.append('Set-Cookie', other)
  head.applyTo(headers)
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers })
}
