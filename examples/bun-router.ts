// Sign-in, sign-out, a visit counter and flash messages on bun-router. Sessions are in Redis if REDIS_URL is set.
// Install bun-router and unisession, then run `bun bun-router.ts`. The environment may set PORT and SESSION_SECRET, too.

import { Router } from 'bun-router'
import { redisStore, type SessionRequest, session } from 'unisession/bun-router'

declare module 'unisession' {
  interface SessionData {
    /** Who is signed in. */
    username: string
    /** How often the home page was opened. */
    visits: number
  }
}

// For demonstration only: a real app sets SESSION_SECRET to a long random text, stores hashes of its passwords, and
// compares them in constant time.
const SECRET = process.env.SESSION_SECRET || 'an example secret, please do not use it for real'
const passwords = new Map([['ada', 'first-program']])

const seeOther = (location: string): Response => new Response(null, { status: 303, headers: { Location: location } })

/** The router without a server, so that a test can call it. */
export async function createApp(): Promise<Router> {
  const router = new Router()
  // Await this: some versions mount the middleware a moment later.
  await router.use(
    session({
      secret: SECRET,
      store: process.env.REDIS_URL ? redisStore({ prefix: 'example:' }) : 'memory',
      maxAge: 3_600_000,
      cookie: { secure: 'auto' },
    }),
  )

  await router.get('/', (req: SessionRequest) => {
    req.session.visits = (req.session.visits ?? 0) + 1
    const { username, visits } = req.session
    return Response.json({ username, visits, messages: req.flash('info') })
  })

  await router.post('/sign-in', async (req: SessionRequest) => {
    const { username, password } = (await req.json()) as { username: string; password: string }
    if (passwords.get(username) !== password) {
      req.flash('info', 'That name and password do not belong together.')
      return seeOther('/')
    }
    // A new id whenever rights change, against session fixation.
    await req.regenerateSession()
    req.session.username = username
    req.flash('info', 'Welcome, %s.', username)
    return seeOther('/')
  })

  await router.post('/sign-out', async (req: SessionRequest) => {
    await req.destroySession()
    return seeOther('/')
  })
  return router
}

if (import.meta.main) await (await createApp()).serve({ port: Number(process.env.PORT ?? 3000) })
