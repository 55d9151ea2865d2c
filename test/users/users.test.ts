// A user's sessions, on every store: a new id at sign-in, list, revoke, maxSessions, and what is left of them.

import { createCluster } from 'redis'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Identity } from '../../lib/identity.ts'
import { MemoryStore, RedisStore, type SessionMiddleware, type SessionOptions, session } from '../../lib/index.ts'
import { DRIVER } from '../../lib/port/slot.ts'
import { type AnyStore, kinds, type StoreCase, sharedKinds } from '../concurrency/fixture/kinds.ts'
import { callbackStore } from '../concurrency/fixture/stores.ts'
import { secret, tab, times } from '../concurrency/support.ts'
import { type Opened, Stores } from '../concurrency/table.ts'
import { Browser } from '../support/jar.ts'
import { command, redisMissing, startCluster } from '../support/redis.ts'
import { originalSession } from '../support/required.ts'
import { nodeArgs } from '../support/run.ts'
import { serve, spawnServer } from '../support/serve.ts'
import { createUsersApp, type UsersApp } from './fixture/app.ts'

const stores = new Stores()
const open: { stop(): Promise<void> }[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const site of open.splice(0)) await site.stop()
})

interface Site extends UsersApp {
  readonly url: string
  readonly sessions: SessionMiddleware
  visitor(): Browser
  /** A browser that has visited, and has signed in then. */
  signedIn(user?: string): Promise<Browser>
}

async function siteOn(store: AnyStore, options: SessionOptions = {}): Promise<Site> {
  const sessions = session({
    secret,
    resave: false,
    saveUninitialized: false,
    store,
    userOf: (data) => data.user,
    ...options,
  })
  const app = createUsersApp(sessions)
  const running = await serve(app.express)
  open.push(running)
  const visitor = () => new Browser(running.url)
  return {
    ...app,
    url: running.url,
    sessions,
    visitor,
    async signedIn(user = 'ann') {
      const browser = visitor()
      await browser.get('/visit')
      await signIn(browser, user)
      return browser
    },
  }
}

/** An empty store. */
async function opened(kind: StoreCase): Promise<Opened> {
  const { place, ...rest } = await stores.open(kind)
  // One server for all of them.
  if (place.url) await command(Number(new URL(place.url).port), 'FLUSHALL')
  return { place, ...rest }
}

const signIn = async (browser: Browser, user = 'ann') =>
  (await browser.get(`/in?user=${encodeURIComponent(user)}`)).json
// biome-ignore lint/suspicious/noThenProperty: the name of the option
const refusing = (n: number): SessionOptions['maxSessions'] => ({ n, then: 'refuse' })
const userOf = async (browser: Browser): Promise<string | undefined> => (await browser.get('/look')).json.data.user
const idsOf = async ({ sessions }: Site, user = 'ann') => (await sessions.list(user)).map(({ id }) => id)

/** How many entries the index of a user has. */
async function entriesOf(store: AnyStore, user: string): Promise<number> {
  return (await store[DRIVER]().users.list(new Identity(undefined).keyOf(user))).length
}

/** A store that waits for the test at the next call of `method`, before it or after it. */
function pausing(method: string, when: 'before' | 'after'): { store: MemoryStore; pause(): Promise<() => void> } {
  const store = new MemoryStore()
  const driver = store[DRIVER]() as AnyStore
  let next: ((go: Promise<void>) => void) | undefined
  const wrapped = (target: AnyStore, prefix: string): AnyStore =>
    new Proxy(target, {
      get(_, name) {
        const value = target[name]
        if (name === 'users') return wrapped(value, 'users.')
        if (prefix + String(name) !== method) return typeof value === 'function' ? value.bind(target) : value
        return (...args: unknown[]) => {
          const call = () => Reflect.apply(value, target, args)
          const arrive = next
          if (!arrive) return call()
          next = undefined
          const gate = new Promise<void>((resolve) => arrive(resolve as never))
          if (when === 'before') return gate.then(call)
          const result = call()
          return gate.then(() => result)
        }
      },
    })
  const intercepted = wrapped(driver, '')
  store[DRIVER] = () => intercepted
  const pause = () =>
    new Promise<() => void>((resolve) => {
      next = resolve as never
    })
  return { store, pause }
}

