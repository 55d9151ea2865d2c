// FileStore between processes, when they are killed, and with many sessions. The long forms are in ../../bench.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { FileStore } from '../../stores/file.ts'
import { bun } from '../support/serve.ts'
import { crash } from './fixture/file-crash.ts'
import { session } from './fixture/file-sessions.ts'
import { start } from './fixture/file-start.ts'

const folders: string[] = []

async function open(): Promise<{ path: string; store: FileStore }> {
  const path = await mkdtemp(join(tmpdir(), 'file-store-'))
  folders.push(path)
  return { path, store: new FileStore({ path, reapInterval: Infinity }) }
}

afterAll(async () => {
  for (const path of folders) await rm(path, { recursive: true })
})

async function countFiles(path: string): Promise<number> {
  const found = await readdir(path, { recursive: true, withFileTypes: true })
  return found.filter((entry) => entry.isFile()).length
}

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Tests that mostly wait. */
const waits = ['in its own time', 'touch extends a session', 'cookie has expired', 'same moment', 'Windows']

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe.concurrent('FileStore in several processes', { timeout: 60_000 }, () => {
  it('leaves every acknowledged session readable and whole when its process is killed', async () => {
    const { path } = await open()
    const runtimes = Array.from({ length: 8 }, (_, round) => (round % 2 ? bun : undefined))
    const wrecks = await Promise.all(runtimes.map((runtime, round) => crash(path, round, runtime)))
    expect(wrecks.flatMap(({ faults }) => faults)).toEqual([])
    for (const { acknowledged, writable } of wrecks) {
      expect(acknowledged).toBeGreaterThan(0)
      expect(writable).toBeLessThan(6_000)
    }
  })

  it('loses nothing between four processes, of Node and of Bun', async () => {
    const { path, store } = await open()
    for (const counter of ['counter-0', 'counter-1', 'counter-2']) await store.set(counter, session({ n: 0 }))
    const partners = await Promise.all([undefined, undefined, bun, bun].map((bun) => start('mix', path, 2_000, bun)))
    for (const partner of partners) partner.go()
    await Promise.all(partners.map(({ ended }) => ended))
    const total: Record<string, number> = {}
    for (const { said, complaints } of partners) {
      expect(complaints()).toBe('')
      const [{ counted, errors, operations }] = said as [
        { counted: Record<string, number>; errors: string[]; operations: number },
      ]
      expect(errors).toEqual([])
      expect(operations).toBeGreaterThan(20)
      for (const [sid, n] of Object.entries(counted)) total[sid] = (total[sid] ?? 0) + n
    }
    for (const [sid, n] of Object.entries(total)) expect([sid, (await store.get(sid))?.n]).toEqual([sid, n])
  })

  it.each([['Node', undefined], ...(bun ? [['Bun', bun]] : [])])('does not keep %s from ending', async (_, bun) => {
    const { path, store } = await open()
    const process = await start('end', path, 0, bun)
    process.go()
    const begin = performance.now()
    await process.ended
    expect(performance.now() - begin).toBeLessThan(5_000)
    expect([process.said, process.complaints()]).toEqual([['saved'], ''])
    expect(await store.get('last')).toBeDefined()
  })

  it.runIf(bun)('passes its tests under Bun', async () => {
    const pattern = `^(?!.*(${waits.join('|')}))`
    const args = ['test', '--timeout', '30000', './test/stores/file.test.ts', '-t', pattern]
    const { stderr } = await promisify(execFile)(bun as string, args, { cwd: root })
    expect(stderr).toMatch(/^ \d{2,} pass$/m)
    expect(stderr).toMatch(/^ 0 fail$/m)
  })
})

describe('FileStore with many sessions', { timeout: 60_000 }, () => {
  it('finds one session among many as fast as among a few', async () => {
    const { store } = await open()
    const fill = async (from: number, to: number) => {
      for (let n = from; n < to; n++) await store.set(`many-${n}`, session({ n }))
    }
    const median = async (count: number) => {
      const times: number[] = []
      for (let i = 0; i < 600; i++) {
        const n = Math.floor(Math.random() * count)
        const begin = performance.now()
        const found = await store.get(`many-${n}`)
        times.push(performance.now() - begin)
        if (found?.n !== n) throw new Error(`many-${n} is missing`)
      }
      return times.sort((a, b) => a - b)[300] as number
    }
    await fill(0, 300)
    await median(300)
    const few = await median(300)
    await fill(300, 3_000)
    expect(await median(3_000)).toBeLessThan(3 * few + 0.1)
    expect(await store.length()).toBe(3_000)
    expect(await store.all()).toHaveLength(3_000)
  })

  it('deletes thousands of expired sessions without holding up the event loop', async () => {
    const { path, store } = await open()
    const past = Date.now() - 10_000
    for (let n = 0; n < 5_000; n++) await store.set(`old-${n}`, { cookie: { expires: new Date(past) }, n })
    await store.set('young', session())
    const loop = monitorEventLoopDelay({ resolution: 5 })
    loop.enable()
    const reaper = new FileStore({ path, reapInterval: 50 })
    const end = Date.now() + 30_000
    for (;;) {
      await delay(100)
      const left = await countFiles(path)
      if (left === 1 || Date.now() > end) break
    }
    loop.disable()
    expect(await countFiles(path)).toBe(1)
    expect(loop.percentile(99) / 1e6).toBeLessThan(150)
    expect(await reaper.get('young')).toBeDefined()
  })
})
