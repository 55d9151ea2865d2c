import { csrfSync } from 'csrf-sync'
import csurf from 'csurf'
import type { RequestHandler } from 'express'
import lusca from 'lusca'
import { describe, expect, test } from 'vitest'
import { type Express, expresses, SlowStore, serve, sessions } from '../support/app.ts'

const guards: [string, () => RequestHandler][] = [
  ['csrf-sync', () => csrfSync().csrfSynchronisedProtection],
  ['csurf', () => csurf()],
  ['lusca', () => lusca.csrf()],
]

const cases = expresses.flatMap(([version, express]) =>
  guards.map(([name, guard]) => ({ version, express, name, guard })),
)

async function site(express: Express, guard: () => RequestHandler) {
  const app = express()
  app.use(sessions({ store: new SlowStore(20) }), express.urlencoded({ extended: false }), guard())
  app.get('/form', (req, res) => {
    res.send(req.csrfToken?.())
  })
  app.post('/pay', (req, res) => {
    req.session.paid = (req.session.paid ?? 0) + 1
    res.json(req.session.paid)
  })
  app.post('/login', (req, res, next) => {
    req.session.regenerate((error) => {
      if (error) return next(error)
      req.session.user = 'ann'
      res.send(req.csrfToken?.())
    })
  })
  app.use(((error, _req, res, _next) => {
    res.statusCode = error.status ?? (res.statusCode === 200 ? 500 : res.statusCode)
    res.end(error.message)
  }) as import('express').ErrorRequestHandler)
  return serve(app)
}

const token = (value: string) => ({ 'x-csrf-token': value })

describe.concurrent.each(cases)('$name on $version', ({ express, guard }) => {
  test('a form with the token of its session is accepted, again and again', async () => {
    const browser = await site(express, guard)
    const { text } = await browser.get('/form')
    expect((await browser.post('/pay', '', token(text))).json).toBe(1)
    expect((await browser.post('/pay', '', token(text))).json).toBe(2)
  })

  test('a form without a token, or with a made up one, is refused', async () => {
    const browser = await site(express, guard)
    await browser.get('/form')
    expect((await browser.post('/pay')).status).toBe(403)
    expect((await browser.post('/pay', '', token('0123456789abcdef'))).status).toBe(403)
  })

  test('the token of another session is refused', async () => {
    const ann = await site(express, guard)
    const bob = ann.another()
    await ann.get('/form')
    const { text } = await bob.get('/form')
    expect((await ann.post('/pay', '', token(text))).status).toBe(403)
    expect((await ann.another().post('/pay', '', token(text))).status).toBe(403)
    expect((await bob.post('/pay', '', token(text))).status).toBe(200)
  })

  test('a token from before a login is refused after it', async () => {
    const browser = await site(express, guard)
    const before = (await browser.get('/form')).text
    await browser.post('/login', '', token(before))
    expect((await browser.post('/pay', '', token(before))).status).toBe(403)
    const after = (await browser.get('/form')).text
    expect((await browser.post('/pay', '', token(after))).json).toBe(1)
  })
})
