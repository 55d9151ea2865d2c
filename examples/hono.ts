// Sessions on Hono: one middleware around ours. On Bun: `bun examples/hono.ts`; on Node with @hono/node-server.

import { type Context, Hono } from 'hono'
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
  // A real app has one of its own: a long random text.
  secret: process.env.SESSION_SECRET || 'an example secret, please do not use it for real',
  resave: false,
  saveUninitialized: false,
  clearCookie: true,
  cookie: { maxAge: 3_600_000, sameSite: 'lax', secure: 'auto' },
})

/** Ours takes a Request and gives a Response; Hono's response is what its context holds after `next()`. */
const withSession = createMiddleware(async (c, next) => {
  const response = await sessions(c.req.raw, async () => {
    await next()
    return c.res
  })
  if (response === c.res) return
  // Unset first: Hono would put the old headers over the new ones, our cookie under them.
  c.res = undefined
  c.res = response
})

/** Asked each time: after `regenerate()` there is a new one. */
const sessionOf = (c: Context) => (c.req.raw as Request & { session: Session & Partial<SessionData> }).session

const app = new Hono()

app.use(withSession)

app.get('/', (c) => {
  const session = sessionOf(c)
  session.visits = (session.visits ?? 0) + 1
  return c.json({ username: session.username, visits: session.visits, messages: session.flash('info') })
})

app.post('/sign-in', async (c) => {
  const { username } = await c.req.json<{ username: string }>()
  // After checking a password. A new id whenever rights change: nobody can plant one before and use it afterwards.
  await sessionOf(c).regenerate()
  sessionOf(c).username = username
  sessionOf(c).flash('info', 'Welcome, %s.', username)
  return c.redirect('/', 303)
})

app.post('/sign-out', async (c) => {
  await sessionOf(c).destroy()
  return c.redirect('/', 303)
})

export default app
