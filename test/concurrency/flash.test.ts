// Flash messages of parallel requests: all are delivered, each once.

import { describe, expect, it } from 'vitest'
import { spawnServer } from '../support/serve.ts'
import { kinds, sharedKinds } from './fixture/kinds.ts'
import { open, serverOf, tab, times, visit } from './support.ts'
import { Stores } from './table.ts'

const MESSAGES = 10
const opened = new Stores()

/** Adds messages by `add`, all at once, at each of the servers in turn. */
const addAll = (urls: string[], add: (n: number) => string, browser: Parameters<typeof tab>[0]) =>
  Promise.all(times(MESSAGES, (n) => tab(browser, urls[n % urls.length] as string).get(add(n))))

const messages = (n: number): string => `m${n}`
const all = times(MESSAGES, messages).sort()

const ways = {
  'session.flash': { add: (n: number) => `/flash/${messages(n)}?wait=${n % 5}`, read: '/messages' },
  'connect-flash': { add: (n: number) => `/connect-flash/${messages(n)}?wait=${n % 5}`, read: '/connect-messages' },
  'one and the other': {
    add: (n: number) => `/${n % 2 === 0 ? '' : 'connect-'}flash/${messages(n)}?wait=${n % 5}`,
    read: '/messages',
  },
}

async function deliver(urls: string[], { add, read }: (typeof ways)['session.flash']): Promise<void> {
  const { browser } = await visit(urls[0] as string)
  await addAll(urls, add, browser)
  expect((await browser.get(read)).json.sort()).toEqual(all)
  expect((await browser.get(read)).json).toEqual([])
}

/** The same while somebody reads all the time. */
async function deliverAtOnce(urls: string[], { add, read }: (typeof ways)['session.flash']): Promise<void> {
  const { browser } = await visit(urls[0] as string)
  let adding = true
  const added = addAll(urls, add, browser).finally(() => {
    adding = false
  })
  const delivered: string[] = []
  for (let last = false; !last; ) {
    last = !adding
    delivered.push(...(await browser.get(read)).json)
  }
  await added
  expect(delivered.sort()).toEqual(all)

  // Two who read at once may both show what both have found, but nothing is lost.
  const readers = times(2, async (n) => (await tab(browser, urls[n % urls.length] as string).get(read)).json)
  await addAll(urls, add, browser)
  const left = (await browser.get(read)).json
  expect([...new Set([...(await Promise.all(readers)).flat(), ...left])].sort()).toEqual(all)
}

describe.each(kinds)('messages of parallel requests on $name', (kind) => {
  it('are all delivered, each once', async () => {
    const store = await opened.open(kind)
    const site = await open(store.store)
    for (const way of Object.values(ways)) await deliver([site.url], way)
    await deliverAtOnce([site.url], ways['one and the other'])

    const { browser } = await site.visitor()
    await addAll([site.url], () => '/flash/again', browser)
    expect((await browser.get('/messages')).json).toEqual(times(MESSAGES, () => 'again'))
    await site.stop()
  })
})

describe.each(sharedKinds)('messages of parallel requests on $name', (kind) => {
  it('are all delivered to two processes, too', async () => {
    const store = await opened.open(kind)
    const servers = await Promise.all(times(2, () => spawnServer(...serverOf(kind, store.place))))
    const urls = servers.map(({ url }) => url)
    await deliver(urls, ways['session.flash'])
    await deliverAtOnce(urls, ways['one and the other'])
    await Promise.all(servers.map((server) => server.stop()))
  })
})
