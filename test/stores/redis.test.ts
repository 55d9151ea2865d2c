// The contracts of stores and of the index of users, over every client, on a server and on a cluster.

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { DRIVER } from '../../lib/port/slot.ts'
import { storeContract } from '../../lib/testing.ts'
import type { RedisStore } from '../../stores/redis.ts'
import { type RedisCluster, type RedisServer, redisMissing, startCluster, startRedis } from '../support/redis.ts'
import { bun } from '../support/serve.ts'
import { clusters, type Opened, singles } from './fixture/redis-clients.ts'
import { runScript } from './fixture/redis-process.ts'
import { userIndexContract } from './user-index.ts'

vi.setConfig({ maxConcurrency: 40 })

let server: RedisServer
let cluster: RedisCluster

beforeAll(async () => {
  if (redisMissing) return
  ;[server, cluster] = await Promise.all([startRedis(), startCluster()])
})
afterAll(() => Promise.all([server?.stop(), cluster?.stop()]))

let prefixes = 0
const usersOf = (store: RedisStore) => store[DRIVER]()?.users
const runner = { describe: describe.concurrent, it: it.concurrent, expect }

const clients: [string, () => Promise<Opened>][] = [
  ...Object.entries(singles).map(([name, open]): [string, () => Promise<Opened>] => [name, () => open(server.url)]),
  ...Object.entries(clusters).map(([name, open]): [string, () => Promise<Opened>] => [
    name,
    () => open(cluster.rootNodes),
  ]),
]

for (const [name, open] of redisMissing ? [] : clients) {
  describe.concurrent(`RedisStore over ${name}`, () => {
    let opened: Opened
    beforeAll(async () => {
      opened = await open()
    })
    afterAll(() => opened?.close())

    storeContract(runner, () => ({ store: opened.store({ prefix: `contract-${++prefixes}:` }) as never }))

    if (name.includes('three methods')) return
    userIndexContract(() => {
      const prefix = `contract-${++prefixes}:`
      return { store: opened.store({ prefix }), other: usersOf(opened.store({ prefix })) }
    })
  })
}

it.skipIf(redisMissing || !bun)('RedisStore keeps the contract under Bun', async () => {
  const tests = ['test', '--timeout', '300000', './test/stores/fixture/redis-contract.ts']
  const env = { REDIS_URL: server.url, REDIS_NODES: JSON.stringify(cluster.rootNodes) }
  const { code, stderr } = await runScript(bun, tests, env)
  expect(stderr).toMatch(/\b174 pass\n\s*0 fail/)
  expect(code).toBe(0)
})
