// A session that ends while a slow request still has it stays ended, and the slow request's answer does not show it.

import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { isFull, ROUNDS } from '../support/form.ts'
import type { Browser, Reply } from '../support/jar.ts'
import { spawnServer } from '../support/serve.ts'
import { find, kinds, sharedKinds } from './fixture/kinds.ts'
import { open, type Site, serverOf, tab, times } from './support.ts'
import { type Opened, Stores } from './table.ts'

const opened = new Stores()

/** What slow requests do once they may go on. */
const WRITERS = ['/set/late', '/nested/late', '/lifetime/90000']
const LATE = [...WRITERS, '/read', '/untouched']

type End = (browser: Browser) => Promise<unknown>

const ends: Record<string, End> = {
  destroyed: (browser) => browser.get('/logout'),
  regenerated: (browser) => browser.get('/renew'),
  unset: (browser) => browser.get('/unset'),
}

interface Round {
  readonly site: Site
  readonly route: string
  readonly end: End
  /** The server of the request that ends the session; default: the same. */
  readonly url?: string
  /** The slow request goes on at about the same moment, not afterwards. */
  readonly race?: boolean
}

let rounds = 0

/** A slow request of a new session, which is under way. */
interface Slow {
  readonly id: string
  readonly browser: Browser
  /** Lets it go on. */
  release(): void
  readonly reply: Promise<Reply>
}

async function begin(site: Site, route: string): Promise<Slow> {
  const { browser, id } = await site.visitor()
  const hold = `round ${++rounds}`
  const arrived = site.arrival(hold)
  const reply = tab(browser, site.url).get(`${route}?hold=${hold}`)
  await arrived
  return { id, browser, release: () => site.release(hold), reply }
}

/** One session, one slow request on it, one that ends it. */
async function play({ site, route, end, url = site.url, race = false }: Round) {
  const slow = await begin(site, route)
  const other = tab(slow.browser, url)
  const ending = end(other)
  if (race) await delay(Math.random() * 4)
  else await ending
  slow.release()
  await ending
  return { id: slow.id, other, reply: await slow.reply }
}

/** Plays each kind of slow request in turn, all rounds at once, and expects that nothing comes back. */
async function expectGone(store: Opened, round: Omit<Round, 'route'>): Promise<void> {
  const routes = times(ROUNDS, (n) => LATE[n % LATE.length] as string)
  const played = await Promise.all(routes.map((route) => play({ ...round, route })))
  await expectNothing(store, routes, played, round.race)
}

/** Expects that the slow requests of `routes` had their sessions, and have neither brought them back nor shown them. */
async function expectNothing(
  store: Opened,
  routes: readonly string[],
  played: readonly { id: string; reply: Reply }[],
  race = false,
): Promise<void> {
  const outcomes = await Promise.all(
    played.map(async ({ id, reply }, n) => ({
      route: routes[n],
      status: reply.status,
      had: reply.json.id === id,
      setCookies: race ? [] : reply.setCookies,
      there: await store.has(id),
    })),
  )
  expect(outcomes).toEqual(routes.map((route) => ({ route, status: 200, had: true, setCookies: [], there: false })))
}

describe.each(kinds)('on $name', (kind) => {
  it.each(Object.entries(ends))('a session that is %s', async (_, end) => {
    const store = await opened.open(kind)
    for (const rolling of [false, true]) {
      const site = await open(store.store, { rolling, unset: 'destroy' })
      await expectGone(store, { site, end })
      // In a race, `rolling` decides nothing that is looked at.
      if (rolling || isFull) await expectGone(store, { site, end, race: true })
      await site.stop()
    }
  })
})

describe.each(sharedKinds)('on $name', (kind) => {
  it('a session that another process ends', async () => {
    const store = await opened.open(kind)
    const options = { rolling: true, unset: 'destroy' } as const
    const { url, stop } = await spawnServer(...serverOf(kind, store.place, options))
    const site = await open(store.store, options)
    for (const end of Object.values(ends)) {
      await expectGone(store, { site, end, url })
      await expectGone(store, { site, end, url, race: true })
    }
    await site.stop()
    await stop()
  })
})

describe.each(kinds)('on $name', (kind) => {
  it.each([false, true])('a session that ran out, rolling: %s', async (rolling) => {
    // Only the date is faked, and the sessions end when all of the slow requests have them.
    vi.useFakeTimers({ toFake: ['Date'] })
    onTestFinished(() => void vi.useRealTimers())
    const store = await opened.open(kind)
    const site = await open(store.store, { rolling, cookie: { maxAge: 60_000 } })
    // One that cannot touch is not asked again about a session that was only read.
    const routes = store.store.touch ? LATE : WRITERS
    const slow = await Promise.all(routes.map((route) => begin(site, route)))
    vi.setSystemTime(Date.now() + 60_001)
    await store.runOut(slow.map(({ id }) => id))
    for (const { release } of slow) release()
    const played = await Promise.all(slow.map(async ({ id, reply }) => ({ id, reply: await reply })))
    await expectNothing(store, routes, played)
    await site.stop()
  })
})

describe('the late writer', () => {
  it('leaves the new session alone', async () => {
    const store = await opened.open(find('memory'))
    const site = await open(store.store, { rolling: true })
    const { other } = await play({ site, route: '/set/late', end: ends.regenerated as End })
    expect((await other.get('/look')).json.data).toEqual({ user: 'renewed' })
    await site.stop()
  })

  it('is told by a debug line alone', async () => {
    vi.stubEnv('DEBUG', 'unisession')
    vi.resetModules()
    const lines = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const { open } = await import('./support.ts')
    const { MemoryStore } = await import('../../lib/index.ts')
    const site = await open(new MemoryStore())
    await play({ site, route: '/set/late', end: ends.destroyed as End })
    await site.stop()
    const said = lines.mock.calls.map(([line]) => String(line))
    vi.restoreAllMocks()
    vi.unstubAllEnvs()
    expect(said).toContain(
      'unisession GET /set/late not saved: the session was destroyed, or ran out, while this request went on\n',
    )
    expect(said).toContain('unisession GET /set/late no cookie: the session is gone\n')
  })
})
