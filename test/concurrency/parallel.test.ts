// Requests at once on one session, each changing something else: nothing of it is lost.

import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { spawnServer } from '../support/serve.ts'
import { kinds, sharedKinds } from './fixture/kinds.ts'
import { PromiseStore } from './fixture/stores.ts'
import { open, serverOf, tab, times, visit } from './support.ts'
import { Stores } from './table.ts'

const REQUESTS = 50
const opened = new Stores()

/** Sends all requests at once, each to one of the servers, and tells how many of their keys are there afterwards. */
async function race(urls: string[], route: 'set' | 'nested'): Promise<{ kept: number; user: unknown; id: string }> {
  const { browser, id } = await visit(urls[0] as string)
  const keys = times(REQUESTS, (n) => `k${n}`)
  const replies = await Promise.all(
    keys.map((key, n) => {
      const wait = Math.floor(Math.random() * 31)
      return tab(browser, urls[n % urls.length] as string).get(`/${route}/${key}?wait=${wait}`)
    }),
  )
  expect(replies.map(({ status }) => status)).toEqual(keys.map(() => 200))
  const { json } = await browser.get('/look')
  const there = route === 'set' ? json.data : json.data.box
  return {
    kept: keys.filter((key) => there[key] === key).length,
    user: json.data.user,
    id: json.id === id ? 'same' : json.id,
  }
}

const everything = { kept: REQUESTS, user: 'ann', id: 'same' }

describe.concurrent.each(kinds)('50 requests at once on $name', (kind) => {
  it.each(['set', 'nested'] as const)('%s: every key is there', async (route) => {
    const store = await opened.open(kind)
    const site = await open(store.store)
    expect(await race([site.url], route)).toEqual(everything)
    await site.stop()
  })
})

describe.concurrent.each(sharedKinds)('50 requests at once on $name', (kind) => {
  it('from two processes: every key is there', async () => {
    const store = await opened.open(kind)
    const servers = await Promise.all(times(2, () => spawnServer(...serverOf(kind, store.place))))
    const urls = servers.map(({ url }) => url)
    for (const route of ['set', 'nested'] as const) expect(await race(urls, route)).toEqual(everything)
    await Promise.all(servers.map((server) => server.stop()))
  })
})

describe('requests at once on a store that takes seconds', () => {
  it('wait for one another, however many there are', async () => {
    const store = new PromiseStore(() => 0)
    const site = await open(store)
    const { browser, id } = await site.visitor()
    const keys = ['a', 'b', 'c', 'd']
    const replies = []
    for (const key of keys) {
      const arrived = site.arrival('together')
      replies.push(tab(browser, site.url).get(`/set/${key}?hold=together`))
      await arrived
    }
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const held: (() => void)[] = []
    const set = store.set.bind(store)
    store.set = async (sid, session) => {
      await new Promise<void>((resolve) => held.push(resolve))
      return set(sid, session)
    }
    site.release('together')
    for (const key of keys) {
      await expect.poll(() => [key, held.length]).toEqual([key, 1])
      vi.advanceTimersByTime(6_000)
      for (let turns = 0; turns < 10; turns++) await new Promise(setImmediate)
      expect([key, held.length]).toEqual([key, 1])
      held.pop()?.()
    }
    await Promise.all(replies)
    expect(await store.get(id)).toMatchObject({ a: 'a', b: 'b', c: 'c', d: 'd' })
    await site.stop()
  })
})
