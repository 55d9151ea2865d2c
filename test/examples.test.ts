// The examples for bunWay, bun-router, bare fetch and Hono, each driven as a browser would; those that run on Node, there,
// too. And the modules in docs/hosts.md that need one of these servers. bunWay and bun-router are their stand-ins.

import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Browser, type Reply } from './support/jar.ts'
import { type RedisServer, redisMissing, startRedis } from './support/redis.ts'
import { bun, type Running, serve, spawnServer } from './support/serve.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What stands where an app has the two frameworks installed. They listen on any port, and say which. */
const packages = {
  bunway: `
    import { App, Router } from '${root}test/hosts/standin/bunway.ts'
    App.prototype.listen = function () {
      console.log('listening ' + Bun.serve({ port: 0, idleTimeout: 0, fetch: (request) => this.handle(request) }).port)
    }
    const json = () => async (req, _res, next) => {
      if (req.get('content-type') === 'application/json') req.body = await req.original.json()
      next()
    }
    export const bunway = Object.assign(() => new App(), { json })
    export { Router }`,
  'bun-router': `
    import { Router } from '${root}test/hosts/standin/bun-router.ts'
    Router.prototype.serve = function () {
      console.log('listening ' + Bun.serve({ port: 0, idleTimeout: 0, fetch: (request) => this.handleRequest(request) }).port)
    }
    export { Router }`,
}

/** Starts a module: an app that listens by itself, one that \`createApp\` makes, or a default export with a \`fetch\`. */
const starter = `
  const { default: made, createApp } = await import(process.argv[2])
  const app = createApp ? await createApp(process.argv[3]) : made
  if (app?.listen) app.listen(0)
  else if (app?.serve) await app.serve({ port: 0 })
  else if (app) console.log('listening ' + Bun.serve({ port: 0, idleTimeout: 0, fetch: (request) => app.fetch(request) }).port)`

/** A project with the package and the two frameworks installed. */
let folder: string

