// The contract of `Driver.users`, the index of each user's sessions, as tests. Every bundled store keeps it.

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { Awaitable } from '../../lib/awaitable.ts'
import { Cookie } from '../../lib/cookie.ts'
import { DRIVER, type Driver, RESERVED_MS, type UserIndex } from '../../lib/port/slot.ts'
import { Outgoing } from '../../lib/snapshot.ts'

/** A store with nothing in it, for one test. */
export interface Indexed {
  readonly store: {
    [DRIVER](): Driver | undefined
    length(): Promise<number>
    all(): Promise<object>
    clear(): Promise<void>
  }
  /** What another process has: the index of another store over the same data. Default: the same index. */
  readonly other?: UserIndex | undefined
  /** Has so many milliseconds pass for the store, and does what frees entries, sessions too, that have expired. */
  pass?(ms: number): Awaitable<unknown>
  /** How much there is of the index, entries that have expired included; 0: not a trace. */
  left?(): Awaitable<number>
  /** Called after the test. */
  close?(): unknown
}

export interface Form {
  /** Time can be made to pass: the stores have `pass`. Default false. */
  time?: boolean
  /** So many sessions come and expire one after the other, on stores that have `left`. Default 200. */
  many?: number
}

const MINUTE = 60_000

/** The name of a user, as the layer makes it. */
export function userOf(name: string): string {
  return createHash('sha256').update(name).digest('base64url')
}

const ann = userOf('ann')
const bob = userOf('bob')

const LONG = 'a long id, as a token is '.repeat(40)
const ODD_KEYS = [
  'sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU',
  '',
  ' ',
  '.',
  '..',
  '../../outside',
  '/absolute',
  'a/b',
  'a\\b',
  'C:con',
  'with\0nul',
  'two\nlines',
  'quoted"\'`{}:*?[]',
  'A',
  'a',
  '\u00e9',
  'e\u0301',
  '😀',
  '__proto__',
  'constructor',
  '0'.repeat(64),
  'x'.repeat(60),
  'x'.repeat(61),
  'x'.repeat(255),
  LONG,
  `${LONG}1`,
  `${LONG}\n"`,
]

function outgoing(maxAge: number | null = MINUTE): Outgoing {
  return new Outgoing(new Cookie({ maxAge }), () => ({}), '{}')
}

