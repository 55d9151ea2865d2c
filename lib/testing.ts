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

function makeSession(service: Service, req: RequestLike, data: object): Session {
  req.sessionStore = service.store
  generateSession(service, req)
  return Object.assign(req.session as Session, data)
}

/**
 * Puts a session with this data into the middleware's store, and gives the Cookie header of a browser that has it:
 * `request(app).get('/').set('Cookie', await sessionCookie(sessions, { user: 'ann' }))`.
 * @throws TypeError when the middleware has no secret of its own.
 */
export async function sessionCookie(middleware: SessionMiddleware, data: object): Promise<string> {
  const service = (middleware as unknown as { [SERVICE]?: Service })[SERVICE]
  const secret = service?.settings.secrets?.[0]
  if (!service || !secret) throw new TypeError('sessionCookie needs a middleware made by session({ secret })')
  // Options that are functions of the request may look at its headers.
  const session = makeSession(service, { headers: {} } as RequestLike, data)
  await session.save()
  return serialize(service.settings.name, service.signer.sign(session.id, secret as Secret))
}

/**
 * A middleware that gives each request a session with this data, for every host and as its `session()` would. It is kept
 * nowhere; a `session()` further on leaves it alone.
 */
export function mockSession(data: object = {}): (req: object, second: unknown, third?: unknown) => unknown {
  const options = { secret: randomBytes(32), resave: false, saveUninitialized: false }
  const sessions = createMiddleware(options, { autoCommit: false })
  const service = (sessions as unknown as { [SERVICE]: Service })[SERVICE]
  const middleware = sessions as unknown as (...args: unknown[]) => unknown
  return (req, second, third) => {
    const next = (third ?? second) as (...args: unknown[]) => unknown
    if (third === undefined && typeof (req as Partial<Request>).headers?.get !== 'function') {
      // No host at all, but a test of a handler.
      makeSession(service, req, structuredClone(data))
      return next(req)
    }
    const go = (...args: unknown[]): unknown => {
      const { session } = req as { session?: object }
      if (session) Object.assign(session, structuredClone(data))
      return next(...args)
    }
    return third === undefined ? middleware(req, go) : middleware(req, second, go)
  }
}
