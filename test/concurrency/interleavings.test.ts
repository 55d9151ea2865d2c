// Requests on one session in random orders, on every store: each order keeps every promise.
//
// A failure prints the requests, the order of their steps and a seed: `SEED=… RUNS=… npx vitest run …` plays it again.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { createClient } from 'redis'
import { afterAll, describe, expect, it } from 'vitest'
import { runsOf } from '../support/form.ts'
import { redisMissing, startRedis } from '../support/redis.ts'
import { bases, find, kinds } from './fixture/kinds.ts'
import { callbackStore, PromiseStore } from './fixture/stores.ts'
import { play, type Scene, type SetStage, STEPS, type Step } from './play.ts'
import { file, foreign, memoryAtOnce, memoryFarAway, redis } from './stages.ts'
import { Stores } from './table.ts'

const SEED = Number(process.env.SEED ?? 20_240_501)

const ends: readonly Step[] = ['regenerate', 'regenerate, keep', 'destroy', 'unset']
const step = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...STEPS.filter((each) => !ends.includes(each))) },
  { weight: 2, arbitrary: fc.constantFrom(...ends) },
)

const scenes = (options: fc.Arbitrary<Scene['options']>): fc.Arbitrary<Scene> =>
  fc.record({
    requests: fc.array(fc.array(step, { maxLength: 4 }), { minLength: 2, maxLength: 4 }),
    choices: fc.array(fc.nat({ max: 7 }), { maxLength: 60 }),
    options,
  })

/** Scenes in which ids are renewed, too. */
const renewals = (options: fc.Arbitrary<Scene['options']>): fc.Arbitrary<Scene> =>
  fc
    .tuple(
      scenes(options),
      fc.record(
        {
          renewing: fc.tuple(fc.boolean(), fc.boolean()),
          newest: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
        },
        { requiredKeys: [] },
      ),
    )
    .map(([scene, renewal]) => ({ ...scene, ...renewal }))

const merging = fc.record({ rolling: fc.boolean(), resave: fc.boolean() }, { requiredKeys: [] })
const rereading = merging.map((options) => ({ ...options, concurrency: 'reread' as const }))
const overwriting = fc.constant({ concurrency: 'overwrite' as const })

const property = (setStage: SetStage, arbitrary: fc.Arbitrary<Scene> = renewals(merging)) =>
  fc.asyncProperty(arbitrary, (scene) => play(scene, setStage))

/** Turns in which a request leaves the others to theirs. */
const waiting = (turns: number): Step[] => Array.from({ length: turns }, () => 'touch')

/** What once was wrong, and takes luck to find. */
const found: [Scene][] = [
  // A lifetime that was undone by another's touch, after the id was renewed.
  [{ requests: [['set the lifetime'], ['save', 'save'], []], choices: [], options: {}, renewing: [true, false] }],
  // A logout that was over before another one had ended the session under its new id.
  [
    {
      requests: [[], [...waiting(8), 'destroy'], [], [...waiting(10), 'destroy']],
      choices: [],
      options: {},
      renewing: [true, false],
    },
  ],
]

const parameters = (runs: number) => ({ seed: SEED, numRuns: runsOf(runs) })

const stores = new Stores()
const closers: (() => unknown)[] = []
afterAll(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const stages: Record<string, () => Promise<SetStage>> = {
  memory: async () => memoryAtOnce,
  'memory, far away': async () => memoryFarAway,
  async file() {
    const path = await mkdtemp(join(tmpdir(), 'sessions-'))
    closers.push(() => rm(path, { recursive: true, force: true }))
    return file(path)
  },
  async redis() {
    const server = await startRedis()
    const client = await createClient({ url: server.url }).connect()
    closers.push(server.stop, () => client.destroy())
    return redis(client)
  },
}
for (const kind of kinds.filter(({ bundled }) => !bundled)) {
  stages[kind.name] = async () => foreign(kind, (await stores.open(kind))?.store)
}
// These take no time here: every order is tried anyway.
stages.callbacks = async () => foreign(find('callbacks'), new (callbackStore(bases))(() => 0))
stages.promises = async () => foreign(find('promises'), new PromiseStore(() => 0))

describe.each(Object.entries(stages))('on %s', (name, open) => {
  const isMissing = /redis/.test(name) && redisMissing !== undefined
  const isForeign = kinds.some((kind) => kind.name === name && !kind.bundled)

  it.skipIf(isMissing)('requests keep what each of them changed, and the end of a session', async () => {
    await fc.assert(property(await open()), { ...parameters(/^memory\b/.test(name) ? 200 : 30), examples: found })
  })

  if (isForeign) {
    it.skipIf(isMissing)("and so they do with concurrency: 'reread'", async () => {
      await fc.assert(property(await open(), renewals(rereading)), parameters(15))
    })
  }

  it.skipIf(isMissing)("and this finds what is wrong with concurrency: 'overwrite'", async () => {
    const details = await fc.check(property(await open(), scenes(overwriting)), parameters(500))
    expect(details.failed).toBe(true)
    const [scene] = details.counterexample as [Scene]
    expect(scene.requests.filter((steps) => steps.length > 0).length).toBeLessThan(4)
  })
})
