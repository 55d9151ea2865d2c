// The example app, driven as a browser would: one agent per browser, forms posted, redirects followed.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import request from 'supertest'
import { MemoryStore, Store } from 'unisession'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { createApp } from '../examples/express.ts'
import { Chromium, chromiumMissing } from './support/chromium.ts'
import { nodeArgs } from './support/run.ts'
import { type Running, serve } from './support/serve.ts'

type Agent = ReturnType<typeof request.agent>

let store: InstanceType<typeof MemoryStore>
let app: ReturnType<typeof createApp>
let agent: Agent

const secret = 'a secret for this test only, long enough'

beforeEach(() => {
  store = new MemoryStore()
  app = createApp({ store, secret })
  agent = request.agent(app)
})

afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

const signIn = (password = 'first-program', username = 'ada', browser = agent) =>
  browser.post('/sign-in').type('form').send({ username, password })
const addNote = (text: string) => agent.post('/notes').type('form').send({ text })
const page = async (path: string) => (await agent.get(path).expect(200)).text
const visits = (html: string) => Number(/id="visits">(\d+)</.exec(html)?.[1])
const reference = (html: string) => /id="reference">([0-9a-f]+)</.exec(html)?.[1]
const deleteActions = (html: string) =>
  [...html.matchAll(/action="(\/notes\/[^"]+\/delete)"/g)].map((match) => match[1] ?? '')
const ids = () => Object.keys(store.sessions)

describe('home', () => {
  it('counts the visits of each browser', async () => {
    expect(visits(await page('/'))).toBe(1)
    expect(visits(await page('/'))).toBe(2)
    expect(visits((await request(app).get('/')).text)).toBe(1)
    expect(visits(await page('/'))).toBe(3)
  })

  it('names the store and a reference, and never the id', async () => {
    const response = await agent.get('/').expect(200)
    const [id = 'none'] = ids()
    expect(ids()).toHaveLength(1)
    expect(response.headers['set-cookie']?.[0]).toContain(id)
    expect(response.text).not.toContain(id)
    expect(response.text).toContain('MemoryStore')
    expect(reference(response.text)).toMatch(/^[0-9a-f]{8}$/)
    expect(reference(await page('/'))).toBe(reference(response.text))
  })

  it('sends the cookie as configured', async () => {
    const [cookie = ''] = (await agent.get('/')).headers['set-cookie'] ?? []
    expect(cookie).toMatch(/^notes\.sid=s%3A/)
    expect(cookie).toContain('HttpOnly')
    expect(cookie).toContain('SameSite=Lax')
    expect(cookie).toContain('Expires=')
    expect(cookie).not.toContain('Secure')
  })
})

