// Sessions for a plain fetch handler, which takes a Request and returns a Response. On Bun: `bun examples/fetch.ts`.
// Other servers of this kind accept the same function.

import { type Session, type SessionData, session } from 'unisession'

declare module 'unisession' {
  interface SessionData {
    /** Who is signed in. */
    username: string
    /** How often the home page was opened. */
    visits: number
  }
}

/** A request to which the middleware has added the session. */
type SessionRequest = Request & { session: Session & Partial<SessionData> }

const sessions = session({
  // For demonstration only: a real app has a secret of its own, a long random text.
  secret: process.env.SESSION_SECRET || 'an example secret, please do not use it for real',
  resave: false,
  saveUninitialized: false,
  clearCookie: true,
  cookie: { maxAge: 3_600_000, sameSite: 'lax', secure: 'auto' },
})
sessions.on('error', console.error)

const routes: Record<string, (req: SessionRequest) => Response | Promise<Response>> = {
  'GET /'({ session }) {
    session.visits = (session.visits ?? 0) + 1
    return Response.json({ username: session.username, visits: session.visits, messages: session.flash('info') })
  },
  async 'POST /sign-in'(req) {
    const { username } = (await req.json()) as { username: string }
    // After checking a password. A new id whenever rights change, against session fixation.
    await req.session.regenerate()
    req.session.username = username
    req.session.flash('info', 'Welcome, %s.', username)
    return Response.redirect(new URL('/', req.url), 303)
  },
  async 'POST /sign-out'(req) {
    await req.session.destroy()
    return Response.redirect(new URL('/', req.url), 303)
  },
}

export default {
  port: Number(process.env.PORT ?? 3000),

  async fetch(request: Request): Promise<Response> {
    const route = routes[`${request.method} ${new URL(request.url).pathname}`]
    if (!route) return new Response('Not Found', { status: 404 })
    try {
      return await sessions(request, route)
    } catch (error) {
      // The handler threw, or the store failed. Nothing was sent yet.
      console.error(error)
      return new Response('Internal Server Error', { status: 500 })
    }
  },
}
