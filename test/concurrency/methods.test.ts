// Everything that an app can do with its session in the middle of a request keeps the promise too.

import type { Request, Response } from 'express'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { SessionOptions } from '../../lib/index.ts'
import type { Browser, Reply } from '../support/jar.ts'
import { dataOf } from './fixture/app.ts'
import { kinds, type StoreCase } from './fixture/kinds.ts'
import { open, type Site, tab } from './support.ts'
import { lookUp, type Opened, Stores } from './table.ts'

const opened = new Stores()

// Only the date is faked, and stands still: stores and servers keep their timers.
const NOW = Date.now()
beforeAll(() => void vi.useFakeTimers({ toFake: ['Date'], now: NOW }))
afterAll(() => void vi.useRealTimers())

// biome-ignore lint/suspicious/noExplicitAny: a test's own data
type Session = any
type Handler = (req: Request & { session: Session }, others: (path: string) => Promise<Reply>) => unknown

interface Scene {
  readonly site: Site
  readonly store: Opened
  readonly browser: Browser
  readonly id: string
  /** A request of the same visitor that does what `handler` does; what it calls as `others` comes from another tab. */
  request(handler: Handler): Promise<Reply>
  /** What the next request finds. */
  look(): Promise<{ id: string; data: object; lifetime: number | null }>
}

async function setScene(kind: StoreCase, options: SessionOptions = {}): Promise<Scene> {
  const store = await opened.open(kind)
  const site = await open(store.store, options)
  const { browser, id } = await site.visitor()
  const handlers: Handler[] = []
  site.express.get('/handler/:index', async (req: Request, res: Response) => {
    const others = (path: string): Promise<Reply> => tab(browser, site.url).get(path)
    const answer = await handlers[Number(req.params.index)]?.(req as never, others)
    res.json(answer ?? null)
  })
  return {
    site,
    store,
    browser,
    id,
    request: (handler) => browser.get(`/handler/${handlers.push(handler) - 1}`),
    look: async () => (await browser.get('/look')).json,
  }
}

const user = 'ann'

