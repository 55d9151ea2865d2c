// The connection below a response that is held: what the app does to it by way of its request or its response.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { debug } from '../diagnostics.ts'

/** What ends a socket of Node or Bun, or an HTTP/2 stream. */
const CUTS: ReadonlySet<PropertyKey> = new Set(['close', 'destroy', 'destroySoon', 'end', 'resetAndDestroy'])
/** What answers on an HTTP/2 stream itself. */
const ANSWERS: ReadonlySet<PropertyKey> = new Set(['respond', 'respondWithFD', 'respondWithFile'])

/** Where a request and a response show the connection that they came over. */
const WAYS = ['socket', 'stream'] as const

/** A socket, or an HTTP/2 stream. */
interface Below {
  readonly destroyed: boolean
  /** A stream's. */
  close?(): void
  /** A socket's. */
  destroySoon?(): void
}

/**
 * A framework that meets an error after the answer cuts the connection, as finalhandler does with
 * `req.socket.destroy()`. While the answer is held, that would cost the client an answer that looks sent. Here such a
 * call waits. What the client, the server or a timeout does to the socket itself is let through.
 */
export class Connection {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #isHttp2: boolean
  /** The socket, or the HTTP/2 stream. */
  readonly #below: Below | undefined
  #undo: (() => void)[] = []
  #ignores = false
  /** The app has wanted the connection closed while its answer was held. */
  #closing = false
  /** The head of the answer has announced that. */
  #closeAnnounced = false
  /** The request's own `destroy`, which the app has called then. */
  #destroy: (() => void) | undefined

  constructor(req: IncomingMessage, res: ServerResponse, isHttp2: boolean) {
    this.#req = req
    this.#res = res
    this.#isHttp2 = isHttp2
    this.#below = isHttp2 ? (res as unknown as { stream: Below }).stream : req.socket
  }

  /** From now on the app cannot cut the connection: the answer is held. */
  hold(): void {
    const [req, res] = [this.#req, this.#res]
    for (const message of [req, res]) {
      for (const way of WAYS) if (way in message) this.#guard(message, way)
    }
    this.#replace(res, () => this.#below?.destroyed === true)
    if (this.#isHttp2) return
    // That of a request which has been read leaves the connection alone; of one whose client is gone there is none.
    this.#replace(req, () => (req.complete && req.readableEnded) || this.#below?.destroyed === true)
  }

  /** The answer leaves now; the connection is the app's again. */
  release(): void {
    for (const undo of this.#undo.splice(0)) undo()
  }

  /**
   * The answer is out, and the app is told of an error that is not its own: that must not cost the connection, by which
   * the client's next request may be on its way.
   */
  spare(): void {
    this.#ignores = true
    this.hold()
  }

  /** The head leaves now, and announces that the connection will be closed, if the app has wanted that. */
  announce(): void {
    if (!this.#closing || this.#isHttp2) return
    this.#closeAnnounced = true
    this.#res.setHeader('Connection', 'close')
  }

  /**
   * The answer leaves, and the connection closes after it, if the app has wanted that. Where the head could not announce
   * it, only an upload ends that the app has cut off: by any other connection the next request may be on its way.
   */
  close(): void {
    if (!this.#closing) return
    const [req, below] = [this.#req, this.#below]
    if (this.#isHttp2) below?.close?.()
    else if (this.#closeAnnounced || !req.complete) {
      this.#res.once('finish', () => {
        if (this.#destroy) this.#destroy()
        else if (req.complete) below?.destroySoon?.()
        else req.destroy()
      })
    }
  }

  #cut(): void {
    debug('the connection is not cut: %s', this.#ignores ? 'the answer is out' : 'the answer is held')
    if (!this.#ignores) this.#closing = true
  }

  #guard(message: object, way: string): void {
    const holder = message as Record<string, unknown>
    const shown = holder[way]
    if (typeof shown !== 'object' || shown === null) return
    const facade = this.#facade(shown)
    if (Object.getOwnPropertyDescriptor(holder, way)?.writable) {
      // An assignment: making an accessor of a property of Node's would cost as much as a small request.
      holder[way] = facade
      this.#undo.push(() => {
        if (holder[way] === facade) holder[way] = shown
      })
    } else if (!Object.hasOwn(holder, way)) {
      Object.defineProperty(holder, way, { value: facade, configurable: true, writable: true, enumerable: false })
      this.#undo.push(() => Reflect.deleteProperty(holder, way))
    }
  }

  #replace(message: IncomingMessage | ServerResponse, harmless: () => boolean): void {
    const { destroy } = message
    if (typeof destroy !== 'function') return
    const own = Object.getOwnPropertyDescriptor(message, 'destroy')
    const value = (...args: unknown[]): unknown => {
      const call = (): unknown => Reflect.apply(destroy, message, args)
      if (harmless()) return call()
      this.#cut()
      if (message === this.#req) this.#destroy = call
      return message
    }
    Object.defineProperty(message, 'destroy', { value, configurable: true, writable: true, enumerable: false })
    this.#undo.push(() => {
      if (own) Object.defineProperty(message, 'destroy', own)
      else Reflect.deleteProperty(message, 'destroy')
    })
  }

  /** The socket or stream as the app sees it meanwhile, and as it may keep it. */
  #facade<T extends object>(target: T): T {
    const facade: T = new Proxy(target, {
      get: (_, key) => {
        const guarded = this.#undo.length > 0
        if (guarded && CUTS.has(key)) {
          return () => {
            this.#cut()
            return facade
          }
        }
        if (guarded && key === 'headersSent') return true
        if (guarded && ANSWERS.has(key)) {
          return () => {
            throw headersSent()
          }
        }
        const value: unknown = Reflect.get(target, key, target)
        return typeof value === 'function' && key !== 'constructor' ? value.bind(target) : value
      },
      set: (_, key, value) => Reflect.set(target, key, value, target),
    })
    return facade
  }
}

/** Node's error for touching a head that has left. */
export function headersSent(): Error {
  return Object.assign(new Error('Cannot set headers after they are sent to the client'), {
    code: 'ERR_HTTP_HEADERS_SENT',
  })
}
