import express from 'express'
import { expect, it } from 'vitest'
import { type Session, session } from '../lib/index.ts'
import { mockSession, sessionCookie } from '../lib/testing.ts'
import { Browser } from './support/jar.ts'
import { serve } from './support/serve.ts'

type WithUser = Session & { user?: string }

it('sessionCookie signs a browser in', async () => {
  const sessions = session({ secret: 'keyboard cat', resave: false, saveUninitialized: false })
  const app = express()
  app.use(sessions)
  app.get('/', (req, res) => void res.json((req.session as WithUser).user ?? 'nobody'))
  const server = await serve(app)
  const cookie = await sessionCookie(sessions, { user: 'ann' })
  expect((await new Browser(server.url).get('/', { headers: { cookie } })).json).toBe('ann')
  expect((await new Browser(server.url).get('/')).json).toBe('nobody')
  await expect(sessionCookie((() => {}) as never, {})).rejects.toThrow(/made by session/)
  await server.stop()
})

it('mockSession gives a request of any host a session of its own', async () => {
  const mock = mockSession({ user: 'ann', cart: { n: 1 } })
  const first = {} as { session: WithUser & { cart: { n: number } } }
  let called = 0
  mock(first, {}, () => called++)
  expect([called, first.session.user]).toEqual([1, 'ann'])
  first.session.cart.n = 2
  first.session.flash('info', 'hello')
  await first.session.save()
  const second = {} as typeof first
  expect(mock(second, (req: object) => req)).toBe(second)
  expect(second.session.cart.n).toBe(1)
})
