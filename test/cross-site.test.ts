// crossSite in a real browser: a page of another site posts a form, fetches with credentials, and links.

import type { RequestHandler } from 'express'
import express from 'express'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type SessionOptions, session } from '../lib/index.ts'
import { Chromium, chromiumMissing } from './support/chromium.ts'
import { type Running, serve } from './support/serve.ts'

interface Visit {
  readonly method: string
  readonly status: number
  /** What the handler has found in the session. */
  readonly user: unknown
}

/** A site with a session whose cookie the browser sends from everywhere: no other defence is in its place. */
async function startSite(crossSite: SessionOptions['crossSite']) {
  const app = express()
  const visits: Visit[] = []
  app.use((req, _res, next) => {
    // As behind a proxy that speaks HTTPS, which SameSite=None asks for. Chromium trusts localhost like HTTPS.
    req.headers['x-forwarded-proto'] = 'https'
    next()
  })
  app.use((req, res, next) => {
    res.once('finish', () => {
      const { user } = (req.session ?? {}) as { user?: unknown }
      if (req.path === '/act') visits.push({ method: req.method, status: res.statusCode, user })
    })
    next()
  })
  const cookie = { secure: true, sameSite: 'none', maxAge: 600_000 } as const
  app.use(
    session({ secret: 'x', resave: false, saveUninitialized: false, proxy: true, cookie, crossSite }) as RequestHandler,
  )
  app.get('/sign-in', (req, res) => {
    Object.assign(req.session, { user: 'ann' })
    res.send('signed in')
  })
  app.all('/act', (req, res) => {
    const { user } = req.session as { user?: unknown }
    if (req.method === 'POST' && user) Object.assign(req.session, { acted: true })
    res.send('done')
  })
  app.get('/acted', (req, res) => void res.send(String((req.session as { acted?: boolean }).acted === true)))
  const { url, stop } = await serve(app)
  return { url: url.replace('127.0.0.1', 'localhost'), stop, visits }
}

const page = (target: string): string => `<!doctype html>
<form id="form" method="post" action="${target}/act"></form>
<a id="link" href="${target}/act">link</a>`

describe.skipIf(chromiumMissing)('requests of a real browser', () => {
  let browser: Chromium
  /** A page with a form and a link to the site that the URL names; at another origin, and at another site. */
  let pages: Running

  beforeAll(async () => {
    browser = await Chromium.start()
    const app = express().get('/', (req, res) => void res.send(page(String(req.query.target))))
    pages = await serve(app)
  })
  afterAll(async () => {
    await browser?.stop()
    await pages?.stop()
  })

  /** Acts on the site by a form, by fetch and by a link, from a page of `from`. */
  async function act(site: Awaited<ReturnType<typeof startSite>>, from: string): Promise<Visit[]> {
    const own = `${from}/?target=${encodeURIComponent(site.url)}`
    const seen: Visit[] = []
    const scripts = [
      'document.getElementById("form").submit()',
      `fetch(${JSON.stringify(`${site.url}/act`)}, { method: 'POST', mode: 'no-cors', credentials: 'include' }).then(() => 1, () => 0)`,
      'document.getElementById("link").click()',
    ]
    for (const script of scripts) {
      site.visits.length = 0
      await browser.open(own)
      void browser.run(script).catch(() => {})
      await expect.poll(() => site.visits.length).toBe(1)
      seen.push(...site.visits)
    }
    return seen
  }

  const signIn = async (site: { url: string }): Promise<void> => {
    await browser.open(`${site.url}/sign-in`)
  }
  const hasActed = async (site: { url: string }): Promise<unknown> => {
    await browser.open(`${site.url}/acted`)
    return browser.run('document.body.innerText')
  }

  it('from another site act in the session without the option, so that the cookie is sent', async () => {
    const site = await startSite('allow')
    await signIn(site)
    const visits = await act(site, pages.url)
    // Some browsers send no cookie with a fetch to another site.
    expect(visits.map(({ method, status, user }, n) => [method, status, n === 1 || user])).toEqual([
      ['POST', 200, 'ann'],
      ['POST', 200, true],
      ['GET', 200, 'ann'],
    ])
    expect(await hasActed(site)).toBe('true')
    await site.stop()
  })

  it("from another site are refused with 'refuse', but for a link", async () => {
    const site = await startSite('refuse')
    await signIn(site)
    const visits = await act(site, pages.url)
    expect(visits.map(({ method, status, user }) => [method, status, user])).toEqual([
      ['POST', 403, undefined],
      ['POST', 403, undefined],
      ['GET', 200, 'ann'],
    ])
    expect(await hasActed(site)).toBe('false')
    await site.stop()
  })

  it("from another site are a visitor's with 'anonymous', and the session stays", async () => {
    const site = await startSite('anonymous')
    await signIn(site)
    const visits = await act(site, pages.url)
    expect(visits.map(({ method, status, user }) => [method, status, user])).toEqual([
      ['POST', 200, undefined],
      ['POST', 200, undefined],
      ['GET', 200, 'ann'],
    ])
    expect(await hasActed(site)).toBe('false')
    await site.stop()
  })

  it('from another port of the same host are of another site, too; from the site itself they are its own', async () => {
    const site = await startSite('refuse')
    await signIn(site)
    const [form] = await act(site, pages.url.replace('127.0.0.1', 'localhost'))
    expect(form).toMatchObject({ method: 'POST', status: 403 })
    await browser.open(`${site.url}/acted`)
    site.visits.length = 0
    await browser.run("fetch('/act', { method: 'POST' })")
    expect(site.visits).toMatchObject([{ method: 'POST', status: 200, user: 'ann' }])
    await site.stop()
  })
})
