// An app that does not import the main entry, and exports types that the compiler infers from the other entries.
import { fileStore, MemoryStore, redisStore, type SessionRequest, session } from 'express-session/bun-router'
import * as bunway from 'express-session/bunway'
import { mockSession, sessionCookie } from 'express-session/testing'

export const sessions = session({ secret: 'x' })
export const stores = { memory: new MemoryStore(), file: fileStore({ path: 'sessions' }), redis: redisStore() }
export const { get, all, load, createSession } = stores.memory
export const options = (given: NonNullable<Parameters<typeof session>[0]>) => ({ ...given })
export const handler = ({ session }: SessionRequest) => ({ ...session, cookie: session.cookie, flash: session.flash })
export const saved = ({ session }: SessionRequest) => [session.save, session.regenerate({ keep: true })]

export const waySessions = bunway.session({ secret: 'x' })
export const wayStores = [new bunway.MemoryStore(), new bunway.FileStore({ path: 'sessions' })]
export const wayOptions = (given: bunway.SessionOptions) => ({ ...given, stores: [given.store] })
export const helpers = { mockSession, cookie: sessionCookie(sessions, {}), mock: mockSession() }