const listed = kinds.filter(({ name }) => ['memory', 'file', 'redis', 'connect-redis', 'memorystore'].includes(name))
const bundled = listed.filter((kind) => kind.bundled)

describe.each(listed.map((kind) => [kind.name, kind] as const))('on %s', (_, kind) => {
  it('a cookie that was planted before the sign-in is anonymous after it, and the session goes on with its data', async () => {
    const site = await siteOn((await opened(kind)).store)
    const browser = site.visitor()
    const { id } = (await browser.get('/visit')).json
    const planted = tab(browser, site.url)
    const signedIn = await browser.get('/in?user=ann')
    expect(signedIn.setCookies).toHaveLength(1)
    expect((await browser.get('/look')).json.data).toEqual({ visits: 1, user: 'ann' })
    expect((await browser.get('/look')).json.id).not.toBe(id)
    expect((await planted.get('/look')).json).toMatchObject({ data: {} })
    expect((await planted.get('/look')).json.id).not.toBe(id)
  })

  it('a slow request with the old id does not bring it back', async () => {
    const site = await siteOn((await opened(kind)).store)
    const browser = site.visitor()
    await browser.get('/visit')
    const planted = tab(browser, site.url)
    const slow = planted.get(`/slow?hold=${kind.name}`)
    await site.arrival(kind.name)
    await signIn(browser)
    site.release(kind.name)
    await slow
    expect(await userOf(planted)).toBeUndefined()
    expect((await planted.get('/look')).json.data).toEqual({})
    expect(await userOf(browser)).toBe('ann')
  })

  it('of two sign-ins at once on one cookie each has a session of its own', async () => {
    const site = await siteOn((await opened(kind)).store)
    const first = site.visitor()
    await first.get('/visit')
    const second = tab(first, site.url)
    const hold = `two on ${kind.name}`
    const slow = second.get(`/in?user=bob&hold=${encodeURIComponent(hold)}`)
    await site.arrival(hold)
    await signIn(first)
    site.release(hold)
    await slow
    expect((await first.get('/look')).json.data).toEqual({ visits: 1, user: 'ann' })
    expect((await second.get('/look')).json.data).toEqual({ visits: 1, user: 'bob' })
    expect([await idsOf(site), await idsOf(site, 'bob')].map(({ length }) => length)).toEqual([1, 1])
  })

  it('a user sees what is known of their sessions, and nobody else does', async () => {
    const describing = (req: { headers: Record<string, string> }) => ({ agent: req.headers['user-agent'] })
    const site = await siteOn((await opened(kind)).store, { describe: describing })
    const before = Date.now()
    const [one] = [await site.signedIn(), await site.signedIn(), await site.signedIn('bob')]
    const { id } = (await one.get('/look')).json
    const list = await site.sessions.list('ann', { current: id })
    expect(list).toHaveLength(2)
    expect(list.map(({ current }) => current)).toEqual([undefined, true])
    for (const { createdAt, lastSeen, authenticatedAt, about } of list) {
      expect(about).toEqual({ agent: 'node' })
      for (const date of [createdAt, lastSeen, authenticatedAt]) {
        expect(date).toBeInstanceOf(Date)
        expect(Number(date)).toBeGreaterThanOrEqual(before)
        expect(Number(date)).toBeLessThanOrEqual(Date.now())
      }
    }
    expect(JSON.stringify(list)).not.toContain(id)
    expect(await site.sessions.list('carl')).toEqual([])
  })

  it('revoke ends one session, all but one, or all of a user', async () => {
    const site = await siteOn((await opened(kind)).store)
    const { sessions } = site
    const [one, two, three, bob] = [
      await site.signedIn(),
      await site.signedIn(),
      await site.signedIn(),
      await site.signedIn('bob'),
    ] as const
    const current = (await three.get('/look')).json.id
    const [last] = (await sessions.list('ann', { current })).filter((listed) => !listed.current)
    expect(await sessions.revoke('ann', { id: last?.id })).toBe(1)
    expect([await userOf(one), await userOf(two), await userOf(three)].filter(Boolean)).toHaveLength(2)
    const stranger = (await bob.get('/look')).json.id
    expect(await sessions.revoke('ann', { id: 'unknown' })).toBe(0)
    expect(await sessions.revoke('ann', { except: stranger })).toBe(0)
    expect(await sessions.revoke('bob', { id: (await idsOf(site))[0] })).toBe(0)
    expect(await sessions.revoke('ann', { except: current })).toBe(1)
    expect([await userOf(one), await userOf(two), await userOf(three)]).toEqual([undefined, undefined, 'ann'])
    expect(await sessions.revoke('ann')).toBe(1)
    expect([await userOf(three), await userOf(bob)]).toEqual([undefined, 'bob'])
    expect(await sessions.list('ann')).toEqual([])
  })

  it('revokeAll ends every session, of visitors too', async () => {
    const site = await siteOn((await opened(kind)).store)
    const visitor = site.visitor()
    await visitor.get('/visit')
    const ann = await site.signedIn()
    await site.sessions.revokeAll()
    expect([await userOf(ann), (await visitor.get('/look')).json.data]).toEqual([undefined, {}])
    expect(await site.sessions.list('ann')).toEqual([])
  })

  it('a slow request does not bring a session back that was revoked', async () => {
    const site = await siteOn((await opened(kind)).store)
    const browser = await site.signedIn()
    for (const revoke of [() => site.sessions.revoke('ann'), () => site.sessions.revokeAll()]) {
      const hold = `revoked on ${kind.name} ${String(revoke)}`
      const slow = browser.get(`/slow?hold=${encodeURIComponent(hold)}`)
      await site.arrival(hold)
      await revoke()
      site.release(hold)
      await slow
      expect((await browser.get('/look')).json.data).toEqual({})
      await signIn(browser)
    }
  })

  const odd = ['', ' ', '*', '?', '__proto__', 'constructor', '../ann', 'a:b', 'ann\0', 'ANN', 'é', 'e\u0301', '👩‍🚀']
  it('odd ids are one user each', async () => {
    const site = await siteOn((await opened(kind)).store)
    const users = [...odd, 'x'.repeat(4096), '7', 'ann']
    for (const user of users) await signIn(site.visitor(), user)
    for (const user of users) expect(await site.sessions.list(user), JSON.stringify(user)).toHaveLength(1)
    expect(await site.sessions.revoke('*')).toBe(1)
    expect(await site.sessions.revoke(7)).toBe(1)
    const left = users.filter((user) => user !== '*' && user !== '7')
    for (const user of left) expect(await site.sessions.list(user), JSON.stringify(user)).toHaveLength(1)
  })

  it('works together with hashId, encrypt, renewAfter and absoluteTimeout', async () => {
    const { store } = await opened(kind)
    const site = await siteOn(store, {
      hashId: true,
      encrypt: 'a secret for data at rest, long enough for all of this',
      renewAfter: 1,
      absoluteTimeout: 3_600_000,
      maxSessions: 2,
      describe: () => ({ place: 'Paris' }),
    })
    const [one, two] = [await site.signedIn(), await site.signedIn()]
    for (const browser of [one, two, one, two]) await browser.get('/visit')
    const list = await site.sessions.list('ann', { current: (await one.get('/look')).json.id })
    expect(list.map(({ about }) => about)).toEqual([{ place: 'Paris' }, { place: 'Paris' }])
    expect(list.filter(({ current }) => current)).toHaveLength(1)
    const three = await site.signedIn()
    expect([await userOf(one), await userOf(two), await userOf(three)]).toEqual([undefined, 'ann', 'ann'])
    expect(await site.sessions.revoke('ann', { id: (await site.sessions.list('ann'))[0]?.id })).toBe(1)
    expect([await userOf(two), await userOf(three)]).toEqual(['ann', undefined])
    expect(await site.sessions.revoke('ann')).toBe(1)
    expect(await userOf(two)).toBeUndefined()
  })

  it('a session of another version of the app belongs to its user, and was not signed in just now', async () => {
    const { store } = await opened(kind)
    const before = await siteOn(store, { userOf: () => undefined, rotateOnSignIn: false })
    const browser = await before.signedIn()
    const site = await siteOn(store)
    const later = tab(browser, site.url)
    await later.get('/look')
    expect(await site.sessions.list('ann')).toMatchObject([{ authenticatedAt: undefined }])
    expect((await later.get('/info')).json).toMatchObject({ user: 'ann' })
    expect((await later.get('/info')).json.authenticatedAt).toBeUndefined()
    expect(later.cookies).toEqual(browser.cookies)
    await site.signedIn()
    const unseen = await before.signedIn()
    expect(await site.sessions.revoke('ann', { except: (await unseen.get('/look')).json.id })).toBe(2)
    expect([await userOf(later), await userOf(unseen)]).toEqual([undefined, 'ann'])
    await tab(unseen, site.url).get('/look')
    expect(await site.sessions.revoke('ann')).toBe(1)
    expect(await userOf(later)).toBeUndefined()
  })
})

