// A stand-in for bunWay (JointOps/bunway 1.1.0): what a session middleware can notice of it, written from observed behaviour.
type Next = (err?: unknown) => void
type Handler = (req: Req, res: Res, next: Next, value?: string) => unknown
type ErrorHandler = (err: unknown, req: Req, res: Res, next: Next) => unknown
type Route = { method: string; path: string; regex: RegExp; keys: string[]; handlers: Handler[] }
interface Settings {
  get(name: string): any
}

export class Req {
  [key: string]: any
  params: Record<string, string> = {}
  locals: Record<string, unknown> = {}
  signedCookies: Record<string, string | false> = {}
  route: { path: string; method: string } | null = null
  body: unknown
  baseUrl = ''
  app?: Settings | undefined
  res?: Res
  #cookies?: Record<string, string>
  readonly original: Request
  path: string
  constructor(original: Request, path: string) {
    this.original = original
    this.path = path
  }
  get #url() {
    return new URL(this.original.url)
  }
  get method() {
    return this.original.method
  }
  get headers() {
    return this.original.headers
  } // a Headers, until a passport shim hides it
  get(name: string) {
    return this.original.headers.get(name) ?? undefined
  }
  get url() {
    return this.path + this.#url.search
  } // relative to the mount point
  get originalUrl() {
    return this.#url.pathname + this.#url.search
  }
  get hostname() {
    return this.#url.hostname
  }
  get protocol() {
    return (
      (this.app?.get('trust proxy') && this.get('x-forwarded-proto')?.split(',')[0]?.trim()) ||
      this.#url.protocol.slice(0, -1)
    )
  }
  get secure() {
    return this.protocol === 'https'
  }
  get ip() {
    return (this.app?.get('trust proxy') && this.get('x-forwarded-for')?.split(',')[0]?.trim()) || '127.0.0.1'
  }
  get cookies() {
    if (!this.#cookies) this.#cookies = {}
    else return this.#cookies
    for (const pair of (this.get('cookie') ?? '').split(';')) {
      // the last of two equal names wins here
      const at = pair.indexOf('=')
      if (at < 0) continue
      let value = pair
        .slice(at + 1)
        .trim()
        .replace(/^"(.*)"$/, '$1')
      try {
        value = decodeURIComponent(value)
      } catch {
        /* left as it came */
      }
      this.#cookies[pair.slice(0, at).trim()] = value
    }
    return this.#cookies
  }
  set cookies(all) {
    this.#cookies = all
  }
}

