// A small notebook on Express 5: sign-in, sign-out, flash messages, data in the session, and a user's list of sessions.
// Start it with `npm start`. The environment may set PORT, SESSION_SECRET, SESSION_DIR (the folder for session files,
// default: sessions/) and REDIS_URL (sessions are in Redis instead).
import { createHash, randomUUID, scrypt, timingSafeEqual } from 'node:crypto'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express'
import session, { FileStore, type ListedSession, RedisStore, type Store } from 'unisession'
import {
  confirmPage,
  errorPage,
  type Html,
  homePage,
  layout,
  type Note,
  notesPage,
  type SessionRow,
  sessionsPage,
  signInPage,
  type User,
} from './express/views.ts'

declare module 'unisession' {
  interface SessionData {
    /** Who is signed in. */
    username: string
    /** When this session began, as `Date.now()`. */
    startedAt: number
    /** How often the home page was opened. */
    visits: number
    /** The page to return to after sign-in. */
    returnTo: string
    /** An object by id, not a list: if two tabs add a note at the same moment, both notes are kept. */
    notes: Record<string, Note>
  }
}

export interface AppOptions {
  /** Default: `chooseStore()`. */
  store?: Store
  /** Default: `SESSION_SECRET` from the environment, otherwise a secret for demonstration. */
  secret?: string | string[]
}

// For demonstration only: a real app sets SESSION_SECRET to a long random text.
const DEMO_SECRET = 'an example secret, please do not use it for real'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
/** How long a password counts as entered, for what asks for it again. */
const FRESH = 5 * MINUTE
/** Stands for all sessions but this one, where the id of one could be. No id is like it. */
const OTHERS = 'others'
const MAX_NOTES = 20
const MAX_LENGTH = 280

const users = new Map<string, User>([
  ['ada', { username: 'ada', name: 'Ada Lovelace', password: 'first-program' }],
  ['grace', { username: 'grace', name: 'Grace Hopper', password: 'found-a-moth' }],
])

/** The only place that decides where sessions are stored. */
function chooseStore(): Store {
  if (process.env.REDIS_URL) return new RedisStore({ url: process.env.REDIS_URL })
  const path = process.env.SESSION_DIR || fileURLToPath(new URL('../sessions', import.meta.url))
  return new FileStore({ path })
}