beforeAll(async () => {
  if (!existsSync(join(root, 'dist/bunway.mjs'))) throw new Error('there is no dist/: npm run build')
  folder = await mkdtemp(join(tmpdir(), 'examples-'))
  const modules = join(folder, 'node_modules')
  for (const [name, text] of Object.entries(packages)) {
    await mkdir(join(modules, name), { recursive: true })
    await writeFile(
      join(modules, name, 'package.json'),
      JSON.stringify({ name, type: 'module', exports: './index.ts' }),
    )
    await writeFile(join(modules, name, 'index.ts'), text)
  }
  await symlink(root, join(modules, 'unisession'))
  for (const name of ['hono', 'express']) await symlink(join(root, 'node_modules', name), join(modules, name))
  await cp(join(root, 'examples'), folder, { recursive: true })
  await writeFile(join(folder, 'start.ts'), starter)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const start = (file: string, env: NodeJS.ProcessEnv = {}): Promise<Running> =>
  spawnServer(bun as string, [join(folder, 'start.ts'), join(folder, file), join(folder, 'sessions')], env)

/** Serves a fetch-style app over Node's http. */
async function serveOnNode(path: string): Promise<Running> {
  const { default: app } = (await import(path)) as { default: { fetch(request: Request): Promise<Response> } }
  return serve(async (req, res) => {
    const headers = Object.entries(req.headers).map(([name, value]) => [name, String(value)] as [string, string])
    const body = req.method === 'POST' ? Buffer.concat(await req.toArray()) : null
    const url = `http://${req.headers.host}${req.url}`
    const response = await app.fetch(new Request(url, { headers, method: req.method ?? 'GET', body }))
    res.statusCode = response.status
    for (const [name, value] of response.headers) if (name !== 'set-cookie') res.setHeader(name, value)
    res.setHeader('set-cookie', response.headers.getSetCookie())
    res.end(Buffer.from(await response.arrayBuffer()))
  })
}

/** Visits, a wrong and a right sign-in, a message, a sign-out. */
async function visit(server: Running, { checksPasswords }: { checksPasswords: boolean }): Promise<void> {
  const browser = new Browser(server.url)
  const post = (path: string, body: object = {}): Promise<Reply> =>
    browser.get(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      // In pieces, of a length that is not known: what looks at such a body may hand another request on.
      body: new Blob([JSON.stringify(body)]).stream(),
      duplex: 'half',
    })

  for (const visits of [1, 2]) expect((await browser.get('/')).json).toMatchObject({ visits })
  const first = browser.header
  if (checksPasswords) {
    expect((await post('/sign-in', { username: 'ada', password: 'wrong' })).status).toBe(303)
    expect((await browser.get('/')).text).toContain('do not belong together')
    expect((await browser.get('/')).text).not.toContain('do not belong together')
  }

  const signedIn = await post('/sign-in', { username: 'ada', password: 'first-program' })
  expect([signedIn.status, signedIn.setCookies.length]).toEqual([303, 1])
  expect(signedIn.setCookies[0]).toMatch(/; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Lax$/)
  expect(browser.header).not.toBe(first)
  const welcome = await browser.get('/')
  expect(welcome.json).toMatchObject({ username: 'ada', visits: expect.any(Number) })
  expect(welcome.text).toContain('Welcome, ada.')
  expect((await browser.get('/')).text).not.toContain('Welcome')
  const { json: before } = await new Browser(server.url).get('/', { headers: { cookie: first } })
  expect(before).toMatchObject({ visits: 1 })
  expect(before).not.toHaveProperty('username')

  const last = browser.header
  const signedOut = await post('/sign-out')
  expect([signedOut.status, browser.header]).toEqual([303, ''])
  const { json: after } = await new Browser(server.url).get('/', { headers: { cookie: last } })
  expect(after).not.toHaveProperty('username')
}

describe('the example for', () => {
  it.skipIf(!bun).concurrent.each([
    ['bunWay', 'bunway.ts', true],
    ['bun-router', 'bun-router.ts', true],
    ['bare fetch', 'fetch.ts', false],
    ['Hono', 'hono.ts', false],
  ])('%s runs on Bun', async (_, file, checksPasswords) => {
    const server = await start(file)
    try {
      await visit(server, { checksPasswords })
    } finally {
      await server.stop()
    }
  })

  it.each(['fetch.ts', 'hono.ts'])('%s runs on Node, too', async (file) => {
    const server = await serveOnNode(`../examples/${file}`)
    try {
      await visit(server, { checksPasswords: false })
    } finally {
      await server.stop()
    }
  })

  it.skipIf(!bun || redisMissing !== undefined)(
    'bun-router keeps its sessions in Redis where REDIS_URL says so',
    async () => {
      const redis: RedisServer = await startRedis()
      const servers: Running[] = []
      try {
        for (let n = 0; n < 2; n++) servers.push(await start('bun-router.ts', { REDIS_URL: redis.url }))
        const [one, other] = servers.map(({ url }) => new Browser(url)) as [Browser, Browser]
        await one.get('/')
        for (const [name, value] of one.cookies) other.cookies.set(name, value)
        expect((await other.get('/')).json).toMatchObject({ visits: 2 })
      } finally {
        for (const server of servers) await server.stop()
        await redis.stop()
      }
    },
  )
})

describe.skipIf(!bun)('a module in docs/hosts.md', async () => {
  const page = await readFile(join(root, 'docs/hosts.md'), 'utf8')
  const modules = [...page.matchAll(/^```(?:ts|js|text)\n([\s\S]*?)^```$/gm)]
    .map(([, text = '']) => text)
    .filter((text) => /^import /m.test(text) && /^\/\/ GET /m.test(text))

  it.each(modules.map((text, index) => [/from '(bunway|bun-router|hono)'/.exec(text)?.[1] ?? 'fetch', index]))(
    'does what it says on %s (%i)',
    async (_, index) => {
      const text = modules[index] as string
      const file = `docs-${index}.ts`
      await writeFile(join(folder, file), text)
      const server = await start(file)
      const browser = new Browser(server.url)
      try {
        for (const [line, method, path, status, answer] of text.matchAll(
          /^\/\/ (GET|POST) +(\S+) +→ (\d{3}) ?(.*)$/gm,
        )) {
          const reply = await browser.get(path as string, { method: method as string })
          const said = reply.headers.get('location') ?? reply.text
          expect([line, `${reply.status} ${said}`]).toEqual([line, `${status} ${answer}`])
        }
      } finally {
        await server.stop()
      }
    },
  )
})
