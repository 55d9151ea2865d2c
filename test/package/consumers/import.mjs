// ES modules: the default export is the function with its statics, and each name is also a named export.
import assert from 'node:assert/strict'
import session, { Cookie, MemoryStore, session as named, Session, Store } from 'express-session'
import CookieFile from 'express-session/session/cookie'
import MemoryFile from 'express-session/session/memory.js'
import SessionFile from 'express-session/session/session'
import StoreFile from 'express-session/session/store.js'

assert.equal(session, named)
assert.deepEqual([Cookie, MemoryStore, Session, Store], [CookieFile, MemoryFile, SessionFile, StoreFile])
for (const [name, one] of Object.entries({ Cookie, MemoryStore, Session, Store })) assert.equal(session[name], one)

console.log('done')
