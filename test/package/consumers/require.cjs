// CommonJS: the function, statics, classes and files are those of express-session, of which `original` is a copy.
const assert = require('node:assert/strict')
const { EventEmitter } = require('node:events')
const util = require('node:util')
const original = require('original')
const session = require('express-session')

const classes = ['Store', 'Cookie', 'Session', 'MemoryStore']
const methods = (prototype) =>
  prototype === EventEmitter.prototype || prototype === Object.prototype
    ? []
    : [...Object.getOwnPropertyNames(prototype), ...methods(Object.getPrototypeOf(prototype))]
const missing = (theirs, ours) => theirs.filter((name) => !ours.includes(name))

assert.deepEqual([typeof session, session.name, session.length], ['function', 'session', 1])
assert.deepEqual(missing(Object.keys(original), Object.keys(session)), [])
const added = ['FileStore', 'RedisStore', 'SessionError', 'fileStore', 'redisStore', 'session']
assert.deepEqual(Object.keys(session).sort(), [...classes, ...added].sort())

for (const name of classes) {
  const [theirs, ours] = [original[name], session[name]]
  assert.deepEqual([ours.name, ours.length], [theirs.name, theirs.length])
  assert.deepEqual(missing(methods(theirs.prototype), methods(ours.prototype)), [])
  const file = `express-session/session/${name.replace('Store', '').toLowerCase() || 'store'}`
  assert.equal(require(file), ours)
  assert.equal(require(`${file}.js`), ours)
}
assert.deepEqual(JSON.parse(JSON.stringify(new session.Cookie())), JSON.parse(JSON.stringify(new original.Cookie())))
assert.match(require('express-session/package.json').version, /^1\./)

function Inherited(options) {
  session.Store.call(this, options)
  this.options = options
}
util.inherits(Inherited, session.Store)
class Extended extends session.Store {}

for (const store of [new Inherited({ ttl: 1 }), new Extended({ ttl: 1 }), new session.MemoryStore()]) {
  assert(store instanceof session.Store && store instanceof EventEmitter)
  store.once('connect', () => {
    store.connected = true
  })
  store.emit('connect')
  assert(store.connected)
}

console.log('done')
