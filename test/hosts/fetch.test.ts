import { serveFetch } from '../support/serve.ts'
import { createFetchApp } from './fixture/fetch.ts'
import { describeHost } from './table.ts'

const traits = { answersBeforeErrors: false, savesWhatThrows: false }

describeHost('a bare fetch handler on Node', () => serveFetch(createFetchApp()), traits)
