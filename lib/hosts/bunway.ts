// bunWay (JointOps/bunway): `(req, res, next)`, where the router builds a `Response` from `res` at the end.

import { type Awaitable, isPromise } from '../awaitable.ts'
import type { FlashShape } from '../flash.ts'
import type { HostRequest, HostTraits, RequestLike } from '../request/host.ts'
import { Lifecycle } from '../request/lifecycle.ts'
import { reportLate, type Service } from '../request/service.ts'
import { sleep } from '../timers.ts'
import { isRemovedWithResponse } from '../withheld.ts'

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
  /** Whether the app has answered. */
  isSent(): boolean
  isStreaming(): boolean
  /** Called by the router, which awaits the result. */
  toResponse(): Awaitable<Response>
  toStreamingResponse(): Awaitable<Response>
}

export type BunwayNext = (error?: unknown) => void

/** bunWay's `flash`: reading gives undefined, the one message, or a list of several; adding returns undefined. */
const flash: FlashShape = (result, adding) => {
  if (adding) return undefined
  if (!Array.isArray(result)) return result
  return result.length > 1 ? result : result[0]
}

const TRAITS: HostTraits = { keepsObject: true, awaitsCallbacks: true, withholds: true, flash }

/** bunWay's request, as the lifecycle sees it. */
class BunwayHost implements HostRequest {
  readonly traits = TRAITS
  readonly #req: BunwayRequest

  constructor(req: BunwayRequest) {
    this.#req = req
  }

  // Not `req.headers`: bunWay's passport adapter replaces them.
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

/**
 * Serves one request of bunWay. The returned promise must not resolve before `next` was called: bunWay then skips the
 * rest of the chain.
 */
export function serveBunway(
  service: Service,
  req: BunwayRequest,
  res: BunwayResponse,
  next: BunwayNext,
): Awaitable<void> {
  let loading: Awaitable<void>
  try {
    const lifecycle = Lifecycle.begin(service, req as unknown as RequestLike, new BunwayHost(req))
    if (lifecycle) holdResponse(service, req, res, lifecycle)
    loading = lifecycle?.load()
  } catch (error) {
    next(error)
    return undefined
  }
  if (isPromise(loading)) return loading.then(() => next(), next)
  next()
  return undefined
}

/** The methods of bunWay's router that call `isSent` after the last handler of a route. */
const END_OF_ROUTE = /\bdispatch(?:FromMatch|MatchingRoutes)\b/

/**
 * Whether the caller of `isSent` is the router at the end of a route. The router also calls it between handlers, where
 * `true` would skip the next handler. Only the caller's name on the stack tells the two apart.
 */
function isCalledAtEndOfRoute(isSent: (...args: never[]) => unknown): boolean {
  const trace: { stack?: string } = {}
  // The app may have set a format of its own.
  const errors = Error as { prepareStackTrace?: unknown }
  const { prepareStackTrace } = errors
  errors.prepareStackTrace = undefined
  Error.captureStackTrace?.(trace, isSent)
  const [, caller = ''] = trace.stack?.split('\n') ?? []
  errors.prepareStackTrace = prepareStackTrace
  return END_OF_ROUTE.test(caller)
}

/** Undocumented fields in which bunWay's response keeps what was sent; no documented method resets them. */
interface SentState {
  _sent?: boolean
  _headersMap?: Map<string, string> | null
}

/** Resets the response to an empty 500: bunWay asks error handlers one after the other until one answers. */
function resetResponse(res: BunwayResponse): void {
  const state = res as SentState
  if (state._sent) state._sent = false
  for (const [name, value] of state._headersMap ?? []) {
    if (isRemovedWithResponse(name, value)) state._headersMap?.delete(name)
  }
  res.status(500)
}

/**
 * Replaces the methods that build the `Response`: they wait for the session methods at work and their callbacks, which
 * may answer, then commit the session, and only then build.
 */
function holdResponse(service: Service, req: BunwayRequest, res: BunwayResponse, lifecycle: Lifecycle): void {
  type BuildMethod = 'toResponse' | 'toStreamingResponse'
  const isSent = res.isSent.bind(res)
  const isStreaming = res.isStreaming.bind(res)
  const original: Record<BuildMethod, () => Awaitable<Response>> = {
    toResponse: res.toResponse.bind(res),
    toStreamingResponse: res.toStreamingResponse.bind(res),
  }
  // bunWay passes no error to error handlers that comes after the handlers of the route.
  const isMountedOnRoute = req.route != null
  let committed = false
  /** The router was told that the response is sent, though a callback is still to send it. */
  let claimedSent = false

  res.isSent = () => {
    if (isSent()) return true
    const { isBusy } = lifecycle.pending
    if (committed || !isBusy || req.route == null || !isCalledAtEndOfRoute(res.isSent)) return false
    claimedSent = true
    return true
  }

  const addSessionHeaders = (): void => {
    lifecycle.head({
      get: (name) => res.getHeader(name),
      set: (name, value) => res.set(name, value),
      addCookie: (cookie) => res.append('Set-Cookie', cookie),
    })
  }
  /** Adds the session's headers and builds the `Response`. */
  const build = (method: BuildMethod): Awaitable<Response> => {
    addSessionHeaders()
    return original[isStreaming() ? 'toStreamingResponse' : method]()
  }
  /** Gives an error to the app's error handlers; where none can be reached, reports it and answers with status 500. */
  const fail = (error: unknown): Response => {
    if (req.route != null && !isMountedOnRoute) {
      resetResponse(res)
      throw error
    }
    // No error handler would be asked: where a middleware has answered, bunWay asks none either.
    reportLate(service, error)
    return Response.json({ error: 'Internal Server Error' }, { status: 500 })
  }
  /** Waits for session methods and callbacks. @throws the first error, unless the app has answered after it. */
  const settlePending = async (): Promise<void> => {
    const wasSent = isSent()
    let failure: { error: unknown } | undefined
    do {
      await lifecycle.pending.settle().catch((error: unknown) => {
        failure ??= { error }
      })
      // Lets the code after an app's `await`, or a callback within a callback, run and answer.
      if (claimedSent && !isSent()) await sleep(0)
    } while (lifecycle.pending.isBusy)
    if (failure && (wasSent || !isSent())) throw failure.error
  }
  /** Commits the session once, then builds the `Response`. */
  const commitAndBuild = (method: BuildMethod): Awaitable<Response> => {
    // A second call builds an error handler's response, or comes from bunWay's own `toResponse`.
    if (committed) return original[method]()
    committed = true
    const handleFailure = (error: unknown): Awaitable<Response> => {
      if (!lifecycle.withholds(error)) {
        reportLate(service, error)
        return build(method)
      }
      lifecycle.refuse()
      addSessionHeaders()
      throw error
    }
    try {
      if (claimedSent && !isSent() && lifecycle.pending.callbackFailure) throw lifecycle.pending.callbackFailure.error
      let committing: Awaitable<void>
      try {
        committing = lifecycle.commit()
      } catch (error) {
        return handleFailure(error)
      }
      return isPromise(committing) ? committing.then(() => build(method), handleFailure).catch(fail) : build(method)
    } catch (error) {
      return fail(error)
    }
  }
  const respond = (method: BuildMethod): Awaitable<Response> => {
    const mustWait = !committed && (lifecycle.pending.isBusy || (claimedSent && !isSent()))
    return mustWait ? settlePending().then(() => commitAndBuild(method), fail) : commitAndBuild(method)
  }

  res.toResponse = () => respond('toResponse')
  res.toStreamingResponse = () => respond('toStreamingResponse')
}