describe.each(bundled.map((kind) => [kind.name, kind] as const))('on %s, which keeps an index,', (_, kind) => {
  it('of 20 sign-ins at once exactly three are left, or succeed', async () => {
    const { store } = await opened(kind)
    const oldest = await siteOn(store, { maxSessions: 3 })
    const browsers = times(20, () => oldest.visitor())
    await Promise.all(browsers.map((browser) => browser.get('/visit')))
    await Promise.all(browsers.map((browser) => signIn(browser)))
    expect((await Promise.all(browsers.map(userOf))).filter(Boolean)).toHaveLength(3)
    expect(await oldest.sessions.list('ann')).toHaveLength(3)

    const strict = await siteOn(store, { maxSessions: refusing(3), onSaveError: 'fail' })
    const others = times(20, () => strict.visitor())
    await Promise.all(others.map((browser) => browser.get('/visit')))
    const replies = await Promise.all(others.map((browser) => browser.get('/in?user=bob')))
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(3)
    expect(replies.filter(({ json }) => json.code === 'ERR_SESSION_LIMIT')).toHaveLength(17)
    const users = await Promise.all(others.map(userOf))
    expect(users.filter(Boolean)).toHaveLength(3)
    // Those that were refused are visitors still.
    const data = await Promise.all(others.map(async (browser) => (await browser.get('/look')).json.data))
    expect(data.every(({ visits }) => visits === 1)).toBe(true)
  })

  it('there is room again when a session ends, by a sign-out, by its end, or when it expires', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { store, runOut } = await opened(kind)
    const site = await siteOn(store, { maxSessions: refusing(1), cookie: { maxAge: 60_000 } })
    const browser = await site.signedIn()
    expect((await site.signedIn()) && (await idsOf(site))).toHaveLength(1)
    await browser.get('/out')
    const next = await site.signedIn()
    expect(await userOf(next)).toBe('ann')
    await next.get('/destroy')
    const last = await site.signedIn()
    expect(await userOf(last)).toBe('ann')
    const { id } = (await last.get('/look')).json
    vi.setSystemTime(Date.now() + 61_000)
    await runOut([id])
    expect(await userOf(await site.signedIn())).toBe('ann')
  })

  it('the index does not grow by sessions that end, and the list is exact', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { store, runOut } = await opened(kind)
    const site = await siteOn(store, { cookie: { maxAge: 60_000 } })
    const { store: seeded } = { store: store as AnyStore }
    const count = kind.name === 'memory' ? 10_000 : 100
    for (let batch = 0; batch < 4; batch++) {
      const ids = times(count / 4, (n) => `seeded-${batch}-${n}`)
      const cookie = () => ({ originalMaxAge: 60_000, expires: new Date(Date.now() + 60_000), path: '/' })
      await Promise.all(ids.map((id) => seeded.set(id, { cookie: cookie(), user: 'ann' })))
      expect(await site.sessions.list('ann')).toHaveLength(count / 4)
      vi.setSystemTime(Date.now() + 61_000)
      await runOut(ids)
    }
    const browser = await site.signedIn()
    expect(await site.sessions.list('ann')).toHaveLength(1)
    expect(await entriesOf(store, 'ann')).toBe(1)
    for (let n = 0; n < 20; n++) {
      await signIn(browser, 'bob')
      await signIn(browser)
    }
    expect(await entriesOf(store, 'ann')).toBe(1)
    expect(await entriesOf(store, 'bob')).toBe(0)
  })

  it('a session that is extended for months is in the list, though nobody looks at it', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const site = await siteOn((await opened(kind)).store, { cookie: { maxAge: 3_600_000 }, rolling: true })
    const browser = await site.signedIn()
    for (let hour = 0; hour < 60; hour++) {
      vi.setSystemTime(Date.now() + 3_000_000)
      await browser.get('/untouched')
    }
    expect(await site.sessions.list('ann')).toMatchObject([{ lastSeen: new Date() }])
    expect(await site.sessions.revoke('ann')).toBe(1)
    expect(await userOf(browser)).toBeUndefined()
  })

  it('a session whose time could not be extended is in the list still', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { store } = await opened(kind)
    const site = await siteOn(store, { cookie: { maxAge: 3_600_000 }, rolling: true })
    const browser = await site.signedIn()
    vi.setSystemTime(Date.now() + 3_500_000)
    await browser.get('/untouched')
    vi.setSystemTime(Date.now() + 3_500_000)
    const driver = store[DRIVER]()
    const update = driver.update
    driver.update = (...args: unknown[]) => {
      // As far as the session itself goes: what it makes is not written.
      const make = args[2] as (current: object) => object | undefined
      if (make(args[1] as object)) throw new Error('the disk is full')
      return update.apply(driver, args)
    }
    await browser.get('/untouched')
    driver.update = update
    expect(await site.sessions.list('ann')).toHaveLength(1)
  })

  it('confirming makes authenticatedAt anew under a new id, and other changes leave it', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const site = await siteOn((await opened(kind)).store)
    const browser = await site.signedIn()
    const signedInAt = new Date()
    vi.setSystemTime(Date.now() + 5_000)
    const other = tab(browser, site.url)
    const slow = other.get('/slow?hold=merge')
    await site.arrival('merge')
    await browser.get('/visit')
    site.release('merge')
    await slow
    expect((await site.sessions.list('ann'))[0]?.authenticatedAt).toEqual(signedInAt)
    const old = tab(browser, site.url)
    const { id } = (await browser.get('/look')).json
    expect((await browser.get('/confirm')).json.id).not.toBe(id)
    expect(await site.sessions.list('ann')).toMatchObject([{ authenticatedAt: new Date(), createdAt: new Date() }])
    expect([await userOf(browser), await userOf(old)]).toEqual(['ann', undefined])
  })
})

