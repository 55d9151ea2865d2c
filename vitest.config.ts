import { setFlagsFromString } from 'node:v8'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

// Most code runs but a few times here: V8 would spend more on optimising it than it saves.
setFlagsFromString('--interrupt-budget=1000000')

/** What has a full form; see test/support/form.ts. */
const FULL = [
  'test/concurrency/{gone,interleavings,renewal}.test.ts',
  'test/package/{package,types}.test.ts',
  'test/stores/{file-processes,redis-records}.test.ts',
]

/** What needs modules of its own: it mocks or reloads some, counts what is warned of once, or replaces globals. */
const ALONE = [
  'test/{cache-control,faked-timers,faulty-stores,store-timeout,warnings}.test.ts',
  'test/concurrency/gone.test.ts',
  'test/ecosystem/dialects.test.ts',
  'test/hosts/{answers,bun-router-faults,express,fetch}.test.ts',
  'test/stores/{file,file-processes,file-users,redis-outage,redis-records,redis-users}.test.ts',
]

/** A worker is kept for as long as files follow that share it. */
class AloneFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const [alone, shared] = [true, false].map((isolate) =>
      sorted.filter(({ project }) => project.config.isolate === isolate),
    )
    return [...(alone ?? []), ...(shared ?? [])]
  }
}

export default defineConfig(({ mode }) => {
  const isFull = mode === 'full'
  const options = {
    // The library's own, which the tests cause; those of others are shown.
    execArgv: ['--disable-warning=SessionWarning'],
    env: { NO_DEPRECATION: 'express-session', ...(isFull && { FULL_TESTS: '1' }) },
    // Threads start sooner than processes. Many tests wait for other processes: four share two cores.
    pool: 'threads' as const,
    maxWorkers: 4,
    // These limits only end what hangs: no test is to depend on how fast the machine is. Full forms have none.
    testTimeout: isFull || process.env.ROUNDS || process.env.RUNS ? 0 : 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 240_000 } },
  }
  return {
    test: {
      globalSetup: 'test/support/setup.ts',
      reporters: ['minimal'],
      sequence: { sequencer: AloneFirst },
      projects: isFull
        ? [{ test: { ...options, name: 'full', include: FULL } }]
        : [
            { test: { ...options, name: 'shared', include: ['test/**/*.test.ts'], exclude: ALONE, isolate: false } },
            { test: { ...options, name: 'alone', include: ALONE } },
          ],
    },
  }
})
