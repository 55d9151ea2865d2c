// Exports whose types the compiler infers: it must find a public name for each.
import type { Request } from 'express'
import session, {
  Cookie,
  FileStore,
  fileStore,
  MemoryStore,
  RedisStore,
  redisStore,
  Session,
  type SessionData,
  SessionError,
  Store,
} from 'express-session'
import { session as routed } from 'express-session/bun-router'
import * as bunway from 'express-session/bunway'
import CookieFile from 'express-session/session/cookie'
import MemoryFile from 'express-session/session/memory.js'
import SessionFile from 'express-session/session/session'
import StoreFile from 'express-session/session/store'
import { mockSession, sessionCookie, storeContract } from 'express-session/testing'

export { session as default, session }
export const sessions = session({ secret: 'x' })
export const handlers = [sessions.on('error', console.error), routed({ secret: 'x' }), bunway.session({ secret: 'x' })]
export const emitter = { on: sessions.on, once: sessions.once, off: sessions.off, emit: sessions.emit }
export const options = (given: session.SessionOptions) => ({ ...given, secrets: [given.secret], at: [given.store] })
export const routedOptions = (given: NonNullable<Parameters<typeof routed>[0]>) => ({ ...given })
export const call = (req: globalThis.Request) => sessions(req, () => new Response())

export const sessionOf = (req: Request) => req.session
export const storeOf = (req: Request) => req.sessionStore
export const membersOf = ({ session }: Request) => ({ cookie: session.cookie, flash: session.flash, id: session.id })
export const work = ({ session }: Request) => [session.save(), session.regenerate({ keep: true }), session.touch()]
export const methodsOf = ({ session }: Request) => ({ ...session, save: session.save, reload: session.reload })

const memory = new MemoryStore()
const file = new FileStore({ path: 'sessions' })
const redis = new RedisStore()
export const stores = { memory, file, redis, made: [fileStore({ path: 'sessions' }), redisStore()] }
export const asked = async (sid: string) => ({
  of: [await memory.get(sid), await file.get(sid), await redis.get(sid)],
  all: [await memory.all(), await file.all(), await redis.all()],
})
export const { get, set, touch, destroy, all, length, clear, load, createSession, regenerate } = memory
export const { client, serializer } = redis
export const documented = { memory: new bunway.MemoryStore(), file: new bunway.FileStore({ path: 'sessions' }) }
export const documentedGet = documented.memory.get
export const adapted = bunway.fromExpressStore(memory)

export const classes = { Cookie, FileStore, MemoryStore, RedisStore, Session, SessionError, Store }
export const files = { CookieFile, MemoryFile, SessionFile, StoreFile }
export const helpers = {
  mockSession,
  sessionCookie,
  storeContract,
  mock: mockSession(),
  cookie: sessionCookie(sessions, {}),
}
export const contract = (...given: Parameters<typeof storeContract>) => given
export const arguments_ = (...given: Parameters<Store['createSession']>) => given
export const codeOf = (error: SessionError) => error.code

export class Mine extends Store {
  readonly map = new Map<string, SessionData>()
  get(sid: string, callback: (err: any, data?: SessionData | null) => void) {
    callback(null, this.map.get(sid))
  }
  set(sid: string, data: SessionData, callback?: (err?: any) => void) {
    this.map.set(sid, data)
    callback?.()
  }
  destroy(sid: string, callback?: (err?: any) => void) {
    callback?.(this.map.delete(sid))
  }
}
export class Logged extends FileStore {
  override get = super.get
  override all = super.all
}
export class Documented extends bunway.MemoryStore {}
export const mine = new Mine()
export const logged = new Logged({ path: 'sessions' })