export class Res {
  [key: string]: any
  locals: Record<string, unknown> = {}
  app?: Settings | undefined
  req?: Req
  #status = 200
  _headersMap = new Map<string, string>()
  #many = new Map<string, string[]>()
  #body: BodyInit | null = null
  _sent = false
  #flushed = false
  #stream?: ReadableStream<Uint8Array>
  #out?: ReadableStreamDefaultController<Uint8Array>
  get statusCode() {
    return this.#status
  } // no setter: only status() writes it
  get headersSent() {
    return this._sent || this.#flushed
  }
  status(code: number) {
    this.#status = code
    return this
  }
  set(name: string, value: string) {
    this._headersMap.set(name.toLowerCase(), value)
    return this
  }
  append(name: string, value: string) {
    const k = name.toLowerCase()
    this.#many.set(k, [...(this.#many.get(k) ?? []), value])
    return this
  }
  get(name: string) {
    return (
      [this._headersMap.get(name.toLowerCase()) ?? [], this.#many.get(name.toLowerCase()) ?? []].flat().join(', ') ||
      undefined
    )
  }
  getHeader(name: string) {
    return this.get(name)
  }
  getHeaders() {
    const h = new Headers([...this._headersMap])
    for (const [k, vs] of this.#many) for (const v of vs) h.append(k, v)
    return h
  }
  cookie(name: string, value: string, o: any = {}) {
    let c = `${encodeURIComponent(name)}=${encodeURIComponent(value)}`
    if (o.maxAge != null) c += `; Max-Age=${Math.floor(o.maxAge / 1000)}`
    const ends = o.expires ?? (o.maxAge != null ? new Date(Date.now() + o.maxAge) : undefined)
    const site = o.sameSite === true ? 'Strict' : o.sameSite && o.sameSite[0].toUpperCase() + o.sameSite.slice(1)
    for (const [on, word] of [
      [ends, `Expires=${ends?.toUTCString()}`],
      [true, `Path=${o.path ?? '/'}`],
      [o.domain, `Domain=${o.domain}`],
      [o.secure, 'Secure'],
      [o.httpOnly, 'HttpOnly'],
      [site, `SameSite=${site}`],
    ])
      if (on) c += `; ${word}`
    return this.append('Set-Cookie', c)
  }
  clearCookie(name: string, { maxAge: _, ...o }: any = {}) {
    return this.cookie(name, '', { ...o, expires: new Date(0) })
  }
  #answer(body: BodyInit | null, type?: string) {
    if (type) this.set('content-type', type)
    this.#body = body
    this._sent = true
    return this
  }
  json(data: unknown) {
    return this.#answer(JSON.stringify(data), 'application/json')
  }
  send(data?: any) {
    if (data == null) return this.#answer('')
    if (typeof data === 'string') return this.#answer(data, this.get('content-type') ?? 'text/html; charset=utf-8')
    if (data instanceof Uint8Array || data instanceof ArrayBuffer || data instanceof Blob)
      return this.#answer(data as BodyInit)
    return this.json(data)
  }
  noContent() {
    this.#status = 204
    this.#answer(null)
  }
  redirect(to: string | number, url?: string) {
    this.#status = typeof to === 'number' ? to : 302
    this.set('location', url ?? String(to))
    this.#answer(null)
  }
  write(chunk: string | Uint8Array) {
    // buffers: nothing leaves before end()
    if (this._sent && !this.#stream) return false
    this.#stream ??= new ReadableStream({
      start: (c) => {
        this.#out = c
      },
    })
    try {
      this.#out!.enqueue(typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk)
      return true
    } catch {
      return false
    }
  }
  end(chunk?: string | Uint8Array) {
    if (this._sent && !this.#stream) return
    if (this.#stream) {
      if (chunk !== undefined) this.write(chunk)
      try {
        this.#out!.close()
      } catch {
        /* closed before */
      }
    } else if (chunk !== undefined) this.#body = chunk as BodyInit
    this._sent = true
  }
  flushHeaders() {
    this.#flushed = true
  }
  isSent() {
    return this._sent
  }
  isStreaming() {
    return this.#stream !== undefined
  }
  toResponse(): Response {
    return new Response(this.#body, { status: this.#status, headers: this.getHeaders() })
  }
  async toStreamingResponse() {
    return this.#stream
      ? new Response(this.#stream, { status: this.#status, headers: this.getHeaders() })
      : this.toResponse()
  }
}

const SKIP = Symbol('next("route")')
const raise = (err: unknown): never => {
  throw err === 'route' || err === 'router' ? SKIP : err
}
const reply = (status: number, error: string) => Response.json({ error }, { status })
export class Router {
  #routes: Route[] = []
  #use: Handler[] = []
  #prefixed: [string, Handler[]][] = []
  #errors: ErrorHandler[] = []
  #children: [string, Router][] = []
  protected settings?: Settings
  use(first: any, ...rest: any[]) {
    if (typeof first === 'function')
      (first.length === 4 ? this.#errors : this.#use).push(first) // only the first function counts
    else if (rest[0] instanceof Router) this.#children.push([first, rest[0]])
    else this.#prefixed.push([first, rest]) // a Router behind a handler stays in as a "handler"
    return this
  }
  #add(method: string, path: string, handlers: Handler[]) {
    const keys: string[] = []
    const source = path
      .replace(/\/:(\w+)/g, (_, k) => {
        keys.push(k)
        return '/([^/]+)'
      })
      .replace(/\*/g, '.*')
    this.#routes.push({ method, path, regex: new RegExp(`^${source}/?$`), keys, handlers })
    return this
  }
  get(path: string, ...handlers: Handler[]): any {
    return this.#add('GET', path, handlers)
  }
  post(path: string, ...handlers: Handler[]) {
    return this.#add('POST', path, handlers)
  }
  all(path: string, ...handlers: Handler[]) {
    return this.#add('ALL', path, handlers)
  }

  async handle(
    original: Request,
    path = new URL(original.url).pathname,
    baseUrl = '',
    bubble?: (e: unknown, q: Req, s: Res) => Promise<Response>,
  ): Promise<Response> {
    for (const [prefix, child] of this.#children) {
      // a child gets new req/res, and none of these middlewares
      if (!path.startsWith(prefix)) continue
      const up = this.#errors.length ? (e: unknown, q: Req, s: Res) => this.#handleError(e, q, s, bubble) : bubble
      return child.handle(original, path.slice(prefix.length) || '/', baseUrl + prefix, up)
    }
    const req = new Req(original, path),
      res = new Res()
    req.baseUrl = baseUrl
    res.req = req
    if (this.settings) {
      req.app = res.app = this.settings
      req.res = res
    }
    try {
      await this.#runPipeline(this.#use, req, res)
    } catch (err) {
      return await this.#handleError(err, req, res, bubble)
    }
    if (res.isSent()) return res.isStreaming() ? res.toStreamingResponse() : res.toResponse() // a rejection here leaves handle()
    for (const [prefix, handlers] of this.#prefixed) {
      if (path !== prefix && !path.startsWith(`${prefix}/`)) continue
      req.path = path.slice(prefix.length) || '/'
      try {
        await this.#runPipeline(handlers, req, res)
      } catch (err) {
        return await this.#handleError(err, req, res, bubble)
      } finally {
        req.path = path
      }
      if (res.isSent()) return res.isStreaming() ? res.toStreamingResponse() : res.toResponse()
    }
    const here = this.#routes.filter((r) => r.regex.test(path))
    try {
      for (const route of here) {
        if (route.method !== 'ALL' && route.method !== req.method && !(req.method === 'HEAD' && route.method === 'GET'))
          continue
        const done = await this.dispatchFromMatch(req, res, route, path, bubble)
        if (done) return done
      }
    } catch (err) {
      return await this.#handleError(err, req, res, bubble)
    } // so a rejected toResponse() reaches the error handlers
    return here.length && !here.some((r) => r.method === 'ALL' || r.method === req.method)
      ? reply(405, 'Method Not Allowed')
      : reply(404, 'Not Found')
  }
  // The name is part of what can be noticed: it is the frame from which the router asks isSent() for the last time.
  async dispatchFromMatch(req: Req, res: Res, route: Route, path: string, bubble?: any): Promise<Response | null> {
    const found = route.regex.exec(path)!
    req.params = Object.fromEntries(route.keys.map((k, i) => [k, found[i + 1]!]))
    req.route = { path: route.path, method: req.method }
    try {
      await this.#runPipeline(route.handlers, req, res)
    } catch (err) {
      if (err === SKIP) return null
      return await this.#handleError(err, req, res, bubble)
    }
    if (res.isSent()) return res.isStreaming() ? res.toStreamingResponse() : res.toResponse()
    return new Response(null, { status: 200 }) // nobody answered: an empty 200, past res
  }
  /** The way to a WebSocket: the middlewares run, `res` is only asked when one of them answered; the socket keeps the req. */
  async upgrade(original: Request, own: Handler[] = []): Promise<Response | Req> {
    const req = new Req(original, new URL(original.url).pathname),
      res = new Res()
    req.app = res.app = this.settings // no req.res and no res.req on this way
    try {
      await this.#runPipeline([...this.#use, ...own], req, res)
    } catch {
      return new Response('Upgrade rejected', { status: 403 })
    }
    return res.isSent() ? res.toResponse() : req
  }
  async #runPipeline(handlers: Handler[], req: Req, res: Res): Promise<void> {
    let at = 0
    const next = async (): Promise<void> => {
      if (at >= handlers.length || res.isSent()) return
      let called = false,
        error: unknown
      const result: any = handlers[at++]!(req, res, (err) => {
        called = true
        error = err
      })
      if (!called && typeof result?.then === 'function') await result // no promise, no next: the chain just ends
      if (!called) return
      if (error !== undefined) raise(error)
      if (!res.isSent()) return next()
    }
    return next()
  }
  async #handleError(err: any, req: Req, res: Res, bubble?: any): Promise<Response> {
    for (const handler of this.#errors) {
      try {
        await handler(err, req, res, () => {})
        if (res.isSent()) return res.toResponse()
      } catch {
        /* the next one's turn */
      }
    }
    if (bubble) return bubble(err, req, res)
    const status =
      typeof err?.status === 'number' ? err.status : typeof err?.statusCode === 'number' ? err.statusCode : 500
    return reply(status, status < 500 || err?.expose === true ? err.message : 'Internal Server Error')
  }
}

export class App extends Router {
  #set: Record<string, any> = { 'trust proxy': false }
  protected override settings: Settings = { get: (name) => this.#set[name] }
  set(name: string, value: unknown) {
    this.#set[name] = value
    return this
  }
}
export const bunway = () => new App()
/** `bunway.json()` */
export const json = (): Handler => async (req, _res, next) => {
  req.body = await req.original.json()
  next()
}
/** what `passportInitialize()` does to the carrier */
export const shim = (): Handler => (req, res, next) => {
  Object.defineProperty(req, 'headers', {
    get: () => new Proxy({}, { get: (_, k) => (typeof k === 'string' ? req.get(k) : undefined) }),
  })
  res.setHeader = (k: string, v: string | string[]) => {
    res.set(k, [v].flat().join(', '))
  }
  next()
}
/** `responseTime()`, `timeout()`: others that wrap toResponse, synchronously */
export const wraps = (): Handler => (_req, res, next) => {
  const build = res.toResponse.bind(res)
  res.toResponse = () => {
    res.set('x-response-time', '1ms')
    return build()
  }
  next()
}
