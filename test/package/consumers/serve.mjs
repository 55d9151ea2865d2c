// Serves two requests of one visitor and closes. The process must end, although a session is alive and a timer is set
// to free it.
import assert from 'node:assert/strict'
import http from 'node:http'
import session, { MemoryStore } from 'express-session'

const store = new MemoryStore()
const options = {
  secret: 'x'.repeat(32),
  resave: false,
  saveUninitialized: false,
  store,
  cookie: { maxAge: 3_600_000 },
}
const sessions = session(options)
const server = http.createServer((req, res) => {
  sessions(req, res, () => {
    req.session.views = (req.session.views ?? 0) + 1
    res.end(String(req.session.views))
  })
})

const get = (port, cookie = '') =>
  new Promise((resolve, reject) => {
    const request = http.get({ port, agent: false, headers: { cookie } }, (res) => {
      res.setEncoding('utf8').on('data', (body) => resolve({ body, cookie: res.headers['set-cookie']?.[0] }))
    })
    request.on('error', reject)
  })

server.listen(0, async () => {
  const { port } = server.address()
  const first = await get(port)
  const second = await get(port, first.cookie.split(';')[0])
  assert.deepEqual([first.body, second.body], ['1', '2'])
  assert.equal(await store.length(), 1)
  server.close()
  console.log('done')
})
