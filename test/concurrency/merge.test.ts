// The rules by which two requests' changes come together, as a table.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { CookieData } from '../../lib/cookie.ts'
import { reviveCookie } from '../../lib/cookie.ts'
import { isCookieChanged, mergeCookie, mergeData } from '../../lib/merge.ts'

interface Case {
  base: unknown
  ours: unknown
  theirs: unknown
  merged: unknown
}

// As JSON, so that a key can be called anything.
const merge = (base: unknown, ours: unknown, theirs: unknown): unknown =>
  JSON.parse(mergeData(...([base, ours, theirs].map((data) => JSON.stringify(data)) as [string, string, string])))

const same = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
const proto = (value: unknown): unknown => JSON.parse(`{"__proto__":${JSON.stringify(value)}}`)

const cases: Record<string, Case> = {
  'nobody changes anything': { base: { a: 1 }, ours: { a: 1 }, theirs: { a: 1 }, merged: { a: 1 } },
  'we alone change': { base: { a: 1 }, ours: { a: 2, b: 1 }, theirs: { a: 1 }, merged: { a: 2, b: 1 } },
  'they alone change': { base: { a: 1 }, ours: { a: 1 }, theirs: { a: 2, b: 1 }, merged: { a: 2, b: 1 } },
  'each sets a key': { base: {}, ours: { a: 1 }, theirs: { b: 2 }, merged: { a: 1, b: 2 } },
  'both set one key': { base: { a: 1 }, ours: { a: 2 }, theirs: { a: 3 }, merged: { a: 2 } },
  'both set one key alike': { base: { a: 1 }, ours: { a: 2 }, theirs: { a: 2 }, merged: { a: 2 } },
  'we set it back while they change it': { base: { a: 1 }, ours: { a: 1 }, theirs: { a: 2 }, merged: { a: 2 } },
  'null is a value': {
    base: { a: 1, b: null },
    ours: { a: null, b: null },
    theirs: { a: 1, b: 2 },
    merged: { a: null, b: 2 },
  },

  'we delete': { base: { a: 1, b: 1 }, ours: { b: 1 }, theirs: { a: 1, b: 2 }, merged: { b: 2 } },
  'they delete': { base: { a: 1, b: 1 }, ours: { a: 1, b: 2 }, theirs: { b: 1 }, merged: { b: 2 } },
  'we delete what they change': { base: { a: 1 }, ours: {}, theirs: { a: 2 }, merged: {} },
  'we change what they delete': { base: { a: 1 }, ours: { a: 2 }, theirs: {}, merged: { a: 2 } },
  'both delete': { base: { a: 1 }, ours: {}, theirs: {}, merged: {} },

  'each sets a nested key': {
    base: { o: { x: 1 } },
    ours: { o: { x: 1, y: 2 } },
    theirs: { o: { x: 1, z: 3 } },
    merged: { o: { x: 1, y: 2, z: 3 } },
  },
  'deep down': {
    base: { a: { b: { c: { d: 1 } } } },
    ours: { a: { b: { c: { d: 2 } } } },
    theirs: { a: { b: { c: { d: 1, e: 1 }, f: 1 } } },
    merged: { a: { b: { c: { d: 2, e: 1 }, f: 1 } } },
  },
  'each deletes a nested key': {
    base: { o: { x: 1, y: 1, z: 1 } },
    ours: { o: { y: 1, z: 1 } },
    theirs: { o: { x: 1, z: 1 } },
    merged: { o: { z: 1 } },
  },
  'both create an object': { base: {}, ours: { o: { x: 1 } }, theirs: { o: { y: 2 } }, merged: { o: { x: 1, y: 2 } } },
  'both create it, one key alike': {
    base: {},
    ours: { o: { x: 1 } },
    theirs: { o: { x: 2 } },
    merged: { o: { x: 1 } },
  },
  'we replace an object by another': {
    base: { o: { x: 1, y: 1 } },
    ours: { o: { n: 1 } },
    theirs: { o: { x: 1, y: 1, z: 1 } },
    merged: { o: { n: 1, z: 1 } },
  },
  'we delete an object that they change': { base: { o: { x: 1 } }, ours: {}, theirs: { o: { x: 2 } }, merged: {} },
  'we change an object that they delete': {
    base: { o: { x: 1, y: 1 } },
    ours: { o: { x: 2, y: 1 } },
    theirs: {},
    merged: { o: { x: 2 } },
  },
  'we empty an object': {
    base: { o: { x: 1 } },
    ours: { o: {} },
    theirs: { o: { x: 1, y: 1 } },
    merged: { o: { y: 1 } },
  },

  'an array is one value': { base: { l: [1] }, ours: { l: [1, 2] }, theirs: { l: [1, 3] }, merged: { l: [1, 2] } },
  'an array that only they change': {
    base: { l: [1] },
    ours: { l: [1] },
    theirs: { l: [1, 3] },
    merged: { l: [1, 3] },
  },
  'objects in an array are not merged': {
    base: { l: [{ a: 1 }] },
    ours: { l: [{ a: 2 }] },
    theirs: { l: [{ a: 1, b: 1 }] },
    merged: { l: [{ a: 2 }] },
  },
  'we make an object of a scalar': { base: { a: 1 }, ours: { a: { x: 1 } }, theirs: { a: 2 }, merged: { a: { x: 1 } } },
  'we make a scalar of an object': {
    base: { a: { x: 1 } },
    ours: { a: 1 },
    theirs: { a: { x: 1, y: 1 } },
    merged: { a: 1 },
  },
  'they make a scalar of an object that we change': {
    base: { a: { x: 1 } },
    ours: { a: { x: 2 } },
    theirs: { a: 1 },
    merged: { a: { x: 2 } },
  },
  'they make an array of an object that we change': {
    base: { a: { x: 1 } },
    ours: { a: { x: 2 } },
    theirs: { a: [1] },
    merged: { a: { x: 2 } },
  },
  'we make an array of an object': {
    base: { a: { x: 1 } },
    ours: { a: [1] },
    theirs: { a: { y: 1 } },
    merged: { a: [1] },
  },
  'both make an object of a scalar': {
    base: { a: 1 },
    ours: { a: { x: 1 } },
    theirs: { a: { y: 1 } },
    merged: { a: { x: 1, y: 1 } },
  },

  'a key called __proto__': {
    base: {},
    ours: proto({ polluted: 1 }),
    theirs: { a: 1 },
    merged: JSON.parse('{"a":1,"__proto__":{"polluted":1}}'),
  },
  'a nested one, on both sides': {
    base: { o: {} },
    ours: { o: proto({ a: 1 }) },
    theirs: { o: proto({ b: 1 }) },
    merged: { o: proto({ b: 1, a: 1 }) },
  },
  'one that they delete': { base: proto(1), ours: proto(1), theirs: { a: 1 }, merged: { a: 1 } },
  'keys of every prototype': {
    base: {},
    ours: { constructor: 1, toString: { x: 1 } },
    theirs: { hasOwnProperty: 1, toString: { y: 1 } },
    merged: { constructor: 1, hasOwnProperty: 1, toString: { x: 1, y: 1 } },
  },
  'an empty key': { base: {}, ours: { '': 1 }, theirs: { a: 1 }, merged: { '': 1, a: 1 } },

  'flash: each adds a message': {
    base: {},
    ours: { flash: { info: ['a'] } },
    theirs: { flash: { info: ['b'] } },
    merged: { flash: { info: ['b', 'a'] } },
  },
  'flash: each adds one to those that are there': {
    base: { flash: { info: ['0'] } },
    ours: { flash: { info: ['0', 'a'] } },
    theirs: { flash: { info: ['0', 'b'] } },
    merged: { flash: { info: ['0', 'b', 'a'] } },
  },
  'flash: both add the same': {
    base: {},
    ours: { flash: { info: ['saved'] } },
    theirs: { flash: { info: ['saved'] } },
    merged: { flash: { info: ['saved', 'saved'] } },
  },
  'flash: both add the same to one that is the same': {
    base: { flash: { info: ['saved'] } },
    ours: { flash: { info: ['saved', 'saved'] } },
    theirs: { flash: { info: ['saved', 'saved'] } },
    merged: { flash: { info: ['saved', 'saved', 'saved'] } },
  },
  'flash: messages of other types': {
    base: {},
    ours: { flash: { info: ['a'] } },
    theirs: { flash: { error: ['b'] } },
    merged: { flash: { info: ['a'], error: ['b'] } },
  },
  'flash: we read while they add': {
    base: { flash: { info: ['0'] } },
    ours: { flash: {} },
    theirs: { flash: { info: ['0', 'b'] } },
    merged: { flash: { info: ['b'] } },
  },
  'flash: we read all, the key goes, they add': {
    base: { flash: { info: ['0'] } },
    ours: {},
    theirs: { flash: { info: ['0', 'b'] } },
    merged: { flash: { info: ['b'] } },
  },
  'flash: we add while they read': {
    base: { flash: { info: ['0'] } },
    ours: { flash: { info: ['0', 'a'] } },
    theirs: {},
    merged: { flash: { info: ['a'] } },
  },
  'flash: we read one of two that are alike': {
    base: { flash: { info: ['x'] } },
    ours: {},
    theirs: { flash: { info: ['x', 'x'] } },
    merged: { flash: { info: ['x'] } },
  },
  'flash: both read': { base: { flash: { info: ['0'] } }, ours: {}, theirs: {}, merged: {} },
  'flash: both read, connect-flash leaves an object': {
    base: { flash: { info: ['0'] } },
    ours: { flash: {} },
    theirs: { flash: {} },
    merged: { flash: {} },
  },
  'flash: we read and add, they add': {
    base: { flash: { info: ['0'] } },
    ours: { flash: { info: ['a'] } },
    theirs: { flash: { info: ['0', 'b'] } },
    merged: { flash: { info: ['b', 'a'] } },
  },
  'flash: a message may be an object': {
    base: { flash: { info: [{ m: 0 }] } },
    ours: { flash: { info: [] } },
    theirs: { flash: { info: [{ m: 0 }, { m: 1 }] } },
    merged: { flash: { info: [{ m: 1 }] } },
  },
  'flash: we do not touch it': {
    base: { flash: { info: ['0'] } },
    ours: { flash: { info: ['0'] }, a: 1 },
    theirs: {},
    merged: { a: 1 },
  },
  'flash that is the app’s own data': {
    base: { flash: { on: true, list: [1] } },
    ours: { flash: { on: true, list: [1, 2] } },
    theirs: { flash: { on: false, list: [1, 3] } },
    merged: { flash: { on: false, list: [1, 2] } },
  },
  'lists elsewhere are no messages': {
    base: {},
    ours: { o: { flash: { info: ['a'] } } },
    theirs: { o: { flash: { info: ['b'] } } },
    merged: { o: { flash: { info: ['a'] } } },
  },
}

