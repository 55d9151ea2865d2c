// Real redis servers for tests, each on a free port with a folder of its own.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why there can be no Redis here; undefined when there can. */
export const redisMissing =
  spawnSync('redis-server', ['--version']).status === 0 ? undefined : 'redis-server is not installed'

export interface RedisServer {
  readonly port: number
  readonly url: string
  /** Ends the server and removes its folder. */
  stop(): Promise<void>
  /** Ends the server as a crash does. */
  kill(): Promise<void>
  /** Starts the server again, on the same port and folder. Data is kept only with `--appendonly yes` among the args. */
  restart(): Promise<void>
}

export async function startRedis({ args = [] }: { args?: string[] } = {}): Promise<RedisServer> {
  const dir = await mkdtemp(join(tmpdir(), 'redis-'))
  let port = 0
  let server: ChildProcess | undefined
  let stopped = false

  for (let tries = 0; !server; tries++) {
    port = await freePort()
    server = await launch(port, dir, args).catch((error) => {
      if (tries === 4) throw error
      return undefined
    })
  }

  async function end(signal: 'SIGTERM' | 'SIGKILL') {
    const running = server
    server = undefined
    if (!running || running.exitCode !== null || running.signalCode !== null) return
    running.kill(signal)
    await once(running, 'exit')
  }

  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM')
      if (stopped) throw new Error('this redis-server was stopped for good')
      server = await launch(port, dir, args)
      // A test that has failed meanwhile does not stop it a second time.
      if (stopped) await end('SIGKILL')
    },
    async stop() {
      stopped = true
      await end('SIGTERM')
      await rm(dir, { recursive: true, force: true })
    },
  }
}

export interface RedisCluster {
  readonly nodes: readonly RedisServer[]
  /** As node-redis and ioredis take them. */
  readonly rootNodes: { url: string; host: string; port: number }[]
  stop(): Promise<void>
}

/** A cluster of three masters without replicas. */
export async function startCluster(): Promise<RedisCluster> {
  const nodes = await Promise.all(
    [0, 1, 2].map(() =>
      startRedis({
        args: ['--cluster-enabled', 'yes', '--cluster-node-timeout', '60000'],
      }),
    ),
  )
  const stop = async () => void (await Promise.all(nodes.map((node) => node.stop())))
  try {
    await Promise.all(
      nodes.map(async ({ port }, index) => {
        const slots = Array.from({ length: 16384 }, (_, slot) => slot).filter(
          (slot) => Math.floor((slot * 3) / 16384) === index,
        )
        // Without distinct epochs the nodes first have to settle who is right.
        await command(port, `CLUSTER SET-CONFIG-EPOCH ${index + 1}`)
        await command(port, `CLUSTER ADDSLOTS ${slots.join(' ')}`)
        if (index > 0) await command(port, `CLUSTER MEET 127.0.0.1 ${nodes[0]?.port}`)
      }),
    )
    for (const { port } of nodes) {
      while (!/cluster_state:ok.*cluster_known_nodes:3/s.test(await command(port, 'CLUSTER INFO'))) {
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  } catch (error) {
    await stop()
    throw error
  }
  return {
    nodes,
    rootNodes: nodes.map(({ url, port }) => ({ url, host: '127.0.0.1', port })),
    stop,
  }
}

async function launch(port: number, dir: string, args: string[]): Promise<ChildProcess> {
  const server = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--loglevel', 'notice', ...args],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const abandon = () => server.kill('SIGKILL')
  process.once('exit', abandon)
  server.once('exit', () => process.off('exit', abandon))

  let log = ''
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.once('exit', () => reject(new Error(`redis-server ended at once:\n${log}`)))
    server.stdout.on('data', (text) => {
      log += text
      if (log.includes('Ready to accept connections')) resolve()
    })
  })
  server.stdout.removeAllListeners('data').resume()
  return server
}

// A cluster node takes port + 10000 too. Both lie below the ports that systems hand out to clients, so nobody is given them meanwhile.
async function freePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 10_000)
    if ((await isFree(port)) && (await isFree(port + 10_000))) return port
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

export interface Watch {
  /** What clients have sent since, one line for each command: `"GET" "sess:…"`. What scripts do is left out. */
  commands(): Promise<string[]>
  stop(): void
}

/** The name of a watched command, in capitals. */
export function nameOf(line: string): string {
  return line.slice(1, line.indexOf('"', 1)).toUpperCase()
}

/** Sees every command that a server is sent, by MONITOR. */
export async function watch(port: number): Promise<Watch> {
  let text = ''
  let rounds = 0
  const socket = net.connect(port, '127.0.0.1', () => socket.write('MONITOR\r\n'))
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  socket.on('error', () => {})
  const seen = async (line: string) => {
    while (!text.includes(line)) await new Promise((resolve) => setTimeout(resolve, 2))
  }
  await seen('+OK')
  return {
    async commands() {
      const mark = `"ECHO" "watch-${process.pid}-${++rounds}"`
      await command(port, mark)
      await seen(mark)
      return [...text.matchAll(/^\+[\d.]+ \[\d+ (\S+)\] (.*?)\r?$/gm)]
        .filter(([, from, line]) => from !== 'lua' && !/^"(ECHO|QUIT|INFO|quit)"/.test(line as string))
        .map(([, , line]) => line as string)
    },
    stop: () => socket.destroy(),
  }
}

/** How often each command was called, those of scripts included, by INFO. */
export async function commandStats(port: number): Promise<Record<string, number>> {
  const info = await command(port, 'INFO commandstats')
  return Object.fromEntries([...info.matchAll(/cmdstat_(\S+?):calls=(\d+)/g)].map(([, name, n]) => [name, Number(n)]))
}

/** For how many seconds a key lives, up to full hundreds: the time that it takes to ask does not show. */
export async function lifetimeOf(port: number, key: string): Promise<number> {
  const [, left] = /^:(-?\d+)/.exec(await command(port, `PTTL ${key}`)) ?? []
  return Math.ceil(Number(left) / 100_000) * 100
}

/** One command without a client: the answer, as the server wrote it. */
export function command(port: number, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = net.connect(port, '127.0.0.1', () => socket.write(`${line}\r\nQUIT\r\n`))
    socket.on('data', (text) => {
      answer += text
    })
    socket.on('error', reject)
    socket.on('close', () => (answer.startsWith('-') ? reject(new Error(answer)) : resolve(answer)))
  })
}
