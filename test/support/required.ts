// Packages that have to be required rather than imported.
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

// connect-flash takes util.isArray when it is loaded, and Node 23 removed that.
require('node:util').isArray ??= Array.isArray

export const connectFlash = require('connect-flash')
export const expressFlash = require('express-flash')
export const originalSession = require('express-session')
