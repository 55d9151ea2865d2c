// A stand-in for bun-router (stacksjs/bun-router): what a session middleware can notice of it, written from observed behaviour.
// `new Router()` is revision a9b3e7f (2025-05). `new Router({ modern: true })` follows the source of revision 2c15d2e:
// use() is synchronous and takes { handle } objects, next() may hand over a Response that is no promise, global middleware
// sees 404 and 405 too, values other than a Response are wrapped, and a Response without queued cookies is left as it is.
export type Next = (req?: unknown) => any
export type Middleware = (req: any, next: Next) => any
type Handler = (req: any) => any
interface Route {
  method: string
  path: string
  regex: RegExp
  keys: string[]
  handler: Handler
  middleware: Middleware[]
  domain?: string
}
interface Queued {
  name: string
  value: string
  options: any
}

export class Router {
  globalMiddleware: Middleware[] = []
  #routes: Route[] = []
  #group: { prefix?: string; middleware?: Middleware[] } = {}
  #onError?: (error: Error) => any
  #fallback?: Handler
  #modern: boolean
  constructor({ modern = false }: { modern?: boolean } = {}) {
    this.#modern = modern
  }

  use(...middleware: any[]): any {
    if (this.#modern) {
      for (const m of middleware)
        if (typeof m === 'function') this.globalMiddleware.push(m)
        else if (typeof m?.handle === 'function') this.globalMiddleware.push((req, next) => m.handle(req, next))
      return this
    }
    return (async () => {
      // each one joins a turn later; a request made at once misses it
      for (const m of middleware) {
        await null
        if (typeof m === 'function') this.globalMiddleware.push(m)
      }
      return this
    })()
  }
  #add(method: string, path: string, handler: Handler, extra: Middleware[] = []): any {
    const keys: string[] = [],
      full = (this.#group.prefix ?? '') + path
    const source = full.replace(/\{(\w+)\}/g, (_, k) => {
      keys.push(k)
      return '([^/]+)'
    })
    this.#routes.push({
      method,
      path: full,
      regex: new RegExp(`^${source}$`),
      keys,
      handler,
      middleware: [...(this.#group.middleware ?? []), ...extra],
    })
    return this.#modern ? this : Promise.resolve(this)
  }
  get(path: string, handler: Handler, _type?: any, _name?: string, middleware?: Middleware[]) {
    return this.#add('GET', path, handler, middleware)
  }
  post(path: string, handler: Handler, _type?: any, _name?: string, middleware?: Middleware[]) {
    return this.#add('POST', path, handler, middleware)
  }
  async group(group: { prefix?: string; middleware?: Middleware[] }, register: () => void) {
    const before = this.#group
    this.#group = {
      prefix: (before.prefix ?? '') + (group.prefix ?? ''),
      middleware: [...(before.middleware ?? []), ...(group.middleware ?? [])],
    }
    register()
    this.#group = before
    return this
  }
  fallback(handler: Handler) {
    this.#fallback = handler
    return this
  }
  onError(handler: (error: Error) => any): any {
    this.#onError = handler
    return this.#modern ? this : Promise.resolve(this)
  }

  async handleRequest(request: Request): Promise<Response> {
    try {
      const { pathname } = new URL(request.url),
        wanted = request.method === 'HEAD' ? 'GET' : request.method
      const here = this.#routes.filter((r) => r.regex.test(pathname)),
        route = here.find((r) => r.method === wanted)
      if (!route && here.length && request.method === 'OPTIONS')
        return this.#run(this.#enhance(request, {}), here[0]!.middleware, () => new Response(null, { status: 204 }))
      const params = route ? Object.fromEntries(route.keys.map((k, i) => [k, route.regex.exec(pathname)![i + 1]!])) : {}
      const req = this.#enhance(request, params)
      if (route) {
        req.route = route
        return await this.#run(req, route.middleware, route.handler)
      }
      const missing = () =>
        Response.json(
          { success: false, message: here.length ? 'Method Not Allowed' : 'Not Found' },
          { status: here.length ? 405 : 404 },
        )
      if (this.#modern && here.length) return await this.#run(req, [], missing)
      if (this.#fallback) return this.#applyCookies(await this.#fallback(req), req)
      return this.#modern ? await this.#run(req, [], missing) : new Response('Not Found', { status: 404 })
    } catch (error) {
      if (this.#onError) return this.#onError(error as Error)
      return this.#modern
        ? Response.json({ success: false, message: 'Internal Server Error' }, { status: 500 })
        : new Response('Internal Server Error', { status: 500 })
    }
  }
  async #run(req: any, own: Middleware[], handler: Handler): Promise<Response> {
    const last: Middleware = (r) => (this.#modern ? wrapped(handler(r)) : handler(r))
    let answer: any
    try {
      answer = await this.#chain([...this.globalMiddleware, ...own, last], req)
    } catch (error) {
      if (!this.#onError) throw error
      answer = await this.#onError(error as Error) // its answer still gets the queued cookies
    }
    return answer ? this.#applyCookies(answer, req) : new Response('No response from middleware chain', { status: 500 })
  }
  #chain(stack: Middleware[], req: any): any {
    let run: () => any = () => null
    for (const middleware of [...stack].reverse()) {
      const rest = run // whatever next() is given is not looked at
      run = this.#modern
        ? () => {
            try {
              return middleware(req, () => {
                const a = rest()
                return typeof a?.then === 'function' ? a.then(full) : full(a)
              })
            } catch (e) {
              return Promise.reject(e)
            }
          }
        : async () => middleware(req, async () => full(await rest()))
    }
    return run()
  }
  #enhance(request: Request, params: Record<string, string>): any {
    const req: any = request // the Request itself, with more properties
    const all = () => {
      const found: Record<string, string> = {}
      for (const pair of (request.headers.get('cookie') ?? '').split(';')) {
        const [name, ...value] = pair.trim().split('=')
        if (value.length) found[name!] = decodeURIComponent(value.join('=')) // throws on %ZZ; the last of two equal names wins
      }
      return found
    }
    const cookies: any = this.#modern ? all : {}
    Object.assign(cookies, {
      get: (name: string) => all()[name],
      getAll: all,
      set: (name: string, value: string, options: any = {}) => {
        req._cookiesToSet.push({ name, value, options })
      },
      delete: (name: string, options: any = {}) => {
        req._cookiesToDelete.push({ name, value: '', options: { ...options, expires: new Date(0), maxAge: 0 } })
      },
    })
    return Object.assign(req, { params, cookies, _cookiesToSet: [], _cookiesToDelete: [] })
  }
  #applyCookies(answer: any, req: any): Response {
    const queue: Queued[] = [...req._cookiesToSet, ...req._cookiesToDelete]
    if (this.#modern && !queue.length) return answer
    const { body, status, statusText, headers } = answer // so null, a string or an object becomes an empty 200 here
    const copy = new Response(body, { status, statusText, headers })
    for (const cookie of queue) copy.headers.append('Set-Cookie', serialize(cookie))
    return copy
  }
}
const full = (answer: any) => answer || new Response(null, { status: 200 })
const wrapped = (value: any): any =>
  value instanceof Response
    ? value
    : typeof value?.then === 'function'
      ? value.then(wrapped)
      : value == null
        ? new Response(null, { status: 204 })
        : typeof value === 'string'
          ? new Response(value)
          : Response.json(value)
function serialize({ name, value, options: o }: Queued): string {
  let text = `${encodeURIComponent(name)}=${encodeURIComponent(value)}`
  if (o.maxAge !== undefined) text += `; Max-Age=${o.maxAge}` // as given: no conversion of units
  if (o.expires) text += `; Expires=${o.expires.toUTCString()}`
  text += `; Path=${o.path || '/'}`
  if (o.domain) text += `; Domain=${o.domain}`
  if (o.secure) text += '; Secure'
  if (o.httpOnly) text += '; HttpOnly'
  return o.sameSite ? `${text}; SameSite=${o.sameSite[0].toUpperCase()}${o.sameSite.slice(1).toLowerCase()}` : text
}
