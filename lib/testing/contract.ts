// The contract of a session store, as tests for any test runner. Every bundled store passes them.

import { Cookie } from '../cookie.ts'
import { Calls } from '../port/dialect.ts'
import type { PromiseStore } from '../store.ts'

/** The functions of a test runner that the tests use. vitest, jest and bun:test have them. */
export interface TestRunner {
  describe(name: string, body: () => void): void
  it(name: string, body: () => Promise<void>): void
  // biome-ignore lint/suspicious/noExplicitAny: every runner has its own matchers; the suite uses toEqual, toBe and toMatchObject
  expect(value: unknown): any
}

/** The store of one test. `close` is called after the test. */
export interface StoreUnderTest {
  store: ContractStore | PromiseStore
  close?(): unknown
}

type Callback = (error?: unknown, value?: unknown) => void

/** A store with the callbacks of express-session. */
export interface ContractStore {
  get(sid: string, callback: Callback): unknown
  set(sid: string, session: never, callback: Callback): unknown
  destroy(sid: string, callback: Callback): unknown
  touch?(sid: string, session: never, callback: Callback): unknown
  all?(callback: Callback): unknown
  length?(callback: Callback): unknown
  clear?(callback: Callback): unknown
}

type Data = { cookie: Cookie } & Record<string, unknown>

/** A session to store. `maxAge`: in milliseconds, or `null` for no expiry. */
function makeSession(data: Record<string, unknown> = {}, maxAge: number | null = 60_000): Data {
  return { cookie: new Cookie({ maxAge }), ...data }
}

/** What a store must return for a session: what JSON makes of it. */
function stored(session: Data): Data {
  return JSON.parse(JSON.stringify(session))
}

const callsByStore = new WeakMap<ContractStore, Calls>()

/** The calls of a store, which find out whether it answers by callback or by promise. */
function callsOf(store: ContractStore): Calls {
  const calls = callsByStore.get(store) ?? new Calls(store as never)
  callsByStore.set(store, calls)
  return calls
}

/** Calls a method of a store, by callback or by promise. */
function ask(
  store: ContractStore,
  method: 'all' | 'clear' | 'destroy' | 'get' | 'length' | 'set' | 'touch',
  ...args: unknown[]
): Promise<unknown> {
  const calls = callsOf(store)
  const [sid = 'contract'] = args as [string?]
  const call = (callback?: Callback): unknown =>
    Reflect.apply(store[method] as () => unknown, store, (callback ? [...args, callback] : args) as never)
  return (async () => (method === 'get' ? calls.get(sid) : calls.do(sid, call)))()
}

/** Waits until the condition is true. @throws after 10 seconds. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 10_000; !(await condition()); ) {
    if (Date.now() > deadline) throw new Error('the condition did not come true')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/**
 * Defines the tests of the contract of a store. `makeStore` must return an empty store for each test; its `close` is
 * called after that. Tests of methods that a store does not have do nothing.
 *
 * ```ts
 * storeContract({ describe, it, expect }, () => ({ store: new MyStore() }))
 * ```
 */
