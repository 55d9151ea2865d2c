// unisession/testing: helpers for the tests of apps and of stores.

import { randomBytes } from 'node:crypto'
import { serialize } from 'cookie'
import { createMiddleware, SERVICE, type SessionMiddleware } from './middleware.ts'
import type { RequestLike } from './request/host.ts'
import { generateSession } from './request/lifecycle.ts'
import type { Service } from './request/service.ts'
import type { Session } from './session.ts'
import type { Secret } from './signature.ts'

export { type ContractStore, type StoreUnderTest, storeContract, type TestRunner } from './testing/contract.ts'
export type * from './types.ts'

/** Gives a request a new session with this data. */
function makeSession(service: Service, req: RequestLike, data: object): Session {
  req.sessionStore = service.store
  generateSession(service, req)
  return Object.assign(req.session as Session, data)
}

/**
 * Saves a new session with this data in the middleware's store. Returns the `Cookie` header of a browser that has it:
 * `request(app).get('/').set('Cookie', await sessionCookie(sessions, { user: 'ann' }))`. Rejects with the store's
 * error, or with a TypeError when the middleware has no `secret` option.
 */
export async function sessionCookie(middleware: SessionMiddleware, data: object): Promise<string> {
  const service = (middleware as unknown as { [SERVICE]?: Service })[SERVICE]
  const secret = service?.settings.secrets?.[0]
  if (!service || !secret) throw new TypeError('sessionCookie needs a middleware made by session({ secret })')
  // Options may be functions that read the request's headers.
  const session = makeSession(service, { headers: {} } as RequestLike, data)
  await session.save()
  return serialize(service.settings.name, service.signer.sign(session.id, secret as Secret))
}

/**
 * A middleware that gives each request a session with a copy of this data, on every host. Nothing is saved or
 * sent at the end of the request. A `session()` that comes after it does nothing.
 */
export function mockSession(data: object = {}): (req: object, second: unknown, third?: unknown) => unknown {
  const options = { secret: randomBytes(32), resave: false, saveUninitialized: false }
  const sessions = createMiddleware(options, { autoCommit: false })
  const service = (sessions as unknown as { [SERVICE]: Service })[SERVICE]
  const middleware = sessions as unknown as (...args: unknown[]) => unknown
  return (req, second, third) => {
    const next = (third ?? second) as (...args: unknown[]) => unknown
    if (third === undefined && typeof (req as Partial<Request>).headers?.get !== 'function') {
      // A test calls a handler without any host.
      makeSession(service, req, structuredClone(data))
      return next(req)
    }
    const fillAndNext = (...args: unknown[]): unknown => {
      const { session } = req as { session?: object }
      if (session) Object.assign(session, structuredClone(data))
      return next(...args)
    }
    return third === undefined ? middleware(req, fillAndNext) : middleware(req, second, fillAndNext)
  }
}