/** Registers the tests for the stores that `make` makes. */
export function userIndexContract(make: () => Awaitable<Indexed>, { time = false, many = 200 }: Form = {}): void {
  /** Opens a store for a test, and closes it. */
  const test =
    (work: (opened: Opened) => Promise<void>): (() => Promise<void>) =>
    async () => {
      const indexed = await make()
      try {
        await work(new Opened(indexed))
      } finally {
        await indexed.close?.()
      }
    }

  describe('the index of users', () => {
    it(
      'has an entry from reserve to drop',
      test(async ({ users, driver, kept }) => {
        expect(await kept(ann)).toEqual([])
        await users.reserve(ann, 'one')
        expect(await kept(ann)).toEqual(['one (reserved)'])
        await driver.write('one', outgoing(), Date.now() + MINUTE)
        expect(await users.confirm(ann, 'one', Date.now() + MINUTE)).toBe(true)
        expect(await kept(ann)).toEqual(['one'])
        await users.drop(ann, ['one'])
        expect(await kept(ann)).toEqual([])
      }),
    )

    it(
      'reserves no more entries than a limit allows',
      test(async ({ users, signIn, kept }) => {
        await signIn(ann, 'one')
        await signIn(bob, 'his')
        expect(await users.reserve(ann, 'two', 2)).toBe(true)
        expect(await users.reserve(ann, 'three', 2)).toBe(false)
        expect(await users.reserve(ann, 'two', 2)).toBe(true)
        expect(await users.reserve(ann, 'one', 1)).toBe(true)
        await users.drop(ann, ['one'])
        expect(await users.reserve(ann, 'three', 2)).toBe(true)
        const keys = Array.from({ length: 10 }, (_, n) => `at once ${n}`)
        const reserved = await Promise.all(keys.map((key) => users.reserve(bob, key, 4)))
        expect(reserved.filter(Boolean)).toHaveLength(3)
        expect(await kept(bob)).toHaveLength(4)
      }),
    )

    it(
      'confirms nothing that was never reserved, or was dropped',
      test(async ({ users, signIn, kept }) => {
        expect(await users.confirm(ann, 'one', undefined)).toBe(false)
        await users.reserve(ann, 'one')
        await users.drop(ann, ['one'])
        expect(await users.confirm(ann, 'one', Date.now() + MINUTE)).toBe(false)
        await signIn(ann, 'two')
        await users.drop(ann, ['two'])
        expect(await users.confirm(ann, 'two', Date.now() + MINUTE)).toBe(false)
        expect(await kept(ann)).toEqual([])
        await signIn(ann, 'two')
        expect(await kept(ann)).toEqual(['two'])
      }),
    )

    it(
      'keeps what is confirmed confirmed',
      test(async ({ users, signIn, kept }) => {
        await signIn(ann, 'one')
        await users.reserve(ann, 'one')
        expect(await kept(ann)).toEqual(['one'])
        expect(await users.confirm(ann, 'one', undefined)).toBe(true)
        await users.reserve(ann, 'one')
        expect(await kept(ann)).toEqual(['one'])
        await users.drop(ann, ['one'])
        expect(await kept(ann)).toEqual([])
      }),
    )

    it(
      'moves an entry as it is',
      test(async ({ users, signIn, kept }) => {
        expect(await users.move(ann, 'nothing', 'one')).toBe(false)
        await users.reserve(ann, 'a')
        await signIn(ann, 'b')
        expect(await users.move(ann, 'a', 'a2')).toBe(true)
        expect(await users.move(ann, 'b', 'b2')).toBe(true)
        expect(await kept(ann)).toEqual(['a2 (reserved)', 'b2'])
        expect(await users.confirm(ann, 'a', undefined)).toBe(false)
        expect(await users.confirm(ann, 'a2', Date.now() + MINUTE)).toBe(true)
        expect(await users.move(ann, 'a', 'a3')).toBe(false)
        expect(await users.move(bob, 'b2', 'b3')).toBe(false)
        expect(await users.move(ann, 'b2', 'b')).toBe(true)
        expect(await kept(ann)).toEqual(['a2', 'b'])
        await users.drop(ann, ['b'])
        expect(await users.move(ann, 'b', 'b2')).toBe(false)
        expect(await kept(ann)).toEqual(['a2'])
      }),
    )

    it(
      'keeps users apart, also where they share a session',
      test(async ({ users, signIn, kept }) => {
        await signIn(ann, 'shared')
        await signIn(ann, 'hers')
        await signIn(bob, 'shared')
        await users.drop(ann, ['shared', 'hers'])
        expect([await kept(ann), await kept(bob)]).toEqual([[], ['shared']])
        expect(await users.confirm(ann, 'shared', undefined)).toBe(false)
        expect(await users.confirm(bob, 'shared', undefined)).toBe(true)
      }),
    )

    it(
      'drops several at once, and does not mind what is not there',
      test(async ({ users, signIn, kept }) => {
        await users.drop(ann, [])
        await users.drop(ann, ['nothing'])
        for (const key of ['a', 'b', 'c']) await signIn(ann, key)
        await users.drop(ann, ['a', 'nothing', 'c', 'a'])
        expect(await kept(ann)).toEqual(['b'])
      }),
    )

    it(
      'takes every key',
      test(async ({ users, kept }) => {
        for (const key of ODD_KEYS) await users.reserve(ann, key)
        expect(await kept(ann)).toEqual(ODD_KEYS.map((key) => `${key} (reserved)`).sort())
        for (const key of ODD_KEYS) expect(await users.confirm(ann, key, Date.now() + MINUTE)).toBe(true)
        expect(await kept(ann)).toEqual([...ODD_KEYS].sort())
        // Each moves to a short and to a long key, and back.
        for (const [n, key] of ODD_KEYS.entries()) {
          const way = [key, `short-${n}`, `${LONG}/${n}`, `${LONG}/again/${n}`, key]
          for (const [at, next] of way.slice(1).entries()) {
            expect(await users.move(ann, way[at] as string, next)).toBe(true)
            expect(await kept(ann)).toContain(next)
          }
        }
        expect(await kept(ann)).toEqual([...ODD_KEYS].sort())
        await users.drop(ann, ODD_KEYS)
        expect(await kept(ann)).toEqual([])
      }),
    )

    it(
      'is not seen by what counts and lists sessions',
      test(async ({ store, users, signIn }) => {
        await users.reserve(ann, 'without')
        await users.confirm(ann, 'without', undefined)
        await users.reserve(ann, 'reserved')
        expect([await store.length(), Object.keys(await store.all())]).toEqual([0, []])
        await signIn(ann, 'one')
        await signIn(bob, 'two')
        expect([await store.length(), Object.keys(await store.all()).length]).toEqual([2, 2])
      }),
    )

    it(
      'is emptied by clear',
      test(async ({ store, users, signIn, kept, left }) => {
        await users.reserve(ann, 'reserved')
        await signIn(ann, 'one')
        await signIn(bob, LONG)
        await store.clear()
        expect([await kept(ann), await kept(bob), await store.length()]).toEqual([[], [], 0])
        expect(await users.confirm(ann, 'reserved', undefined)).toBe(false)
        if (left) expect(await left()).toBe(0)
        await signIn(ann, 'one')
        expect(await kept(ann)).toEqual(['one'])
      }),
    )

    it(
      'lets a session that was removed be dropped, or moved',
      test(async ({ driver, users, signIn, kept }) => {
        for (const key of ['taken', 'removed', 'renewed']) await signIn(ann, key)
        await driver.take('taken')
        await driver.remove('removed')
        await driver.remove('renewed')
        expect(await users.move(ann, 'renewed', 'new')).toBe(true)
        await users.drop(ann, ['taken', 'removed'])
        expect(await kept(ann)).toEqual(['new'])
      }),
    )

    it(
      'loses nothing and brings nothing back when 20 sign in at once',
      test(async ({ users, other, signIn, kept, left }) => {
        const keys = Array.from({ length: 20 }, (_, n) => `key-${n}`)
        await Promise.all(keys.map((key, n) => signIn(ann, key, n % 2 ? users : other)))
        expect(await kept(ann)).toEqual([...keys].sort())
        const dropped = keys.filter((_, n) => n % 3 === 0)
        const moved = keys.filter((_, n) => n % 3 === 1)
        const [, ...moves] = await Promise.all([
          other.drop(ann, dropped),
          ...moved.map((key) => users.move(ann, key, `${key}-renewed`)),
          ...dropped.map((key) => users.confirm(ann, key, Date.now() + MINUTE)),
          ...dropped.map((key) => other.confirm(ann, key, undefined)),
        ])
        expect(moves.slice(0, moved.length)).toEqual(moved.map(() => true))
        const stay = keys.filter((_, n) => n % 3 === 2)
        expect(await kept(ann)).toEqual([...stay, ...moved.map((key) => `${key}-renewed`)].sort())
        await Promise.all([...stay, ...moved.map((key) => `${key}-renewed`)].map((key) => other.drop(ann, [key])))
        expect(await kept(ann)).toEqual([])
        if (left) expect(await left()).toBe(0)
      }),
    )

    it(
      'drops for good, whatever overlaps',
      test(async ({ users, other, kept }) => {
        for (let round = 0; round < 10; round++) {
          await users.reserve(ann, 'one')
          await Promise.all([
            ...Array.from({ length: round }, () => users.confirm(ann, 'one', undefined)),
            other.drop(ann, ['one']),
            ...Array.from({ length: 10 - round }, () => users.confirm(ann, 'one', Date.now() + MINUTE)),
          ])
          expect([await users.confirm(ann, 'one', undefined), await kept(ann)]).toEqual([false, []])

          await users.reserve(ann, 'from')
          const confirmed = round % 2 === 0 || users.confirm(ann, 'from', undefined)
          const moved = users.move(ann, 'from', 'to')
          await Promise.all([confirmed, moved, other.drop(ann, ['from', 'to'])])
          expect([await users.move(ann, 'from', 'to'), await kept(ann)]).toEqual([false, []])
        }
      }),
    )

    it(
      'gives an entry to one of many that move it at once',
      test(async ({ users, other, signIn, kept }) => {
        await signIn(ann, 'one')
        const targets = Array.from({ length: 20 }, (_, n) => (n % 2 ? `to-${n}` : `${LONG}-${n}`))
        const moves = targets.map((to, n) => (n % 3 ? users : other).move(ann, 'one', to))
        const won = (await Promise.all(moves)).flatMap((isMoved, n) => (isMoved ? targets[n] : []))
        expect(won).toHaveLength(1)
        expect(await kept(ann)).toEqual(won)
      }),
    )

    if (time) describe('as time passes', () => passing(test, many))
  })
}