describe('signing in', () => {
  it('refuses a wrong password, an unknown name and nothing at all, and keeps the name in the form', async () => {
    for (const [password, username] of [
      ['wrong', 'ada'],
      ['found-a-moth', 'ada'],
      ['', 'ada'],
      ['first-program', 'nobody'],
      ['', 'nobody'],
      ['', ''],
    ] as const) {
      await signIn(password, username).expect(303).expect('location', '/sign-in')
      const html = await page('/sign-in')
      expect(html).toContain('do not belong together')
      expect(html).toContain(`value="${username}"`)
    }
    await agent.get('/notes').expect(303)
  })

  it('refuses a post without a body or with lists in it', async () => {
    await agent.post('/sign-in').expect(303).expect('location', '/sign-in')
    await agent
      .post('/sign-in')
      .type('form')
      .send('username=ada&username=ada&password=first-program')
      .expect('location', '/sign-in')
    await agent.get('/notes').expect(303)
  })

  it('lets both users in', async () => {
    await signIn().expect(303)
    expect(await page('/')).toContain('Hello, Ada.')
    const other = request.agent(app)
    await signIn('found-a-moth', 'grace', other).expect(303)
    expect((await other.get('/')).text).toContain('Hello, Grace.')
    expect(await page('/')).toContain('Hello, Ada.')
  })

  it('gives the session a new id, drops the old one and keeps the counter', async () => {
    const before = reference(await page('/'))
    const [oldId = ''] = ids()
    const { headers } = await signIn().expect(303)
    expect(headers['set-cookie']).toHaveLength(1)
    expect(ids()).toHaveLength(1)
    expect(ids()).not.toContain(oldId)
    const after = await page('/')
    expect(reference(after)).not.toBe(before)
    expect(visits(after)).toBe(2)
  })

  it('leaves nothing to the holder of the old cookie', async () => {
    const old = (await agent.get('/')).headers['set-cookie']?.[0]?.split(';')[0] ?? ''
    await signIn().expect(303)
    const stolen = await request(app).get('/').set('Cookie', old)
    expect(stolen.text).not.toContain('Ada')
    expect(visits(stolen.text)).toBe(1)
  })

  it('comes back to the page that asked for it, once', async () => {
    await agent.get('/notes?from=mail').expect(303).expect('location', '/sign-in')
    expect(await page('/sign-in')).toContain('Please sign in to see your notes.')
    await signIn('wrong').expect('location', '/sign-in')
    await signIn().expect('location', '/notes?from=mail')
    await signIn().expect('location', '/')
  })

  it('sends somebody who is signed in on to the notes', async () => {
    await signIn()
    await agent.get('/sign-in').expect(303).expect('location', '/notes')
  })

  it('starts no session for a mere look at the form or at a missing page', async () => {
    for (const path of ['/sign-in', '/nowhere', '/style.css']) {
      expect((await agent.get(path)).headers['set-cookie']).toBeUndefined()
    }
    expect(ids()).toHaveLength(0)
  })
})

describe('notes', () => {
  it('asks for signing in first', async () => {
    await agent.get('/notes').expect(303).expect('location', '/sign-in')
    await addNote('lost').expect(303).expect('location', '/sign-in')
    await signIn().expect('location', '/notes')
    expect(deleteActions(await page('/notes'))).toHaveLength(0)
  })

  it('are added, shown and deleted', async () => {
    await signIn()
    await addNote('the first').expect(303).expect('location', '/notes')
    await addNote('the second').expect(303)
    const both = await page('/notes')
    expect(both).toContain('the first')
    expect(both).toContain('the second')
    expect(await page('/')).toContain('You have 2 notes.')

    const stored = JSON.parse(store.sessions[ids()[0] ?? ''] ?? '{}') as { notes: Record<string, { text: string }> }
    const first = Object.keys(stored.notes).find((id) => stored.notes[id]?.text === 'the first')
    expect(deleteActions(both)).toContain(`/notes/${first}/delete`)
    await agent.post(`/notes/${first}/delete`).expect(303).expect('location', '/notes')
    const left = await page('/notes')
    expect(left).toContain('Note deleted.')
    expect(left).not.toContain('the first')
    expect(left).toContain('the second')
  })

  it('survive the deletion of one that is not there', async () => {
    await signIn()
    await addNote('stays')
    for (const id of ['nope', '__proto__', 'constructor', '%2e%2e']) {
      await agent.post(`/notes/${id}/delete`).expect(303)
      expect(await page('/notes')).toContain('already gone')
    }
    expect(deleteActions(await page('/notes'))).toHaveLength(1)
  })

  it('are escaped', async () => {
    await signIn()
    await addNote(`<script>alert(1)</script> & "double" 'single'`)
    const html = await page('/notes')
    expect(html).not.toContain('<script')
    expect(html).toContain('&#60;script&#62;alert(1)&#60;/script&#62; &#38; &#34;double&#34; &#39;single&#39;')
  })

  it('need text, of limited length', async () => {
    await signIn()
    for (const text of ['', '   \r\n ']) {
      await addNote(text).expect(303)
      expect(await page('/notes')).toContain('needs some text')
    }
    await addNote('x'.repeat(281)).expect(303)
    expect(await page('/notes')).toContain('can have 280 characters; this one had 281')
    expect(deleteActions(await page('/notes'))).toHaveLength(0)
    await addNote(`${'x\r\n'.repeat(139)}xx`) // as browsers send it; the form counts a line break once
    expect(deleteActions(await page('/notes'))).toHaveLength(1)
  })

  it('are limited in number', async () => {
    await signIn()
    for (let i = 0; i < 20; i++) await addNote(`note ${i}`).expect(303)
    const full = await page('/notes')
    expect(full).toContain('20 of 20')
    expect(full).not.toContain('<textarea')
    await addNote('one too many').expect(303)
    const still = await page('/notes')
    expect(still).toContain('There is room for 20 notes.')
    expect(deleteActions(still)).toHaveLength(20)
  })

  it('belong to one session', async () => {
    await signIn()
    await addNote('only mine')
    const other = request.agent(app)
    await signIn('first-program', 'ada', other)
    expect((await other.get('/notes')).text).not.toContain('only mine')
  })
})

