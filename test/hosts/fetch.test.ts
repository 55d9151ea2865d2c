import { expect, test, vi } from 'vitest'
import { Browser } from '../support/jar.ts'
import { type Running, serveFetch } from '../support/serve.ts'
import { createHonoApp } from './fixture/hono.ts'
import { describeHost } from './table.ts'

const traits = { answersBeforeErrors: false, savesWhatThrows: false }

// Each with a copy of the package of its own, which has warned of nothing yet.
const startFetch = async (): Promise<Running> => {
  vi.resetModules()
  return serveFetch((await import('./fixture/fetch.ts')).createFetchApp())
}
const startHono = async (): Promise<Running> => {
  vi.resetModules()
  return serveFetch((await import('./fixture/hono.ts')).createHonoApp())
}

describeHost('a bare fetch handler on Node', startFetch, traits)
// An error becomes a page before the middleware sees it.
describeHost('Hono on Node', startHono, { ...traits, savesWhatThrows: true })

test("Hono's methodOverride, before the session, answers with the session of the request that it makes", async () => {
  const server = await serveFetch(createHonoApp())
  try {
    const browser = new Browser(server.url)
    const set = await browser.get('/plain/set?user=ann&method=GET', { method: 'POST' })
    expect(set.setCookies).toHaveLength(1)
    expect((await browser.get('/plain/look?method=GET', { method: 'POST' })).json).toMatchObject({
      data: { user: 'ann' },
    })
  } finally {
    await server.stop()
  }
})
