// A Redis server of our own, and what its clients ask of it.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

export function hasRedis() {
  return spawnSync('redis-server', ['--version']).status === 0
}

/**
 * Starts a server that keeps its files, if any, in `folder`.
 * @param {string} folder
 */
export async function startRedis(folder) {
  const port = await freePort()
  const server = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'],
    { stdio: 'ignore' },
  )
  process.once('exit', () => server.kill('SIGKILL'))
  await once(server, 'spawn')
  for (let tries = 0; !(await answers(port)); tries++) {
    if (tries === 100 || server.exitCode !== null) throw new Error('redis-server did not start')
    await delay(50)
  }
  return {
    port,
    async stop() {
      server.kill()
      await once(server, 'exit')
    },
  }
}

/**
 * Runs `work` and returns how often each command came from a client meanwhile. INFO commandstats cannot tell: it
 * counts what a script does as if clients had sent it, so this reads MONITOR, which marks it.
 * @param {number} port
 * @param {() => unknown} work
 */
export async function watchCommands(port, work) {
  const socket = connect({ port, host: '127.0.0.1' })
  let log = ''
  socket.setEncoding('latin1').on('data', (text) => {
    log += text
  })
  socket.write('MONITOR\r\n')
  await once(socket, 'data')
  await work()
  const mark = `bench-${Date.now()}`
  const other = connect({ port, host: '127.0.0.1' })
  other.write(`ECHO ${mark}\r\n`)
  while (!log.includes(mark)) await once(socket, 'data')
  socket.destroy()
  other.destroy()

  /** @type {Record<string, number>} */
  const counts = {}
  for (const [, from, command = ''] of log.matchAll(/^\+[\d.]+ \[\d+ ([^\]]+)\] "(\w+)"/gm)) {
    const name = command.toLowerCase()
    if (from !== 'lua' && name !== 'echo') counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

/** @param {number} port */
async function answers(port) {
  const socket = connect({ port, host: '127.0.0.1' })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  server.close()
  return port
}
