// Sign-in, sign-out, a visit counter and flash messages on bunWay. Sessions are files.
// Install bunway and unisession, then run `bun bunway.ts`. The environment may set PORT and SESSION_SECRET.

import { bunway } from 'bunway'
import { FileStore, session } from 'unisession/bunway'

declare module 'bunway' {
  interface SessionData {
    /** Who is signed in. */
    username?: string
    /** How often the home page was opened. */
    visits?: number
  }
}

// For demonstration only: a real app sets SESSION_SECRET to a long random text, stores hashes of its passwords, and
// compares them in constant time.
const SECRET = process.env.SESSION_SECRET || 'an example secret, please do not use it for real'
const passwords = new Map([['ada', 'first-program']])

/** The app without a server, so that a test can call it. */
export function createApp(path = 'sessions') {
  const app = bunway()
  app.use(bunway.json())
  app.use(
    session({
      secret: SECRET,
      store: new FileStore({ path, ttl: 3_600_000 }),
      resave: false,
      saveUninitialized: false,
      cookie: { secure: 'auto' },
    }),
  )

  app.get('/', (req, res) => {
    req.session.visits = (req.session.visits ?? 0) + 1
    const { username, visits } = req.session
    res.json({ username, visits, message: req.session.flash('info') })
  })

  app.post('/sign-in', (req, res, next) => {
    const { username, password } = req.body as { username: string; password: string }
    if (passwords.get(username) !== password) {
      req.session.flash('info', 'That name and password do not belong together.')
      return res.redirect(303, '/')
    }
    // A new id whenever rights change, against session fixation.
    return req.session.regenerate((error) => {
      if (error) return next(error)
      req.session.username = username
      req.session.flash('info', `Welcome, ${username}.`)
      return res.redirect(303, '/')
    })
  })

  // Without a callback, the methods return a promise.
  app.post('/sign-out', async (req, res) => {
    await req.session.destroy()
    res.redirect(303, '/')
  })
  return app
}

if (import.meta.main) createApp().listen(Number(process.env.PORT ?? 3000))