describe.concurrent.each(kinds)('on $name', (kind) => {
  /** A test that has a scene. */
  const play = (name: string, test: (scene: Scene) => Promise<void>, options?: SessionOptions): void => {
    it(name, async () => {
      const scene = await setScene(kind, options)
      await test(scene)
      await scene.site.stop()
    })
  }

  play('save() twice, with other requests between', async ({ request, look }) => {
    await request(async ({ session }, others) => {
      session.one = 1
      await others('/set/a')
      await session.save()
      await others('/set/b')
      await others('/delete/a')
      session.two = 2
      session.box.mine = 1
      await session.save()
      await others('/nested/theirs')
      session.three = 3
    })
    expect((await look()).data).toEqual({
      user,
      box: { first: 0, mine: 1, theirs: 'theirs' },
      b: 'b',
      one: 1,
      two: 2,
      three: 3,
    })
  })

  play(
    'destroy() of the session before regenerate() does not end the one after it',
    async ({ request, look, store, id }) => {
      await request(async (req) => {
        const before = req.session
        await before.regenerate()
        const { session } = req
        session.user = 'bob'
        await before.destroy()
        req.session = session
      })
      expect([(await look()).data, await store.has(id)]).toEqual([{ user: 'bob' }, false])
    },
  )

  play('save() twice does not undo what another request has changed in between', async ({ request, look }) => {
    await request(async ({ session }, others) => {
      session.mine = 1
      await session.save()
      await others('/set/mine')
      session.more = 1
    })
    expect((await look()).data).toMatchObject({ mine: 'mine', more: 1 })
  })

  play('save() keeps what another request has stored before it, whatever comes after', async ({ request, look }) => {
    await request(async ({ session }, others) => {
      await others('/set/a')
      session.one = 1
      await session.save()
      session.two = 2
      await session.save()
      session.three = 3
    })
    expect((await look()).data).toEqual({ user, box: { first: 0 }, a: 'a', one: 1, two: 2, three: 3 })
    await request(async ({ session }, others) => {
      await others('/delete/a')
      session.one = 4
      await session.save()
      delete session.two
    })
    expect((await look()).data).toEqual({ user, box: { first: 0 }, one: 4, three: 3 })
  })

  play('save() of what is deleted before another save(), neither waited for', async ({ request, look }) => {
    await request(async ({ session }, others) => {
      await others('/set/a')
      session.temporary = 1
      session.save()
      delete session.temporary
      session.save()
    })
    expect((await look()).data).toEqual({ user, box: { first: 0 }, a: 'a' })
  })

  play('a change after a save() that nobody waits for', async ({ request, look }) => {
    await request(({ session }) => {
      session.one = 1
      session.save()
      session.two = 2
    })
    expect((await look()).data).toMatchObject({ one: 1, two: 2 })
    await request(({ session }) => {
      session.save()
      session.three = 3
      session.save()
      delete session.one
    })
    expect((await look()).data).toEqual({ user, box: { first: 0 }, two: 2, three: 3 })
  })

  play('a lifetime set after save()', async ({ request, look }) => {
    await request(async ({ session }) => {
      session.one = 1
      await session.save()
      session.cookie.maxAge = 5_000_000
    })
    expect(await look()).toMatchObject({ data: { one: 1 }, lifetime: 5_000_000 })
  })

  play('reload() sees what others have stored, and drops what was not saved', async ({ request, look }) => {
    const reply = await request(async (req, others) => {
      req.session.dropped = 1
      await others('/set/a')
      await req.session.reload()
      const data = dataOf(req.session)
      await others('/set/b')
      req.session.kept = 1
      return data
    })
    expect(reply.json).toEqual({ user, box: { first: 0 }, a: 'a' })
    expect((await look()).data).toEqual({ user, box: { first: 0 }, a: 'a', b: 'b', kept: 1 })
  })

  play('an object assigned to req.session', async ({ request, look }) => {
    await request(async (req, others) => {
      await others('/set/a')
      req.session = { mine: 1 }
    })
    expect((await look()).data).toEqual({ mine: 1, a: 'a' })
  })

  play(
    'req.session = null ends the session, whatever others have changed',
    async ({ request, look, store, id }) => {
      await request(async (req, others) => {
        await others('/set/a')
        req.session = null
      })
      expect(await store.has(id)).toBe(false)
      expect((await look()).data).toEqual({})
    },
    { unset: 'destroy' },
  )

  play(
    'req.session = null ends the session, whatever a reload() that nobody waits for brings',
    async ({ request, store, id }) => {
      await request((req) => {
        req.session.reload()
        req.session = null
      })
      expect(await store.has(id)).toBe(false)
    },
    { unset: 'destroy' },
  )

  play('an attribute of the cookie that one request sets is there after another has been touched', async (scene) => {
    await scene.request(async ({ session }) => {
      await scene.request((other) => {
        other.session.cookie.sameSite = 'strict'
      })
      return session.user
    })
    const found = (await lookUp(scene.store.store, scene.id)) as { cookie: { sameSite?: unknown } }
    expect(found.cookie.sameSite).toBe('strict')
  })

  play('save() of a session that another request has ended is no error, and no save', async (scene) => {
    const reply = await scene.request(async ({ session }, others) => {
      await others('/logout')
      session.late = 1
      await session.save()
      session.later = 2
    })
    expect([reply.status, reply.setCookies]).toEqual([200, []])
    expect(await scene.store.has(scene.id)).toBe(false)
  })

  play('save() after destroy() brings nothing back', async ({ request, store, id }) => {
    await request(async ({ session }) => {
      await session.destroy()
      session.late = 1
      await session.save()
    })
    expect(await store.has(id)).toBe(false)
  })

  describe('regenerate({ keep: true })', () => {
    play('keeps what others have stored, too', async ({ request, look, id }) => {
      await request(async (req, others) => {
        req.session.mine = 1
        await others('/set/theirs')
        await others('/nested/theirs')
        await others('/flash/hello')
        delete req.session.user
        await req.session.regenerate({ keep: true })
        req.session.after = 1
      })
      const { data, ...session } = await look()
      expect(session.id).not.toBe(id)
      expect(data).toEqual({
        box: { first: 0, theirs: 'theirs' },
        mine: 1,
        theirs: 'theirs',
        flash: { info: ['hello'] },
        after: 1,
      })
    })

    play('keeps nothing of a session that another request has ended', async ({ request, look }) => {
      await request(async (req, others) => {
        await others('/logout')
        await req.session.regenerate({ keep: true })
      })
      expect((await look()).data).toEqual({})
    })
  })

  describe('a lifetime that one request sets', () => {
    const DAYS = 30 * 86_400_000
    const options: SessionOptions = { cookie: { maxAge: 600_000 } }
    const expiry = ({ setCookies }: Reply): string | undefined => /Expires=([^;]+)/.exec(setCookies[0] ?? '')?.[1]
    const dateIn = (ms: number): string => new Date(NOW + ms).toUTCString()

    play(
      'is there after another has written',
      async ({ request, look }) => {
        await request(async ({ session }, others) => {
          await others(`/lifetime/${DAYS}`)
          session.mine = 1
        })
        expect(await look()).toMatchObject({ data: { mine: 1 }, lifetime: DAYS })
      },
      options,
    )

    play(
      'is there after another has saved, and been touched',
      async ({ request, look }) => {
        await request(async ({ session }, others) => {
          await others(`/lifetime/${DAYS}`)
          session.mine = 1
          await session.save()
        })
        expect(await look()).toMatchObject({ data: { mine: 1 }, lifetime: DAYS })
      },
      options,
    )

    play(
      'is there after another has only been touched, and both a reader and a writer tell the browser of it',
      async ({ request, look, browser, store }) => {
        const reader = await request(async ({ session }, others) => {
          await others(`/lifetime/${DAYS}`)
          return session.user
        })
        // One that cannot touch is not asked.
        if (store.store.touch) expect(expiry(reader)).toBe(dateIn(DAYS))
        expect(await look()).toMatchObject({ lifetime: DAYS })
        const writer = await request(async ({ session }, others) => {
          await others(`/lifetime/${2 * DAYS}`)
          session.mine = 1
        })
        expect(expiry(writer)).toBe(dateIn(2 * DAYS))
        expect(browser.cookies.size).toBe(1)
      },
      { ...options, rolling: true },
    )

    play(
      'does not lose the data of another',
      async ({ request, look }) => {
        await request(async ({ session }, others) => {
          await others('/set/a')
          session.cookie.maxAge = DAYS
        })
        expect(await look()).toMatchObject({ data: { user, a: 'a' }, lifetime: DAYS })
      },
      options,
    )
  })
})

describe.each(kinds)('on $name', (kind) => {
  it('a lifetime that one request sets keeps the record as long, also when another has looked', async () => {
    const scene = await setScene(kind, { cookie: { maxAge: 600_000 } })
    const { request, store, id, site } = scene
    await request(async ({ session }, others) => {
      await others('/lifetime/300000')
      return session.user
    })
    expect(await store.lasts(id, 1_000)).toBe(true)
    expect(await store.lasts(id, 300_001)).toBe(false)
    await site.stop()
  })
})
