// FileStore between processes, when they are killed, and with many sessions. The long forms are in ../../bench.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import type { UserIndex } from '../../lib/port/slot.ts'
import { type Disk, disk } from '../../stores/file/disk.ts'
import { FileStore } from '../../stores/file.ts'
import { ROUNDS } from '../support/form.ts'
import { bun } from '../support/serve.ts'
import { crash } from './fixture/file-crash.ts'
import { driverOf, session } from './fixture/file-sessions.ts'
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

afterEach(() => void vi.restoreAllMocks())

async function countFiles(path: string): Promise<number> {
  const found = await readdir(path, { recursive: true, withFileTypes: true })
  return found.filter((entry) => entry.isFile()).length
}

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Tests that mostly wait. */
const waits = ['touch extends a session', 'cookie has expired', 'same moment', 'Windows']

describe.concurrent('FileStore in several processes', () => {
  it('leaves every acknowledged session readable and whole when its process is killed', async () => {
    const { path } = await open()
    const runtimes = Array.from({ length: 4 }, (_, round) => (round % 2 ? bun : undefined))
    const wrecks = await Promise.all(runtimes.map((runtime, round) => crash(path, round, runtime)))
    expect(wrecks.flatMap(({ faults }) => faults)).toEqual([])
    for (const { acknowledged } of wrecks) expect(acknowledged).toBeGreaterThan(0)
  })

  it('loses nothing between four processes, of Node and of Bun', async () => {
    const { path, store } = await open()
    for (const counter of ['counter-0', 'counter-1', 'counter-2']) await store.set(counter, session({ n: 0 }))
    const partners = await Promise.all(
      [undefined, undefined, bun, bun].map((bun) => start('mix', path, 8 * ROUNDS, bun)),
    )
    for (const partner of partners) partner.go()
    await Promise.all(partners.map(({ ended }) => ended))
    const total: Record<string, number> = {}
    for (const { said, complaints } of partners) {
      expect(complaints()).toBe('')
      const [{ counted, errors }] = said as [{ counted: Record<string, number>; errors: string[] }]
      expect(errors).toEqual([])
      for (const [sid, n] of Object.entries(counted)) total[sid] = (total[sid] ?? 0) + n
    }
    for (const [sid, n] of Object.entries(total)) expect([sid, (await store.get(sid))?.n]).toEqual([sid, n])
  })

  it('gives each entry of a user to one of two processes, and brings none back', async () => {
    const { path, store } = await open()
    const users = driverOf(store).users as UserIndex
    const keys = Array.from({ length: 40 }, (_, n) => `key-${n}`)
    for (const key of keys) {
      await users.reserve('shared', key)
      await users.confirm('shared', key, undefined)
      await users.reserve('dropped', key)
    }
    const partners = await Promise.all([start('users', path, 0), start('users', path, 1, bun)])
    for (const partner of partners) partner.go()
    await Promise.all(partners.map(({ ended }) => ended))
    const moved: string[][] = []
    for (const { said, complaints } of partners) {
      expect(complaints()).toBe('')
      const [result] = said as [{ moved: string[]; errors: string[] }]
      expect(result.errors).toEqual([])
      moved.push(result.moved)
    }
    expect(moved.flat().sort()).toEqual([...keys].sort())
    const owned = moved.flatMap((won, number) => won.map((key) => `${key} of ${number}`))
    expect((await users.list('shared')).map(({ key }) => key).sort()).toEqual(owned.sort())
    expect([await users.list('dropped'), await users.list('alone')]).toEqual([[], []])
    await users.drop('shared', owned)
    expect(await countFiles(path)).toBe(0)
  })

  it.each<[string, string | undefined]>([['Node', undefined], ...(bun ? [['Bun', bun] as [string, string]] : [])])(
    'does not keep %s from ending',
    async (_, bun) => {
      const { path, store } = await open()
      const process = await start('end', path, 0, bun)
      process.go()
      await process.ended
      expect([process.said, process.complaints()]).toEqual([['saved'], ''])
      expect(await store.get('last')).toBeDefined()
    },
  )

  it.runIf(bun)('passes its tests under Bun', async () => {
    const pattern = `^(?!.*(${waits.join('|')}))`
    const files = ['./test/stores/file.test.ts', './test/stores/file-users.test.ts']
    const args = ['test', '--timeout', '300000', ...files, '-t', pattern]
    const { stderr } = await promisify(execFile)(bun as string, args, { cwd: root })
    expect(stderr).toMatch(/^ \d{2,} pass$/m)
    expect(stderr).toMatch(/^ 0 fail$/m)
  })
})

describe('FileStore with many sessions', () => {
  it('finds one among many by as many calls as one among a few', async () => {
    const { path, store } = await open()
    const fill = async (from: number, to: number): Promise<void> => {
      for (let n = from; n < to; n++) await store.set(`many-${n}`, session({ n }))
    }
    const calls: string[] = []
    for (const [name, call] of Object.entries(disk)) {
      vi.spyOn(disk, name as keyof Disk).mockImplementation(((...args: never[]) => {
        calls.push(name)
        return (call as (...args: never[]) => unknown)(...args)
      }) as never)
    }
    const look = async (n: number): Promise<string[]> => {
      calls.length = 0
      expect(await store.get(`many-${n}`)).toMatchObject({ n })
      return [...calls]
    }
    await fill(0, 100)
    const few = await look(50)
    await fill(100, 600)
    expect(few).toContain('open')
    // As it was read a while ago, it need not be read again.
    expect(await look(50)).toEqual(['stat'])
    expect(await look(450)).toEqual(few)
    // Nor does the file system look through long folders.
    const folders = await Promise.all((await readdir(path)).map((folder) => readdir(join(path, folder))))
    expect(Math.max(...folders.map(({ length }) => length))).toBeLessThan(25)
    expect(await store.length()).toBe(600)
    expect(await store.all()).toHaveLength(600)
  })

  it('deletes expired sessions little by little, and the process goes on meanwhile', async () => {
    const { path, store } = await open()
    const expired = { cookie: { expires: new Date(Date.now() - 10_000) } }
    for (let n = 0; n < 400; n++) await store.set(`old-${n}`, expired)
    await store.set('young', session())
    let atOnce = 0
    let most = 0
    const { unlink } = disk
    vi.spyOn(disk, 'unlink').mockImplementation((path) => {
      most = Math.max(most, ++atOnce)
      return unlink(path)
    })
    const reaper = new FileStore({ path, reapInterval: 20 })
    while ((await countFiles(path)) > 1) {
      atOnce = 0
      await new Promise(setImmediate)
    }
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThan(200)
    expect(await reaper.get('young')).toBeDefined()
  })
})
