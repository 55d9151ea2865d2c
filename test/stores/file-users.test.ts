// FileStore's index of the sessions of each user. Between processes: file-processes.test.ts.

import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type IndexEntry, RESERVED_MS } from '../../lib/port/slot.ts'
import { type Disk, disk } from '../../stores/file/disk.ts'
import { UserFiles } from '../../stores/file/user-index.ts'
import { FileStore, type FileStoreOptions } from '../../stores/file.ts'
import { driverOf, session } from './fixture/file-sessions.ts'
import { type Indexed, userIndexContract, userOf } from './user-index.ts'

const folders: string[] = []

async function makeFolder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'file-users-'))
  folders.push(path)
  return path
}

afterEach(() => void vi.restoreAllMocks())

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Stops the clock by which entries expire; it is set by what this returns. */
function stopDate(): (ms: number) => void {
  let now = Date.now()
  vi.spyOn(Date, 'now').mockImplementation(() => now)
  return (ms) => {
    now += ms
  }
}

const realDisk = { ...disk }

/** Replaces a call of the disk, for what is in a folder: reapers of other tests may still be at work elsewhere. */
function replace(folder: string, method: keyof Disk, call: (real: () => Promise<unknown>) => Promise<unknown>): void {
  const real = realDisk[method] as (...args: unknown[]) => Promise<unknown>
  const replaced = (...args: unknown[]): Promise<unknown> =>
    String(args[0]).startsWith(folder) ? call(() => real(...args)) : real(...args)
  vi.spyOn(disk, method).mockImplementation(replaced as never)
}

/** What there is of the index, files and folders. */
async function remains(path: string): Promise<string[]> {
  const root = join(path, 'user-sessions')
  return existsSync(root) ? [root, ...(await readdir(root, { recursive: true })).map((name) => join(root, name))] : []
}

const variants: Partial<FileStoreOptions>[] = [{}, { sync: true, encoding: 'utf16le', fileExtension: '' }]

describe.each(variants)('FileStore with %o', (options) => {
  const open = async (): Promise<Indexed> => {
    const path = await makeFolder()
    const store = new FileStore({ path, reapInterval: Infinity, ...options })
    const second = new FileStore({ path, reapInterval: Infinity, ...options })
    const advance = stopDate()
    const other = driverOf(second).users as UserFiles
    return {
      store,
      other,
      left: async () => (await remains(path)).length,
      pass: async (ms) => {
        advance(ms)
        await other.reap()
      },
    }
  }
  userIndexContract(open, { time: true, many: options.sync ? 40 : 200 })
})

