import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    env: { NO_DEPRECATION: 'express-session' },
    testTimeout: 20_000,
    hookTimeout: 60_000,
  },
})
