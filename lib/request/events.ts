// What a middleware tells of its sessions: events, and tracing channels. Sessions have hashed ids there, never their own.

import { channel as channelNamed, type TracingChannel } from 'node:diagnostics_channel'
import { type Awaitable, isPromise } from '../awaitable.ts'
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

/** Emits an event. A listener that throws does no harm to whoever has caused it. */
export function emit(service: Service, event: string, told: object): void {
  try {
    service.events.emit(event, told)
  } catch (error) {
    reportLate(service, error)
  }
}

/** Emits an event of a request's session, where somebody listens. */
export function announce(
  service: Service,
  event: string,
  { req, id, previous }: { req: object; id: string; previous?: string | undefined },
  details: object = {},
): void {
  const { events, nameOf } = service
  if (events.listenerCount(event) === 0) return
  const told = { id: nameOf(id), ...(previous !== undefined && { previous: nameOf(previous) }), ...details }
  emit(service, event, Object.defineProperty(told, 'req', { value: req }))
}

/** What subscribers of a tracing channel are given. */
export interface TracedSession {
  /** The id, hashed; undefined for a request that brought none. Where a session gets another id it is that, in the end. */
  id: string | undefined
  /** The name of the store's class. */
  store: string
  /** What came of it, once it is known. */
  act: string | undefined
  error?: unknown
}

type Channel = Pick<TracingChannel<unknown, TracedSession>, 'start' | 'end' | 'asyncStart' | 'asyncEnd' | 'error'>

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
 * Runs `work`, and publishes it on the tracing channel `unisession:<name>`, as `TracingChannel.tracePromise` does; what a
 * store does at once has no `asyncStart` and `asyncEnd`. `idOf` is asked before the work and after it, and `act` after it,
 * for what came of it. Costs nothing where nobody has subscribed.
 */
export function trace<T>(
  name: keyof typeof CHANNELS,
  service: Service,
  idOf: () => unknown,
  work: () => Awaitable<T>,
  act: () => string,
): Awaitable<T> {
  const { start, end, asyncStart, asyncEnd, error: failed } = CHANNELS[name]
  const isWatched = start.hasSubscribers || end.hasSubscribers || asyncEnd.hasSubscribers || failed.hasSubscribers
  if (!isWatched && !asyncStart.hasSubscribers) return work()
  const hashedId = (): string | undefined => {
    const id = idOf()
    return typeof id === 'string' ? service.nameOf(id) : undefined
  }
  const context: TracedSession = { id: hashedId(), store: service.store.constructor?.name ?? '', act: undefined }
  const succeed = (): void => {
    context.act = act()
    context.id = hashedId()
  }
  const fail = (error: unknown): void => {
    context.error = error
    context.id = hashedId()
    failed.publish(context)
  }
  const run = (): Awaitable<T> => {
    try {
      const result = work()
      if (!isPromise(result)) succeed()
      return result
    } catch (error) {
      fail(error)
      throw error
    } finally {
      end.publish(context)
    }
  }
  const result = start.runStores(context, run)
  if (!isPromise(result)) return result
  const settled = (how: () => void): void => {
    how()
    asyncStart.publish(context)
    asyncEnd.publish(context)
  }
  return result.then(
    (value) => {
      settled(succeed)
      return value
    },
    (error) => {
      settled(() => fail(error))
      throw error
    },
  )
}
