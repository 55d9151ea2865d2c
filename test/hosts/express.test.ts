import express from 'express'
import express4 from 'express4'
import { serve } from '../support/serve.ts'
import { createExpressApp } from './fixture/express.ts'
import { describeHost } from './table.ts'

const traits = { answersBeforeErrors: true, savesWhatThrows: true }

describeHost('Express 5 on Node', () => serve(createExpressApp(express)), traits)
describeHost('Express 4 on Node', () => serve(createExpressApp(express4)), traits)
