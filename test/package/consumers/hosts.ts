// Apps for hosts other than Express, as the documentation of these hosts shows them.
import { createServer, type IncomingMessage } from 'node:http'
import connect from 'connect'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import session, { type Session, type SessionData } from 'express-session'
import { Server, type Socket } from 'socket.io'

declare module 'http' {
  interface IncomingMessage {
    session: Session & Partial<SessionData>
  }
}

const middleware = session({ secret: 'x' })
const app = connect()
app.use(middleware)
app.use((req, res) => res.end(String(req.session.views)))

const io = new Server(createServer(app))
io.engine.use(middleware)
io.on('connection', (socket) => {
  const { session } = socket.request
  session.views = (session.views ?? 0) + 1
  session.reload((err) => (err ? socket.disconnect() : session.save()))
})

const wrap = (handler: RequestHandler) => (socket: Socket, next: NextFunction) =>
  handler(socket.request as Request, {} as Response, next)
io.use(wrap(middleware) as Parameters<typeof io.use>[0])

export const of = (req: IncomingMessage): Session => req.session
