// The same as one-copy.cjs, but `import` comes first.
import 'express-session'
import { compare } from './one-copy.cjs'

await compare()
console.log('done')
