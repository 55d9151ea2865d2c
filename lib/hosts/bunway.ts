// bunWay (JointOps/bunway): `(req, res, next)` with a response that becomes a `Response` at the end.

import { type Awaitable, isPromise } from '../awaitable.ts'
import type { FlashShape } from '../flash.ts'
import type { HostRequest, HostTraits, RequestLike } from '../request/host.ts'
import { Lifecycle } from '../request/lifecycle.ts'
import { reportLate, type Service } from '../request/service.ts'
import { sleep } from '../timers.ts'
import { goesWithAnswer } from '../withheld.ts'

/** bunWay's request, as far as sessions need it. */
export interface BunwayRequest {
  readonly original: Request
  readonly secure?: boolean
  /** The route that serves the request, once one has been found. */
  readonly route?: unknown
  get(name: string): string | undefined
}

/** bunWay's response, as far as sessions need it. */
export interface BunwayResponse {
  append(name: string, value: string): unknown
  getHeader(name: string): string | undefined
  set(name: string, value: string): unknown
  status(code: number): unknown
  isSent(): boolean
  isStreaming(): boolean
  toResponse(): Awaitable<Response>
  toStreamingResponse(): Awaitable<Response>
}

export type BunwayNext = (error?: unknown) => void

/** One message is itself, several are a list, none is undefined; adding answers nothing. */
const flash: FlashShape = (answer, adding) => {
  if (adding) return undefined
  if (!Array.isArray(answer)) return answer
  return answer.length > 1 ? answer : answer[0]
}

const TRAITS: HostTraits = { keepsObject: true, awaitsCallbacks: true, withholds: true, flash }

/** bunWay's request, as the lifecycle sees it. */
class BunwayHost implements HostRequest {
  readonly traits = TRAITS
  readonly #req: BunwayRequest

  constructor(req: BunwayRequest) {
    this.#req = req
  }

  // `req.get` works where `req.headers` has been replaced, as its passport adapter does.
  get cookieHeader(): string | undefined {
    return this.#req.get('cookie')
  }

  get method(): string {
    return this.#req.original.method
  }

  header(name: string): string | undefined {
    return this.#req.get(name)
  }

  get path(): string {
    return new URL(this.#req.original.url).pathname
  }

  get encrypted(): boolean {
    return this.#req.original.url.startsWith('https:')
  }

  get secure(): boolean | undefined {
    return this.#req.secure
  }

  get forwardedProto(): string | undefined {
    return this.#req.get('x-forwarded-proto')
  }
}

/** Serves one request of bunWay. With an asynchronous store its promise settles only after `next` was called. */
export function serveBunway(
  service: Service,
  req: BunwayRequest,
  res: BunwayResponse,
  next: BunwayNext,
): Awaitable<void> {
  let loading: Awaitable<void>
  try {
    const life = Lifecycle.begin(service, req as unknown as RequestLike, new BunwayHost(req))
    if (life) holdResponse(service, req, res, life)
    loading = life?.load()
  } catch (error) {
    next(error)
    return undefined
  }
  if (isPromise(loading)) return loading.then(() => next(), next)
  next()
  return undefined
}

/** The two methods of bunWay's router that look for an answer after the last handler of a route. */
const LAST_LOOK = /\bdispatch(?:FromMatch|MatchingRoutes)\b/

/**
 * Whether the caller of `asked` is the router at the end of a route. It asks between handlers, too, where "an answer
 * is coming" would skip the next handler, and nothing but the asker tells the two apart in time.
 */
function isLastLook(asked: (...args: never[]) => unknown): boolean {
  const at: { stack?: string } = {}
  // The app may have its own way to write a stack.
  const errors = Error as { prepareStackTrace?: unknown }
  const { prepareStackTrace } = errors
  errors.prepareStackTrace = undefined
  Error.captureStackTrace?.(at, asked)
  const [, caller = ''] = at.stack?.split('\n') ?? []
  errors.prepareStackTrace = prepareStackTrace
  return LAST_LOOK.test(caller)
}

/** Where bunWay keeps an answer, which nothing that it documents takes back. */
interface Answer {
  _sent?: boolean
  _headersMap?: Map<string, string> | null
}

/** Takes an answer back: an error handler that gives none leaves its place to the next. */
function takeBack(res: BunwayResponse): void {
  const answer = res as Answer
  if (answer._sent) answer._sent = false
  for (const [name, value] of answer._headersMap ?? []) {
    if (goesWithAnswer(name, value)) answer._headersMap?.delete(name)
  }
  res.status(500)
}

/** Lets the `Response` be built only when the session is in the store, and when callbacks that may answer are over. */
function holdResponse(service: Service, req: BunwayRequest, res: BunwayResponse, life: Lifecycle): void {
  const isSent = res.isSent.bind(res)
  const isStreaming = res.isStreaming.bind(res)
  const build = {
    toResponse: res.toResponse.bind(res),
    toStreamingResponse: res.toStreamingResponse.bind(res),
  }
  // Mounted on a route: errors that come after its handlers find nobody who answers them.
  const alone = req.route != null
  let left = false
  /** The router was told that an answer is coming. */
  let promised = false

  res.isSent = () => {
    if (isSent()) return true
    if (left || !life.pending.isBusy || req.route == null || !isLastLook(res.isSent)) return false
    promised = true
    return true
  }

  type Way = keyof typeof build

  const setCookie = (): void => {
    life.head({
      get: (name) => res.getHeader(name),
      set: (name, value) => res.set(name, value),
      addCookie: (cookie) => res.append('Set-Cookie', cookie),
    })
  }
  const finish = (way: Way): Awaitable<Response> => {
    setCookie()
    return build[isStreaming() ? 'toStreamingResponse' : way]()
  }
  const fail = (error: unknown): Response => {
    if (req.route != null && !alone) {
      takeBack(res)
      throw error
    }
    // Where a middleware has answered, bunWay asks no error handler either.
    reportLate(service, error)
    return Response.json({ error: 'Internal Server Error' }, { status: 500 })
  }
  const quiet = async (): Promise<void> => {
    const answered = isSent()
    let failure: { error: unknown } | undefined
    do {
      await life.pending.settle().catch((error: unknown) => {
        failure ??= { error }
      })
      // What follows an `await`, or a callback that calls back, gets its turn.
      if (promised && !isSent()) await sleep(0)
    } while (life.pending.isBusy)
    // An answer that came since was given in the knowledge of what has failed.
    if (failure && (answered || !isSent())) throw failure.error
  }
  const leave = (way: Way): Awaitable<Response> => {
    // An error handler's answer, or bunWay's own way from one method to the other.
    if (left) return build[way]()
    left = true
    const excuse = (error: unknown): Awaitable<Response> => {
      if (!life.withholds(error)) {
        reportLate(service, error)
        return finish(way)
      }
      life.refuse()
      setCookie()
      throw error
    }
    try {
      if (promised && !isSent() && life.pending.callbackFailure) throw life.pending.callbackFailure.error
      let committing: Awaitable<void>
      try {
        committing = life.commit()
      } catch (error) {
        return excuse(error)
      }
      return isPromise(committing) ? committing.then(() => finish(way), excuse).catch(fail) : finish(way)
    } catch (error) {
      return fail(error)
    }
  }
  const wait = (way: Way): Awaitable<Response> =>
    !left && (life.pending.isBusy || (promised && !isSent())) ? quiet().then(() => leave(way), fail) : leave(way)

  res.toResponse = () => wait('toResponse')
  res.toStreamingResponse = () => wait('toStreamingResponse')
}
