import cookieParser from 'cookie-parser'
import type { RequestHandler } from 'express'
import helmet from 'helmet'
import { describe, expect, test } from 'vitest'
import { expresses, serve, sessions } from '../support/app.ts'

describe.each(expresses)('on %s', (_, express) => {
  async function site(...middleware: RequestHandler[]) {
    const app = express()
    app.use(...middleware)
    app.get('/count', (req, res) => {
      req.session.count = (req.session.count ?? 0) + 1
      res.cookie('theme', 'dark')
      res.json({ count: req.session.count, id: req.sessionID })
    })
    app.get('/cookies', (req, res) => {
      res.json({ plain: req.cookies, signed: req.signedCookies })
    })
    return serve(app)
  }

  describe('cookie-parser', () => {
    test('with the same secret it reads the same session id', async () => {
      const browser = await site(cookieParser('keyboard cat'), sessions())
      expect((await browser.get('/count')).json.count).toBe(1)
      expect((await browser.get('/count')).json).toEqual({
        count: 2,
        id: browser.id,
      })
      expect((await browser.get('/cookies')).json).toEqual({
        plain: { theme: 'dark' },
        signed: { 'connect.sid': browser.id },
      })
    })

    test('with another secret the session works all the same', async () => {
      const browser = await site(cookieParser('another secret'), sessions())
      await browser.get('/count')
      expect((await browser.get('/count')).json).toEqual({
        count: 2,
        id: browser.id,
      })
      expect((await browser.get('/cookies')).json.signed).toEqual({
        'connect.sid': false,
      })
    })

    test('its secret is used by a session that has none', async () => {
      const browser = await site(cookieParser('from the parser'), sessions({ secret: undefined as never }))
      await browser.get('/count')
      expect((await browser.get('/count')).json.count).toBe(2)
      expect((await browser.get('/cookies')).json.signed).toEqual({
        'connect.sid': browser.id,
      })
    })

    test('it may be mounted after the session', async () => {
      const browser = await site(sessions(), cookieParser('keyboard cat'))
      await browser.get('/count')
      expect((await browser.get('/count')).json.count).toBe(2)
    })
  })

  test('a cookie of the app and the session cookie arrive together', async () => {
    const browser = await site(sessions())
    const { headers } = await browser.get('/count')
    expect(headers['set-cookie']?.map((line) => line.split('=')[0]).sort()).toEqual(['connect.sid', 'theme'])
  })

  test.each(['before', 'after'])('helmet %s the session: its headers and the cookie arrive', async (place) => {
    const browser = await (place === 'before' ? site(helmet(), sessions()) : site(sessions(), helmet()))
    const { headers } = await browser.get('/count')
    expect(headers).toHaveProperty('content-security-policy')
    expect(headers).toHaveProperty('strict-transport-security')
    expect(headers).not.toHaveProperty('x-powered-by')
    expect((await browser.get('/count')).json.count).toBe(2)
  })
})
