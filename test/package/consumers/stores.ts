// Stores as apps write them, with callbacks and with promises.
import session, { MemoryStore, type SessionData, Store } from 'express-session'

class MapStore extends session.Store {
  private readonly map = new Map<string, SessionData>()

  constructor(options: { readonly ttl?: number } = {}) {
    super(options)
  }

  get(sid: string, callback: (err: any, session?: session.SessionData | null) => void) {
    setImmediate(callback, null, this.map.get(sid))
  }

  set(sid: string, session: session.SessionData, callback?: (err?: any) => void) {
    const ttl: number = session.cookie.maxAge ?? 86_400_000
    const expires = session.cookie.expires ? new Date(session.cookie.expires) : new Date(Date.now() + ttl)
    this.map.set(sid, { ...session, cookie: Object.assign(session.cookie, { expires }) })
    callback?.()
  }

  destroy(sid: string, callback?: (err?: any) => void) {
    this.map.delete(sid)
    this.emit('destroyed', sid)
    callback?.()
  }

  override touch(_sid: string, _session: SessionData, callback?: () => void) {
    callback?.()
  }

  override all(callback: (err: any, obj?: session.SessionData[] | { [sid: string]: SessionData } | null) => void) {
    callback(null, Object.fromEntries(this.map))
  }

  override length(callback: (err: any, length: number) => void) {
    callback(null, this.map.size)
  }

  override clear(callback?: (err?: any) => void) {
    this.map.clear()
    callback?.()
  }
}

/** A store that wraps another, with methods as properties. */
class Wrapped extends Store {
  readonly inner: Store = new MemoryStore()
  get = (sid: string, callback: (err: any, session?: SessionData | null) => void) => this.inner.get(sid, callback)
  set = (sid: string, session: SessionData, callback?: (err?: any) => void) => this.inner.set(sid, session, callback)
  destroy = (sid: string, callback?: (err?: any) => void) => this.inner.destroy(sid, callback)
}

/** A store that returns promises. */
class Promised {
  async get(_sid: string): Promise<SessionData | undefined> {
    return undefined
  }
  async set(_sid: string, _session: SessionData, _ttl?: number): Promise<void> {}
  async destroy(_sid: string): Promise<boolean> {
    return true
  }
}

function factory(connect: { Store: typeof session.Store }): typeof session.Store {
  abstract class Base extends connect.Store {}
  return Base
}

const mine: Store[] = [new MapStore({ ttl: 1 }), new Wrapped()]
const stores: session.SessionOptions['store'][] = [...mine, new Promised(), new MemoryStore()]
export const all = stores.map((store) => session({ secret: 'x', store }))
export const one = session({ secret: 'x', store: new MapStore() })
export { factory }
