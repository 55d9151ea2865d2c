// An app that uses every entry of the package. A bundler makes one file of it, which runs without an installation.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import session, { FileStore, MemoryStore, RedisStore, Store } from 'express-session'
import { session as forBunRouter } from 'express-session/bun-router'
import { session as forBunway } from 'express-session/bunway'
import StoreFile from 'express-session/session/store'
import { sessionCookie } from 'express-session/testing'

const options = { secret: 'x'.repeat(32), resave: false, saveUninitialized: false }
const folder = mkdtempSync(`${tmpdir()}/bundled-`)

async function main() {
  assert.equal(StoreFile, Store)
  assert.equal(typeof forBunway(options), 'function')

  for (const make of [session, forBunRouter]) {
    for (const store of [new MemoryStore(), new FileStore({ path: folder })]) {
      assert(store instanceof StoreFile)
      const sessions = make({ ...options, store })
      const visit = async (cookie) => {
        const request = new Request('http://localhost/', { headers: { cookie } })
        const response = await sessions(request, (req) => {
          req.session.visits = (req.session.visits ?? 0) + 1
          return new Response(String(req.session.visits))
        })
        return [await response.text(), response.headers.get('set-cookie')?.split(';')[0]]
      }
      const [first, cookie] = await visit('')
      assert.deepEqual([first, (await visit(cookie))[0]], ['1', '2'])
      assert.equal((await visit(await sessionCookie(sessions, { visits: 41 })))[0], '42')
    }
  }

  // The package `redis` is not installed. This is an error only when a store needs it.
  if (!process.versions.bun) {
    await assert.rejects(new RedisStore({ url: 'redis://localhost:1' }).get('unknown'), { code: 'ERR_SESSION_STORE' })
  }
  console.log('done')
}

main().finally(() => rmSync(folder, { recursive: true, force: true }))