describe.each(sharedKinds.map((kind) => [kind.name, kind] as const))('in two processes on %s', (_, kind) => {
  it('revoke and revokeAll work at once, and the limit is the same', async () => {
    const { store, place } = await opened(kind)
    const wish = JSON.stringify({ kind: kind.name, place, options: { maxSessions: 3 } })
    const other = await spawnServer(process.execPath, [...nodeArgs('test/users/fixture/users-server.ts'), wish])
    open.push(other)
    const site = await siteOn(store, { maxSessions: 3 })
    const browsers = times(12, (n) => new Browser(n % 2 ? site.url : other.url))
    await Promise.all(browsers.map((browser) => signIn(browser)))
    expect((await Promise.all(browsers.map(userOf))).filter(Boolean)).toHaveLength(3)
    expect((await browsers[0]?.get('/list?user=ann'))?.json).toHaveLength(3)
    expect((await browsers[0]?.get('/revoke?user=ann'))?.json).toBe(3)
    expect((await Promise.all(browsers.map(userOf))).filter(Boolean)).toHaveLength(0)
    await signIn(browsers[0] as Browser)
    const here = tab(browsers[0] as Browser, site.url)
    expect(await userOf(here)).toBe('ann')
    await site.sessions.revokeAll()
    expect(await userOf(browsers[0] as Browser)).toBeUndefined()
  })
})

