import express from 'express'
import express4 from 'express4'
import { vi } from 'vitest'
import { type Running, serve } from '../support/serve.ts'
import { describeHost } from './table.ts'

const traits = { answersBeforeErrors: true, savesWhatThrows: true }

/** Each with a copy of the package of its own, which has warned of nothing yet. */
const start = (framework: typeof express) => async (): Promise<Running> => {
  vi.resetModules()
  const { createExpressApp } = await import('./fixture/express.ts')
  return serve(createExpressApp(framework))
}

describeHost('Express 5 on Node', start(express), traits)
describeHost('Express 4 on Node', start(express4), traits)
