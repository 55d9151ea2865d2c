// Who may keep an answer that carries a session's cookie: the rules, and a shared cache in front of an app.

import type { RequestHandler } from 'express'
import express from 'express'
import { describe, expect, it, vi } from 'vitest'
import { type SessionOptions, session } from '../lib/index.ts'
import { keepPrivate } from '../lib/request/cache-control.ts'
import { Browser } from './support/jar.ts'
import { type Running, serve } from './support/serve.ts'

describe('Cache-Control of an answer that carries a session cookie', () => {
  const later = new Date(Date.now() + 60_000).toUTCString()

  it.each<[string | undefined, string | undefined, string | undefined]>([
    // The header, that of Expires, and what becomes of it; undefined: it stays.
    [undefined, undefined, 'private'],
    [',', undefined, 'private'],
    ['', undefined, 'private'],
    ['  ', undefined, 'private'],
    ['max-age=60', undefined, 'max-age=60, private'],
    ['max-age="60"', undefined, 'max-age="60", private'],
    ['no-cache', undefined, 'no-cache, private'],
    ['must-revalidate, max-age=0', undefined, 'must-revalidate, max-age=0, private'],
    ['immutable', later, 'immutable, private'],
    ['private', undefined, undefined],
    ['Private, Max-Age=60', undefined, undefined],
    ['no-store', undefined, undefined],
    ['NO-STORE', undefined, undefined],
    ['no-cache, no-store', undefined, undefined],
    ['private="x-user"', undefined, 'private="x-user", private'],
    ['private="x-user, public", max-age=60', undefined, 'private="x-user, public", max-age=60, private'],
    ['private=""', undefined, 'private="", private'],
    ['private=, max-age=60', undefined, 'private=, max-age=60, private'],
    // In what follows an open quote a strict cache finds no `private`, and another may find `public`.
    ['max-age=60, x="y', undefined, 'private, max-age=60, x="y'],
    ['x="y, private', undefined, 'private, x="y, private'],
    ['x="y\\', undefined, 'private, x="y\\'],
    ['x="y\\"", max-age=60', undefined, 'x="y\\"", max-age=60, private'],
    ['x="y, public, max-age=60', undefined, 'private, x="y, public, max-age=60'],
    ['private, x="y', undefined, undefined],
    ['no-store, x="y', undefined, undefined],
    ['public, max-age=60', undefined, 'public'],
    ['PUBLIC,MAX-AGE=60', undefined, 'public'],
    ['public', later, 'public'],
    ['s-maxage=60', undefined, 'public'],
    ['max-age=0, s-maxage=60', undefined, 'public'],
    ['public, max-age=60, private', undefined, undefined],
    ['public, max-age=60, no-store', undefined, undefined],
    ['public', undefined, 'private'],
    ['public, max-age=0', undefined, 'max-age=0, private'],
    ['max-age=60, s-maxage=0', undefined, 'max-age=60, s-maxage=0, private'],
    ['public, max-age=never', undefined, 'max-age=never, private'],
    ['max-age=60, public, s-maxage=0', undefined, 'max-age=60, s-maxage=0, private'],
  ])('%o with Expires %o', (header, expires, expected) => {
    const kept = keepPrivate(header, expires)
    expect(typeof kept === 'object' ? kept.header : kept).toBe(expected)
  })
})

/** A shared cache as simple as RFC 9111 allows: it keeps answers of GET, and hands them to everybody. */
function createSharedCache(origin: string) {
  const kept = new Map<string, { until: number; headers: [string, string][]; body: string }>()
  return express().use(async (req, res) => {
    const hit = kept.get(req.url)
    if (hit && hit.until > Date.now()) {
      for (const [name, value] of hit.headers) res.append(name, value)
      res.set('x-cache', 'hit').send(hit.body)
      return
    }
    const answer = await fetch(origin + req.url, { headers: { cookie: req.headers.cookie ?? '' } })
    const control = (answer.headers.get('cache-control') ?? '').toLowerCase().split(/\s*,\s*/)
    const age = (name: string): number | undefined => {
      const found = control.find((directive) => directive.startsWith(`${name}=`))
      return found === undefined ? undefined : Number(found.split('=')[1])
    }
    const seconds = age('s-maxage') ?? age('max-age') ?? 0
    const headers = [...answer.headers].filter(
      ([name]) => !/^(content-length|transfer-encoding|connection|date|keep-alive)$/.test(name),
    )
    const body = await answer.text()
    // Section 3: a shared cache keeps neither of these. Set-Cookie alone forbids nothing (section 7.3).
    if (!control.includes('no-store') && !control.includes('private') && seconds > 0) {
      kept.set(req.url, { until: Date.now() + seconds * 1_000, headers, body })
    }
    for (const [name, value] of headers) res.append(name, value)
    res.send(body)
  })
}

