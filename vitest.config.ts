import { defineConfig } from 'vitest/config'

/** `ROUNDS=…` and `RUNS=…` play the races and the model longer. */
const LONG = process.env.ROUNDS || process.env.RUNS

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/setup.ts',
    reporters: ['minimal'],
    // The library's own, which the tests cause; those of others are shown.
    execArgv: ['--disable-warning=SessionWarning'],
    env: { NO_DEPRECATION: 'express-session' },
    // Most of them wait for other processes: two at a time are also well served by two cores.
    maxWorkers: 2,
    // These limits only end what hangs: no test is to depend on how fast the machine is. The long forms have none.
    testTimeout: LONG ? 0 : 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 240_000 } },
  },
})