describe.skipIf(redisMissing)('on a Redis cluster', () => {
  it('sessions are listed and ended, whichever node has them', async () => {
    const cluster = await startCluster()
    const client = createCluster({ rootNodes: cluster.nodes.map(({ url }) => ({ url })) })
    await client.connect()
    try {
      const site = await siteOn(new RedisStore({ client: client as never }), { maxSessions: 5 })
      const browsers = times(8, () => site.visitor())
      await Promise.all(browsers.map((browser) => signIn(browser)))
      expect(await site.sessions.list('ann')).toHaveLength(5)
      expect(await site.sessions.revoke('ann')).toBe(5)
      await signIn(browsers[0] as Browser)
      await site.sessions.revokeAll()
      expect((await Promise.all(browsers.map(userOf))).filter(Boolean)).toHaveLength(0)
    } finally {
      client.destroy()
      await cluster.stop()
    }
  })
})

describe('while the id of a session is renewed', () => {
  const renewing = { renewAfter: 1 }
  const later = async () => void vi.setSystemTime(Date.now() + 10)
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))

  it.each([
    ['update', 'after'],
    ['users.move', 'before'],
    ['users.move', 'after'],
    ['write', 'before'],
    ['write', 'after'],
  ] as const)('revoke ends it (%s, %s)', async (method, when) => {
    const { store, pause } = pausing(method, when)
    const site = await siteOn(store, renewing)
    const browser = await site.signedIn()
    const stranger = await site.signedIn()
    for (const isKept of [false, true]) {
      const { id } = (await stranger.get('/look')).json
      await later()
      const old = tab(browser, site.url)
      const paused = pause()
      const renewed = browser.get('/untouched')
      const go = await paused
      await site.sessions.revoke('ann', isKept ? { except: id } : {})
      go()
      await renewed
      expect([await userOf(old), await userOf(browser)]).toEqual([undefined, undefined])
      expect(await userOf(stranger)).toBe(isKept ? 'ann' : undefined)
      await signIn(browser)
      await signIn(stranger)
    }
  })

  it.each([
    ['users.list', 'before'],
    ['read', 'after'],
  ] as const)('the session that revoke is to keep stays (%s, %s)', async (method, when) => {
    const { store, pause } = pausing(method, when)
    const site = await siteOn(store, renewing)
    const [browser, other] = [await site.signedIn(), await site.signedIn()]
    const { id } = (await browser.get('/look')).json
    await later()
    const paused = pause()
    const revoked = site.sessions.revoke('ann', { except: id })
    const go = await paused
    await browser.get('/untouched')
    go()
    expect(await revoked).toBe(1)
    expect([await userOf(browser), await userOf(other)]).toEqual(['ann', undefined])
  })

  it('one that is revoked by its hashed id ends, and no other', async () => {
    const { store, pause } = pausing('take', 'before')
    const site = await siteOn(store, renewing)
    const [browser, other] = [await site.signedIn(), await site.signedIn()]
    await later()
    const { id } = (await browser.get('/look')).json
    const listed = (await site.sessions.list('ann', { current: id })).find(({ current }) => current)
    await later()
    const old = tab(browser, site.url)
    const paused = pause()
    const revoked = site.sessions.revoke('ann', { id: listed?.id })
    const go = await paused
    await browser.get('/untouched')
    go()
    await revoked
    expect([await userOf(old), await userOf(browser), await userOf(other)]).toEqual([undefined, undefined, 'ann'])
  })

  it('the limit ends it, where it is the oldest', async () => {
    const { store, pause } = pausing('take', 'before')
    const site = await siteOn(store, { ...renewing, maxSessions: 1 })
    const browser = await site.signedIn()
    await later()
    const next = site.visitor()
    const paused = pause()
    const signedIn = next.get('/in?user=ann')
    const go = await paused
    await browser.get('/untouched')
    go()
    await signedIn
    expect([await userOf(browser), await userOf(next)]).toEqual([undefined, 'ann'])
  })
})

