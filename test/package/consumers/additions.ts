// Additions to express-session's types, in an app that declares nothing itself.
import express from 'express'
import session, {
  type Flash,
  type GetCallback,
  MemoryStore,
  type PlainSession,
  SessionError,
  type SessionMiddleware,
} from 'express-session'

const store = new MemoryStore({ max: 1000, reapInterval: 60_000 })
export const sessions: SessionMiddleware = session({ secret: 'x', store }).on('error', console.error)

const app = express()
app.use(sessions)
app.post('/login', async (req, res) => {
  await req.session.regenerate({ keep: true })
  const count: number = req.session.flash('info', 'Welcome, %s', req.body.name)
  res.redirect(count > 0 ? '/' : '/login')
})
app.get('/', (req, res) => {
  const flash: Flash = req.session.flash
  const messages: unknown[] = flash('info')
  res.json({ messages, all: req.session.flash(), size: store.size })
})

export const find = (sid: string, found: GetCallback): void => store.get(sid, found)
export const plain = (sid: string): Promise<PlainSession | undefined> => store.get(sid)
export const sessionsNow = async (): Promise<string[]> => Object.keys(await store.all())
export const isOurs = (error: unknown): boolean => error instanceof SessionError && error.code === 'ERR_SESSION_STORE'
