import fs from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { storeContract } from '../../lib/testing.ts'
import { blocking, type Disk, pooled } from '../../stores/disk.ts'
import { FileStore, type FileStoreOptions, fileStore } from '../../stores/file.ts'
import { change, driverOf, fileOf, outgoing, session } from './fixture/file-sessions.ts'

const folders: string[] = []

async function makeFolder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'file-store-'))
  folders.push(path)
  return path
}

let path: string
let store: FileStore

beforeEach(async () => {
  path = await makeFolder()
  store = new FileStore({ path, reapInterval: Infinity })
})

afterEach(() => {
  vi.restoreAllMocks()
})

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Waits for what must come, however long that takes. */
async function until(condition: () => unknown): Promise<void> {
  while (!(await condition())) await delay(10)
}

/** Stops the clock by which sessions expire; it is set by what this returns. */
function stopDate(): { pass(ms: number): void } {
  let now = Date.now()
  vi.spyOn(Date, 'now').mockImplementation(() => now)
  return {
    pass(ms) {
      now += ms
    },
  }
}

const disks = [blocking, pooled].map((disk) => ({ disk, real: { ...disk } }))

/** Has the next calls of a kind fail with these codes, at once or in the thread pool. */
function failing(method: keyof Disk, ...codes: string[]): void {
  for (const { disk, real } of disks) {
    const call = (...args: unknown[]) => {
      const code = codes.shift()
      if (code === undefined) return (real[method] as (...args: unknown[]) => never)(...args)
      throw Object.assign(new Error(`${code}: ${method}`), { code })
    }
    vi.spyOn(disk, method).mockImplementation(call as never)
  }
}

/** All files below the folder, by their path in it. */
async function files(): Promise<string[]> {
  const found = await readdir(path, { recursive: true, withFileTypes: true })
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => relative(path, join(entry.parentPath, entry.name)))
    .sort()
}

const variants: Partial<FileStoreOptions>[] = [{}, { sync: true, encoding: 'utf16le', fileExtension: '.session' }]

describe.concurrent.each(variants)('FileStore with %o', (options) => {
  storeContract({ describe: describe.concurrent, it, expect }, async () => {
    return { store: new FileStore({ path: await makeFolder(), ...options }) as never }
  })
})

/** A pid above all that Linux gives. */
const dead = 2 ** 22 + 1