describe('users', () => {
  it('are those of passport where the app says nothing', async () => {
    const sessions = session({ secret, resave: false, saveUninitialized: false })
    const { sessionCookie } = await import('../../lib/testing.ts')
    await sessionCookie(sessions, { passport: { user: 7 } })
    await sessionCookie(sessions, { passport: { user: { id: 7 } } })
    await sessionCookie(sessions, { passport: {} })
    expect(await sessions.list(7)).toMatchObject([{ authenticatedAt: expect.any(Date) }])
    expect(await sessions.list('7')).toHaveLength(1)
  })

  it('have to have an id that is text or a number', async () => {
    const site = await siteOn(new MemoryStore(), { userOf: (data) => data.user && ({ id: data.user } as never) })
    const reply = await site.visitor().get('/in?user=ann')
    expect(reply.status).toBe(200)
    const failing = await siteOn(new MemoryStore(), {
      userOf: (data) => data.user && ({} as never),
      onSaveError: 'fail',
    })
    expect((await failing.visitor().get('/in?user=ann')).json).toMatchObject({ code: 'ERR_SESSION_USERS' })
  })

  it('cannot be listed in a store that does not say its sessions, which it says', async () => {
    const Silent = callbackStore({ Store: originalSession.Store as never })
    const site = await siteOn(new Silent())
    await site.signedIn()
    for (const asked of [site.sessions.list('ann'), site.sessions.revoke('ann')]) {
      await expect(asked).rejects.toMatchObject({
        code: 'ERR_SESSION_USERS',
        message: expect.stringContaining('all()'),
      })
    }
  })

  it('are not guessed from arguments that may be missing in a form', async () => {
    const { sessions } = await siteOn(new MemoryStore())
    for (const wrong of [{ except: undefined }, { id: undefined }, { id: '' }, { except: ['a'] }, { id: 7 }]) {
      await expect(sessions.revoke('ann', wrong)).rejects.toThrow(/non-empty string/)
    }
    for (const wrong of [undefined, null, {}, ['ann']]) {
      await expect(sessions.revoke(wrong as never)).rejects.toThrow(TypeError)
      await expect(sessions.list(wrong as never)).rejects.toThrow(TypeError)
    }
  })

  it('whom nobody can describe have no description, and a warning says so', async () => {
    const failing = () => {
      throw new Error('no header')
    }
    const site = await siteOn(new MemoryStore(), { describe: failing })
    await site.signedIn()
    const [listed] = await site.sessions.list('ann')
    expect(listed).not.toHaveProperty('about')
  })

  it.each([
    ['maxSessions', 0],
    ['maxSessions', { n: 3, after: 'nothing' }],
    ['maxSessions', { n: 3, more: 1 }],
    ['userOf', 'user'],
    ['describe', {}],
    ['rotateOnSignIn', 'yes'],
  ])('option %s: %o is refused', (name, value) => {
    expect(() => session({ secret, [name]: value } as never)).toThrow(new RegExp(`^${name} option must be`))
  })
})
