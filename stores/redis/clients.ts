// Adapters for the clients of redis, ioredis and Bun. A client is recognised by its methods, not by its class: an app may
// have several copies and versions of a package.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Awaitable } from '../../lib/awaitable.ts'
import { debug } from '../../lib/diagnostics.ts'
import { SessionError } from '../../lib/errors.ts'
import type { Commands, ScanNode } from './commands.ts'
import type { RedisStoreClient } from './options.ts'

/** How long the store's own client may take to connect, in milliseconds. */
const CONNECT_MS = 2_000

/** The adapter of a client: its commands and its connection. */
export interface Link {
  readonly commands: Commands
  /** Whether the client would send a command at once. */
  ready(): boolean
  /** Connects the client if that is not left to the app or to the client itself. May be called at any time, and repeatedly. */
  open(): Awaitable<unknown>
}

/** The adapter for a client of the app. */
export function linkTo(client: RedisStoreClient): Link {
  const shape = client as Partial<IoRedis & BunRedis>
  if (typeof shape.defineCommand === 'function') return linkToIoRedis(client as unknown as IoRedis)
  if (typeof shape.send === 'function' && typeof shape.connected === 'boolean')
    return linkToBun(client as unknown as BunRedis)
  return linkToNodeRedis(client as unknown as NodeRedis, false)
}