describe('flash messages', () => {
  it('appear once', async () => {
    await signIn()
    expect(await page('/')).toContain('Welcome, Ada Lovelace.')
    expect(await page('/')).not.toContain('Welcome')
  })

  it('wait for the page they are for while others fail', async () => {
    await signIn()
    await agent.get('/favicon.ico').expect(404)
    expect(await page('/')).toContain('Welcome, Ada Lovelace.')
  })

  it('reach only the browser they are for', async () => {
    await signIn('wrong')
    expect((await request(app).get('/sign-in')).text).not.toContain('do not belong together')
    expect(await page('/sign-in')).toContain('do not belong together')
  })

  it('escape the name that was typed', async () => {
    await signIn('wrong', '"><b>x')
    const html = await page('/sign-in')
    expect(html).not.toContain('<b>x')
    expect(html).toContain('value="&#34;&#62;&#60;b&#62;x"')
  })
})

describe('signing out', () => {
  it('destroys the session', async () => {
    await signIn()
    const { headers } = await agent.get('/')
    const cookie = headers['set-cookie']?.[0]?.split(';')[0] ?? ''
    await agent.post('/sign-out').expect(303).expect('location', '/sign-in?signed-out')
    expect(ids()).toHaveLength(0)
    expect(await page('/sign-in?signed-out')).toContain('You are signed out.')
    await agent.get('/notes').expect(303).expect('location', '/sign-in')
    await request(app).get('/notes').set('Cookie', cookie).expect(303).expect('location', '/sign-in')
  })

  it('needs a post, and no session', async () => {
    await agent.get('/sign-out').expect(404)
    await agent.post('/sign-out').expect(303)
  })
})

