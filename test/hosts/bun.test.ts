import { describe } from 'vitest'
import { bun, spawnServer } from '../support/serve.ts'
import { describeHost } from './table.ts'

describe.skipIf(!bun)('under Bun', () => {
  describeHost('Express 5 on Bun', () => spawnServer(bun as string, ['test/hosts/fixture/serve.ts', 'express5']), {
    answersBeforeErrors: true,
  })
})
