// Stores from npm.
import pgSession from 'connect-pg-simple'
import { RedisStore } from 'connect-redis'
import session from 'express-session'

const PgStore = pgSession(session)

export const sessions = [
  session({ secret: 'x', store: new RedisStore({ client: {}, prefix: 'app:' }) }),
  session({ secret: 'x', store: new PgStore({ conString: 'postgres://localhost', createTableIfMissing: true }) }),
  session({ secret: 'x', store: new (pgSession(session))({}) }),
]