/** The app without a server, so that a test can mount it. */
export function createApp(options: AppOptions = {}): Express {
  const store = options.store ?? chooseStore()
  const app = express()
  app.disable('x-powered-by')
  app.use(secureHeaders)

  // Before the session middleware: a stylesheet needs no session.
  const assets = fileURLToPath(new URL('./express', import.meta.url))
  app.get('/style.css', (_req, res) => res.sendFile('style.css', { root: assets }))

  const sessions = session({
    name: 'notes.sid',
    secret: options.secret ?? (process.env.SESSION_SECRET || DEMO_SECRET),
    store,
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: HOUR, sameSite: 'lax', secure: 'auto' },
    userOf: (session) => session.username,
    describe: (req: Request) => ({ browser: browserOf(req.get('User-Agent')), address: addressOf(req) }),
  })
  app.use(sessions)
  app.use(express.urlencoded({ extended: false, limit: '16kb' }))
  app.use(ownFormsOnly)

  app.get('/', (req, res) => {
    const { visits = 0, startedAt = Date.now(), notes = {} } = req.session
    req.session.visits = visits + 1
    req.session.startedAt = startedAt
    req.session.touch() // this visit is saved, which extends the session: show the new date
    const { expires } = req.session.cookie
    const body = homePage({
      user: currentUser(req),
      visits: visits + 1,
      noteCount: Object.keys(notes).length,
      startedAt: new Date(startedAt),
      expires: expires ? new Date(expires) : undefined,
      reference: reference(req.sessionID),
      store: store.constructor.name,
    })
    send(req, res, 'Home', body)
  })

  app.get('/sign-in', (req, res) => {
    if (currentUser(req)) return res.redirect(303, '/notes')
    const messages = req.session.flash()
    // A destroyed session cannot hold a message, so the URL does.
    if ('signed-out' in req.query) messages.success = ['You are signed out. Your session and its notes are gone.']
    const body = signInPage({ users: [...users.values()], username: String(messages.username?.[0] ?? '') })
    return send(req, res, 'Sign in', body, messages)
  })

  app.post('/sign-in', async (req, res) => {
    const username = field(req, 'username').trim().toLowerCase()
    const user = await authenticate(username, field(req, 'password'))
    if (!user) {
      req.session.flash('error', 'That name and password do not belong together.')
      req.session.flash('username', username.slice(0, 40)) // for the form
      return res.redirect(303, '/sign-in')
    }
    const { returnTo = '/', visits = 0 } = req.session
    // A new id against session fixation comes by itself where `userOf` is given. This also empties the session: somebody
    // else may have been signed in here, whose notes these are.
    await req.session.regenerate()
    req.session.username = user.username
    req.session.startedAt = Date.now()
    req.session.visits = visits
    req.session.flash('success', `Welcome, ${user.name}. You have a new session now.`)
    return res.redirect(303, returnTo)
  })

  app.post('/sign-out', async (req, res) => {
    await req.session.destroy()
    res.redirect(303, '/sign-in?signed-out')
  })

  app.use('/notes', signedInOnly('/notes', 'notes'))

  app.get('/notes', (req, res) => {
    const notes = Object.entries(req.session.notes ?? {})
      .map(([id, note]) => ({ id, ...note }))
      .sort((a, b) => b.at - a.at)
    send(req, res, 'Notes', notesPage({ notes, maxNotes: MAX_NOTES, maxLength: MAX_LENGTH }))
  })

  app.post('/notes', (req, res) => {
    const text = field(req, 'text').replaceAll('\r\n', '\n').trim()
    req.session.notes ??= {}
    const { notes } = req.session
    if (!text) {
      req.session.flash('error', 'A note needs some text.')
    } else if (text.length > MAX_LENGTH) {
      req.session.flash('error', `A note can have ${MAX_LENGTH} characters; this one had ${text.length}.`)
    } else if (Object.keys(notes).length >= MAX_NOTES) {
      req.session.flash('error', `There is room for ${MAX_NOTES} notes. Delete one first.`)
    } else {
      notes[randomUUID()] = { text, at: Date.now() }
      req.session.flash('success', 'Note added.')
    }
    res.redirect(303, '/notes')
  })

  app.post('/notes/:id/delete', (req, res) => {
    const { id } = req.params
    const notes = req.session.notes ?? {}
    if (Object.hasOwn(notes, id)) {
      delete notes[id]
      req.session.flash('success', 'Note deleted.')
    } else {
      req.session.flash('info', 'That note was already gone.')
    }
    res.redirect(303, '/notes')
  })

  app.use(['/sessions', '/confirm'], signedInOnly('/sessions', 'sessions'))

  app.get('/sessions', async (req, res) => {
    const { username } = currentUser(req) as User
    const list = await sessions.list(username, { current: req.sessionID })
    send(req, res, 'Your sessions', sessionsPage({ sessions: list.map(toRow), others: OTHERS }))
  })

  // The form names what is to end: a session by its hashed id, or all others.
  const endSessions: RequestHandler = async (req, res) => {
    const { username } = currentUser(req) as User
    const end = field(req, 'end')
    const ended = end && (await sessions.revoke(username, end === OTHERS ? { except: req.sessionID } : { id: end }))
    if (!ended)
      req.session.flash('info', end === OTHERS ? 'There was no other session.' : 'That session was already over.')
    else req.session.flash('success', ended === 1 ? 'One session ended.' : `${ended} sessions ended.`)
    res.redirect(303, '/sessions')
  }

  const freshOnly = sessions.fresh(FRESH, {
    onStale: (req: Request, res: Response) =>
      res.redirect(303, `/confirm?${new URLSearchParams({ end: field(req, 'end') })}`),
  })
  app.post('/sessions/end', freshOnly, endSessions)

  app.get('/confirm', async (req, res) => {
    const user = currentUser(req) as User
    const { end } = req.query
    const list = await sessions.list(user.username)
    const row = list.map(toRow).find(({ id }) => id === end)
    if (row || end === OTHERS) return send(req, res, 'Your password', confirmPage({ user, end: String(end), row }))
    req.session.flash('info', 'That session was already over.')
    return res.redirect(303, '/sessions')
  })

  app.post('/confirm', async (req, res, next) => {
    const { username } = currentUser(req) as User
    if (await authenticate(username, field(req, 'password'))) {
      await sessions.confirm(req)
      return endSessions(req, res, next)
    }
    req.session.flash('error', 'That is not your password.')
    return res.redirect(303, `/confirm?${new URLSearchParams({ end: field(req, 'end') })}`)
  })

  app.use((req, res) => {
    sendError(req, res, 404, 'This page does not exist.', 'The address may be mistyped, or the page has moved.')
  })
  app.use(failed)
  return app
}

const secureHeaders: RequestHandler = (_req, res, next) => {
  res.set({
    'Content-Security-Policy':
      "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    'Referrer-Policy': 'same-origin',
    'X-Content-Type-Options': 'nosniff',
  })
  next()
}