describe("FileStore's index of users", () => {
  const ann = userOf('ann')
  const MINUTE = 60_000

  let path: string
  let users: UserFiles
  beforeEach(async () => {
    path = await makeFolder()
    users = new UserFiles({ path, extension: '.json', sync: false })
  })

  const keysOf = (entries: IndexEntry[]): string[] => entries.map(({ key }) => key).sort()
  const confirm = async (key: string): Promise<void> => {
    await users.reserve(ann, key)
    expect(await users.confirm(ann, key, Date.now() + MINUTE)).toBe(true)
  }
  /** Has the next calls of a kind fail with these codes. */
  const failing = (method: keyof Disk, ...codes: string[]): void =>
    replace(path, method, (real) => {
      const code = codes.shift()
      return code === undefined ? real() : Promise.reject(Object.assign(new Error(`${code}: ${method}`), { code }))
    })
  /** Does something after the next look into a folder, and before it is known what is there. */
  const afterReaddir = (then: () => Promise<unknown>, isSeen = (_: string): boolean => true): void => {
    let isFirst = true
    replace(path, 'readdir', async (real) => {
      const names = (await real()) as string[]
      if (!isFirst) return names
      isFirst = false
      await then()
      return names.filter(isSeen)
    })
  }
  const filesOf = async (ending: string): Promise<string[]> => (await remains(path)).filter((f) => f.endsWith(ending))

  it.skipIf(process.platform === 'win32')('is for its owner only, and within the folder of the store', async () => {
    await users.reserve('../../..', '../../outside')
    await users.reserve(ann, '../'.repeat(40))
    expect(await readdir(path)).toEqual(['user-sessions'])
    for (const name of await remains(path)) {
      const { mode } = await stat(name)
      expect(mode & 0o777).toBe(name.endsWith('.json') ? 0o600 : 0o700)
      expect(basename(name).length).toBeLessThanOrEqual(143)
    }
  })

  it('is left alone by what looks for sessions, and by a store with another extension', async () => {
    const store = new FileStore({ path, reapInterval: Infinity })
    const other = new FileStore({ path, reapInterval: Infinity, fileExtension: '.other' })
    const theirs = driverOf(other).users as UserFiles
    await confirm('one')
    await theirs.reserve(ann, 'two')
    expect([keysOf(await users.list(ann)), keysOf(await theirs.list(ann))]).toEqual([['one'], ['two']])
    await store.set('session', session())
    expect([await store.length(), (await store.all()).length, await other.length()]).toEqual([1, 1, 0])
    await store.clear()
    expect([await users.list(ann), keysOf(await theirs.list(ann))]).toEqual([[], ['two']])
    await other.clear()
    expect(await remains(path)).toEqual([])
  })

  it('copes with what a process leaves that dies while it reserves', async () => {
    const long = 'long '.repeat(100)
    for (const key of ['short', long]) await users.reserve(ann, key)
    for (const file of await filesOf('.json')) {
      await writeFile(file, file.includes('sha256') ? (await readFile(file, 'utf8')).slice(0, 40) : '')
      await utimes(file, new Date(), new Date(Date.now() - 1_000))
    }
    expect([await users.list(ann), await users.confirm(ann, long, undefined)]).toEqual([[], false])
    for (const key of ['short', long]) await confirm(key)
    expect(keysOf(await users.list(ann))).toEqual([long, 'short'])
  })

  it('makes the folder again that was removed, as it was empty, under its hands', async () => {
    failing('open', 'ENOENT', 'ENOENT', 'ENOENT')
    failing('mkdir', 'ENOENT', 'ENOTDIR')
    failing('utimes', 'ENOENT')
    await users.reserve(ann, 'one')
    expect(keysOf(await users.list(ann))).toEqual(['one'])
    failing('rmdir', 'ENOTEMPTY')
    await users.drop(ann, ['one'])
    failing('open', ...Array(200).fill('ENOENT'))
    await expect(users.reserve(ann, 'two')).rejects.toMatchObject({ code: 'ENOENT' })
    failing('stat', 'EIO')
    await expect(users.list(ann).then(() => users.reserve(ann, 'two'))).rejects.toMatchObject({ code: 'EIO' })
  })

  it('lists what is renamed while its folder is read', async () => {
    for (const key of ['moved', 'stays']) await confirm(key)
    // Between two parts of a large folder, a name may come where one has been already, and go where one is not yet.
    const moved = Buffer.from('moved').toString('hex')
    afterReaddir(
      () => users.move(ann, 'moved', 'renewed'),
      (name) => !name.includes(moved),
    )
    expect(keysOf(await users.list(ann))).toEqual(['renewed', 'stays'])
    await users.reserve(ann, 'new')
    afterReaddir(() => users.confirm(ann, 'new', undefined))
    expect(await users.list(ann)).toContainEqual({ key: 'new', isReserved: false })
    expect(await users.list(ann)).toHaveLength(3)
  })

  it('does as much for one of many sessions as for one of a few', async () => {
    /** The calls that say where. */
    const count = async (): Promise<string[]> => {
      const calls: string[] = []
      for (const name of Object.keys(disk) as (keyof Disk)[]) {
        replace(path, name, (real) => {
          calls.push(name)
          return real()
        })
      }
      await confirm('counted')
      await users.move(ann, 'counted', 'renewed')
      await users.drop(ann, ['renewed'])
      vi.restoreAllMocks()
      return calls
    }
    await confirm('first')
    const few = await count()
    await Promise.all(Array.from({ length: 300 }, (_, n) => confirm(`key-${n}`)))
    expect(await count()).toEqual(few)
    expect(few).not.toContain('readdir')
    expect(await users.list(ann)).toHaveLength(301)
  })

  it('is reaped with the sessions', async () => {
    const pass = stopDate()
    await confirm('one')
    const root = join(path, 'user-sessions')
    await mkdir(join(root, '00', '0'.repeat(62)), { recursive: true })
    pass(RESERVED_MS * 2)
    const reaper = new FileStore({ path, reapInterval: 20 })
    while (existsSync(root)) await delay(10)
    expect(reaper.path).toBe(path)
  })

  it('leaves what is not its own, and goes on reaping where a file cannot be deleted', async () => {
    const pass = stopDate()
    for (const key of ['one', 'two']) await confirm(key)
    const [file] = await filesOf('.json')
    await writeFile(join(file as string, '..', 'notes.txt'), 'not yours')
    await writeFile(join(path, 'user-sessions', 'ab'), 'a file where a folder could be')
    pass(2 * MINUTE)
    failing('unlink', 'EIO')
    await users.reap()
    expect(await filesOf('.json')).toHaveLength(1)
    await users.reap()
    await users.clear()
    expect([await filesOf('.json'), (await filesOf('notes.txt')).length]).toEqual([[], 1])
  })
})