describe('your sessions', () => {
  const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0'
  const SAFARI =
    'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1'
  let phone: Agent

  beforeEach(async () => {
    agent.set('User-Agent', FIREFOX)
    phone = request.agent(app).set('User-Agent', SAFARI)
    await signIn('first-program', 'ada', phone)
    await signIn()
  })

  const rowsOf = (html: string) => [...html.matchAll(/<li>(.*?)<\/li>/gs)].map(([, row]) => row ?? '')
  /** What the form of the session that `text` is about would send. */
  const endOf = (html: string, text: string) =>
    /name="end" value="([^"]+)"/.exec(rowsOf(html).find((row) => row.includes(text)) ?? '')?.[1] ?? 'none'
  const end = (what: string, browser = agent) => browser.post('/sessions/end').type('form').send({ end: what })
  const confirm = (what: string, password = 'first-program') =>
    agent.post('/confirm').type('form').send({ end: what, password })
  const isSignedIn = async (browser: Agent) => (await browser.get('/notes')).status === 200
  const laterByMinutes = (minutes: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + minutes * 60_000 })

  it('are listed with browser and address, this one first and marked, and no id is shown', async () => {
    const html = await page('/sessions')
    const [first = '', second = '', ...others] = rowsOf(html)
    expect(others).toEqual([])
    expect(first).toContain('Firefox on Linux')
    expect(first).toContain('This browser')
    expect(first).toContain('127.0.0.1')
    expect(first).toMatch(/signed in <time[^>]*>just now<.* last seen <time[^>]*>just now</s)
    expect(first).not.toContain('<form')
    expect(second).toContain('Safari on iPhone')
    expect(second).not.toContain('This browser')
    for (const id of ids()) expect(html).not.toContain(id)
    expect(rowsOf((await phone.get('/sessions')).text)[0]).toContain('Safari on iPhone')
  })

  it('are those of one user', async () => {
    const grace = request.agent(app)
    await signIn('found-a-moth', 'grace', grace)
    const html = await page('/sessions')
    expect(rowsOf(html)).toHaveLength(2)
    await end(endOf(html, 'iPhone'), grace).expect(303)
    await end('others', grace).expect(303)
    expect((await grace.get('/sessions')).text).toContain('There was no other session.')
    expect(await isSignedIn(phone)).toBe(true)
    expect(await isSignedIn(agent)).toBe(true)
  })

  it('need signing in, and come back to their page after it', async () => {
    const visitor = request.agent(app)
    for (const path of ['/sessions', '/confirm?end=others']) {
      await visitor.get(path).expect(303).expect('location', '/sign-in')
    }
    await end('others', visitor).expect('location', '/sign-in')
    expect((await visitor.get('/sign-in')).text).toContain('Please sign in to see your sessions.')
    await signIn('first-program', 'ada', visitor).expect('location', '/sessions')
    expect(await isSignedIn(phone)).toBe(true)
  })

  it('end one by one, at once', async () => {
    await end(endOf(await page('/sessions'), 'iPhone'))
      .expect(303)
      .expect('location', '/sessions')
    await phone.get('/notes').expect(303).expect('location', '/sign-in')
    const html = await page('/sessions')
    expect(html).toContain('One session ended.')
    expect(rowsOf(html)).toHaveLength(1)
    expect(html).not.toContain('<button>End all')
  })

  it('end together, but for this one', async () => {
    const tablet = request.agent(app)
    await signIn('first-program', 'ada', tablet)
    await end('others').expect(303)
    expect(await page('/sessions')).toContain('2 sessions ended.')
    for (const browser of [phone, tablet]) expect(await isSignedIn(browser)).toBe(false)
    expect(await isSignedIn(agent)).toBe(true)
  })

  it('end only after the password again, where that was entered more than five minutes ago', async () => {
    const what = endOf(await page('/sessions'), 'iPhone')
    laterByMinutes(6)
    const { headers } = await end(what).expect(303)
    expect(headers.location).toBe(`/confirm?end=${what}`)
    expect(await isSignedIn(phone)).toBe(true)

    const form = await page(`/confirm?end=${what}`)
    expect(form).toContain('Safari on iPhone')
    expect(form).toContain(`name="end" value="${what}"`)
    await confirm(what, 'wrong').expect('location', `/confirm?end=${what}`)
    expect(await page(`/confirm?end=${what}`)).toContain('That is not your password.')
    expect(await isSignedIn(phone)).toBe(true)

    const before = reference(await page('/'))
    await confirm(what).expect(303).expect('location', '/sessions')
    expect(await page('/sessions')).toContain('One session ended.')
    expect(await isSignedIn(phone)).toBe(false)
    expect(reference(await page('/'))).not.toBe(before)

    laterByMinutes(4)
    await end('others').expect('location', '/sessions')
    laterByMinutes(6)
    await end('others').expect('location', '/confirm?end=others')
    expect(await page('/confirm?end=others')).toContain('all other sessions')
  })

  it('that are over, unknown or none end nothing', async () => {
    const what = endOf(await page('/sessions'), 'iPhone')
    await phone.post('/sign-out')
    const unknown = [what, 'nope', '__proto__', '<b>', '']
    for (const each of unknown) {
      await end(each).expect(303).expect('location', '/sessions')
      expect(await page('/sessions')).toContain('That session was already over.')
      await agent.get('/confirm').query({ end: each }).expect(303).expect('location', '/sessions')
    }
    await agent.post('/sessions/end').expect(303)
    await agent.get('/confirm?end=a&end=b').expect(303)
    expect(await isSignedIn(agent)).toBe(true)
  })

  it('end with this one, if the form says so', async () => {
    const what = endOf((await phone.get('/sessions')).text, 'Firefox')
    await end(what).expect(303)
    await agent.get('/sessions').expect(303).expect('location', '/sign-in')
    expect(ids()).not.toHaveLength(0)
    expect(await isSignedIn(phone)).toBe(true)
  })

  it('are not ended by forms of other sites', async () => {
    for (const path of ['/sessions/end', '/confirm']) {
      await agent
        .post(path)
        .set('Sec-Fetch-Site', 'cross-site')
        .type('form')
        .send({ end: 'others', password: 'first-program' })
        .expect(403)
    }
    expect(await isSignedIn(phone)).toBe(true)
  })

  it('name a browser in words of their own, whatever it calls itself', async () => {
    const odd = request.agent(app).set('User-Agent', '<script>alert(1)</script> Firefox/1 "Windows"')
    await signIn('first-program', 'ada', odd)
    await signIn('first-program', 'ada', request.agent(app).set('User-Agent', ''))
    const html = await page('/sessions')
    expect(html).not.toContain('<script')
    expect(html).toContain('Firefox on Windows')
    expect(html).toContain('Unknown browser')
  })
})

