// The same in TypeScript that compiles to CommonJS, with the types of stores that were written for express-session.
import pgSession = require('connect-pg-simple')
import express = require('express')
import session = require('express-session')

import { RedisStore } from 'connect-redis'
import type { SessionData } from 'express-session'
import { Store } from 'express-session'

const { MemoryStore } = session

class Logged extends session.MemoryStore {}
class Empty extends Store {
  get(_sid: string, callback: (err: any, data?: SessionData | null) => void): void {
    callback(null)
  }
  set(_sid: string, data: SessionData, callback?: (err?: any) => void): void {
    callback?.(data.views)
  }
  destroy(_sid: string, callback?: (err?: any) => void): void {
    callback?.()
  }
}

const redis: session.Store = new RedisStore({ client: {}, ttl: (data: SessionData) => data.cookie.maxAge ?? 60 })
const pg: Store = new (pgSession(session))()
pg.get('sid', (_err, data) => data?.views.toFixed())

const app = express()
app.use(session({ secret: 'x', store: new MemoryStore({}) }))
app.use(session({ secret: 'x', store: new Logged() }))
app.use(session({ secret: 'x', store: new Empty() }))
app.use(session({ secret: 'x', store: Math.random() < 0.5 ? redis : pg }))
app.get('/', (req, res) => {
  const views: number | undefined = req.session.views
  const data: session.SessionData = { views: views ?? 0, cookie: new session.Cookie() }
  res.json(data)
})

export = app
