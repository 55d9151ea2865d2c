// What a store gets to see of sessions with `hashId` and `encrypt`, what is refused with `maxSize`, on every store.

import { createHmac } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sign } from 'cookie-signature'
import { createClient } from 'redis'
import { afterEach, describe, expect, it } from 'vitest'
import { type SessionOptions, session } from '../lib/index.ts'
import { type AnyStore, kinds, type Place, type StoreCase } from './concurrency/fixture/kinds.ts'
import { open, type Site, secret, tab } from './concurrency/support.ts'
import { Stores } from './concurrency/table.ts'
import { Browser } from './support/jar.ts'
import { command } from './support/redis.ts'

const stores = new Stores()
const key = 'a secret for data at rest, long enough for all of this'
const sites: Site[] = []
afterEach(async () => {
  for (const site of sites.splice(0)) await site.stop()
})

async function siteOn(store: AnyStore, options: SessionOptions): Promise<Site> {
  const site = await open(store, options)
  sites.push(site)
  return site
}

/** A store, and all that is in it as text: keys, names of files, records. */
async function opened(kind: StoreCase): Promise<{ store: AnyStore; dump(): Promise<string>; records(): AnyStore }> {
  const { store, place } = await stores.open(kind)
  // One server for all of them.
  if (place.url) await command(Number(new URL(place.url).port), 'FLUSHALL')
  if (kind.name !== 'callbacks' && kind.name !== 'promises') {
    return { store, dump: () => dumpOf(kind, store, place), records: undefined as never }
  }
  // They keep their records to themselves: what they were given last is what they have.
  const records = new Map<string, string>()
  const { set, destroy } = store
  store.set = (id: string, data: object, ...rest: unknown[]) => {
    records.set(id, JSON.stringify(data))
    return set.call(store, id, data, ...rest)
  }
  store.destroy = (id: string, ...rest: unknown[]) => {
    records.delete(id)
    return destroy.call(store, id, ...rest)
  }
  return { store, dump: async () => JSON.stringify([...records]), records: () => records }
}

async function dumpOf(kind: StoreCase, store: AnyStore, { folder, url }: Place): Promise<string> {
  if (kind.name === 'memory') return JSON.stringify(store.sessions)
  if (kind.needsRedis) {
    const client = await createClient({ url: url as string }).connect()
    const keys = await client.keys('*')
    const values = await Promise.all(keys.map((name) => client.get(name)))
    client.destroy()
    return JSON.stringify([keys, values])
  }
  if (kind.name === 'memorystore') return JSON.stringify(store.store.dump())
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  const texts = await Promise.all(
    names.map((entry) => readFile(join(entry.parentPath ?? entry.path, entry.name), 'utf8')),
  )
  return JSON.stringify([names.map(({ name }) => name), texts])
}

const variants: [string, SessionOptions][] = [
  ['hashId', { hashId: true }],
  ['encrypt', { encrypt: key }],
  ['hashId and encrypt', { hashId: true, encrypt: key }],
  ['hashId, encrypt and renewAfter', { hashId: true, encrypt: key, renewAfter: 1, renewGrace: 60_000 }],
]