describe.skipIf(chromiumMissing)('your sessions in two real browsers', () => {
  let server: Running
  let browsers: Chromium[]

  beforeAll(async () => {
    browsers = await Promise.all([Chromium.start(), Chromium.start()])
  })
  afterAll(async () => {
    await Promise.all(browsers.map((browser) => browser.stop()))
  })
  beforeEach(async () => {
    server = await serve(app)
  })
  afterEach(() => server.stop())

  const click = (browser: Chromium, what: string) =>
    browser.run(`document.querySelector(${JSON.stringify(what)}).click()`)

  it('the first ends the second, after the password again, and that is out on its next click', async () => {
    const [first, second] = browsers as [Chromium, Chromium]
    for (const browser of [second, first]) {
      await browser.open(`${server.url}/sign-in`)
      await click(browser, '.rows li button')
      await browser.until(`document.querySelector('h1')?.textContent === 'Hello, Ada.'`)
    }
    await second.open(`${server.url}/sessions`)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 6 * 60_000 })

    await first.open(`${server.url}/sessions`)
    expect(await first.run(`document.querySelectorAll('.rows li').length`)).toBe(2)
    await click(first, '.rows form button')
    await first.until(`location.pathname === '/confirm' && document.readyState === 'complete'`)
    expect(await first.run('document.activeElement.id')).toBe('password')
    await first.run(`document.activeElement.value = 'first-program'; document.querySelector('.card button').click()`)
    await first.until(`document.querySelector('.message')?.textContent === 'One session ended.'`)
    expect(await first.run(`document.querySelectorAll('.rows li').length`)).toBe(1)

    await click(second, 'nav a[href="/notes"]')
    await second.until(`document.querySelector('h1')?.textContent === 'Sign in'`)
    await click(first, 'nav a[href="/notes"]')
    await first.until(`document.querySelector('h1')?.textContent === 'Notes'`)
  })
})

