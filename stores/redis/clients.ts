// The clients, brought into one shape. They are told apart by theirs: an app may have several copies and versions of a
// package.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Awaitable } from '../../lib/awaitable.ts'
import { debug } from '../../lib/diagnostics.ts'
import { SessionError } from '../../lib/errors.ts'
import type { Commands, ScanNode } from './commands.ts'
import type { RedisStoreClient } from './options.ts'

/** How long an attempt of the store's own client to connect may take. */
const CONNECT_MS = 2_000

/** A client, and its connection. */
export interface Link {
  readonly commands: Commands
  /** A command given to the client now is sent now. */
  ready(): boolean
  /** Does what can be done so that the client gets ready; it may be asked again at any time. */
  open(): Awaitable<unknown>
}

/** The link to an app's client. */
export function linkTo(client: RedisStoreClient): Link {
  const shape = client as Partial<IoRedis & BunRedis>
  if (typeof shape.defineCommand === 'function') return linkToIoRedis(client as unknown as IoRedis)
  if (typeof shape.send === 'function' && typeof shape.connected === 'boolean')
    return linkToBun(client as unknown as BunRedis)
  return linkToNodeRedis(client as unknown as NodeRedis, false)
}

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
  /** The client with promises, of redis 4 in legacy mode. */
  readonly v4?: NodeRedis
  /** Of a cluster. */
  readonly masters?: unknown[]
  nodeClient?(master: unknown): Awaitable<NodeRedis>
  sendCommand?(firstKey: string, isReadonly: boolean, args: string[]): Promise<unknown>
}

const guarded = new WeakSet<object>()

/** `reopens`: a client that was closed is opened again. An app's is not: the app has closed it. */
function linkToNodeRedis(client: NodeRedis, reopens: boolean): Link {
  // Without a listener a broken connection ends the process. Commands tell what is wrong.
  if (typeof client.on === 'function' && !guarded.has(client)) {
    guarded.add(client)
    client.on('error', (error) => debug('redis client: %s', error))
  }
  let wasReady = false
  return {
    commands: commandsOfNodeRedis(client),
    ready() {
      const { isOpen } = client
      if (isOpen === undefined) return true
      if (!isOpen) return wasReady && !reopens
      const isReady = client.isReady ?? (client.masters ? client.masters.length > 0 : true)
      wasReady ||= isReady
      return isReady
    },
    // A second connect() throws: the app may be about it.
    open: () => (client.isOpen === false ? client.connect?.() : undefined),
  }
}

function commandsOfNodeRedis(client: NodeRedis): Commands {
  const on = (client.options?.legacyMode && client.v4) || client
  const scan =
    (node: NodeRedis): ScanNode =>
    (cursor, pattern, count) =>
      (node as Required<NodeRedis>).scan(cursor, { MATCH: pattern, COUNT: count })
  const mastersOf = async ({ masters = [] }: NodeRedis): Promise<ScanNode[]> => {
    const nodes = await Promise.all(masters.map((master) => (client as Required<NodeRedis>).nodeClient(master)))
    return nodes.map(scan)
  }
  const prolong = async (key: string, seconds: number): Promise<boolean> => {
    const value = await on.get(key)
    if (!value) return false
    await (seconds > 0 ? on.set(key, String(value), { EX: seconds }) : on.del(key))
    return true
  }
  const keyPrefix = String(client._keyPrefix ?? client.options?.keyPrefix ?? '')
  const run =
    on.eval && ((script: string, key: string, args: string[]) => on.eval?.(script, { keys: [key], arguments: args }))
  // A cluster of redis 4 looks for the key in the script's text, and asks any node.
  const runOnNode = (script: string, key: string, args: string[]) =>
    client.sendCommand?.(keyPrefix + key, false, ['EVAL', script, '1', keyPrefix + key, ...args])
  return {
    keyPrefix,
    get: (key) => on.get(key),
    set: (key, value, seconds) => on.set(key, value, { EX: seconds }),
    del: (key) => on.del(key),
    expire: (key, seconds) => (on.expire ? on.expire(key, seconds) : prolong(key, seconds)),
    eval: client.nodeClient && client.sendCommand ? runOnNode : run,
    nodes: client.nodeClient ? () => mastersOf(client) : on.scan && (() => [scan(on)]),
  }
}

interface IoRedis {
  get(key: string): Promise<unknown>
  set(key: string, value: string, unit: 'EX', seconds: number): Promise<unknown>
  del(key: string): Promise<unknown>
  expire(key: string, seconds: number): Promise<unknown>
  eval(script: string, keys: 1, key: string, ...args: string[]): Promise<unknown>
  scan(cursor: string, match: 'MATCH', pattern: string, count: 'COUNT', keys: number): Promise<[unknown, unknown[]]>
  defineCommand: unknown
  readonly status: string
  connect(): Promise<unknown>
  readonly options?: { keyPrefix?: unknown }
  /** Of a cluster. */
  nodes?(role: 'master'): IoRedis[]
}

/** States in which a command is put into a queue. */
const IOREDIS_WAITS = ['wait', 'connecting', 'connect', 'close', 'reconnecting']

function linkToIoRedis(client: IoRedis): Link {
  return {
    commands: {
      keyPrefix: String(client.options?.keyPrefix ?? ''),
      get: (key) => client.get(key),
      set: (key, value, seconds) => client.set(key, value, 'EX', seconds),
      del: (key) => client.del(key),
      expire: (key, seconds) => client.expire(key, seconds),
      eval: (script, key, args) => client.eval(script, 1, key, ...args),
      nodes: () =>
        (client.nodes?.('master') ?? [client]).map((node) => async (cursor, pattern, count) => {
          const [next, keys] = await node.scan(cursor, 'MATCH', pattern, 'COUNT', count)
          return { cursor: next, keys }
        }),
    },
    // One that the app has ended says so itself.
    ready: () => !IOREDIS_WAITS.includes(client.status),
    open: () => (client.status === 'wait' ? client.connect() : undefined),
  }
}

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

function linkToBun(client: BunRedis): Link {
  let opening: Promise<unknown> | undefined
  return {
    commands: {
      get: (key) => client.get(key),
      set: (key, value, seconds) => client.set(key, value, 'EX', seconds),
      del: (key) => client.del(key),
      expire: (key, seconds) => client.expire(key, seconds),
      eval: (script, key, args) => client.send('EVAL', [script, '1', key, ...args]),
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

function isMissingModule(error: unknown): boolean {
  return /^(ERR_)?MODULE_NOT_FOUND$/.test(String((error as { code?: unknown } | null)?.code))
}

/** Where `import()` is not to be had, as in Jest, the package is required from the working directory. */
async function importRedis(): Promise<RedisPackage> {
  try {
    return await import(/* webpackIgnore: true */ 'redis')
  } catch (error) {
    if ((error as { code?: unknown })?.code !== 'ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING_FLAG') throw error
    return createRequire(join(process.cwd(), 'package.json'))('redis') as RedisPackage
  }
}

interface BunGlobal {
  RedisClient?: new (url: string, options: object) => BunRedis
}

/**
 * The store's own client. It never reconnects by itself, for that would keep a process alive that is done: the next
 * command does.
 */
export class OwnLink implements Link {
  readonly #url: string
  #link: Link | undefined
  #making: Promise<Link> | undefined
  #close: (() => Awaitable<unknown>) | undefined
  /** Why there is no use in trying. */
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
