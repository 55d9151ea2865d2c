// The same where `import` comes first.
import 'express-session'
import { compare } from './one-copy.cjs'

await compare()
console.log('done')