describe('refusals and errors', () => {
  it('refuses forms of other sites, and changes nothing', async () => {
    await signIn()
    for (const [name, value] of [
      ['Sec-Fetch-Site', 'cross-site'],
      ['Sec-Fetch-Site', 'same-site'],
      ['Origin', 'https://evil.example'],
      ['Origin', 'null'],
    ] as const) {
      const response = await agent.post('/sign-out').set(name, value).expect(403)
      expect(response.text).toContain('came from another site')
    }
    await agent.get('/notes').expect(200)
    await agent.post('/notes').set('Sec-Fetch-Site', 'same-origin').type('form').send({ text: 'own' }).expect(303)
    await agent
      .post('/notes')
      .set('Host', 'notes.example')
      .set('Origin', 'https://notes.example')
      .type('form')
      .send({ text: 'own' })
      .expect(303)
    await agent.get('/notes').set('Sec-Fetch-Site', 'cross-site').expect(200)
  })

  it('has a page for what is not there, and for what cannot be read', async () => {
    const missing = await agent.get('/nowhere/<b>').expect(404).expect('content-type', /html/)
    expect(missing.text).toContain('This page does not exist.')
    expect(missing.text).not.toContain('<b>')
    await agent.get('/%ff').expect(404)
    await signIn()
    await agent.post('/notes/%ff/delete').expect(400)
    await addNote('x'.repeat(20_000)).expect(413)
  })

  it('has a page for a store that fails, and says nothing about the cause', async () => {
    class BrokenStore extends Store {
      get(_sid: string, callback: (error: Error) => void) {
        callback(new Error('disk 7 is on fire'))
      }
      set(_sid: string, _session: unknown, callback: (error: Error) => void) {
        callback(new Error('disk 7 is on fire'))
      }
      destroy(_sid: string, callback: (error: Error) => void) {
        callback(new Error('disk 7 is on fire'))
      }
    }
    const log = vi.spyOn(console, 'error').mockImplementation(() => {})
    const cookie = (await agent.get('/')).headers['set-cookie']?.[0]?.split(';')[0] ?? ''
    const broken = createApp({ store: new BrokenStore() as never, secret })
    const response = await request(broken).get('/').set('Cookie', cookie).expect(500)
    expect(response.text).toContain('Something went wrong.')
    expect(response.text).not.toContain('disk 7')
    expect(log).toHaveBeenCalledOnce()
  })

  it('protects its pages by headers', async () => {
    const { headers } = await agent.get('/').expect(200)
    expect(headers['content-security-policy']).toContain("default-src 'none'")
    expect(headers['cache-control']).toBe('no-store')
    expect(headers['x-powered-by']).toBeUndefined()
    await agent.get('/style.css').expect(200).expect('content-type', /css/)
  })
})

describe('run directly', () => {
  const children: ChildProcess[] = []
  let folder = ''

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'example-'))
  })
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })

  function run(port: number | string) {
    const child = spawn(process.execPath, nodeArgs('examples/express.ts'), {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { ...process.env, PORT: String(port), NODE_ENV: '', REDIS_URL: '', SESSION_DIR: folder },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    children.push(child)
    const output = { out: '', error: '' }
    child.stdout.on('data', (chunk) => (output.out += chunk))
    child.stderr.on('data', (chunk) => (output.error += chunk))
    return { child, output, closed: once(child, 'close') as Promise<[number | null, string | null]> }
  }

  it.each(['SIGINT', 'SIGTERM'] as const)('says where it listens, in one line, and stops at %s', async (signal) => {
    const { child, output, closed } = run(0)
    await expect.poll(() => output.out).toContain('\n')
    const url = /^unisession example: (http:\/\/localhost:\d+)\n$/.exec(output.out)?.[1]
    const response = await fetch(url ?? '')
    expect(await response.text()).toContain('first visit')
    child.kill(signal)
    expect(await closed).toEqual([0, null])
    expect(output.out.split('\n')).toHaveLength(2)
    expect(output.error).toBe('')
  })

  it('keeps its sessions through a restart', async () => {
    const visit = async (browser?: string): Promise<{ text: string; cookie: string }> => {
      const { child, output, closed } = run(0)
      await expect.poll(() => output.out).toContain('\n')
      const url = /http:\/\/localhost:\d+/.exec(output.out)?.[0] ?? ''
      const response = await fetch(url, { headers: browser ? { cookie: browser } : {} })
      const cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? ''
      const text = await response.text()
      child.kill('SIGTERM')
      await closed
      return { text, cookie }
    }
    const first = await visit()
    expect(first.text).toContain('FileStore')
    expect(visits((await visit(first.cookie)).text)).toBe(2)
  })

  it('says so when the port is taken, and how to choose another', async () => {
    const other = createServer().listen(0)
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const { output, closed } = run(port)
    expect(await closed).toEqual([1, null])
    expect(output).toEqual({ out: '', error: `Port ${port} is taken. Choose another one: PORT=3001 npm start\n` })
    other.close()
  })

  it('says so when the port is none', async () => {
    const ports = ['http', '-1', '70000', '3000.5'].map((port) => ({ port, ...run(port) }))
    for (const { port, output, closed } of ports) {
      expect(await closed).toEqual([1, null])
      expect(output.error).toBe(`PORT is "${port}", which is not a port. Choose another one: PORT=3001 npm start\n`)
    }
  })
})
