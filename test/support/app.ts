// A real server, a browser with a cookie jar, and a store that takes its time.
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import express5 from 'express'
import express4 from 'express4'
import { afterAll } from 'vitest'
import { Store, session } from './session.ts'

export const expresses = [
  ['Express 5', express5],
  ['Express 4', express4 as unknown as typeof express5],
] as const

export type Express = typeof express5

export function sessions(options: Partial<Parameters<typeof session>[0]> = {}) {
  return session({
    secret: 'keyboard cat',
    resave: false,
    saveUninitialized: false,
    ...options,
  })
}

export interface Head {
  status: number
  headers: http.IncomingHttpHeaders
  body: Readable
}

export interface Reply extends Omit<Head, 'body'> {
  body: Buffer
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: what an app answers is asserted, not typed
  json: any
}

export interface Send {
  method?: string
  headers?: Record<string, string>
  body?: string | Record<string, string>
  signal?: AbortSignal
}

interface Init {
  method: string
  headers: Record<string, string>
  signal: AbortSignal
}

type Transport = (url: string, init: Init, body: string) => Promise<Head>

const never = new AbortController().signal

export class Browser {
  readonly cookies = new Map<string, string>()

  readonly origin: string
  readonly #transport: Transport

  constructor(origin: string, transport: Transport) {
    this.origin = origin
    this.#transport = transport
  }

  /** Another visitor of the same site. */
  another(): Browser {
    return new Browser(this.origin, this.#transport)
  }

  /** The id in the session cookie. */
  get id(): string | undefined {
    return decodeURIComponent(this.cookies.get('connect.sid') ?? '').match(/^s:(.+)\./)?.[1]
  }

  /** Resolves as soon as the head of the answer is here; its body may still be on the way. */
  async open(path: string, { method = 'GET', headers = {}, body = '', signal = never }: Send = {}): Promise<Head> {
    const form = typeof body === 'string' ? {} : { 'content-type': 'application/x-www-form-urlencoded' }
    const cookie = [...this.cookies].map((pair) => pair.join('=')).join('; ')
    const head = await this.#transport(
      this.origin + path,
      { method, headers: { ...(cookie && { cookie }), ...form, ...headers }, signal },
      typeof body === 'string' ? body : new URLSearchParams(body).toString(),
    )
    for (const line of head.headers['set-cookie'] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) as unknown as [string, string, string]
      const expires = /expires=([^;]+)/i.exec(line)?.[1]
      if (expires && Date.parse(expires) <= Date.now()) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return head
  }

  async get(path: string, headers: Record<string, string> = {}): Promise<Reply> {
    return collect(await this.open(path, { headers }))
  }

  async post(path: string, body: Send['body'] = '', headers: Record<string, string> = {}): Promise<Reply> {
    return collect(await this.open(path, { method: 'POST', body, headers }))
  }

  /** Follows redirects as browsers do: as soon as the head is here. */
  async follow(path: string, send?: Send): Promise<Reply> {
    let head = await this.open(path, send)
    while (head.status >= 300 && head.status < 400 && head.headers.location) {
      head.body.resume()
      head = await this.open(head.headers.location)
    }
    return collect(head)
  }
}

export async function collect({ status, headers, body }: Head): Promise<Reply> {
  const buffer = Buffer.concat(await body.toArray())
  const text = buffer.toString()
  return {
    status,
    headers,
    body: buffer,
    text,
    get json() {
      if (status >= 500) throw new Error(`answered ${status}: ${text}`)
      return JSON.parse(text)
    },
  }
}

const closers: (() => unknown)[] = []
afterAll(() => Promise.all(closers.splice(0).map((close) => close())))

/** Runs when the tests of the file are over. Unlike `onTestFinished` it is safe in concurrent tests. */
export function atEnd(close: () => unknown) {
  closers.push(close)
}

export type Handler = (req: IncomingMessage, res: ServerResponse) => unknown

/** Serves the app until the tests of the file are over. */
export async function serve(app: Handler | http.Server): Promise<Browser> {
  // A connection is not closed because the test took its time between two requests.
  const server = app instanceof http.Server ? app : http.createServer({ keepAliveTimeout: 0 }, app)
  const origin = await listen(server)
  atEnd(() => {
    server.close()
    server.closeAllConnections()
  })
  // One connection serves request after request, so a body that is longer or shorter than announced breaks the next one.
  const agent = new http.Agent({ keepAlive: true })
  atEnd(() => agent.destroy())
  return new Browser(origin, (url, init, body) => {
    const request = http.request(url, { ...init, agent }).end(body)
    return new Promise((resolve, reject) => {
      request.on('error', reject).on('response', (res) => {
        resolve({
          status: res.statusCode as number,
          headers: res.headers,
          body: res,
        })
      })
    })
  })
}

/** The same over cleartext HTTP/2. */
export async function serveHttp2(
  app: (req: http2.Http2ServerRequest, res: http2.Http2ServerResponse) => unknown,
): Promise<Browser> {
  const server = http2.createServer(app)
  const origin = await listen(server)
  const client = http2.connect(origin)
  atEnd(() => {
    client.destroy()
    server.close()
  })
  return new Browser(origin, (url, { method, headers, signal }, body) => {
    const head = { ':method': method, ':path': url.slice(origin.length), ...headers }
    const request = client.request(head, { endStream: !body, signal })
    if (body) request.end(body)
    return new Promise((resolve, reject) => {
      request.on('error', reject).on('response', (head) => {
        resolve({
          status: head[':status'] as number,
          headers: head,
          body: request,
        })
      })
    })
  })
}

async function listen(server: http.Server | http2.Http2Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

// biome-ignore lint/suspicious/noExplicitAny: as stores for express-session are typed
type Done = (error?: any, value?: any) => void

/** A callback store as others write them: reads are quick, every write is acknowledged after `latency` ms. */
export class SlowStore extends Store {
  readonly records = new Map<string, string>()
  /** Writes that are not acknowledged yet. */
  pending = 0

  readonly #latency: number

  constructor(latency = 50) {
    super()
    this.#latency = latency
  }

  get(sid: string, done: Done) {
    setImmediate(() => done(null, JSON.parse(this.records.get(sid) ?? 'null')))
  }

  set(sid: string, data: unknown, done?: Done) {
    const json = JSON.stringify(data)
    this.#write(() => this.records.set(sid, json), done)
  }

  override touch(sid: string, data: { cookie: unknown }, done?: Done) {
    this.#write(() => {
      const record = this.records.get(sid)
      if (record) this.records.set(sid, JSON.stringify({ ...JSON.parse(record), cookie: data.cookie }))
    }, done)
  }

  destroy(sid: string, done?: Done) {
    this.#write(() => this.records.delete(sid), done)
  }

  #write(change: () => unknown, done?: Done) {
    this.pending++
    setTimeout(() => {
      change()
      this.pending--
      done?.(null)
    }, this.#latency)
  }
}