describe.each(kinds.map((kind) => [kind.name, kind] as const))('on %s', (_, kind) => {
  it.each(variants)('a session with %s lives as any other', async (_, options) => {
    const { store } = await opened(kind)
    const site = await siteOn(store, options)
    const { browser } = await site.visitor()
    await browser.get('/set/a')
    await browser.get('/untouched')
    await browser.get('/flash/hello')
    expect((await browser.get('/messages')).json).toEqual(['hello'])
    const [one, two] = [tab(browser, site.url), tab(browser, site.url)]
    await Promise.all([one.get('/set/b?wait=5'), two.get('/nested/c')])
    expect((await browser.get('/look')).json.data).toMatchObject({
      user: 'ann',
      a: 'a',
      b: 'b',
      box: { first: 0, c: 'c' },
    })
    await browser.get('/renew-keep')
    expect((await browser.get('/look')).json.data).toMatchObject({ user: 'ann', a: 'a' })
    const before = tab(browser, site.url)
    await browser.get('/logout')
    expect((await before.get('/look')).json.data).toEqual({})
  })

  it('what is stored tells neither an id, nor a cookie, nor a word of the data', async () => {
    const { store, dump } = await opened(kind)
    const site = await siteOn(store, { hashId: true, encrypt: key, renewAfter: 50, renewGrace: 60_000 })
    const { browser, id } = await site.visitor()
    await browser.get('/set/treasure')
    await browser.get('/save/chest')
    const { json } = await browser.get('/look')
    const text = await dump()
    expect(text).toContain('cookie')
    const cookie = decodeURIComponent(browser.cookies.get('connect.sid') ?? '')
    for (const word of [id, json.id, cookie, cookie.slice(2).split('.')[1], 'ann', 'treasure', 'chest', 'saved']) {
      expect(text).not.toContain(word)
    }
  })

  it('plain sessions are found, moved and encrypted, with all that concurrent requests make of them', async () => {
    const { store, dump } = await opened(kind)
    const old = await siteOn(store, {})
    const { browser, id } = await old.visitor()
    await browser.get('/set/a')
    expect(await dump()).toContain('ann')
    const site = await siteOn(store, { hashId: true, encrypt: [key] })
    const tabs = [1, 2, 3, 4].map(() => tab(browser, site.url))
    await Promise.all(tabs.map((each, n) => each.get(`/set/k${n}`)))
    const after = tab(browser, site.url)
    expect((await after.get('/look')).json.data).toEqual({
      user: 'ann',
      box: { first: 0 },
      a: 'a',
      k0: 'k0',
      k1: 'k1',
      k2: 'k2',
      k3: 'k3',
    })
    const text = await dump()
    expect(text).not.toContain(id)
    expect(text).not.toContain('ann')
    await after.get('/logout')
    expect((await tab(browser, site.url).get('/look')).json.data).toEqual({})
    expect((await tab(browser, old.url).get('/look')).json.data).toEqual({})
  })

  it('a key that was read in the store is no id, though its signature is valid', async () => {
    const { store, dump } = await opened(kind)
    const site = await siteOn(store, { hashId: true })
    const { browser } = await site.visitor()
    const [stolen] = /sha256-[\w-]{43}/.exec(await dump()) ?? []
    // FileStore names its files by another hash, and has this one in them.
    expect(stolen).toBeDefined()
    // Paths and case: some stores take them for the same key.
    for (const id of [stolen, `./${stolen}`, `x/../${stolen}`, `${stolen} `, String(stolen).replace('sha', 'SHA')]) {
      const thief = new Browser(site.url)
      thief.cookies.set('connect.sid', encodeURIComponent(`s:${sign(String(id), secret)}`))
      expect([id, (await thief.get('/look')).json.data]).toEqual([id, {}])
    }
    expect((await browser.get('/look')).json.data).toMatchObject({ user: 'ann' })
  })

  it('who lacks the secret sees no session, and leaves it alone; a secret may be replaced', async () => {
    const { store } = await opened(kind)
    const first = await siteOn(store, { encrypt: 'the first secret, long enough for all of this' })
    const { browser } = await first.visitor()
    for (const options of [{ encrypt: key }, {}]) {
      const without = await siteOn(store, options)
      const { json } = await tab(browser, without.url).get('/set/intruder')
      expect(json.id).not.toBe((await browser.get('/look')).json.id)
      expect((await browser.get('/look')).json.data).toEqual({ user: 'ann', box: { first: 0 } })
    }
    const both = await siteOn(store, { encrypt: [key, 'the first secret, long enough for all of this'] })
    await tab(browser, both.url).get('/set/a')
    // Written with the new secret now, which alone is enough.
    const alone = await siteOn(store, { encrypt: key })
    expect((await tab(browser, alone.url).get('/look')).json.data).toMatchObject({ user: 'ann', a: 'a' })
  })

  it('secrets are replaced while ids are renewed', async () => {
    const { store, dump } = await opened(kind)
    const [older, newer] = ['the older secret, long enough for all of this', key]
    const renewing = { hashId: true, renewAfter: 1, renewGrace: 60_000 }
    const first = await siteOn(store, { ...renewing, encrypt: older })
    const { browser, id } = await first.visitor()
    for (const encrypt of [[older], [newer, older], [newer]]) {
      const site = await siteOn(store, { ...renewing, encrypt })
      const visitor = tab(browser, site.url)
      const name = `k${encrypt.length}`
      await visitor.get(`/set/${name}`)
      expect((await visitor.get('/look')).json.data).toMatchObject({ user: 'ann', [name]: name })
      // The other tab has the old id still, within its grace.
      expect((await tab(browser, site.url).get('/look')).json.data).toMatchObject({ user: 'ann' })
      for (const [cookie, value] of visitor.cookies) browser.cookies.set(cookie, value)
    }
    const text = await dump()
    for (const word of [id, 'ann']) expect(text).not.toContain(word)
  })

  it('a session that is larger than maxSize does not reach the store', async () => {
    const { store, dump } = await opened(kind)
    const site = await siteOn(store, { maxSize: 400, onSaveError: 'fail' })
    const { browser } = await site.visitor()
    const long = 'x'.repeat(400)
    const { status, text } = await browser.get(`/set/${long}`)
    expect([status, text]).toEqual([500, expect.stringContaining('maxSize option allows 400')])
    expect(await dump()).not.toContain(long)
    expect((await browser.get('/set/short')).status).toBe(200)
  })
})