describe('the data of two requests', () => {
  it.each(Object.entries(cases))('%s', (_, { base, ours, theirs, merged }) => {
    expect(merge(base, ours, theirs)).toEqual(merged)
    expect(JSON.stringify(sorted(merge(base, ours, theirs)))).toBe(JSON.stringify(sorted(merged)))
  })

  it('pollutes nothing', () => {
    merge({}, proto({ polluted: 1 }), { o: proto({ polluted: 1 }) })
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  const data = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'o', '__proto__'), fc.jsonValue({ maxDepth: 2 }), {
    maxKeys: 4,
  })
  const reshape = (value: unknown): unknown => same(value)

  it('is what one side made of it when the other changed nothing, and settles', () => {
    fc.assert(
      fc.property(data.map(reshape), data.map(reshape), data.map(reshape), (base, ours, theirs) => {
        expect(merge(base, ours, base)).toEqual(ours)
        expect(merge(base, base, theirs)).toEqual(theirs)
        expect(merge(base, ours, ours)).toEqual(ours)
        const merged = merge(base, ours, theirs)
        expect(merge(base, ours, merged)).toEqual(merged)
      }),
      { seed: 1, numRuns: 500 },
    )
  })

  it('delivers every flash message once, in whatever order requests add and read', () => {
    const requests = fc.array(fc.record({ reads: fc.boolean(), adds: fc.nat({ max: 3 }) }), { maxLength: 6 })
    fc.assert(
      fc.property(requests, fc.array(fc.nat({ max: 5 })), (list, order) => {
        // All load the same; they save in this order.
        const base = { flash: { info: ['before'] } }
        let stored: { flash?: { info?: string[] } } = base
        const delivered: string[] = []
        let reader = true
        const added = ['before']
        const all = list.map(({ reads, adds }, n) => {
          const own = Array.from({ length: adds }, (_, m) => `${n}.${m}`)
          added.push(...own)
          const info = [...(reads ? [] : ['before']), ...own]
          // Of those who read at once only one counts: the others show the same.
          if (reads && reader) delivered.push('before')
          if (reads) reader = false
          return { flash: info.length > 0 ? { info } : {} }
        })
        for (const n of order) all.push(...all.splice(n % Math.max(1, all.length), 1))
        for (const ours of all) stored = merge(base, ours, stored) as typeof stored
        delivered.push(...(stored.flash?.info ?? []))
        expect(delivered.sort()).toEqual(added.sort())
      }),
      { seed: 1, numRuns: 500 },
    )
  })
})

