// Before all tests: says once what this machine lacks, and that the tests of it are skipped. Under CI that is a failure.
// Makes what all tests share.

import type { TestProject } from 'vitest/node'
import { chromiumMissing } from './chromium.ts'
import { redisMissing } from './redis.ts'
import { prepareRun } from './run.ts'
import { bunMissing } from './serve.ts'

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  for (const missing of [redisMissing, bunMissing, chromiumMissing]) {
    if (missing && process.env.CI) throw new Error(`${missing}, and CI is set`)
    if (missing) console.warn(`skipped, because ${missing}: all that needs it`)
  }
  if (process.getuid?.() === 0) console.warn('skipped, because root may write everywhere: a folder without that right')
  let remove = await prepareRun()
  project.onTestsRerun(async () => {
    await remove()
    remove = await prepareRun()
  })
  return () => remove()
}