/** What is used of a client of `redis`: single, cluster, pool or sentinel, or of an object with the same methods. */
interface NodeRedis {
  get(key: string): Promise<unknown>
  set(key: string, value: string, options: { EX: number }): Promise<unknown>
  del(key: string): Promise<unknown>
  expire?(key: string, seconds: number): Promise<unknown>
  eval?(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
  scan?(cursor: string, options: { MATCH: string; COUNT: number }): ReturnType<ScanNode>
  readonly isOpen?: boolean
  readonly isReady?: boolean
  connect?(): Promise<unknown>
  on?(event: 'error', listener: (error: unknown) => void): unknown
  close?(): Promise<unknown>
  quit?(): Promise<unknown>
  unref?(): void
  readonly options?: { keyPrefix?: unknown; legacyMode?: boolean }
  readonly _keyPrefix?: unknown
  /** In the legacy mode of redis 4: the client whose methods return promises. */
  readonly v4?: NodeRedis
  /** Of a cluster, as is the next member. */
  readonly masters?: unknown[]
  nodeClient?(master: unknown): Awaitable<NodeRedis>
  /** In a cluster it is given the key and whether it only reads first, behind a sentinel only the latter. */
  sendCommand?(...args: [string[]] | [boolean, string[]] | [string, boolean, string[]]): Promise<unknown>
  /** Of a sentinel. */
  getSentinelNode?: unknown
}

/** Clients to which an error listener has been added. */
const guarded = new WeakSet<object>()

/** `reopens`: a closed client is connected again. That of an app is not: it was the app that closed it. */
function linkToNodeRedis(client: NodeRedis, reopens: boolean): Link {
  // Without a listener, a broken connection ends the process. The commands fail anyway, and say why.
  if (typeof client.on === 'function' && !guarded.has(client)) {
    guarded.add(client)
    client.on('error', (error) => debug('redis client: %s', error))
  }
  let wasReady = false
  return {
    commands: commandsOfNodeRedis(client),
    ready() {
      const { isOpen } = client
      // An object that only has the methods of `redis`: it says nothing of its connection.
      if (isOpen === undefined) return true
      if (!isOpen) return wasReady && !reopens
      // The cluster of redis 4 and 5 has no isReady.
      const isReady = client.isReady ?? (client.masters ? client.masters.length > 0 : true)
      wasReady ||= isReady
      return isReady
    },
    // An open client is connecting or connected; a second connect() throws.
    open: () => (client.isOpen === false ? client.connect?.() : undefined),
  }
}

/** The differences between the versions of `redis`, and between a client and a cluster, end here. */
function commandsOfNodeRedis(client: NodeRedis): Commands {
  const promising = (client.options?.legacyMode && client.v4) || client
  const scan =
    (node: NodeRedis): ScanNode =>
    (cursor, pattern, count) =>
      (node as Required<NodeRedis>).scan(cursor, { MATCH: pattern, COUNT: count })
  const mastersOf = async ({ masters = [] }: NodeRedis): Promise<ScanNode[]> => {
    const nodes = await Promise.all(masters.map((master) => (client as Required<NodeRedis>).nodeClient(master)))
    return nodes.map(scan)
  }
  // For an object without expire(): the value is written again.
  const rewrite = async (key: string, seconds: number): Promise<boolean> => {
    const value = await promising.get(key)
    if (!value) return false
    await (seconds > 0 ? promising.set(key, String(value), { EX: seconds }) : promising.del(key))
    return true
  }
  const keyPrefix = String(client._keyPrefix ?? client.options?.keyPrefix ?? '')
  const run =
    promising.eval &&
    ((script: string, key: string, args: string[]) => promising.eval?.(script, { keys: [key], arguments: args }))
  // The eval() of a cluster in redis 4 looks for the key in the script's text, and so asks the wrong node.
  const runOnNode = (script: string, key: string, args: string[]) =>
    client.sendCommand?.(keyPrefix + key, false, ['EVAL', script, '1', keyPrefix + key, ...args])
  const send = (command: string, key: string, args: string[]) => {
    const words = [command, keyPrefix + key, ...args]
    if (client.nodeClient) return client.sendCommand?.(keyPrefix + key, false, words)
    return client.getSentinelNode ? client.sendCommand?.(false, words) : promising.sendCommand?.(words)
  }
  return {
    keyPrefix,
    get: (key) => promising.get(key),
    set: (key, value, seconds) => promising.set(key, value, { EX: seconds }),
    del: (key) => promising.del(key),
    expire: (key, seconds) => (promising.expire ? promising.expire(key, seconds) : rewrite(key, seconds)),
    eval: client.nodeClient && client.sendCommand ? runOnNode : run,
    send: promising.sendCommand && send,
    nodes: client.nodeClient ? () => mastersOf(client) : promising.scan && (() => [scan(promising)]),
  }
}

/** What is used of a client of `ioredis`, single or cluster. */
interface IoRedis {
  get(key: string): Promise<unknown>
  set(key: string, value: string, unit: 'EX', seconds: number): Promise<unknown>
  del(key: string): Promise<unknown>
  expire(key: string, seconds: number): Promise<unknown>
  eval(script: string, keys: 1, key: string, ...args: string[]): Promise<unknown>
  call(command: string, ...args: string[]): Promise<unknown>
  scan(cursor: string, match: 'MATCH', pattern: string, count: 'COUNT', keys: number): Promise<[unknown, unknown[]]>
  defineCommand: unknown
  readonly status: string
  connect(): Promise<unknown>
  readonly options?: { keyPrefix?: unknown }
  /** Of a cluster. */
  nodes?(role: 'master'): IoRedis[]
}

/** The states in which the client queues a command. */
const IOREDIS_QUEUES = ['wait', 'connecting', 'connect', 'close', 'reconnecting']

/** An ioredis client connects by itself, unless it was made with `lazyConnect`. */
function linkToIoRedis(client: IoRedis): Link {
  return {
    commands: {
      keyPrefix: String(client.options?.keyPrefix ?? ''),
      get: (key) => client.get(key),
      set: (key, value, seconds) => client.set(key, value, 'EX', seconds),
      del: (key) => client.del(key),
      expire: (key, seconds) => client.expire(key, seconds),
      eval: (script, key, args) => client.eval(script, 1, key, ...args),
      send: (command, key, args) => client.call(command, key, ...args),
      nodes: () =>
        (client.nodes?.('master') ?? [client]).map((node) => async (cursor, pattern, count) => {
          const [next, keys] = await node.scan(cursor, 'MATCH', pattern, 'COUNT', count)
          return { cursor: next, keys }
        }),
    },
    // A client that the app has closed counts as ready: its commands fail at once, and say why.
    ready: () => !IOREDIS_QUEUES.includes(client.status),
    open: () => (client.status === 'wait' ? client.connect() : undefined),
  }
}

/** What is used of Bun's `RedisClient`. */
interface BunRedis {
  get(key: string): Promise<unknown>
  set(key: string, value: string, unit: 'EX', seconds: number): Promise<unknown>
  del(key: string): Promise<unknown>
  expire(key: string, seconds: number): Promise<unknown>
  send(command: string, args: string[]): Promise<unknown>
  readonly connected: boolean
  connect(): Promise<unknown>
  close(): void
}

/** Bun's client is connected before it is given a command, so that the wait for the connection is limited. */
function linkToBun(client: BunRedis): Link {
  /** The attempt to connect that is under way. */
  let opening: Promise<unknown> | undefined
  return {
    commands: {
      get: (key) => client.get(key),
      set: (key, value, seconds) => client.set(key, value, 'EX', seconds),
      del: (key) => client.del(key),
      expire: (key, seconds) => client.expire(key, seconds),
      eval: (script, key, args) => client.send('EVAL', [script, '1', key, ...args]),
      send: (command, key, args) => client.send(command, [key, ...args]),
      nodes: () => [
        async (cursor, pattern, count) => {
          const args = [cursor, 'MATCH', pattern, 'COUNT', String(count)]
          const [next, keys] = (await client.send('SCAN', args)) as [unknown, unknown[]]
          return { cursor: next, keys }
        },
      ],
    },
    ready: () => client.connected,
    open() {
      opening ??= client.connect().finally(() => {
        opening = undefined
      })
      return opening
    },
  }
}

type RedisPackage = typeof import('redis')

/** The code is ERR_MODULE_NOT_FOUND from import(), and MODULE_NOT_FOUND from require(). */
function isMissingModule(error: unknown): boolean {
  return /^(ERR_)?MODULE_NOT_FOUND$/.test(String((error as { code?: unknown } | null)?.code))
}

/** Imports `redis`. Where `import()` is not available, as in Jest, it is required from the working directory. */
async function importRedis(): Promise<RedisPackage> {
  try {
    return await import(/* webpackIgnore: true */ 'redis')
  } catch (error) {
    if ((error as { code?: unknown })?.code !== 'ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING_FLAG') throw error
    return createRequire(join(process.cwd(), 'package.json'))('redis') as RedisPackage
  }
}

/** The global object of Bun. */
interface BunGlobal {
  RedisClient?: new (url: string, options: object) => BunRedis
}

/**
 * The adapter for the store's own client, which it makes when it connects for the first time. After a lost connection,
 * only the next command connects again: a client that reconnects by itself would keep a finished process alive.
 */
export class OwnLink implements Link {
  readonly #url: string
  /** The adapter of the client, once that has been made. */
  #link: Link | undefined
  #making: Promise<Link> | undefined
  #close: (() => Awaitable<unknown>) | undefined
  /** Why no command can ever succeed: the store is closed, or the package `redis` cannot be loaded. */
  #failure: SessionError | undefined

