// A user's sessions, for the app: what the middleware's list, revoke, revokeAll, info, fresh and confirm do.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { SessionError } from '../errors.ts'
import { dateIn, dateOf, factsOf, lastSeenOf } from '../facts.ts'
import { newestFirst, UserSessions } from '../port/users.ts'
import { LIFE, type StoreRequest } from '../session.ts'
import { emit } from './events.ts'
import { NOTHING_KNOWN, RequestSession, type SessionInfo } from './request-session.ts'
import type { Service } from './service.ts'

/** A session in its user's list. */
export interface ListedSession {
  /** The id, hashed: as in events, the same in every process, and not to be used as an id. */
  readonly id: string
  /** When it was created; undefined where that was not recorded. */
  readonly createdAt: Date | undefined
  /** When a request last extended it; exact to a minute, or to what `touchAfter` says. */
  readonly lastSeen: Date | undefined
  /** When its user last proved who they are; undefined for one that was stored before this was recorded. */
  readonly authenticatedAt: Date | undefined
  /** What the option `describe` returned. */
  readonly about?: Record<string, unknown>
  /** True for the session of `list(user, { current })`. */
  readonly current?: boolean
}

/** What a guard of {@link UserMethods.fresh} does with a request whose user has not proved recently who they are. */
export interface FreshOptions {
  /**
   * Answers such a request; called with the arguments of the middleware. Default: `ERR_SESSION_STALE`, status 403, goes to
   * `next`, and a host that takes a `Response` gets one with status 403.
   */
  // biome-ignore lint/suspicious/noExplicitAny: the arguments as the host gives them, which the app has typed
  onStale?: ((req: any, second: any, third: any) => unknown) | undefined
}

/** A middleware for every host. */
export interface SessionGuard {
  (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void): void
  <R>(req: object, res: object, next: (error?: unknown) => R): R
  <R>(req: Request, next: (req: Request) => R): R | Response
}

/** What the middleware knows of its users' sessions. */
export interface UserMethods {
  /**
   * The sessions of a user, the one that signed in last first. `current`: an id, such as `req.sessionID`, whose session is
   * marked. Stores that are not bundled are searched as a whole, by `all()`.
   * @throws SessionError `ERR_SESSION_USERS` where the store cannot list its sessions. @throws TypeError for a wrong argument.
   */
  list(user: string | number | bigint, options?: { current?: unknown }): Promise<ListedSession[]>
  /**
   * Ends the sessions of a user, at once and in every process: all of them; all but that with the id `except`, such as
   * `req.sessionID`; or that with the hashed `id` of the list. One that is not the user's ends nothing. Answers with how many
   * were ended.
   * @throws TypeError for an `except` or an `id` that is there and no non-empty string: it may be missing in a form.
   */
  revoke(user: string | number | bigint, options?: { except?: unknown; id?: unknown }): Promise<number>
  /** Ends every session, of visitors too. @throws SessionError `ERR_SESSION_USERS` where the store cannot do that. */
  revokeAll(): Promise<void>
  /** What is known of the session of a request, at once. It extends nothing, and does not count as a look at the session. */
  info(req: object): SessionInfo
  /** A guard for what needs a proof that is at most `ms` milliseconds old: sudo mode. */
  fresh(ms: number, options?: FreshOptions): SessionGuard
  /**
   * Call it when the user of a request has proved again who they are: the session gets a new id, the old one is dead at
   * once, and its times begin anew (NIST SP 800-63B-4, 5.2).
   * @throws SessionError `ERR_SESSION_ANONYMOUS` where nobody is signed in, `ERR_SESSION_HEAD_SENT` where no cookie can be
   * sent any more, or the error of the store.
   */
  confirm(req: object): Promise<void>
}