export function storeContract(
  { describe, it, expect }: TestRunner,
  makeStore: () => StoreUnderTest | Promise<StoreUnderTest>,
): void {
  const test = (name: string, body: (store: Required<ContractStore>, sid: string) => Promise<void>): void => {
    it(name, async () => {
      const { store, close } = await makeStore()
      const sid = `contract-${Math.random().toString(36).slice(2)}`
      try {
        await body(store as Required<ContractStore>, sid)
      } finally {
        await close?.()
      }
    })
  }
  // ENOENT means that there is no such session, to the middleware as to express-session.
  const get = (store: ContractStore, sid: string) =>
    ask(store, 'get', sid).catch((error) => {
      if (error?.code !== 'ENOENT') throw error
    }) as Promise<Data | undefined>
  const set = (store: ContractStore, sid: string, session: Data) => ask(store, 'set', sid, session)
  const destroy = (store: ContractStore, sid: string) => ask(store, 'destroy', sid)

  describe('store contract', () => {
    test('gives nothing, and no error, for an id it does not know', async (store, sid) => {
      expect((await get(store, sid)) ?? null).toBe(null)
    })

    test('gives back what was set, nested data and unusual text included', async (store, sid) => {
      const session = makeSession({
        user: 'ann',
        cart: { items: [1, { n: 2 }] },
        text: '\u2028 "é" 😀 \0 }',
        none: null,
      })
      await set(store, sid, session)
      expect(await get(store, sid)).toMatchObject(stored({ ...session, cookie: undefined as never }))
    })

    test('keeps what the core needs of a cookie', async (store, sid) => {
      const session = makeSession()
      await set(store, sid, session)
      const { cookie } = (await get(store, sid)) as Data
      expect(cookie.originalMaxAge).toBe(60_000)
      expect(new Date(cookie.expires as Date).getTime()).toBe((session.cookie.expires as Date).getTime())
      expect([cookie.httpOnly, cookie.path]).toEqual([true, '/'])
    })

    test('gives each reader an object of its own', async (store, sid) => {
      await set(store, sid, makeSession({ cart: { n: 1 } }))
      const first = (await get(store, sid)) as Data & { cart: { n: number } }
      first.cart.n = 2
      expect(((await get(store, sid)) as Data).cart).toEqual({ n: 1 })
    })

    test('does not share the object that was set', async (store, sid) => {
      const session = makeSession({ cart: { n: 1 } })
      await set(store, sid, session)
      ;(session.cart as { n: number }).n = 2
      expect(((await get(store, sid)) as Data).cart).toEqual({ n: 1 })
    })

    test('replaces a session as a whole', async (store, sid) => {
      await set(store, sid, makeSession({ a: 1, b: 1 }))
      await set(store, sid, makeSession({ b: 2 }))
      const { cookie: _, ...data } = (await get(store, sid)) as Data
      expect(data).toEqual({ b: 2 })
    })

    test('forgets a destroyed session, and destroys an unknown one without error', async (store, sid) => {
      await set(store, sid, makeSession())
      await destroy(store, sid)
      expect((await get(store, sid)) ?? null).toBe(null)
      await destroy(store, sid)
    })

    test('keeps sessions apart whose ids differ little, or are hard to name', async (store) => {
      const ids = [
        'user_1',
        'user1',
        'u.s.e.r.1',
        'USER1',
        'user/1',
        '../user1',
        'user 1',
        'usér1',
        '__proto__',
        'a'.repeat(300),
      ]
      for (const [n, id] of ids.entries()) await set(store, id, makeSession({ n }))
      for (const [n, id] of ids.entries()) expect(await get(store, id)).toMatchObject({ n })
      await destroy(store, 'user1')
      expect((await get(store, 'user1')) ?? null).toBe(null)
      expect(await get(store, 'user_1')).toMatchObject({ n: 0 })
    })

    test('gives nothing after the cookie has expired', async (store, sid) => {
      await set(store, sid, makeSession({}, 500))
      await until(async () => !(await get(store, sid)))
    })

    test('keeps a session without an expiry', async (store, sid) => {
      await set(store, sid, makeSession({ user: 'ann' }, null))
      expect(await get(store, sid)).toMatchObject({ user: 'ann' })
    })

    test('touch extends a session and leaves its data alone', async (store, sid) => {
      if (!store.touch) return
      // On a slow machine the session may expire before it is touched: then tries again with a longer lifetime.
      let ends = 0
      for (let lifetime = 500; Date.now() >= ends; lifetime *= 2) {
        const session = makeSession({ user: 'ann' }, lifetime)
        ends = (session.cookie.expires as Date).getTime()
        await set(store, sid, session)
        await ask(store, 'touch', sid, makeSession({ user: 'bob' }, 60_000)).catch((error) => {
          if (Date.now() < ends) throw error
        })
      }
      // One second more: some stores round the expiry up to seconds.
      await new Promise((resolve) => setTimeout(resolve, ends + 1_000 - Date.now()))
      expect(await get(store, sid)).toMatchObject({ user: 'ann' })
    })

    test('touch does not bring a destroyed session back', async (store, sid) => {
      if (!store.touch) return
      await set(store, sid, makeSession())
      await destroy(store, sid)
      // An error is allowed: a store may report that there is no such session.
      await ask(store, 'touch', sid, makeSession()).catch(() => {})
      expect((await get(store, sid)) ?? null).toBe(null)
    })

    test('counts, lists and clears what is alive', async (store) => {
      if (!store.all || !store.length || !store.clear) return
      for (const [sid, user] of [
        ['one', 'ann'],
        ['two', 'bob'],
      ] as const)
        await set(store, sid, makeSession({ user }))
      expect(await ask(store, 'length')).toBe(2)
      const all = (await ask(store, 'all')) as Data[] | Record<string, Data>
      const byId = Array.isArray(all)
        ? all.map((entry) => [entry.id, entry.user])
        : Object.entries(all).map(([id, entry]) => [id, entry.user])
      expect(byId.sort()).toEqual([
        ['one', 'ann'],
        ['two', 'bob'],
      ])
      await ask(store, 'clear')
      expect(await ask(store, 'length')).toBe(0)
      expect((await get(store, 'one')) ?? null).toBe(null)
    })

    test('calls back once', async (store, sid) => {
      await set(store, sid, makeSession())
      if (callsOf(store).byPromise) return
      let calls = 0
      await new Promise<void>((resolve) => {
        store.set(sid, makeSession() as never, () => {
          calls++
          resolve()
        })
      })
      await get(store, sid)
      expect(calls).toBe(1)
    })

    test('holds many sessions set at once', async (store) => {
      const ids = Array.from({ length: 100 }, (_, n) => `many-${n}`)
      await Promise.all(ids.map((id, n) => set(store, id, makeSession({ n }))))
      const found = await Promise.all(ids.map((id) => get(store, id)))
      expect(found.map((session) => session?.n)).toEqual(ids.map((_, n) => n))
    })
  })
}
