import passport from 'passport'
import { Strategy as LocalStrategy } from 'passport-local'
import { describe, expect, test } from 'vitest'
import { type Express, expresses, SlowStore, serve, sessions } from '../support/app.ts'
import { connectFlash } from '../support/required.ts'
import { MemoryStore } from '../support/session.ts'

const right = { username: 'ann', password: 'right' }
const wrong = { username: 'ann', password: 'wrong' }

async function site(express: Express, options: Parameters<typeof sessions>[0] = {}) {
  const auth = new passport.Passport()
  auth.use(
    new LocalStrategy((name: string, password: string, done: (...args: unknown[]) => void) => {
      if (password === 'right') done(null, { name })
      else done(null, false, { message: 'wrong password' })
    }),
  )
  auth.serializeUser((user: { name: string }, done: (...args: unknown[]) => void) => done(null, user.name))
  auth.deserializeUser((name: string, done: (...args: unknown[]) => void) => done(null, { name }))

  const app = express()
  app.use(sessions(options), connectFlash(), express.urlencoded({ extended: false }))
  app.use(auth.initialize(), auth.session())
  app.get('/', (req, res) => {
    res.json({
      id: req.sessionID,
      user: req.user?.name ?? null,
      cart: req.session.cart ?? null,
      keys: Object.keys(req.session).sort(),
    })
  })
  app.get('/messages', (req, res) => {
    res.json(req.flash('error'))
  })
  app.post('/cart', (req, res) => {
    req.session.cart = ['book']
    res.send('ok')
  })
  app.post('/cart/flash', (req, res) => {
    req.session.cart = ['book']
    req.flash('error', 'sold out')
    res.send('ok')
  })
  app.post(
    '/login',
    auth.authenticate('local', {
      successRedirect: '/',
      failureRedirect: '/messages',
      failureFlash: true,
    }),
  )
  app.post('/login/keep', auth.authenticate('local', { keepSessionInfo: true }), (req, res) => {
    res.json({ id: req.session.id, user: req.user.name })
  })
  app.post('/login/plain', auth.authenticate('local'), (req, res) => {
    res.json({ user: req.user.name })
  })
  app.post('/login/callback', (req, res, next) => {
    auth.authenticate('local', (_error: unknown, user: unknown) => {
      req.logIn(user, (error: unknown) => (error ? next(error) : res.json({ id: req.session.id })))
    })(req, res, next)
  })
  app.post('/logout', (req, res, next) => {
    req.logout((error: unknown) => (error ? next(error) : res.redirect('/')))
  })
  app.post('/logout/keep', (req, res, next) => {
    req.logout({ keepSessionInfo: true }, (error: unknown) => (error ? next(error) : res.redirect('/')))
  })
  return serve(app)
}

describe.concurrent.each(expresses)('passport on %s', (_, express) => {
  test('login gives a new id, and only the new id is in the store', async () => {
    const store = new MemoryStore()
    const browser = await site(express, { store })
    await browser.post('/cart')
    const before = browser.id

    const { json } = await browser.follow('/login', {
      method: 'POST',
      body: right,
    })

    expect(json).toMatchObject({ id: browser.id, user: 'ann' })
    expect(browser.id).not.toBe(before)
    expect(Object.keys(store.sessions)).toEqual([browser.id])
  })

  test('login drops what the anonymous session held', async () => {
    const browser = await site(express)
    await browser.post('/cart')
    await browser.post('/login', right)
    expect((await browser.get('/')).json).toMatchObject({
      user: 'ann',
      cart: null,
      keys: ['cookie', 'passport'],
    })
  })

  test('login with keepSessionInfo carries data and unread messages to the new id', async () => {
    const browser = await site(express)
    await browser.post('/cart/flash')
    const before = browser.id

    const { json } = await browser.post('/login/keep', right)

    expect(json).toEqual({ id: browser.id, user: 'ann' })
    expect(browser.id).not.toBe(before)
    expect((await browser.get('/')).json).toMatchObject({
      user: 'ann',
      cart: ['book'],
    })
    expect((await browser.get('/messages')).json).toEqual(['sold out'])
    expect((await browser.get('/messages')).json).toEqual([])
  })

  test('the redirect after a login can be followed at once with a slow store', async () => {
    const browser = await site(express, { store: new SlowStore() })
    expect((await browser.follow('/login', { method: 'POST', body: right })).json.user).toBe('ann')
  })

  test('login in a custom callback', async () => {
    const browser = await site(express)
    const { json } = await browser.post('/login/callback', right)
    expect(json.id).toBe(browser.id)
    expect((await browser.get('/')).json.user).toBe('ann')
  })

  test('a cookie from before the login is not logged in', async () => {
    const browser = await site(express)
    await browser.post('/cart')
    const thief = browser.another()
    thief.cookies.set('connect.sid', browser.cookies.get('connect.sid') as string)
    await browser.post('/login', right)
    expect((await thief.get('/')).json.user).toBeNull()
  })

  test('a wrong password leaves the session as it was and says why', async () => {
    const browser = await site(express)
    await browser.post('/cart')
    const before = browser.id

    expect((await browser.post('/login/plain', wrong)).status).toBe(401)
    expect((await browser.follow('/login', { method: 'POST', body: wrong })).json).toEqual(['wrong password'])

    expect((await browser.get('/messages')).json).toEqual([])
    expect((await browser.get('/')).json).toMatchObject({
      id: before,
      user: null,
      cart: ['book'],
    })
  })

  test('logout ends the login under the old id and under the new one', async () => {
    const store = new MemoryStore()
    const browser = await site(express, { store })
    await browser.post('/login', right)
    const thief = browser.another()
    thief.cookies.set('connect.sid', browser.cookies.get('connect.sid') as string)
    const before = browser.id as string

    const { json } = await browser.follow('/logout', { method: 'POST' })

    expect(json.user).toBeNull()
    expect(json.id).not.toBe(before)
    expect(store.sessions[before]).toBeUndefined()
    expect((await thief.get('/')).json.user).toBeNull()
  })

  test('logout with keepSessionInfo keeps the data', async () => {
    const browser = await site(express)
    await browser.post('/login', right)
    await browser.post('/cart')
    expect((await browser.follow('/logout/keep', { method: 'POST' })).json).toMatchObject({
      user: null,
      cart: ['book'],
    })
  })

  test('two users are never mixed up', async () => {
    const ann = await site(express, { store: new SlowStore(5) })
    const bob = ann.another()
    await Promise.all([ann.post('/login', right), bob.post('/login', { username: 'bob', password: 'right' })])
    const [a, b] = await Promise.all([ann.get('/'), bob.get('/')])
    expect([a.json.user, b.json.user]).toEqual(['ann', 'bob'])
  })
})
