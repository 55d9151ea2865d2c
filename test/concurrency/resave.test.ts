// resave writes sessions that did not change. Under bunWay's defaults that must not undo what another process has done.

import { expect, it } from 'vitest'
import { session } from '../../lib/bunway.ts'
import type { AnyStore } from './fixture/kinds.ts'
import { PromiseStore, type Session } from './fixture/stores.ts'
import { openOn, secret, tab } from './support.ts'

/** A process of its own, as far as its store goes. */
function processOn(records: AnyStore, touch?: () => Promise<void>) {
  const store = {
    get: (sid: string) => records.get(sid),
    set: (sid: string, data: Session) => records.set(sid, data),
    destroy: (sid: string) => records.destroy(sid),
    ...(touch && { touch: async (_sid: string, _data: Session) => touch() }),
  }
  return openOn(session({ secret, store: store as never }) as never)
}

it.each([
  ['a store with touch()', async () => {}],
  ['a store without', undefined],
])('a visit does not undo what another process has done: %s', async (_, touch) => {
  const records = new PromiseStore(() => 0)
  const [one, other] = await Promise.all([processOn(records, touch), processOn(records, touch)])
  const { browser, id } = await one.visitor()
  for (const [path, expected] of [
    ['/set/a', { a: 'a' }],
    ['/logout', undefined],
  ] as const) {
    const arrived = one.arrival(path)
    const visit = tab(browser, one.url).get(`/untouched?hold=${path}`)
    await arrived
    await tab(browser, other.url).get(path)
    one.release(path)
    await visit
    if (expected) expect(await records.get(id)).toMatchObject(expected)
    else expect(await records.get(id)).toBeUndefined()
  }
  await Promise.all([one.stop(), other.stop()])
})
