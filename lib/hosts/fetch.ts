// bun-router and every other host with middleware of the shape `(req: Request, next) => Response`.

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
  /** Adds a message and returns how many of its type there are. */
  flash(type: string, message: unknown, ...formatArguments: unknown[]): number
  /** Reads and clears the messages of one type. */
  flash(type: string): unknown[]
  /** Reads and clears all messages, by type. */
  flash(): FlashMessages
  /** Gives the session a new id and keeps its data. Rejects with `ERR_SESSION_MISSING` when the session has ended. */
  regenerateSession(): Promise<void>
  /** Destroys the session. Does nothing when the request has none any more. */
  destroySession(): Promise<void>
}

/** A request as a handler sees it: `(req: SessionRequest) => Response`. */
export type SessionRequest = Request & SessionRequestSugar

/** Calls the rest of the chain. */
// biome-ignore lint/suspicious/noExplicitAny: each host gives its handlers a request of its own
export type FetchNext = (req?: any) => any

/** A Fetch request, as the lifecycle sees it. */
class FetchHost implements HostRequest {
  readonly traits = TRAITS
  // The Fetch standard's Request has no such member: `encrypted` goes by the URL.
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

/** bun-router documents `get`, `set`, `has` and `forget` on sessions besides properties. */
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
  const requestLike = req as unknown as RequestLike
  // A host may serve the same Request twice.
  if (requestLike[LIFE]?.isCommitted) {
    delete requestLike[LIFE]
    delete requestLike.session
  }
  let lifecycle: Lifecycle | undefined
  try {
    lifecycle = Lifecycle.begin(service, requestLike, new FetchHost(req))
  } catch (error) {
    if (error instanceof SessionError && error.status) return new Response(error.message, { status: error.status })
    throw error
  }
  if (!lifecycle) return next(req)
  await lifecycle.load()

  const sugar: Omit<SessionRequestSugar, 'session' | 'sessionID'> = {
    flash: ((...args: [string, unknown]) => lifecycle.requireSession().flash(...args)) as SessionRequestSugar['flash'],
    regenerateSession: () => asPromise(() => lifecycle.requireSession().regenerate({ keep: true })),
    destroySession: () => asPromise(() => requestLike.session && lifecycle.requireSession().destroy()),
  }
  Object.assign(req, sugar)

  let response: unknown
  try {
    response = await next(req)
  } catch (error) {
    // The response to the error is made elsewhere and can carry no cookie. The session methods that the app has called
    // take effect; its other changes are dropped, as by a failed transaction.
    await lifecycle.pending.settle().catch((late) => reportLate(service, late))
    throw error
  }
  const canCarryCookie = acceptsCookie(response)
  if (!canCarryCookie) lifecycle.close('the answer can carry none')
  try {
    await lifecycle.commit(canCarryCookie)
  } catch (error) {
    if (lifecycle.withholds(error)) throw error
    reportLate(service, error)
  }
  if (lifecycle.isReplaced) return response as Response
  const head = new FetchHead(response)
  lifecycle.head(head)
  return withHead(response, head) as Response
}

/** Runs `work` and returns a promise that may go unhandled: a failure reaches the request in any case. */
const asPromise = (work: () => unknown): Promise<void> => settle(undefined, work, undefined) as Promise<void>

/** Whether a value is a Response, of any class. Network errors (status 0) and WebSocket upgrades (101) do not count. */
function isResponse(response: unknown): response is Response {
  const { status, headers } = (response ?? {}) as Partial<Response>
  return typeof headers?.append === 'function' && status !== 0 && status !== 101
}

/** Whether a cookie can be added. Hosts answer with an empty Response where a handler returns nothing. */
function acceptsCookie(response: unknown): boolean {
  return response === null || response === undefined || isResponse(response)
}

/** The cookie that each Response was given. A Response that comes a second time is shared between requests. */
const cookieGiven = new WeakMap<Response, string>()
/** Responses without a body are copied, not changed: apps often make one and return it for each request. */
const hasNoBody = ({ status }: Response): boolean => status === 204 || status === 205 || (status >= 300 && status < 400)

/** Collects changes of a response's head, which may be immutable. */
class FetchHead implements ResponseHead {
  cookie: string | undefined
  readonly changes: [name: string, value: string][] = []
  readonly #response: unknown

  constructor(response: unknown) {
    this.#response = response
  }

  get(name: string): string | undefined {
    return isResponse(this.#response) ? (this.#response.headers.get(name) ?? undefined) : undefined
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

/** The response with the changes of `head`: the same object where possible, otherwise a copy. */
function withHead(response: unknown, head: FetchHead): unknown {
  const { cookie } = head
  if (!isResponse(response)) {
    if (!head.isChanged) return response
    if (acceptsCookie(response)) return new Response(null, { headers: head.applyTo(new Headers()) })
    debug('no cookie: the handler answered with something that can carry none')
    return response
  }
  const earlierCookie = cookieGiven.get(response)
  if (!head.isChanged && earlierCookie === undefined) return response
  if (earlierCookie !== undefined) debug('the answer carries the cookie of another request: a copy goes without it')
  if (head.isChanged && earlierCookie === undefined && !hasNoBody(response)) {
    try {
      // Not a copy: under Bun a copy loses the content type when the app has accessed the body.
      head.applyTo(response.headers)
      if (cookie !== undefined) cookieGiven.set(response, cookie)
      return response
    } catch {
      debug('the answer is immutable: a copy carries the cookie')
    }
  }
  const headers = new Headers(response.headers)
  headers.delete('Set-Cookie')
  for (const other of response.headers.getSetCookie()) if (other !== earlierCookie) headers.append('Set-Cookie', other)
  head.applyTo(headers)
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}
