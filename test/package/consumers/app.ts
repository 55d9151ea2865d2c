// An Express app that was written for express-session and its types, unchanged.
import { promisify } from 'node:util'
import express, { type NextFunction, type Request, type Response, Router } from 'express'
import session, { Cookie, MemoryStore, Session, type SessionData, type SessionOptions, Store } from 'express-session'

declare module 'express-session' {
  interface SessionData {
    user?: { name: string; admin: boolean }
    views: number
    flash?: { type: 'info' | 'error'; text: string }
  }
}

const options: session.SessionOptions = {
  secret: ['new', Buffer.from('old')],
  name: 'sid',
  resave: false,
  saveUninitialized: false,
  rolling: true,
  unset: 'destroy',
  proxy: true,
  store: new session.MemoryStore(),
  genid: (req) => `${req.hostname}-${Math.random()}`,
  cookie: { maxAge: 60_000, secure: 'auto', sameSite: 'lax', httpOnly: true, partitioned: false, priority: 'high' },
}
const perRequest: SessionOptions = { secret: 'x', cookie: (req) => ({ secure: req.secure, maxAge: 1000 }) }
const cookieOptions: session.CookieOptions = { path: '/', domain: 'example.org', expires: new Date() }

const app = express()
const middleware: express.RequestHandler = session(options)
const handlers: express.Handler[] = [session(perRequest), session({ secret: 'x', cookie: cookieOptions })]
app.use(middleware)
app.use('/api', session({ secret: 'x' }), handlers)
Router().use(session({ secret: 'x', cookie: { maxAge: undefined } }))

app.get('/', (req, res) => {
  req.session.views = (req.session.views ?? 0) + 1
  const name: string | undefined = req.session.user?.name
  res.json({ name, id: req.session.id, same: req.sessionID, views: req.session.views })
})

app.post('/login', (req, res, next) => {
  req.session.regenerate((err) => {
    if (err) return next(err)
    req.session.user = { name: req.body.name, admin: false }
    req.session.flash = { type: 'info', text: 'Welcome' }
    req.session.save((err) => (err ? res.status(500).send(err.message) : res.redirect('/')))
  })
})

app.post('/promises', async (req, res) => {
  await req.session.regenerate()
  await req.session.reload()
  await req.session.save()
  await promisify(req.session.save.bind(req.session))()
  const later = (done?: (err: unknown) => void) => req.session.save(done)
  later()
  await req.session.destroy()
  res.end()
})

app.get('/flash', (req, res) => {
  res.locals.flash = req.session.flash?.text
  delete req.session.flash
  req.session.touch().resetMaxAge()
  res.end()
})

app.post('/logout', (req: Request, res: Response, next: NextFunction) => {
  req.session.destroy((err: Error) => {
    res.clearCookie('sid')
    next(err)
  })
})

app.get('/cookie', (req, res) => {
  const expires: Date | null | undefined = req.session.cookie.expires
  const left: number | undefined = req.session.cookie.maxAge
  const first: number | null = req.session.cookie.originalMaxAge
  req.session.cookie.maxAge = 14 * 24 * 3600 * 1000
  if (req.session.cookie.secure) req.session.cookie.sameSite = 'none'
  req.session.cookie.expires = null
  req.session.cookie = new session.Cookie({ maxAge: 1000 })
  res.json({ expires, left, first })
})

app.get('/admin/:sid', (req, res) => {
  req.sessionStore.all?.((_err, sessions) => res.json(Object.values(sessions ?? {}).map(summary)))
  req.sessionStore.get(req.params.sid, (_err, found) => found && summary(found))
  req.sessionStore.destroy(req.sessionID, (err: Error) => err)
  req.sessionStore.generate(req)
  const store: Express.SessionStore = req.sessionStore
  store.on('disconnect', () => {})
})

function summary(data: SessionData): [number, session.Cookie] {
  return [data.views, data.cookie]
}

/** A record made by hand, as in tests. */
const record: session.SessionData = { views: 1, cookie: { originalMaxAge: null } }
const values: [Cookie, Store, typeof session.Session] = [new Cookie(), new MemoryStore(), Session]
const isStore = (value: unknown): value is Store => value instanceof Store
const live = (s: session.Session & Partial<session.SessionData>): Session => s

export { app, isStore, live, record, values }
