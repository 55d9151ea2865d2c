// Makes a FileStore with the options in the argument, calls all of its methods, and prints the result.

import session, { FileStore } from '../../../dist/index.mjs'

const options = JSON.parse(process.argv[2])

async function use() {
  const store = new FileStore(options)
  const make = (n, maxAge) => ({ cookie: { originalMaxAge: maxAge, expires: new Date(Date.now() + maxAge) }, n })
  await store.set('one', make(1, 30_000))
  const saved = (await store.get('one')).n
  await store.set('one', make(2, 30_000))
  const changed = (await store.get('one')).n
  await store.touch('one', make(0, 60_000))
  const extended = Math.round((Date.parse((await store.get('one')).cookie.expires) - Date.now()) / 1000)
  // Two stores wait for each other.
  const other = new FileStore(options)
  await Promise.all(Array.from({ length: 10 }, (_, n) => [store, other][n % 2].set('two', make(2, 60_000))))
  const length = await store.length()
  const all = (await store.all()).map(({ id }) => id).sort()
  await store.destroy('one')
  const gone = (await store.get('one')) === undefined
  const held = (await store.get('two')).n
  await store.clear()
  return { saved, changed, extended, length, all, gone, held, cleared: await store.length() }
}

const said = options ? await use().catch(({ code, message }) => ({ code, message })) : { session: typeof session }
console.log(JSON.stringify(said))
