// Sessions on Hono, by a middleware that wraps ours. On Bun: `bun examples/hono.ts`; on Node with @hono/node-server.

import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { createMiddleware } from 'hono/factory'
import { type Session, type SessionData, session } from 'unisession'

declare module 'unisession' {
  interface SessionData {
    /** Who is signed in. */
    username: string
    /** How often the home page was opened. */
    visits: number
  }
}

const sessions = session({
  // For demonstration only: a real app has a secret of its own, a long random text.
  secret: process.env.SESSION_SECRET || 'an example secret, please do not use it for real',
  resave: false,
  saveUninitialized: false,
  clearCookie: true,
  cookie: { maxAge: 3_600_000, sameSite: 'lax', secure: 'auto' },
})

/** A request to which our middleware has added the session. Others may replace `c.req.raw`, so read `c.var.visit`. */
interface Visit extends Request {
  session: Session & Partial<SessionData>
}
interface Env {
  Variables: { visit: Visit }
}

/** Our middleware takes a Request and returns a Response. Hono's response is in its context after `next()`. */
const withSession = createMiddleware<Env>(async (c, next) => {
  c.res = await sessions(c.req.raw, async (req) => {
    c.set('visit', req)
    await next()
    const { res } = c
    // Otherwise Hono would copy its headers over those of the new response, also of an error page.
    c.res = undefined
    return res
  })
})

const app = new Hono<Env>()

app.use(withSession)
app.use(bodyLimit({ maxSize: 10_000 }))

app.get('/', (c) => {
  const { session } = c.var.visit
  session.visits = (session.visits ?? 0) + 1
  return c.json({ username: session.username, visits: session.visits, messages: session.flash('info') })
})

app.post('/sign-in', async (c) => {
  const { username } = await c.req.json<{ username: string }>()
  // After checking a password. A new id whenever rights change, against session fixation.
  await c.var.visit.session.regenerate()
  // `regenerate()` has replaced the session: read it from the request each time.
  const { session } = c.var.visit
  session.username = username
  session.flash('info', 'Welcome, %s.', username)
  return c.redirect('/', 303)
})

app.post('/sign-out', async (c) => {
  await c.var.visit.session.destroy()
  return c.redirect('/', 303)
})

export default app