/** With its keys in order, as objects on the way to JSON have none that matters. */
function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return entries.map(([key, inner]) => [key, sorted(inner)])
}

describe('the cookie of two requests', () => {
  const at = (ms: number): string => new Date(4_000_000_000_000 + ms).toISOString()
  const cookie = (changes: Partial<CookieData> = {}): CookieData => ({
    originalMaxAge: 1_000,
    expires: at(1_000),
    secure: false,
    httpOnly: true,
    path: '/',
    ...changes,
  })
  const merged = (base: CookieData, ours: CookieData, theirs: CookieData): unknown =>
    same(mergeCookie(base, ours, theirs))

  const touched = cookie({ expires: at(1_500) })
  const longer = cookie({ originalMaxAge: 9_000, expires: at(9_200) })
  const shorter = cookie({ originalMaxAge: 100, expires: at(300) })
  const browsers = cookie({ originalMaxAge: null, expires: null })
  const cases: [string, CookieData, CookieData, CookieData][] = [
    ['both touch: the later date', touched, cookie({ expires: at(1_200) }), touched],
    ['they touch later', cookie({ expires: at(1_200) }), touched, touched],
    ['we set a lifetime', longer, touched, longer],
    ['they set a lifetime', touched, longer, longer],
    ['they set a shorter one', touched, shorter, shorter],
    ['both set one: ours', longer, shorter, longer],
    ['ours, also when it is the shorter', shorter, longer, shorter],
    ['we make it the browser’s', browsers, touched, browsers],
    ['they make it the browser’s', touched, browsers, browsers],
    ['we set it back to none while they touch', browsers, longer, browsers],
    [
      'each sets another attribute',
      cookie({ sameSite: 'lax' }),
      cookie({ secure: true }),
      cookie({ sameSite: 'lax', secure: true }),
    ],
    ['an attribute and a lifetime', cookie({ path: '/a' }), longer, { ...longer, path: '/a' }],
    ['we take an attribute away', cookie({ httpOnly: false }), touched, { ...touched, httpOnly: false }],
  ]

  it.each(cases)('%s', (_, ours, theirs, expected) => {
    expect(merged(cookie(), ours, theirs)).toEqual(same(reviveCookie(expected)))
  })

  it('is changed by its attributes, not by being touched', () => {
    expect(isCookieChanged(cookie(), touched)).toBe(false)
    expect(isCookieChanged(cookie(), cookie({ domain: undefined }))).toBe(false)
    for (const changed of [longer, browsers, cookie({ sameSite: 'lax' }), cookie({ partitioned: true })]) {
      expect(isCookieChanged(cookie(), changed)).toBe(true)
    }
  })
})
