// Before all tests: says once what this machine lacks, and that the tests of it are skipped. Under CI that is a failure.

import { chromiumMissing } from './chromium.ts'
import { redisMissing } from './redis.ts'
import { bunMissing } from './serve.ts'

export default function setup(): void {
  for (const missing of [redisMissing, bunMissing, chromiumMissing]) {
    if (missing && process.env.CI) throw new Error(`${missing}, and CI is set`)
    if (missing) console.warn(`skipped, because ${missing}: all that needs it`)
  }
}