/** The lock of a session as a process with this pid leaves it when it is killed. */
async function leave(store: FileStore, sid: string, pid?: number): Promise<string> {
  await store.set(sid, session({ n: 1 }))
  const file = fileOf(store.path, sid)
  const text = await readFile(file, 'utf8')
  const lock = `${file}.lock`
  await writeFile(lock, pid === undefined ? '' : text.replace(/"writer":"\d+/, `"writer":"${pid}`).slice(0, -9))
  return lock
}

describe('options of FileStore', () => {
  it.each([
    [undefined, /path option .* folder/],
    [{}, /path option/],
    [{ path: '' }, /path option/],
    [{ path: 'a\0b' }, /path option/],
    [{ path: new URL('file:///tmp') }, /path option/],
    [{ path: 'x', ttl: 0 }, /ttl option .* milliseconds above 0/],
    [{ path: 'x', ttl: Number.NaN }, /ttl option/],
    [{ path: 'x', ttl: '1h' }, /ttl option/],
    [{ path: 'x', encoding: 'latin1' }, /encoding option .* 'utf8' or 'utf16le'/],
    [{ path: 'x', encoding: null }, /encoding option/],
    [{ path: 'x', fileExtension: '/../x' }, /fileExtension option .* '\.json'/],
    [{ path: 'x', fileExtension: 'json' }, /fileExtension option/],
    [{ path: 'x', fileExtension: 7 }, /fileExtension option/],
    [{ path: 'x', reapInterval: 0 }, /reapInterval option .* above 0/],
    [{ path: 'x', reapInterval: '60000' }, /reapInterval option/],
    [{ path: 'x', sync: 'yes' }, /sync option .* true or false/],
  ])('%o are refused by name', (options, message) => {
    const make = () => new FileStore(options as never)
    expect(make).toThrow(TypeError)
    expect(make).toThrow(message)
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTION' }))
  })

  it('have the defaults of the documentation, and undefined is not given', async () => {
    const nothing = { ttl: undefined, encoding: undefined, fileExtension: undefined, reapInterval: undefined }
    const store = fileStore({ path, sync: undefined, ...nothing })
    expect(store).toBeInstanceOf(FileStore)
    expect(store.ttl).toBe(86_400_000)
    stopDate()
    await store.set('one', session({}, null))
    expect((await stat(fileOf(path, 'one'))).mtimeMs).toBeCloseTo(Date.now() + 86_400_000, -1)
  })

  it('a ttl that looks like seconds is warned about', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    new FileStore({ path, ttl: 86_400 })
    new FileStore({ path, ttl: 86_400 })
    expect(warned).toHaveBeenCalledTimes(1)
    expect(warned.mock.calls[0]?.[0]).toMatch(/86400 milliseconds; were seconds meant/)
  })

  it('ttl is how long a session without a date lives after its last write or touch', async () => {
    const store = new FileStore({ path, ttl: 3_600_000, reapInterval: Infinity })
    const date = stopDate()
    await store.set('browser', session({}, null))
    await store.set('dated', session({}, 86_400_000))
    date.pass(3_000_000)
    await store.touch('browser', session({}, null))
    date.pass(3_599_000)
    expect(await store.get('browser')).toBeDefined()
    date.pass(2_000)
    expect(await store.get('browser')).toBeUndefined()
    expect(await store.get('dated')).toBeDefined()
  })

  it('a relative path counts from where the process was when the store was made', async () => {
    // Not `sessions`: the example app has its own there.
    const { path } = new FileStore({ path: './no-such-sessions', reapInterval: Infinity })
    expect(path).toBe(join(process.cwd(), 'no-such-sessions'))
    expect(fs.existsSync(path)).toBe(false)
  })

  it('another encoding or extension may be chosen later', async () => {
    await store.set('one', session({ text: 'é😀' }))
    const later = new FileStore({ path, encoding: 'utf16le', reapInterval: Infinity })
    expect(await later.get('one')).toMatchObject({ text: 'é😀' })
    await later.set('one', session({ text: 'é😀!' }))
    expect((await readFile(fileOf(path, 'one')))[1]).toBe(0)
    expect(await store.get('one')).toMatchObject({ text: 'é😀!' })
    const other = new FileStore({ path, fileExtension: '.s', reapInterval: Infinity })
    expect(await other.get('one')).toBeUndefined()
    await other.set('one', session())
    await other.clear()
    expect(await store.get('one')).toMatchObject({ text: 'é😀!' })
  })
})

describe('the folder of FileStore', () => {
  it('is made when needed, and can be seen by nobody else', async () => {
    const inner = join(path, 'a', 'b')
    const store = new FileStore({ path: inner, reapInterval: Infinity })
    expect(await store.get('one')).toBeUndefined()
    await store.destroy('one')
    await store.touch('one', session())
    expect([await store.length(), await store.all(), await store.clear()]).toEqual([0, [], undefined])
    expect(await readdir(path)).toEqual([])
    await store.set('one', session())
    const file = fileOf(inner, 'one')
    for (const folder of [join(path, 'a'), inner, dirname(file)]) expect((await stat(folder)).mode & 0o777).toBe(0o700)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
  })

  it('holds one file for each session, and nothing else', async () => {
    for (const sid of ['one', 'two', 'one']) await store.set(sid, session())
    await change(store, 'two', (data) => data)
    await store.touch('one', session())
    await store.set('three', session())
    await store.destroy('three')
    expect(await files()).toEqual(['one', 'two'].map((sid) => relative(path, fileOf(path, sid))).sort())
  })

  it('is healed when somebody deletes it', async () => {
    await store.set('one', session())
    await rm(path, { recursive: true })
    expect(await store.get('one')).toBeUndefined()
    await store.touch('one', session())
    await store.destroy('one')
    expect(await change(store, 'one', (data) => data)).toBeUndefined()
    await store.set('one', session({ n: 2 }))
    expect(await store.get('one')).toMatchObject({ n: 2 })
  })

  it('has names that no id can lead out of or make the same', async () => {
    const ids = [
      '../../../etc/passwd',
      '/etc/passwd',
      'a/b',
      'a\\b',
      'a\0b',
      'con',
      'A',
      'a',
      '.',
      '..',
      '',
      'x'.repeat(9999),
    ]
    const lone = ['\ud800', '\ud801', '\ufffd']
    for (const id of [...ids, ...lone]) await store.set(id, session({ mine: id.length }))
    expect((await files()).every((name) => /^[0-9a-f]{2}.[0-9a-f]{62}\.json$/.test(name))).toBe(true)
    expect(await store.length()).toBe(ids.length + lone.length)
    for (const id of ids) expect(await store.get(id)).toMatchObject({ mine: id.length })
    const all = await store.all()
    expect(new Set(all.map(({ id }) => id))).toEqual(new Set([...ids, ...lone]))
  })

  it('may hold files of others, which are left alone', async () => {
    const file = fileOf(path, 'one')
    const folder = dirname(file)
    await store.set('one', session({}, 1))
    const foreign = [
      join(path, 'README'),
      join(path, 'ab'.repeat(32)),
      join(path, 'sess.json'),
      join(folder, 'note.json'),
      `${file}.bak`,
      `${file}.corrupt`,
      `${file}.lock.old`,
      join(folder, `${'A'.repeat(62)}.json`),
      join(folder, `${'a'.repeat(62)}.txt`),
    ]
    await mkdir(join(path, 'other'))
    foreign.push(join(path, 'other', `${'a'.repeat(62)}.json`))
    for (const name of foreign) await writeFile(name, 'not yours')
    const sub = ['00', '01'].find((sub) => sub !== relative(path, folder)) as string
    await writeFile(join(path, sub), 'a file where a folder could be')
    for (const name of foreign) await utimes(name, 1, 1)
    expect([await store.length(), await store.all()]).toEqual([0, []])
    await store.clear()
    await store.set('one', session({}, 1))
    const reaper = new FileStore({ path, reapInterval: 20 })
    await until(() => !fs.existsSync(file))
    // When that is gone as well, all of the folder has been visited.
    await store.set('one', session({}, 1))
    await until(() => !fs.existsSync(file))
    for (const name of foreign) expect(await readFile(name, 'utf8')).toBe('not yours')
    expect(reaper.path).toBe(path)
  })

  it('that cannot be used is an error, not a missing session', async () => {
    const blocked = join(path, 'file')
    await writeFile(blocked, '')
    const store = new FileStore({ path: blocked, reapInterval: Infinity })
    await expect(store.get('one')).rejects.toThrow('ENOTDIR')
    await expect(store.set('one', session())).rejects.toThrow(/ENOTDIR|EEXIST/)
    await expect(store.destroy('one')).rejects.toThrow('ENOTDIR')
    await expect(store.touch('one', session())).rejects.toThrow('ENOTDIR')
    await expect(store.length()).rejects.toThrow('ENOTDIR')
    expect(await readFile(blocked, 'utf8')).toBe('')
  })

  it('with something else in the place of a session rejects, and leaves no lock behind', async () => {
    const file = fileOf(path, 'one')
    await mkdir(file, { recursive: true })
    await expect(store.get('one')).rejects.toThrow('EISDIR')
    await expect(store.set('one', session())).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/)
    await expect(change(store, 'one', (data) => data)).rejects.toThrow('EISDIR')
    await expect(store.destroy('one')).rejects.toThrow(/EISDIR|EPERM/)
    expect(await files()).toEqual([])
  })

  it('that has run out of files rejects', async () => {
    await store.set('one', session())
    failing('open', 'EMFILE', 'EMFILE')
    await expect(store.get('one')).rejects.toThrow('EMFILE')
    await expect(store.set('one', session())).rejects.toThrow('EMFILE')
    expect(await store.get('one')).toBeDefined()
  })

  it('keeps the old session where the new one cannot be written', async () => {
    await store.set('one', session({ n: 1 }))
    failing('write', 'ENOSPC')
    await expect(store.set('one', session({ n: 2 }))).rejects.toThrow('ENOSPC')
    expect(await store.get('one')).toMatchObject({ n: 1 })
    expect(await files()).toHaveLength(1)
    await store.set('one', session({ n: 3 }))
  })

  it('of which Windows has a file open for a moment is tried again', async () => {
    vi.spyOn(process, 'platform', 'get').mockReturnValue('win32')
    failing('rename', 'EPERM', 'EACCES')
    failing('unlink', 'EBUSY')
    await store.set('one', session({ n: 1 }))
    failing('open', 'EBUSY')
    expect(await store.get('one')).toMatchObject({ n: 1 })
    failing('open', 'EPERM')
    await store.set('one', session({ n: 2 }))
    await store.destroy('one')
    expect(await files()).toEqual([])
    failing('rename', ...Array.from({ length: 20 }, () => 'EPERM'))
    await expect(store.set('one', session())).rejects.toThrow('EPERM')
  })

  it('on a slow disk does not hold up the event loop', async () => {
    await store.set('one', session({ n: 1 }))
    const { read, write } = driverOf(store)
    const readsAtOnce = () => !(read('one') instanceof Promise)
    await until(readsAtOnce)
    const { openSync } = fs
    const slow = vi.spyOn(fs, 'openSync').mockImplementation((...args) => {
      for (const end = performance.now() + 20; performance.now() < end; );
      return openSync(...args)
    })
    await until(() => !readsAtOnce())
    await until(() => write('one', outgoing({ n: 4 }), undefined) instanceof Promise)
    slow.mockClear()
    const many = Array.from({ length: 200 }, (_, n) => store.set(`many-${n}`, session({ n })))
    await Promise.all(many)
    expect((await Promise.all(many.map((_, n) => store.get(`many-${n}`)))).map((found) => found?.n)).toEqual(
      many.map((_, n) => n),
    )
    // Now and then it is tried whether the disk is still slow.
    expect(slow.mock.calls.length).toBeLessThan(20)
    slow.mockRestore()
    await until(readsAtOnce)
    expect(await store.get('one')).toMatchObject({ n: 4 })
  })
})

describe('a session in FileStore', () => {
  it('is a file of JSON with its id, its expiry, and the session with its cookie first', async () => {
    await store.set('one "1"', { name: 'Ann', ...session({}, 60_000) })
    const text = await readFile(fileOf(path, 'one "1"'), 'utf8')
    const { id, expires, session: stored } = JSON.parse(text)
    expect(id).toBe('one "1"')
    expect(stored).toMatchObject({ name: 'Ann', cookie: { originalMaxAge: 60_000 } })
    expect(Date.parse(stored.cookie.expires)).toBe(expires)
    expect((await stat(fileOf(path, id))).mtimeMs).toBeCloseTo(expires, -1)
    await driverOf(store).write('one', outgoing({ n: 1 }), undefined)
    expect(await driverOf(store).read('one')).toMatch(/^\{"cookie":\{.*\},"n":1\}$/)
  })

  it.each([100, 70_000, 1_000_000])('of %d characters comes back as it was', async (length) => {
    const text = 'é\0"😀'.repeat(length / 5)
    await store.set('one', session({ text }))
    expect(await store.get('one')).toMatchObject({ text })
    expect(await change(store, 'one', (data) => ({ ...data, more: 1 }))).toMatchObject({ text, more: 1 })
    await store.touch('one', session({}, 90_000))
    expect((await store.all())[0]).toMatchObject({ id: 'one', text, more: 1 })
  })

  it('may expire before it is written, or after the end of all calendars', async () => {
    for (const expires of [new Date(0), new Date(-1e12), new Date(Date.now() - 1)]) {
      await store.set('past', { cookie: { expires, originalMaxAge: 0 } })
      expect(await store.get('past')).toBeUndefined()
    }
    for (const expires of [new Date(8.64e15), new Date(5e12)]) {
      await store.set('late', { cookie: { expires, originalMaxAge: 1 } })
      expect((await store.get('late'))?.cookie.expires).toBe(expires.toISOString())
      await store.touch('late', { cookie: { expires, originalMaxAge: 1 } })
      expect((await store.get('late'))?.cookie.expires).toBe(expires.toISOString())
    }
    expect(await store.length()).toBe(1)
  })

  it('that has expired is missing everywhere, and cannot be changed or extended', async () => {
    const date = stopDate()
    await store.set('one', session({ n: 1 }, 50))
    date.pass(51)
    const before = await readFile(fileOf(path, 'one'), 'utf8')
    expect(await change(store, 'one', () => ({ n: 2 }))).toBeUndefined()
    expect(await driverOf(store).touch('one', outgoing(), Date.now() + 60_000)).toBe('gone')
    expect([await store.get('one'), await store.length(), await store.all()]).toEqual([undefined, 0, []])
    expect(await readFile(fileOf(path, 'one'), 'utf8')).toBe(before)
    await store.set('one', session({ n: 3 }))
    expect(await store.get('one')).toMatchObject({ n: 3 })
  })

  it('keeps its life when it is copied without its times, or edited', async () => {
    const file = fileOf(path, 'one')
    await store.set('one', session({ name: 'Ann' }))
    await utimes(file, new Date(), new Date())
    await delay(10)
    expect(await store.get('one')).toMatchObject({ name: 'Ann' })
    expect(await store.length()).toBe(1)
    const content = JSON.parse(await readFile(file, 'utf8'))
    content.session.name = 'Eve'
    await writeFile(file, JSON.stringify(content, null, 2))
    expect(await store.get('one')).toMatchObject({ name: 'Eve' })
    expect(await change(store, 'one', (data) => ({ ...data, n: 1 }))).toEqual(
      expect.objectContaining({ name: 'Eve', n: 1 }),
    )
  })
})

describe('touch of FileStore', () => {
  it('changes the date and not one byte', async () => {
    await store.set('one', session({ n: 1 }, 10_000))
    const before = await stat(fileOf(path, 'one'))
    const text = await readFile(fileOf(path, 'one'), 'utf8')
    const touching = session({ n: 2 }, 10_000)
    touching.cookie.expires = new Date(Date.now() + 70_000)
    touching.cookie.originalMaxAge = 10_000
    await store.touch('one', touching)
    const after = await stat(fileOf(path, 'one'))
    expect([after.ino, await readFile(fileOf(path, 'one'), 'utf8')]).toEqual([before.ino, text])
    const found = await store.get('one')
    expect(found).toMatchObject({ n: 1, cookie: { originalMaxAge: 10_000 } })
    expect(found?.cookie.expires).toBe(touching.cookie.expires.toISOString())
    expect(await driverOf(store).read('one')).toMatch(/^\{"cookie":\{.*\},"n":1\}$/)
    expect((await store.all())[0]?.cookie.expires).toBe(touching.cookie.expires.toISOString())
  })

  it('keeps what else has changed of the cookie, and an earlier date', async () => {
    await store.set('one', session({ n: 1 }, 60_000))
    await store.touch('one', session({ n: 2 }, 3_600_000))
    expect(await store.get('one')).toMatchObject({ n: 1, cookie: { originalMaxAge: 3_600_000 } })
    const sooner = session({}, 30_000)
    await store.touch('one', sooner)
    const found = await store.get('one')
    expect(found).toMatchObject({ n: 1, cookie: { originalMaxAge: 30_000 } })
    expect(found?.cookie.expires).toBe(sooner.cookie.expires?.toISOString())
    await store.touch('one', session({}, null))
    expect((await store.get('one'))?.cookie.expires).toBeNull()
    await store.set('bare', { n: 1 })
    await store.touch('bare', { n: 2 })
    expect(await store.get('bare')).toEqual({ n: 1 })
  })

  it('leaves a session alone to which another request has given another lifetime', async () => {
    const driver = driverOf(store)
    await driver.write('one', outgoing({}, 3_600_000), Date.now() + 3_600_000)
    const loaded = { originalMaxAge: 60_000 }
    expect(await driver.touch('one', outgoing({}, 60_000), Date.now() + 60_000, loaded)).toBe('changed')
    const { cookie } = JSON.parse((await driver.read('one')) as string)
    expect(cookie.originalMaxAge).toBe(3_600_000)
    expect(Date.parse(cookie.expires)).toBeGreaterThan(Date.now() + 3_000_000)
  })

  it('never brings a session back, nor takes a change back', async () => {
    const driver = driverOf(store)
    await store.set('one', session({ n: 1 }))
    const touching = Promise.all(Array.from({ length: 50 }, () => store.touch('one', session({ n: 1 }))))
    await store.set('one', session({ n: 2 }))
    await touching
    expect(await store.get('one')).toMatchObject({ n: 2 })
    await store.destroy('one')
    expect(await driver.touch('one', outgoing(), Date.now() + 60_000)).toBe('gone')
    expect(await driver.touch('one', outgoing({}, 7_000), Date.now() + 7_000)).toBe('gone')
    expect(await files()).toEqual([])
  })

  it('beside a change from another process loses nothing', async () => {
    const other = new FileStore({ path, reapInterval: Infinity, sync: true })
    await store.set('one', session({ n: 0 }))
    for (let n = 1; n <= 20; n++) {
      const changing = change(other, 'one', () => ({ n }))
      for (let i = 0; i < 5; i++) {
        await store.touch('one', session({ n: 0 }, 60_000 + (i % 2)))
        await new Promise((resolve) => setImmediate(resolve))
      }
      await changing
      expect(await store.get('one')).toMatchObject({ n })
    }
  })
})

describe('update of FileStore', () => {
  it('makes the new session of the one that is there, and answers with it', async () => {
    const driver = driverOf(store)
    await store.set('one', session({ a: 1 }))
    const from = (await driver.read('one')) as string
    const seen: unknown[] = []
    const held = await driver.update('one', from, (current) => {
      seen.push(current)
      return outgoing({ a: 2 })
    })
    expect(seen).toEqual([from])
    expect(held).toBe(await driver.read('one'))
    await driver.update('one', from, (current) =>
      outgoing({ ...JSON.parse(current as string), cookie: undefined, b: 1 }),
    )
    expect(await store.get('one')).toMatchObject({ a: 2, b: 1 })
  })

  it('writes nothing for a session that is gone', async () => {
    const make = vi.fn(() => outgoing())
    expect(await driverOf(store).update('one', '', make)).toBeUndefined()
    await store.set('one', session())
    await store.destroy('one')
    expect(await driverOf(store).update('one', '', make)).toBeUndefined()
    expect(make).not.toHaveBeenCalled()
    expect(await files()).toEqual([])
  })

  it('that throws leaves the session as it was, and free', async () => {
    await store.set('one', session({ n: 1 }))
    const fail = () => {
      throw new TypeError('no JSON')
    }
    await expect(change(store, 'one', fail)).rejects.toThrow('no JSON')
    expect(await files()).toHaveLength(1)
    expect(await change(store, 'one', ({ n }) => ({ n: (n as number) + 1 }))).toMatchObject({ n: 2 })
  })

  it('comes one after the other, within a process and between stores', async () => {
    const others = [store, new FileStore({ path, reapInterval: Infinity }), new FileStore({ path, sync: true })]
    await store.set('one', session({ n: 0 }))
    const increments = Array.from({ length: 90 }, (_, i) =>
      change(others[i % 3] as FileStore, 'one', ({ n }) => ({ n: (n as number) + 1 })),
    )
    const answers = (await Promise.all(increments)).map((data) => data?.n as number)
    expect(answers.sort((a, b) => a - b)).toEqual(answers.map((_, i) => i + 1))
    expect(await store.get('one')).toMatchObject({ n: 90 })
    expect(await files()).toHaveLength(1)
  })

  it.each(['destroy', 'set'] as const)('waits for a %s that is under way', async (method) => {
    const slow = new FileStore({ path, sync: true, reapInterval: Infinity })
    for (let round = 0; round < 10; round++) {
      await store.set('one', session({ n: 1 }))
      const ending = slow[method]('one', session({ n: 2 }))
      const changed = await change(store, 'one', (data) => ({ ...data, mine: true }))
      await ending
      const found = await store.get('one')
      if (method === 'destroy') expect(found).toBeUndefined()
      else expect([found?.n, found?.mine]).toEqual(changed?.n === 1 ? [2, undefined] : [2, true])
    }
  })

  it('starts again when it has lost its lock, and then does not undo a destroy', async () => {
    const driver = driverOf(store)
    const lock = `${fileOf(path, 'one')}.lock`
    const other = new FileStore({ path, reapInterval: Infinity })
    await store.set('one', session({ a: 1 }))
    const seen: unknown[] = []
    const updated = await driver.update('one', '', (current) => {
      const { cookie: _, ...data } = JSON.parse(current as string)
      seen.push(data)
      if (seen.length === 1) {
        fs.unlinkSync(lock)
        driverOf(other).write('one', outgoing({ a: 2 }), undefined)
      }
      return outgoing({ ...data, b: 1 })
    })
    expect(seen).toEqual([{ a: 1 }, { a: 2 }])
    expect(JSON.parse(updated as string)).toMatchObject({ a: 2, b: 1 })
    const make = vi.fn(() => {
      fs.unlinkSync(lock)
      driverOf(other).remove('one')
      return outgoing({ b: 2 })
    })
    expect(await driver.update('one', '', make)).toBeUndefined()
    expect(make).toHaveBeenCalledOnce()
    expect(await files()).toEqual([])
  })

  it('reads the record again only when somebody may have changed it since', async () => {
    const driver = driverOf(store)
    let reads = 0
    for (const { disk, real } of disks) {
      const open = (...args: Parameters<Disk['open']>) => {
        if (args[1] === 'r') reads++
        return real.open(...args)
      }
      vi.spyOn(disk, 'open').mockImplementation(open as never)
    }
    const add = async (from: string, key: string): Promise<[number, object]> => {
      reads = 0
      const updated = await driver.update('one', from, (current) => {
        const { cookie: _, ...data } = JSON.parse(current as string)
        return outgoing({ ...data, [key]: 1 })
      })
      return [reads, JSON.parse(updated as string)]
    }
    /** Reads the session this many ms after it was written. */
    const readAfter = async (ms: number): Promise<string> => {
      const written = (await stat(fileOf(path, 'one'))).ctimeMs
      const now = vi.spyOn(Date, 'now').mockReturnValue(written + ms)
      const record = await driver.read('one')
      now.mockRestore()
      return record as string
    }
    await store.set('one', session({ a: 1 }))
    // Its date is told from that of a change made now.
    const [alone, first] = await add(await readAfter(30), 'b')
    expect([alone, first]).toMatchObject([0, { a: 1, b: 1 }])

    const from = await readAfter(30)
    const other = new FileStore({ path, reapInterval: Infinity })
    await other.set('one', session({ a: 2, b: 1 }))
    const [beside, second] = await add(from, 'c')
    expect([beside, second]).toMatchObject([1, { a: 2, b: 1, c: 1 }])

    // Read so soon after it was written that another change could have the same date.
    const [soon, third] = await add(await readAfter(10), 'd')
    expect([soon, third]).toMatchObject([1, { a: 2, b: 1, c: 1, d: 1 }])
  })

  it('does not publish what somebody else writes under the lock that it has lost', async () => {
    await store.set('one', session({ a: 1 }))
    const lock = `${fileOf(path, 'one')}.lock`
    let tries = 0
    const updated = await change(store, 'one', (data) => {
      if (++tries === 1) {
        // Taken away by one who took it for a dead writer's, as it had been a moment before; a third has it by now.
        fs.unlinkSync(lock)
        fs.writeFileSync(lock, '{"half')
        setTimeout(() => fs.unlinkSync(lock), 50)
      }
      return { ...data, b: 1 }
    })
    expect([updated, tries]).toMatchObject([{ a: 1, b: 1 }, 2])
    expect(await store.get('one')).toMatchObject({ a: 1, b: 1 })
  })

  it('does not trust a lock that it has held for too long', async () => {
    await store.set('one', session({ a: 1 }))
    const other = new FileStore({ path, reapInterval: Infinity })
    const { uptime } = process
    let tries = 0
    const updated = await change(store, 'one', (data) => {
      if (++tries === 1) {
        // Somebody else has taken it away, and is about to write.
        fs.unlinkSync(`${fileOf(path, 'one')}.lock`)
        driverOf(other).write('one', outgoing({ a: 2 }), undefined)
        fs.writeFileSync(`${fileOf(path, 'one')}.lock`, '{"half')
        setTimeout(() => fs.unlinkSync(`${fileOf(path, 'one')}.lock`), 50)
        vi.spyOn(process, 'uptime').mockImplementation(() => uptime() + 5)
      }
      return { ...data, b: 1 }
    })
    expect(updated).toMatchObject({ a: 2, b: 1 })
    expect(tries).toBe(2)
  })

  it('publishes under a lock that it has held for long, if it is still its own', async () => {
    await store.set('one', session({ a: 1 }))
    const { uptime } = process
    let tries = 0
    const updated = await change(store, 'one', (data) => {
      tries++
      vi.spyOn(process, 'uptime').mockImplementation(() => uptime() + 5)
      return { ...data, b: 1 }
    })
    expect([updated, tries]).toMatchObject([{ a: 1, b: 1 }, 1])
  })
})

describe('a lock that was left behind', () => {
  it('does not keep anybody from reading, and a dead one not from writing', async () => {
    // By a clock that stops after a second: nobody can be waiting for three.
    const { uptime } = process
    const start = uptime()
    vi.spyOn(process, 'uptime').mockImplementation(() => Math.min(uptime(), start + 1))
    for (const [n, write] of [
      () => store.set('one', session({ n: 2 })),
      () => change(store, 'one', () => ({ n: 2 })),
      () => store.destroy('one'),
    ].entries()) {
      await leave(store, 'one', dead)
      expect(await store.get('one')).toMatchObject({ n: 1 })
      await store.touch('one', session())
      await write()
      if (n < 2) expect(await store.get('one')).toMatchObject({ n: 2 })
      expect(await files()).toHaveLength(n < 2 ? 1 : 0)
    }
  })

  it('is waited for three seconds when nobody knows whose it is, and longer when its owner is at work', async () => {
    const nobody = await leave(store, 'nobody')
    const strange = await leave(store, 'stranger', dead)
    await writeFile(strange, (await readFile(strange, 'utf8')).replace(/@[^"]*/, '@000000000000'))
    const busy = await leave(store, 'busy', process.ppid)
    // Time passes in steps, and at each of them the owner of the last lock does something.
    let passed = 0
    const start = process.uptime()
    vi.spyOn(process, 'uptime').mockImplementation(() => start + passed / 1000)
    const looks = vi.spyOn(fs, 'statSync')
    const done: Record<string, number> = {}
    const writing = [
      store.set('nobody', session({ n: 2 })).then(() => (done.nobody = passed)),
      change(store, 'stranger', (data) => ({ ...data, more: 1 })).then(() => (done.stranger = passed)),
      store.set('busy', session({ n: 2 })).then(() => (done.busy = passed)),
    ]
    await until(() => [nobody, strange, busy].every((lock) => looks.mock.calls.some(([path]) => path === lock)))
    await until(() => {
      if (passed < 4_000) passed += 100
      fs.utimesSync(busy, 1, passed)
      return Object.keys(done).length >= 2
    })
    expect(Object.keys(done).sort()).toEqual(['nobody', 'stranger'])
    for (const after of Object.values(done)) expect(after).toBeGreaterThanOrEqual(3_000)
    expect(await store.get('nobody')).toMatchObject({ n: 2 })
    expect(await store.get('stranger')).toMatchObject({ n: 1, more: 1 })
    fs.unlinkSync(busy)
    await Promise.all(writing)
    expect(await store.get('busy')).toMatchObject({ n: 2 })
  })

  it('is cleaned up when nobody wants it any more', async () => {
    const lock = await leave(store, 'one')
    const reaper = new FileStore({ path, reapInterval: 20 })
    await delay(150)
    expect(fs.existsSync(lock)).toBe(true)
    const { now } = Date
    vi.spyOn(Date, 'now').mockImplementation(() => now() + 61_000)
    await until(() => !fs.existsSync(lock))
    expect(reaper.path).toBe(path)
  })
})

describe('a file that cannot be read', () => {
  const damage: Record<string, (file: string) => Promise<unknown>> = {
    'is empty': (file) => truncate(file, 0),
    'ends too soon': async (file) => truncate(file, (await stat(file)).size - 20),
    'ends too soon, with its date': async (file) => {
      const { size, mtime } = await stat(file)
      await truncate(file, size >> 1)
      await utimes(file, mtime, mtime)
    },
    'is something else': (file) => writeFile(file, 'hello'),
    'is another JSON': (file) => writeFile(file, '[]\n'),
    'is null': (file) => writeFile(file, 'null'),
    'has been filled with zeros': async (file) => {
      const { size, mtime } = await stat(file)
      await writeFile(file, Buffer.alloc(size))
      await utimes(file, mtime, mtime)
    },
    'has zeros in it': async (file) => {
      const text = await readFile(file, 'utf8')
      const { mtime } = await stat(file)
      await writeFile(file, text.replace('Ann', '\0\0\0'))
      await utimes(file, mtime, mtime)
    },
    'was changed for the worse': async (file) => {
      const text = await readFile(file, 'utf8')
      await writeFile(file, text.replace('"Ann"', 'Ann  '))
    },
    'belongs to another id': async (file) => {
      await store.set('other', session())
      await rename(fileOf(path, 'other'), file)
    },
  }

  it.each(Object.entries(damage))('because it %s is kept, and its session is missing', async (_, damage) => {
    const file = fileOf(path, 'one')
    const corrupt = vi.fn()
    store.on('corrupt', corrupt)
    for (const [n, look] of [
      () => store.get('one'),
      () => change(store, 'one', (data) => data),
      () => driverOf(store).read('one'),
    ].entries()) {
      await store.set('one', session({ name: 'Ann' }))
      await damage(file)
      const bytes = await readFile(file)
      expect(await look()).toBeUndefined()
      expect(corrupt).toHaveBeenCalledTimes(n + 1)
      expect(corrupt).toHaveBeenLastCalledWith('one', expect.any(SyntaxError))
      expect(corrupt.mock.lastCall?.[1].message).toContain(file)
      expect(await readFile(`${file}${n ? `.${n + 1}` : ''}.corrupt`)).toEqual(bytes)
      expect(await store.get('one')).toBeUndefined()
      expect(corrupt).toHaveBeenCalledTimes(n + 1)
    }
    await store.set('one', session({ name: 'Bob' }))
    expect(await store.get('one')).toMatchObject({ name: 'Bob' })
    await store.clear()
    expect(await files()).toHaveLength(3)
  })

  it('is found by all(), which lists the others', async () => {
    const corrupt = vi.fn()
    store.on('corrupt', corrupt)
    for (const sid of ['one', 'two', 'three']) await store.set(sid, session())
    await writeFile(fileOf(path, 'one'), 'x')
    const text = await readFile(fileOf(path, 'two'), 'utf8')
    await writeFile(fileOf(path, 'two'), text.replace('"path"', 'path'))
    expect((await store.all()).map(({ id }) => id)).toEqual(['three'])
    await until(() => corrupt.mock.calls.length === 2)
    expect(await store.length()).toBe(1)
  })

  it('is kept by the reaper too', async () => {
    const file = fileOf(path, 'one')
    await store.set('one', session({}, 1))
    await writeFile(file, 'garbage')
    await utimes(file, 1, 1)
    const reaper = new FileStore({ path, reapInterval: 20 })
    const corrupt = vi.fn()
    reaper.on('corrupt', corrupt)
    await until(() => corrupt.mock.calls.length > 0)
    expect(corrupt.mock.calls).toEqual([[undefined, expect.any(SyntaxError)]])
    expect(await readFile(`${file}.corrupt`, 'utf8')).toBe('garbage')
  })

  it('that cannot be renamed either is missing all the same', async () => {
    const corrupt = vi.fn()
    store.on('corrupt', corrupt)
    await store.set('one', session())
    await writeFile(fileOf(path, 'one'), 'x')
    failing('rename', 'EROFS')
    expect(await store.get('one')).toBeUndefined()
    expect(corrupt).toHaveBeenCalledOnce()
    expect(await files()).toHaveLength(1)
  })
})

describe('the reaper of FileStore', () => {
  it('deletes what has expired, and nothing else', async () => {
    const date = stopDate()
    await store.set('short', session({}, 30_000))
    await store.set('long', session({}, 600_000))
    await store.set('touched', session({}, 30_000))
    await store.set('copied', session({}, 600_000))
    await store.touch('touched', session({}, 600_000))
    await utimes(fileOf(path, 'copied'), 1, 1)
    // Not a file, and in nobody's way.
    const odd = join(dirname(fileOf(path, 'short')), `${'0'.repeat(62)}.json`)
    await mkdir(odd)
    await utimes(odd, 1, 1)
    date.pass(50_000)
    const reaper = new FileStore({ path, reapInterval: 20 })
    await until(() => !fs.existsSync(fileOf(path, 'short')))
    await rm(odd, { recursive: true })
    // When that is gone as well, all of the folder has been visited.
    await store.set('short', { cookie: { expires: new Date(Date.now() - 60_000) } })
    await until(() => !fs.existsSync(fileOf(path, 'short')))
    expect((await reaper.all()).map(({ id }) => id).sort()).toEqual(['copied', 'long', 'touched'])
    expect(await files()).toHaveLength(3)
  })

  it('leaves alone what is written at the same moment', async () => {
    const reapers = [1, 2, 3].map(() => new FileStore({ path, reapInterval: 1 }))
    const lost: number[] = []
    for (let n = 0; n < 150; n++) {
      await store.set('one', session({ n }, n % 2 ? 1 : 60_000))
      await delay(n % 3)
      await store.set('one', session({ n }))
      await delay(n % 2)
      if ((await store.get('one'))?.n !== n) lost.push(n)
    }
    expect(lost).toEqual([])
    expect(reapers).toHaveLength(3)
  })

  it('does not keep a store alive that nobody uses', async () => {
    setFlagsFromString('--expose-gc')
    const { Bun } = globalThis as { Bun?: { gc(force: boolean): void } }
    const gc = Bun ? () => Bun.gc(true) : (runInNewContext('gc') as () => void)
    const dropped = (() => new WeakRef(new FileStore({ path, reapInterval: 5 })))()
    await delay(50)
    await until(() => {
      gc()
      return dropped.deref() === undefined
    })
  })
})
