import { describe } from 'vitest'
import { bun, type Running, spawnServer } from '../support/serve.ts'
import { describeHost } from './table.ts'

const start = (app: string) => (): Promise<Running> => spawnServer(bun as string, ['test/hosts/fixture/serve.ts', app])
const fetchStyle = { answersBeforeErrors: false, savesWhatThrows: false }

describe.skipIf(!bun)('under Bun', () => {
  describeHost('Express 5 on Bun', start('express5'), { answersBeforeErrors: true, savesWhatThrows: true })
  describeHost('bunWay', start('bunway'), { answersBeforeErrors: false, savesWhatThrows: true, bunway: true })
  describeHost('bun-router', start('router'), fetchStyle)
  describeHost('bun-router, newer', start('newerRouter'), fetchStyle)
  describeHost('a bare fetch handler on Bun', start('fetch'), fetchStyle)
  describeHost('Hono on Bun', start('hono'), { ...fetchStyle, savesWhatThrows: true })
})
