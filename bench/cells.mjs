// What is measured: kinds of request, and the data that sessions hold.

/**
 * @typedef {keyof typeof KINDS} Kind
 * @typedef {keyof typeof SIZES} Size
 * @typedef {ReturnType<typeof sessionData>} Data
 * @typedef {{ session: Partial<Data> & { count?: number } }} Request what a handler sees of it, whatever the host
 * @typedef {(req: Request, data: Data) => void} Use what a handler does with its session
 */

/**
 * Kinds of request by name: what the handler does with its session, and whether the browser sends a cookie.
 * @satisfies {Record<string, { cookie: boolean, use: Use }>}
 */
export const KINDS = {
  /** The handler never looks at the session. */
  untouched: { cookie: true, use() {} },
  read: {
    cookie: true,
    use(req) {
      if (!req.session.user) throw new Error('the session is lost')
    },
  },
  write: {
    cookie: true,
    use(req) {
      if (!req.session.user) throw new Error('the session is lost')
      req.session.count = (req.session.count ?? 0) + 1
    },
  },
  /** The first visit of a browser, whose session is filled. */
  first: {
    cookie: false,
    use(req, data) {
      Object.assign(req.session, data)
    },
  },
  /** A visit that needs no session: a crawler, a health check. */
  anonymous: { cookie: false, use() {} },
}

/** Session data by size. */
export const SIZES = { '0.2KB': sessionData(200), '20KB': sessionData(20_000) }

/**
 * An account and a cart, of about `bytes` bytes as JSON.
 * @param {number} bytes
 */
function sessionData(bytes) {
  const data = {
    user: { id: 4711, name: 'Ada Lovelace', email: 'ada@example.org', roles: ['editor'] },
    seen: '2024-05-01T12:00:00.000Z',
    cart: /** @type {{ sku: string, title: string, count: number, price: number, gift: boolean }[]} */ ([]),
  }
  for (let n = 1; JSON.stringify(data).length < bytes; n++) {
    data.cart.push({ sku: `item-${n}`, title: `Thing "no. ${n}"`, count: n % 5, price: n * 1.25, gift: n % 2 === 0 })
  }
  return data
}
