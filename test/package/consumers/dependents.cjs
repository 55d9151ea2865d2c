// Packages that build on express-session build on this package, however they load it.
const assert = require('node:assert/strict')
const session = require('express-session')
const { RedisStore } = require('connect-redis')
const PgStore = require('connect-pg-simple')(session)

assert(RedisStore.prototype instanceof session.Store)
assert(PgStore.prototype instanceof session.Store)
assert.equal(
  typeof session({ secret: 'x', resave: false, saveUninitialized: false, store: new RedisStore({}) }),
  'function',
)

console.log('done')
