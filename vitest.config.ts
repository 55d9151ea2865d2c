import { defineConfig } from 'vitest/config'

/** What has a full form; see test/support/form.ts. */
const FULL = [
  'test/concurrency/{gone,interleavings,renewal}.test.ts',
  'test/package/{package,types}.test.ts',
  'test/stores/{file-processes,redis-records}.test.ts',
]

export default defineConfig(({ mode }) => ({
  test: {
    include: mode === 'full' ? FULL : ['test/**/*.test.ts'],
    globalSetup: 'test/support/setup.ts',
    reporters: ['minimal'],
    // The library's own, which the tests cause; those of others are shown.
    execArgv: ['--disable-warning=SessionWarning'],
    env: { NO_DEPRECATION: 'express-session', ...(mode === 'full' && { FULL_TESTS: '1' }) },
    // Threads start sooner than processes. Many tests wait for other processes: four share two cores.
    pool: 'threads',
    maxWorkers: 4,
    // These limits only end what hangs: no test is to depend on how fast the machine is. Full forms have none.
    testTimeout: mode === 'full' || process.env.ROUNDS || process.env.RUNS ? 0 : 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 240_000 } },
  },
}))