describe('an encrypted record', () => {
  const options = { encrypt: key, secret, resave: false, saveUninitialized: false }

  it('that is copied under another id, or changed, counts as missing', async () => {
    const { store } = await opened(kinds.find(({ name }) => name === 'memory') as StoreCase)
    const site = await siteOn(store, options)
    const [ann, bob] = [await site.visitor(), await site.visitor()]
    await ann.browser.get('/set/a')
    store.sessions[bob.id] = store.sessions[ann.id]
    expect((await bob.browser.get('/look')).json.data).toEqual({})
    const record = JSON.parse(store.sessions[ann.id])
    const [name] = Object.keys(record).filter((each) => each !== 'cookie') as [string]
    for (const text of ['', 'x', record[name].slice(4), `${record[name].slice(0, -4)}AAAA`]) {
      store.sessions[ann.id] = JSON.stringify({ ...record, [name]: text })
      expect((await tab(ann.browser, site.url).get('/look')).json.data).toEqual({})
    }
    store.sessions[ann.id] = JSON.stringify(record)
    expect((await ann.browser.get('/look')).json.data).toMatchObject({ user: 'ann' })
  })

  it('is read and written by the methods of a bundled store, too', async () => {
    for (const kind of kinds.filter(({ bundled }) => bundled)) {
      const { store } = await opened(kind)
      session({ ...options, hashId: true, store })
      const cookie = { originalMaxAge: 60_000, expires: new Date(Date.now() + 60_000) }
      await store.set('one', { cookie, user: 'ann' })
      expect(await store.get('one')).toMatchObject({ user: 'ann' })
      await store.touch('one', { cookie })
      await store.destroy('one')
      expect(await store.get('one')).toBeUndefined()
    }
  })
})

it.each<[SessionOptions, string]>([
  [{ encrypt: '' }, 'encrypt option must be a secret'],
  [{ encrypt: [] }, 'encrypt option must be a secret'],
  [{ encrypt: [1 as never] }, 'encrypt option must be a secret'],
  [{ encrypt: Buffer.alloc(0) as never }, 'encrypt option must be a secret'],
  [{ encrypt: [key, new Uint8Array(32) as never] }, 'encrypt option must be a secret'],
  [{ encrypt: true as never }, 'encrypt option must be a secret'],
  [{ hashId: 'yes' as never }, 'hashId option must be true or false'],
  [{ maxSize: 0 }, 'maxSize option must be a whole number above 0'],
  [{ maxSize: '1kb' as never }, 'maxSize option must be a whole number above 0'],
  [{ storeTimeout: 0 }, 'storeTimeout option must be a number of milliseconds above 0'],
])('%o is refused at set-up', (options, message) => {
  expect(() => session({ secret, resave: false, saveUninitialized: false, ...options })).toThrow(message)
})

it('a key as a secret, too, encrypts', async () => {
  const { store, dump } = await opened(kinds[0] as StoreCase)
  const site = await siteOn(store, { encrypt: createHmac('sha256', 'x').update('y').digest() })
  const { browser } = await site.visitor()
  expect(await dump()).not.toContain('ann')
  expect((await browser.get('/look')).json.data).toMatchObject({ user: 'ann' })
})
