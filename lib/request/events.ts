// What a middleware tells of its sessions: events, and tracing channels. Sessions have hashed ids there, never their own.

import { channel as channelNamed, type TracingChannel } from 'node:diagnostics_channel'
import { type Awaitable, isPromise } from '../awaitable.ts'
import { publicIdOf, type Secret } from '../signature.ts'
import { reportLate, type Service } from './service.ts'

/** A request, and what it did with a session. */
interface About {
  /** The request; not enumerable. */
  readonly req: object
}

/** A session, by its hashed id. */
export interface SessionEvent extends About {
  /** The id, hashed: as in `list`, the same in every process, and not to be used as an id. */
  readonly id: string
}

/** Emits an event, where somebody listens. A listener that throws does no harm to the request. */
export function announce(
  service: Service,
  event: string,
  { req, id, previous }: { req: object; id: string; previous?: string },
  details: object = {},
): void {
  const { events } = service
  if (events.listenerCount(event) === 0) return
  const secret = secretOf(service, req)
  const told = {
    id: publicIdOf(id, secret),
    ...(previous !== undefined && { previous: publicIdOf(previous, secret) }),
    ...details,
  }
  try {
    events.emit(event, Object.defineProperty(told, 'req', { value: req }))
  } catch (error) {
    reportLate(service, error)
  }
}

/** The secret that hashes ids: the first of the options, or cookie-parser's. */
export function secretOf({ settings }: Service, req?: object): Secret {
  return settings.secrets?.[0] ?? (req as { secret?: Secret } | undefined)?.secret ?? ''
}

/** What subscribers of a tracing channel are given. */
export interface TracedSession {
  /** The id, hashed; undefined for a request that brought none. */
  id: string | undefined
  /** The name of the store's class. */
  store: string
  /** What came of it, once it is known. */
  act: string | undefined
  error?: unknown
}

type Channel = Pick<TracingChannel<TracedSession>, 'start' | 'end' | 'asyncStart' | 'asyncEnd' | 'error'>

function channelOf(name: string): Channel {
  const channel = (event: string): never => channelNamed(`tracing:unisession:${name}:${event}`) as never
  return {
    start: channel('start'),
    end: channel('end'),
    asyncStart: channel('asyncStart'),
    asyncEnd: channel('asyncEnd'),
    error: channel('error'),
  }
}

const CHANNELS = { load: channelOf('load'), commit: channelOf('commit'), destroy: channelOf('destroy') }

/**
 * Runs `work`, and publishes it on the tracing channel `unisession:<name>`, as `TracingChannel.tracePromise` does: `act` is
 * asked for what came of it. Costs nothing where nobody has subscribed.
 */
export function trace<T>(
  name: keyof typeof CHANNELS,
  service: Service,
  req: object,
  id: unknown,
  work: () => Awaitable<T>,
  act: () => string,
): Awaitable<T> {
  const { start, end, asyncStart, asyncEnd, error: failed } = CHANNELS[name]
  const isWatched = start.hasSubscribers || end.hasSubscribers || asyncEnd.hasSubscribers || failed.hasSubscribers
  if (!isWatched && !asyncStart.hasSubscribers) return work()
  const context: TracedSession = {
    id: typeof id === 'string' ? publicIdOf(id, secretOf(service, req)) : undefined,
    store: service.store.constructor?.name ?? '',
    act: undefined,
  }
  const fail = (error: unknown): never => {
    context.error = error
    failed.publish(context)
    throw error
  }
  start.publish(context)
  let result: Awaitable<T>
  try {
    result = work()
    if (!isPromise(result)) context.act = act()
  } catch (error) {
    return fail(error)
  } finally {
    end.publish(context)
  }
  if (!isPromise(result)) return result
  return result
    .then((value) => {
      context.act = act()
      asyncStart.publish(context)
      return value
    }, fail)
    .finally(() => asyncEnd.publish(context))
}