  constructor(url: string) {
    this.#url = url
  }

  get commands(): Commands {
    if (this.#failure) throw this.#failure
    return (this.#link as Link).commands
  }

  ready(): boolean {
    return this.#failure !== undefined || this.#link?.ready() === true
  }

  async open(): Promise<void> {
    this.#making ??= this.#make()
    this.#link = await this.#making
    await this.#link.open()
  }

  async close(): Promise<void> {
    this.#failure = new SessionError('ERR_SESSION_STORE', 'this RedisStore is closed')
    await this.#close?.()
  }

  /** Makes the client: Bun's own on Bun, elsewhere one of the package `redis`. */
  async #make(): Promise<Link> {
    const { RedisClient } = (globalThis as { Bun?: BunGlobal }).Bun ?? {}
    if (!RedisClient) return this.#makeOnNode()
    const client = new RedisClient(this.#url, {
      autoReconnect: false,
      enableOfflineQueue: false,
      connectionTimeout: CONNECT_MS,
    })
    this.#close = () => client.close()
    return linkToBun(client)
  }

  async #makeOnNode(): Promise<Link> {
    const { createClient } = await importRedis().catch((cause: unknown) => {
      const reason = isMissingModule(cause)
        ? 'npm install redis'
        : `which cannot be loaded (${(cause as Error)?.message})`
      this.#failure = new SessionError(
        'ERR_SESSION_STORE',
        `RedisStore needs the package redis to connect, ${reason}; or give it a client option`,
        { cause },
      )
      throw this.#failure
    })
    const client = createClient({
      url: this.#url,
      disableOfflineQueue: true,
      socket: { reconnectStrategy: false, connectTimeout: CONNECT_MS },
    }) as unknown as NodeRedis
    client.unref?.()
    this.#close = () => (client.isOpen ? (client.close ?? client.quit)?.call(client) : undefined)
    return linkToNodeRedis(client, true)
  }
}
