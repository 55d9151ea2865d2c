// Starts the servers that tests talk to: in this process, or in a child process of another runtime.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'

export interface Running {
  readonly url: string
  stop(): Promise<void>
}

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Path of the Bun binary; undefined where it is missing. */
export const bun: string | undefined = ['node_modules/.bin/bun', 'node_modules/@oven/bun-linux-x64/bin/bun']
  .map((path) => root + path)
  .find((path) => spawnSync(path, ['--version']).status === 0)

/** Why there is no Bun here; undefined when there is. */
export const bunMissing = bun ? undefined : 'npm ci has not installed Bun'

/** Serves a Node request listener on a free port. */
export async function serve(listener: RequestListener): Promise<Running> {
  // A connection is not closed because the test took its time between two requests.
  const server = createServer({ keepAliveTimeout: 0 }, listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Serves a fetch-style handler over Node's http; for requests without a body. */
export function serveFetch(handle: (request: Request) => Promise<Response>): Promise<Running> {
  return serve(async (req, res) => {
    const headers = Object.entries(req.headers).map(([name, value]) => [name, String(value)] as [string, string])
    const request = new Request(`http://${req.headers.host}${req.url}`, { headers, method: req.method ?? 'GET' })
    const response = await handle(request)
    res.statusCode = response.status
    for (const [name, value] of response.headers) if (name !== 'set-cookie') res.setHeader(name, value)
    res.setHeader('set-cookie', response.headers.getSetCookie())
    res.end(Buffer.from(await response.arrayBuffer()))
  })
}

/** Runs a script that prints `listening <port>`; its stderr is shown when it dies early. */
export async function spawnServer(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Running & { child: ChildProcess }> {
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  let said = ''
  child.stderr?.on('data', (data) => {
    said += data
  })
  const port = await new Promise<string>((resolve, reject) => {
    let out = ''
    child.stdout?.on('data', (data) => {
      out += data
      const match = /^listening (\d+)$/m.exec(out)
      if (match?.[1]) resolve(match[1])
    })
    exited.then(() => reject(new Error(`${command} ${args.join(' ')} ended early: ${said}`)))
  })
  return {
    url: `http://127.0.0.1:${port}`,
    child,
    async stop() {
      child.kill('SIGKILL')
      await exited
    },
  }
}