export function userMethods(service: Service): UserMethods {
  const { identity, nameOf, port, events } = service
  const sessions = new UserSessions(port, identity)
  const lifeOf = (req: object): RequestSession | undefined => {
    const life = (req as StoreRequest | undefined)?.[LIFE]
    return life instanceof RequestSession && life.service.events === events ? life : undefined
  }
  /** The keys of the session with this id: that, and the one that it may have by now. */
  const keysOf = async (id: string): Promise<[string, string]> => {
    const slot = service.slotOf(id)
    const { key } = slot
    await slot.read()
    return [key, slot.key]
  }

  return {
    async list(user, { current } = {}) {
      const name = checkUser(user)
      const marked = current === undefined ? undefined : checkText(current, 'current')
      const found = await sessions.find(name)
      // Asked afterwards: what was found under another id has got that by now.
      const keys: string[] = marked === undefined ? [] : await keysOf(marked)
      return newestFirst(found).map(({ key, cookie }) => {
        const about = identity.openAbout(factsOf(cookie).about)
        return {
          id: nameOf(key),
          createdAt: dateOf(dateIn(cookie, 'createdAt')),
          lastSeen: dateOf(lastSeenOf(cookie)),
          authenticatedAt: dateOf(dateIn(cookie, 'authenticatedAt')),
          ...(about && { about }),
          ...(keys.includes(key) && { current: true }),
        }
      })
    },

    async revoke(user, options = {}) {
      const name = checkUser(user)
      const { except, id } = options
      const keep = 'except' in options ? checkText(except, 'except') : undefined
      const only = 'id' in options ? checkText(id, 'id') : undefined
      const kept = new Set<string>()
      const keepKeys = async (): Promise<Set<string>> => {
        for (const key of keep === undefined ? [] : await keysOf(keep)) kept.add(key)
        return kept
      }
      if (keep !== undefined) {
        const found = await sessions.find(name)
        const keys = [...(await keepKeys())]
        const isListed = found.some(({ key }) => kept.has(key))
        if (!isListed && !(await Promise.all(keys.map((key) => sessions.isOf(name, key)))).includes(true)) return 0
      }
      const ended =
        only === undefined
          ? await sessions.endAll(name, keepKeys)
          : await sessions.endOne(name, (key) => !kept.has(key) && nameOf(key) === only)
      const ids = ended.map(nameOf)
      if (ids.length > 0) emit(service, 'revoke', { user: name, ids, ...(only !== undefined && { id: only }) })
      return ids.length
    },

    async revokeAll() {
      await port.clear()
      emit(service, 'revoke', { all: true })
    },

    info: (req) => lifeOf(req)?.info() ?? NOTHING_KNOWN,

    fresh(ms, { onStale } = {}) {
      if (!Number.isFinite(ms) || ms < 0) throw new TypeError('fresh needs a number of milliseconds')
      if (onStale !== undefined && typeof onStale !== 'function') throw new TypeError('onStale must be a function')
      // Three parameters: a fourth would make it an error handler.
      return function fresh(req: object, second: unknown, third?: unknown): unknown {
        const { authenticatedAt } = lifeOf(req)?.info() ?? NOTHING_KNOWN
        const isFresh = authenticatedAt !== undefined && Date.now() - authenticatedAt.getTime() <= ms
        const isFetch = typeof second === 'function' && third === undefined
        if (isFresh) return isFetch ? second(req) : (third as () => unknown)()
        if (onStale) return Reflect.apply(onStale, undefined, isFetch ? [req, second] : [req, second, third])
        const error = new SessionError('ERR_SESSION_STALE', 'prove again who you are: the last proof is too old', {
          status: 403,
        })
        return isFetch ? new Response(error.message, { status: 403 }) : (third as (error: Error) => unknown)(error)
      } as SessionGuard
    },

    async confirm(req) {
      const life = lifeOf(req)
      if (!life) throw new SessionError('ERR_SESSION_ANONYMOUS', 'the request has no session of this middleware')
      await life.confirm()
    },
  }
}

/** @throws TypeError for what no user can be. */
function checkUser(user: unknown): string {
  if (typeof user === 'string') return user
  if (typeof user === 'number' || typeof user === 'bigint') return String(user)
  throw new TypeError(`the user must be an id as userOf names it, a string or a number; it is ${String(user)}`)
}

/** @throws TypeError for what is no id. */
function checkText(value: unknown, name: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw new TypeError(`${name} must be a non-empty string; leave it out where none is meant`)
}
