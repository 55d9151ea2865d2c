// The files of express-session that apps import by path.
import session from 'express-session'
import Cookie from 'express-session/session/cookie'
import MemoryStore from 'express-session/session/memory'
import MemoryStoreJs from 'express-session/session/memory.js'
import Session from 'express-session/session/session'
import Store from 'express-session/session/store'

const store: session.MemoryStore = new MemoryStore()
const base: Store = store
const cookie: session.Cookie = new Cookie({ maxAge: 1 })
abstract class Mine extends Store {}
const theirs: typeof session.MemoryStore = MemoryStoreJs

const stores: (typeof session.Store)[] = [Store, Mine]

export const same: boolean = Session === session.Session
export { base, cookie, stores, theirs }
