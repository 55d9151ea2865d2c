// `import` and `require` give the same functions and classes, by every path of the package. Here `require` comes first.
const assert = require('node:assert/strict')

const deep = { cookie: 'Cookie', memory: 'MemoryStore', session: 'Session', store: 'Store' }
const publicNames = (entry) =>
  Object.keys(entry)
    .filter((name) => name !== 'default')
    .sort()

/** Compares the results of `import` and `require`, for each path in package.json. */
async function compare() {
  const session = require('express-session')
  const { exports } = require('express-session/package.json')
  const paths = Object.keys(exports)
    .filter((path) => path !== './package.json')
    .flatMap((path) => (path.includes('*') ? Object.keys(deep).map((file) => path.replace('*', file)) : path))
  assert(paths.includes('./session/store.js') && paths.includes('./testing'))

  for (const path of paths) {
    const entry = `express-session${path.slice(1)}`
    const [imported, required] = [await import(entry), require(entry)]
    const file = /session\/(\w+)/.exec(path)?.[1]
    if (file || /^\.(\/index|$)/.test(path)) {
      const whole = file ? session[deep[file]] : session
      assert.equal(imported.default, whole, `import ${entry}`)
      assert.equal(required, whole, `require ${entry}`)
    }
    if (file) continue
    assert.deepEqual(publicNames(imported), publicNames(required), entry)
    for (const name of publicNames(required)) assert.equal(imported[name], required[name], `${name} of ${entry}`)
  }

  // Stores that other packages derive from it, one of each kind.
  for (const { Theirs } of [require('store-in-commonjs'), await import('store-in-esm')]) {
    assert(new Theirs() instanceof session.Store)
  }
}
exports.compare = compare

if (require.main === module) compare().then(() => console.log('done'))
