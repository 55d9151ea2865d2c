// Mistakes that the compiler must report.
import session, { Store } from 'express-session'

// @ts-expect-error: a string where a boolean belongs
session({ secret: 'x', resave: 'false' })
// @ts-expect-error: no such option
session({ secret: 'x', resaved: false })
// @ts-expect-error: no such value
session({ secret: 'x', unset: 'remove' })
// @ts-expect-error: no such attribute
session({ secret: 'x', cookie: { maxage: 1 } })
// @ts-expect-error: seconds as a string
session({ secret: 'x', cookie: { maxAge: '1h' } })
// @ts-expect-error: not a store
session({ secret: 'x', store: new Map<string, string>() })
// @ts-expect-error: the class instead of an instance
session({ secret: 'x', store: session.MemoryStore })
// @ts-expect-error: a subclass of Store must implement get, set and destroy
export class Incomplete extends Store {}

export function handler(req: Express.Request): void {
  // @ts-expect-error: not declared in SessionData
  req.session.nobody = 1
  // @ts-expect-error: not a number
  req.session.cookie.maxAge = 'never'
  // @ts-expect-error: `id` is read-only
  req.session.id = 'mine'
  // @ts-expect-error: no such method
  req.session.remove()
}