/** Against CSRF: the cookie has SameSite=lax, and a POST must come from our own origin, as the browser reports it. */
const ownFormsOnly: RequestHandler = (req, res, next) => {
  const site = req.get('Sec-Fetch-Site')
  const origin = req.get('Origin')
  const isOwn = site ? site === 'same-origin' || site === 'none' : !origin || origin.endsWith(`//${req.host}`)
  if (isOwn || req.method === 'GET' || req.method === 'HEAD') return next()
  sendError(
    req,
    res,
    403,
    'This form came from another site.',
    'Nothing was changed. Please use the forms of this site.',
  )
}

/** `home`: the page to return to after a form that was refused. */
function signedInOnly(home: string, what: string): RequestHandler {
  return (req, res, next) => {
    if (currentUser(req)) return next()
    req.session.returnTo = req.method === 'GET' ? req.originalUrl : home
    req.session.flash('info', `Please sign in to see your ${what}.`)
    res.redirect(303, '/sign-in')
  }
}

const failed: ErrorRequestHandler = (error, req, res, next) => {
  if (res.headersSent) return next(error)
  const status = error?.status >= 400 && error?.status < 500 ? error.status : 500
  if (status < 500)
    return sendError(req, res, status, 'That request could not be read.', 'Please go back and try again.')
  console.error(error)
  return sendError(req, res, 500, 'Something went wrong.', 'It is our fault, not yours. Please try again in a moment.')
}

function currentUser(req: Request): User | undefined {
  // If the store is down, the request of the error page has no session.
  return users.get(req.session?.username ?? '')
}

function send(req: Request, res: Response, title: string, body: Html, messages = req.session.flash()): void {
  res.set('Cache-Control', 'no-store') // after sign-out, the browser's Back button must not show the page
  res.type('html').send(layout({ title, body, messages, path: req.path, user: currentUser(req) }))
}

/** Leaves flash messages for pages: browsers request icons and the like at any time. */
function sendError(req: Request, res: Response, status: number, heading: string, advice: string): void {
  res.status(status)
  send(req, res, 'Error', errorPage(heading, advice), {})
}

function field(req: Request, name: string): string {
  const value: unknown = req.body?.[name]
  return typeof value === 'string' ? value : ''
}

/** Identifies a session on the page without revealing its id. */
function reference(id: string): string {
  return createHash('sha256').update(id).digest('hex').slice(0, 8)
}

/** What `describe` has kept is as it was when the session was stored: an older version of the app may have kept less. */
function toRow({ id, authenticatedAt, lastSeen, current = false, about = {} }: ListedSession): SessionRow {
  const { browser = 'Unknown browser', address = '' } = about
  return { id, browser: String(browser), address: String(address), signedInAt: authenticatedAt, lastSeen, current }
}

const BROWSERS = [
  ['Edge', /Edg/],
  ['Opera', /OPR\//],
  ['Firefox', /Firefox\/|FxiOS/],
  ['Chrome', /Chrom(e|ium)\/|CriOS/],
  ['Safari', /Safari\//],
] as const

const SYSTEMS = [
  ['iPhone', /iPhone/],
  ['iPad', /iPad/],
  ['Android', /Android/],
  ['Windows', /Windows/],
  ['macOS', /Mac OS X/],
  ['Linux', /Linux/],
] as const

/** The browser in words, for its user to recognise. A real app asks a library. */
function browserOf(userAgent = ''): string {
  const named = (names: typeof BROWSERS | typeof SYSTEMS) => names.find(([, pattern]) => pattern.test(userAgent))?.[0]
  const [browser = 'Unknown browser', system] = [named(BROWSERS), named(SYSTEMS)]
  return system ? `${browser} on ${system}` : browser
}

function addressOf(req: Request): string {
  return (req.ip ?? '').replace(/^::ffff:/, '')
}

const derive = promisify<string, string, number, Buffer>(scrypt)

/** A real app stores only salted hashes. These passwords are printed on the sign-in page anyway. */
async function authenticate(username: string, password: string): Promise<User | undefined> {
  const user = users.get(username)
  const [given, expected] = await Promise.all([derive(password, 'demo', 32), derive(user?.password ?? '', 'demo', 32)])
  return timingSafeEqual(given, expected) ? user : undefined
}

function start(): void {
  const port = process.env.PORT || '3000'
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) giveUp(`PORT is "${port}", which is not a port.`)
  const server = createApp().listen(Number(port), (error) => {
    const code = (error as NodeJS.ErrnoException | undefined)?.code
    if (code === 'EADDRINUSE') giveUp(`Port ${port} is taken.`)
    if (error) giveUp(`Port ${port} cannot be used (${error.message}).`)
    const address = server.address()
    console.log(`unisession example: http://localhost:${typeof address === 'object' ? address?.port : port}`)
  })
  const stop = () => {
    server.close(() => process.exit())
    setTimeout(() => server.closeAllConnections(), 2000).unref()
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
}

function giveUp(reason: string): never {
  console.error(`${reason} Choose another one: PORT=3001 npm start`)
  process.exit(1)
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) start()
