// The connection under a held response: defers what the app does to the connection through its request or response.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { debug } from '../diagnostics.ts'

/** Methods that end a socket of Node or Bun, or an HTTP/2 stream. */
const CLOSING_METHODS: ReadonlySet<PropertyKey> = new Set(['close', 'destroy', 'destroySoon', 'end', 'resetAndDestroy'])
/** Methods that send a response on an HTTP/2 stream directly. */
const RESPONDING_METHODS: ReadonlySet<PropertyKey> = new Set(['respond', 'respondWithFD', 'respondWithFile'])

/** Properties by which a request or a response exposes its connection. */
const CONNECTION_PROPERTIES = ['socket', 'stream'] as const

/** A socket, or an HTTP/2 stream. */
interface Transport {
  readonly destroyed: boolean
  /** An HTTP/2 stream has this. */
  close?(): void
  /** A socket has this. */
  destroySoon?(): void
}

/**
 * Frameworks close the connection on an error after the response was sent, as finalhandler does with
 * `req.socket.destroy()`. A held response looks sent, so closing would lose it. This class defers such calls until the
 * response has left. It does not intercept what the client, the server or a timeout does to the socket.
 */
export class Connection {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #isHttp2: boolean
  /** The socket, or the HTTP/2 stream. */
  readonly #transport: Transport | undefined
  /** Each restores one replaced property; empty while nothing is replaced. */
  #restorers: (() => void)[] = []
  /** The response is out: calls that would close the connection are dropped, not deferred. */
  #dropsCloses = false
  /** The app asked to close the connection while the response was held. */
  #closeRequested = false
  /** The head carries `Connection: close`. */
  #closeAnnounced = false
  /** The `req.destroy` call that the app made while the response was held. */
  #deferredDestroy: (() => void) | undefined

  constructor(req: IncomingMessage, res: ServerResponse, isHttp2: boolean) {
    this.#req = req
    this.#res = res
    this.#isHttp2 = isHttp2
    this.#transport = isHttp2 ? (res as unknown as { stream: Transport }).stream : req.socket
  }

  /** Stops the app from closing the connection until `release` is called. */
  hold(): void {
    const [req, res] = [this.#req, this.#res]
    for (const message of [req, res]) {
      for (const property of CONNECTION_PROPERTIES) if (property in message) this.#guard(message, property)
    }
    this.#guardDestroy(res, () => this.#transport?.destroyed === true)
    if (this.#isHttp2) return
    // Destroying a request that was read to its end does not touch the connection.
    this.#guardDestroy(req, () => (req.complete && req.readableEnded) || this.#transport?.destroyed === true)
  }

  /** Gives the app back control of the connection. Call it when the response leaves. */
  release(): void {
    for (const restore of this.#restorers.splice(0)) restore()
  }

  /**
   * Drops all further attempts to close the connection. Call it before the app hears of an error that came after its
   * response: the client's next request may already be on its way over this connection.
   */
  keepOpen(): void {
    this.#dropsCloses = true
    this.hold()
  }

  /** Sets `Connection: close` if the app asked to close an HTTP/1 connection. Call it just before the head leaves. */
  announceClose(): void {
    if (!this.#closeRequested || this.#isHttp2) return
    this.#closeAnnounced = true
    this.#res.setHeader('Connection', 'close')
  }

  /**
   * Closes the connection after the response if the app asked for that while it was held. A connection that was not
   * announced as closing is closed only when the request's body is incomplete: otherwise the client's next request may
   * already be on its way.
   */
  closeAfterResponse(): void {
    if (!this.#closeRequested) return
    const [req, transport] = [this.#req, this.#transport]
    if (this.#isHttp2) transport?.close?.()
    else if (this.#closeAnnounced || !req.complete) {
      this.#res.once('finish', () => {
        if (this.#deferredDestroy) this.#deferredDestroy()
        else if (req.complete) transport?.destroySoon?.()
        else req.destroy()
      })
    }
  }

  #refuseClose(): void {
    debug('the connection is not cut: %s', this.#dropsCloses ? 'the answer is out' : 'the answer is held')
    if (!this.#dropsCloses) this.#closeRequested = true
  }

  /** Replaces a property that exposes the connection by a proxy of it. */
  #guard(message: object, property: string): void {
    const owner = message as Record<string, unknown>
    const original = owner[property]
    if (typeof original !== 'object' || original === null) return
    const proxy = this.#proxyOf(original)
    if (Object.getOwnPropertyDescriptor(owner, property)?.writable) {
      // Assigned, not defined: turning a property of Node's into an accessor costs as much as a small request.
      owner[property] = proxy
      this.#restorers.push(() => {
        if (owner[property] === proxy) owner[property] = original
      })
    } else if (!Object.hasOwn(owner, property)) {
      Object.defineProperty(owner, property, { value: proxy, configurable: true, writable: true, enumerable: false })
      this.#restorers.push(() => Reflect.deleteProperty(owner, property))
    }
  }

  /** Replaces `destroy`. `isHarmless`: whether the original may run now because it leaves the connection alone. */
  #guardDestroy(message: IncomingMessage | ServerResponse, isHarmless: () => boolean): void {
    const { destroy } = message
    if (typeof destroy !== 'function') return
    const own = Object.getOwnPropertyDescriptor(message, 'destroy')
    const value = (...args: unknown[]): unknown => {
      const call = (): unknown => Reflect.apply(destroy, message, args)
      if (isHarmless()) return call()
      this.#refuseClose()
      if (message === this.#req) this.#deferredDestroy = call
      return message
    }
    Object.defineProperty(message, 'destroy', { value, configurable: true, writable: true, enumerable: false })
    this.#restorers.push(() => {
      if (own) Object.defineProperty(message, 'destroy', own)
      else Reflect.deleteProperty(message, 'destroy')
    })
  }

  /** A proxy of a socket or stream. The app may keep it: it stops guarding when `release` is called. */
  #proxyOf<T extends object>(target: T): T {
    const proxy: T = new Proxy(target, {
      get: (_, key) => {
        const guarded = this.#restorers.length > 0
        if (guarded && CLOSING_METHODS.has(key)) {
          return () => {
            this.#refuseClose()
            return proxy
          }
        }
        if (guarded && key === 'headersSent') return true
        if (guarded && RESPONDING_METHODS.has(key)) {
          return () => {
            throw headersSent()
          }
        }
        const value: unknown = Reflect.get(target, key, target)
        return typeof value === 'function' && key !== 'constructor' ? value.bind(target) : value
      },
      set: (_, key, value) => Reflect.set(target, key, value, target),
    })
    return proxy
  }
}

/** The error that Node throws for a change of a head that was sent. */
export function headersSent(): Error {
  return Object.assign(new Error('Cannot set headers after they are sent to the client'), {
    code: 'ERR_HTTP_HEADERS_SENT',
  })
}