describe('behind a shared cache', () => {
  const visitTwice = async (options: SessionOptions): Promise<{ ann: string; bob: string; hits: number }> => {
    const app = express()
    const running: Running[] = []
    const defaults = {
      secret: 'x',
      resave: false,
      saveUninitialized: false,
      rolling: true,
      cookie: { maxAge: 600_000 },
    }
    app.use(session({ ...defaults, ...options }) as RequestHandler)
    app.get('/sign-in/:user', (req, res) => {
      Object.assign(req.session, { user: req.params.user })
      res.send('signed in')
    })
    // The app's mistake: a page for everybody, it thinks.
    app.get('/page', (_req, res) => void res.set('Cache-Control', 'max-age=60').send('the same for all'))
    app.get('/me', (req, res) => void res.send(String((req.session as unknown as { user?: string }).user)))
    const origin = await serve(app)
    const cache = await serve(createSharedCache(origin.url))
    running.push(origin, cache)
    const [ann, bob] = [new Browser(cache.url), new Browser(cache.url)]
    await ann.get('/sign-in/ann')
    await bob.get('/sign-in/bob')
    let hits = 0
    for (const browser of [ann, bob]) {
      const { headers, text } = await browser.get('/page')
      expect(text).toBe('the same for all')
      if (headers.get('x-cache') === 'hit') hits++
    }
    const seen = { ann: (await ann.get('/me')).text, bob: (await bob.get('/me')).text, hits }
    for (const each of running) await each.stop()
    return seen
  }

  it('nobody is given the cookie of another visitor', async () => {
    expect(await visitTwice({})).toEqual({ ann: 'ann', bob: 'bob', hits: 0 })
    expect(await visitTwice({ cache: 'no-store' })).toEqual({ ann: 'ann', bob: 'bob', hits: 0 })
  })

  it('with cache: false the second visitor becomes the first', async () => {
    expect(await visitTwice({ cache: false })).toEqual({ ann: 'ann', bob: 'ann', hits: 1 })
  })
})

it('an answer with a cookie that is marked as public is warned of', async () => {
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  const app = express()
  app.use(session({ secret: 'x', resave: false, saveUninitialized: true }) as RequestHandler)
  app.get('/page', (_req, res) => void res.set('Cache-Control', 'public, max-age=60').send(''))
  const { url, stop } = await serve(app)
  const { headers } = await new Browser(url).get('/page')
  expect(headers.get('cache-control')).toBe('public, max-age=60')
  expect(warn.mock.calls).toContainEqual([
    expect.stringContaining('the answer for /page'),
    expect.objectContaining({ code: 'WARN_SESSION_CACHE_PUBLIC' }),
  ])
  warn.mockRestore()
  await stop()
})

it.each<[SessionOptions, string]>([
  [{ cache: 'public' as never }, 'cache option must be "private", "no-store" or false'],
  [{ cache: true as never }, 'cache option must be'],
  [{ clearCookie: { siteData: ['cache'] } as never }, 'clearCookie option must be true, false, or { siteData'],
  [{ clearCookie: { siteData: ['*'] } as never }, 'clearCookie option must be'],
  [{ clearCookie: { siteData: [] } }, 'clearCookie option must be'],
  [{ clearCookie: { sitedata: ['storage'] } as never }, 'clearCookie option must be'],
  [{ crossSite: 'block' as never }, 'crossSite option must be "allow", "anonymous" or "refuse"'],
  [{ crossSite: { mode: 'refuse', trusted: ['example.com'] } }, 'crossSite.trusted option must list origins'],
  [
    { crossSite: { mode: 'refuse', trusted: ['https://example.com/path'] } },
    'crossSite.trusted option must list origins',
  ],
  [
    { crossSite: { mode: 'refuse', trusted: 'https://example.com' as never } },
    'crossSite.trusted option must be a list',
  ],
  [{ crossSite: { mode: 'refuse', except: '/hook' as never } }, 'crossSite.except option must be a function'],
  [{ crossSite: { mode: 'refuse', exept: () => true } as never }, 'crossSite option has no exept'],
  [{ crossSite: {} as never }, 'crossSite option must be'],
])('%o is refused at set-up', (options, message) => {
  expect(() => session({ secret: 'x', resave: false, saveUninitialized: false, ...options })).toThrow(message)
})
