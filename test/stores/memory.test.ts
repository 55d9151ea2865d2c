import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { MemoryStore } from '../../lib/index.ts'
import { Pointer } from '../../lib/port/pointer.ts'
import { DRIVER, type Driver } from '../../lib/port/slot.ts'
import { storeContract } from '../../lib/testing.ts'
import type { MemoryUserIndex } from '../../stores/memory/user-index.ts'
import { type Indexed, userIndexContract, userOf } from './user-index.ts'

const session = (n: number, maxAge: number | null = 60_000) => ({
  cookie: {
    originalMaxAge: maxAge,
    expires: maxAge === null ? null : new Date(Date.now() + maxAge),
  },
  n,
})

describe('MemoryStore', () => {
  storeContract({ describe, it, expect }, () => ({
    store: new MemoryStore() as never,
  }))

  it('keeps the records as JSON in sessions, which is the truth', async () => {
    const store = new MemoryStore()
    await store.set('one', session(1))
    expect(JSON.parse(store.sessions.one as string)).toMatchObject({ n: 1 })
    store.sessions.two = JSON.stringify(session(2))
    expect(await store.get('two')).toMatchObject({ n: 2 })
    delete store.sessions.one
    expect(await store.get('one')).toBeUndefined()
    expect(store.size).toBe(1)
  })

  it('says which record is not JSON, and treats it as missing', async () => {
    const store = new MemoryStore()
    const corrupt = vi.fn()
    store.on('corrupt', corrupt)
    store.sessions.bad = '{"cookie":'
    expect(await store.get('bad')).toBeUndefined()
    expect(corrupt.mock.calls).toEqual([['bad', expect.any(SyntaxError)]])
  })

  it('keeps at most max sessions: the least recently used goes', async () => {
    const store = new MemoryStore({ max: 3 })
    for (const n of [1, 2, 3]) await store.set(`s${n}`, session(n))
    await store.get('s1')
    await store.set('s4', session(4))
    expect(store.size).toBe(3)
    expect(Object.keys(store.sessions).sort()).toEqual(['s1', 's3', 's4'])
    for (let n = 5; n < 200; n++) {
      await store.set(`s${n}`, session(n))
      expect(store.size).toBe(3)
    }
  })

  it('keeps as many pointers as sessions, the latest, and frees those whose time is over', async () => {
    vi.useFakeTimers()
    const store = new MemoryStore({ max: 2, reapInterval: 1_000 })
    const driver = store[DRIVER]() as Driver
    const pointTo = async (n: number): Promise<void> => {
      await store.set(`s${n}`, session(n))
      const at = Date.now() + 10_000
      await driver.update(
        `s${n}`,
        { record: '' },
        () => new Pointer({ id: 'elsewhere', until: at }, `s${n}`, ['secret'], at),
      )
    }
    for (const n of [1, 2, 3]) await pointTo(n)
    const kept = () => [1, 2, 3].filter((n) => driver.read(`s${n}`) !== undefined)
    expect([store.size, kept()]).toEqual([0, [2, 3]])
    expect([await store.get('s3'), await store.length(), await store.all()]).toEqual([undefined, 0, {}])
    await store.set('s3', session(3))
    expect(await store.get('s3')).toMatchObject({ n: 3 })
    vi.advanceTimersByTime(12_000)
    expect(kept()).toEqual([3])
    vi.useRealTimers()
  })

  it('counts and lists without making a session used', async () => {
    const store = new MemoryStore({ max: 2 })
    for (const n of [1, 2]) await store.set(`s${n}`, session(n))
    await store.get('s1')
    await store.length()
    await store.all()
    await store.set('s3', session(3))
    expect(Object.keys(store.sessions).sort()).toEqual(['s1', 's3'])
  })

  it('refuses options that make no sense, by name', () => {
    expect(() => new MemoryStore({ max: 0 })).toThrow(/max option/)
    expect(() => new MemoryStore({ reapInterval: -1 })).toThrow(/reapInterval option/)
  })

  describe('with time', () => {
    beforeEach(() => {
      vi.useFakeTimers()
    })
    afterEach(() => {
      vi.useRealTimers()
    })

    it('frees expired sessions that nobody asks for, and only those', async () => {
      const store = new MemoryStore({ reapInterval: 1000 })
      for (let n = 0; n < 12_000; n++) store.set(`short-${n}`, session(n, 5_000), () => {})
      store.set('long', session(1, 60_000), () => {})
      store.set('browser', session(1, null), () => {})
      vi.advanceTimersByTime(4_000)
      expect(store.size).toBe(12_002)
      vi.advanceTimersByTime(4_000)
      expect(Object.keys(store.sessions).sort()).toEqual(['browser', 'long'])
      vi.advanceTimersByTime(60_000)
      expect(store.size).toBe(1)
      expect(vi.getTimerCount()).toBe(0)
    })

    it('copes with a machine that has slept, however many sessions it keeps', () => {
      const store = new MemoryStore({ reapInterval: 1 })
      const now = Date.now()
      for (let n = 0; n < 150_000; n++) store.set(`s${n}`, session(n, 400_000 + n), () => {})
      const clock = vi.spyOn(Date, 'now').mockReturnValue(now + 350_000)
      vi.advanceTimersByTime(1)
      expect(store.size).toBe(150_000)
      clock.mockRestore()
    })

    it('does not free what was touched in time', async () => {
      const store = new MemoryStore({ reapInterval: 1000 })
      store.set('one', session(1, 5_000), () => {})
      for (let i = 0; i < 10; i++) {
        vi.advanceTimersByTime(3_000)
        store.touch('one', session(1, 5_000), () => {})
      }
      expect(store.size).toBe(1)
    })
  })
})

describe('MemoryStore and the index of users', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const indexOf = (store: MemoryStore) => store[DRIVER]()?.users as MemoryUserIndex

  const open = (): Indexed => {
    const store = new MemoryStore({ reapInterval: 1_000 })
    return { store, left: () => indexOf(store).size, pass: (ms) => vi.advanceTimersByTime(ms) }
  }
  userIndexContract(open, { time: true, many: 10_000 })

  const ann = userOf('ann')
  const signIn = async (store: MemoryStore, key: string) => {
    indexOf(store).reserve(ann, key)
    await store.set(key, session(1, null))
    return indexOf(store).confirm(ann, key, undefined)
  }

  it('forgets the sessions that max removes', async () => {
    const store = new MemoryStore({ max: 3 })
    for (let n = 0; n < 100; n++) expect(await signIn(store, `s${n}`)).toBe(true)
    expect(indexOf(store).list(ann)).toHaveLength(3)
    expect(indexOf(store).size).toBe(3)
    expect([store.size, Object.keys(store.sessions)]).toEqual([3, ['s97', 's98', 's99']])
  })

  it('forgets in time what nobody drops: a session without a date that was destroyed, or never stored', async () => {
    const store = new MemoryStore({ reapInterval: 1_000 })
    for (const key of ['stays', 'destroyed', 'moved']) await signIn(store, key)
    await store.destroy('destroyed')
    indexOf(store).reserve(ann, 'never')
    indexOf(store).confirm(ann, 'never', undefined)
    indexOf(store).move(ann, 'moved', 'late')
    await store.set('late', session(1, null))
    expect(indexOf(store).size).toBe(4)
    vi.advanceTimersByTime(120_000)
    const kept = indexOf(store).list(ann)
    expect(kept.map(({ key }) => key)).toEqual(['stays', 'late'])
    expect([indexOf(store).size, vi.getTimerCount()]).toEqual([2, 0])
  })
})