function passing(test: (work: (opened: Opened) => Promise<void>) => () => Promise<void>, many: number): void {
  it(
    'frees a reserved entry whose session never came',
    test(async ({ users, kept, pass, left }) => {
      await users.reserve(ann, 'one')
      await pass(RESERVED_MS - 5_000)
      expect(await kept(ann)).toEqual(['one (reserved)'])
      await pass(10_000)
      expect(await kept(ann)).toEqual([])
      expect([await users.confirm(ann, 'one', undefined), await users.move(ann, 'one', 'two')]).toEqual([false, false])
      await users.reserve(ann, 'one')
      expect(await kept(ann)).toEqual(['one (reserved)'])
      await pass(10 * MINUTE)
      if (left) expect(await left()).toBe(0)
    }),
  )

  it(
    'keeps a confirmed entry until its date, which confirm changes',
    test(async ({ users, signIn, kept, pass }) => {
      await signIn(ann, 'short', users, 10 * MINUTE)
      await signIn(ann, 'extended', users, 10 * MINUTE)
      await signIn(ann, 'cut', users, 10 * MINUTE)
      await users.confirm(ann, 'extended', Date.now() + 30 * MINUTE)
      await users.confirm(ann, 'cut', Date.now() + MINUTE)
      await users.reserve(ann, 'short')
      await pass(5 * MINUTE)
      expect(await kept(ann)).toEqual(['extended', 'short'])
      expect(await users.confirm(ann, 'cut', undefined)).toBe(false)
      await pass(4 * MINUTE)
      expect(await kept(ann)).toEqual(['extended', 'short'])
      await pass(2 * MINUTE)
      expect(await kept(ann)).toEqual(['extended'])
      expect([await users.confirm(ann, 'short', undefined), await users.move(ann, 'short', 'x')]).toEqual([
        false,
        false,
      ])
    }),
  )

  it(
    'keeps an entry without a date until it is dropped',
    test(async ({ users, signIn, kept, pass, left }) => {
      await signIn(ann, 'one', users, null)
      await signIn(ann, 'dated', users, 10 * MINUTE)
      await users.confirm(ann, 'dated', undefined)
      await signIn(ann, 'undated', users, null)
      await users.confirm(ann, 'undated', Date.now() + 10 * MINUTE)
      await pass(9 * MINUTE)
      expect(await kept(ann)).toEqual(['dated', 'one', 'undated'])
      await pass(60 * 24 * 30 * MINUTE)
      expect(await kept(ann)).toContain('one')
      expect(await kept(ann)).not.toContain('undated')
      await users.drop(ann, ['one', 'dated'])
      if (left) expect(await left()).toBe(0)
    }),
  )

  it(
    'moves the date with the entry',
    test(async ({ driver, users, signIn, kept, pass, left }) => {
      for (const key of ['dated', 'undated'])
        await driver.write(`${key}-2`, outgoing(key === 'dated' ? 10 * MINUTE : null), undefined)
      await signIn(ann, 'dated', users, 10 * MINUTE)
      await signIn(ann, 'undated', users, null)
      await users.reserve(ann, 'reserved')
      for (const key of ['dated', 'undated', 'reserved']) await users.move(ann, key, `${key}-2`)
      await pass(RESERVED_MS - 5_000)
      expect(await kept(ann)).toEqual(['dated-2', 'reserved-2 (reserved)', 'undated-2'])
      await pass(10_000)
      expect(await kept(ann)).toEqual(['dated-2', 'undated-2'])
      await pass(10 * MINUTE)
      expect(await kept(ann)).toEqual(['undated-2'])
      await users.drop(ann, ['undated-2'])
      if (left) expect(await left()).toBe(0)
    }),
  )

  it(
    `does not grow by ${many} sessions of one user, or of as many, that come and go`,
    test(async ({ signIn, pass, left }) => {
      const at = async (): Promise<number> => (left ? await left() : 0)
      for (let n = 0; n < many; n++) {
        await signIn(ann, `session-${n}`)
        if (n % (many / 20) === 0) await pass(10 * MINUTE)
      }
      expect(await at()).toBeLessThan(many / 5)
      for (let n = 0; n < many; n++) {
        await signIn(userOf(`user-${n}`), `of-user-${n}`)
        if (n % (many / 20) === 0) await pass(10 * MINUTE)
      }
      expect(await at()).toBeLessThan(many / 5)
      await pass(10 * MINUTE)
      expect(await at()).toBe(0)
    }),
  )
}

/** A store as the tests use it. */
class Opened {
  readonly store: Indexed['store']
  readonly driver: Driver
  readonly users: UserIndex
  readonly other: UserIndex
  readonly left: Indexed['left']
  readonly #pass: Indexed['pass']

  constructor({ store, other, pass, left }: Indexed) {
    this.store = store
    this.driver = store[DRIVER]() as Driver
    this.users = this.driver.users as UserIndex
    this.other = other ?? this.users
    this.left = left
    this.#pass = pass
  }

  readonly pass = async (ms: number): Promise<void> => {
    await this.#pass?.(ms)
  }

  /** Signs in for so many milliseconds, as the layer does it; null: without a date. */
  readonly signIn = async (user: string, key: string, users = this.users, maxAge: number | null = MINUTE) => {
    const until = maxAge === null ? undefined : Date.now() + maxAge
    await users.reserve(user, key)
    await this.driver.write(key, outgoing(maxAge), until)
    expect(await users.confirm(user, key, until)).toBe(true)
  }

  /** The entries of a user, in order. */
  readonly kept = async (user: string): Promise<string[]> => {
    const entries = await this.users.list(user)
    return entries.map(({ key, isReserved }) => (isReserved ? `${key} (reserved)` : key)).sort()
  }
}
