import { spawn } from 'node:child_process'
import fs from 'node:fs'
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Version } from '../../lib/port/slot.ts'
import { storeContract } from '../../lib/testing.ts'
import { type Disk, disk } from '../../stores/file/disk.ts'
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

const realDisk = { ...disk }

/** Has the next calls of a kind fail with these codes. */
function failing(method: keyof Disk, ...codes: string[]): void {
  const real = realDisk[method] as (...args: unknown[]) => Promise<unknown>
  const call = (...args: unknown[]): Promise<unknown> => {
    const code = codes.shift()
    return code === undefined ? real(...args) : Promise.reject(Object.assign(new Error(`${code}: ${method}`), { code }))
  }
  vi.spyOn(disk, method).mockImplementation(call as never)
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

/** Takes the lock of a session away, as one does who finds its writer dead. */
function rob(file: string): void {
  const left = fs.readdirSync(dirname(file)).filter((name) => name.startsWith(`${basename(file)}.`))
  for (const name of left) if (/\.(lock|next)$/.test(name)) fs.unlinkSync(join(dirname(file), name))
}

/** Counts how often somebody looks who has the lock of a session. */
function looksAt(file: string): { count: number } {
  const looks = { count: 0 }
  vi.spyOn(disk, 'open').mockImplementation((...args) => {
    if (args[0] === `${file}.lock`) looks.count++
    return realDisk.open(...args)
  })
  return looks
}

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
    [{ path: ' ' }, /path option .* folder/],
    [{ path: 7 }, /path option .* folder/],
    [{ path: Buffer.from('sessions') }, /path option .* Buffer; give it as a string/],
    [{ path: new URL('http://example.org/sessions') }, /path option .* http: URL/],
    [{ path: 'file:///tmp/sessions' }, /path option .* new URL/],
    [{ path: '~/sessions' }, /path option .* ~.* os.homedir/],
    [{ path: '$HOME/sessions' }, /path option .* \$HOME.* process.env/],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: that is what was forgotten
    [{ path: '${DATA}/sessions' }, /path option .* \$\{DATA\}.* process.env/],
    [{ path: '%APPDATA%\\sessions' }, /path option .* %APPDATA%.* process.env/],
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

  it('may be given as a file: URL', async () => {
    const store = new FileStore({ path: pathToFileURL(join(path, 'a b')), reapInterval: Infinity })
    expect(store.path).toBe(join(path, 'a b'))
    await store.set('one', session({ n: 1 }))
    expect(await store.get('one')).toMatchObject({ n: 1 })
  })

  it('is looked at when the store is made, which makes nothing: what cannot be used is said', async () => {
    const file = join(path, 'file')
    await writeFile(file, '')
    await symlink(join(path, 'nowhere'), join(path, 'link'))
    const make = (path: string) => () => new FileStore({ path, reapInterval: Infinity })
    expect(make(file)).toThrow(/path option of FileStore is .*file, which cannot be used: it is a file, or in one/)
    expect(make(join(file, 'a', 'b'))).toThrow(/path option .* it is a file, or in one/)
    expect(make(join(path, 'link'))).toThrow(/path option .* a link to what is not there/)
    expect(make(join(path, 'x'.repeat(300)))).toThrow(/path option .* ENAMETOOLONG/)
    expect(make(file)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTION' }))
    make(join(path, 'a', 'b'))()
    expect((await readdir(path)).sort()).toEqual(['file', 'link'])
  })

  // Who may do anything is told so by the system: what a system tells others is played.
  it.each([
    ['EACCES', /no right to read and write there/],
    ['EROFS', /can only be read/],
    ['ERR_ACCESS_DENIED', /permission model .* --allow-fs-write/],
  ])('is said to be of no use where the system answers %s', (code, message) => {
    vi.spyOn(fs, 'accessSync').mockImplementation(() => {
      throw Object.assign(new Error(code), { code })
    })
    expect(() => new FileStore({ path })).toThrow(message)
    if (code !== 'ERR_ACCESS_DENIED') expect(() => new FileStore({ path: join(path, 'a') })).toThrow(message)
  })

  it.skipIf(process.getuid?.() === 0)('without the right to write is refused', async () => {
    await chmod(path, 0o500)
    expect(() => new FileStore({ path })).toThrow(/no right to read and write there/)
    expect(() => new FileStore({ path: join(path, 'a') })).toThrow(/no right to read and write there/)
  })

  it('that cannot be used any more is an error, not a missing session', async () => {
    const blocked = join(path, 'file')
    const store = new FileStore({ path: blocked, reapInterval: Infinity })
    await writeFile(blocked, '')
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

  it('on a disk that is slow for good holds up neither the event loop nor others that need the thread pool', async () => {
    const start = store
    await start.set('one', session({ n: 0 }))
    await leave(start, 'left', dead)
    await start.set('old', session({}, 1))
    const real = { ...fs }
    const atOnce: string[] = []
    let most = 0
    let pending = 0
    for (const [name, call] of Object.entries(real)) {
      if (typeof call !== 'function' || /^([A-Z_]|watch|unwatch|create|open(dir|AsBlob)|exists)/.test(name)) continue
      if (name.endsWith('Sync')) {
        vi.spyOn(fs, name as 'openSync').mockImplementation((...args) => {
          atOnce.push(name)
          return (call as typeof fs.openSync)(...args)
        })
      } else if (['open', 'stat', 'fstat', 'read', 'write', 'close', 'rename', 'unlink', 'link'].includes(name)) {
        vi.spyOn(fs, name as 'stat').mockImplementation(((...args: unknown[]) => {
          most = Math.max(most, ++pending)
          const done = args.pop() as (...results: unknown[]) => void
          setTimeout(() => {
            ;(call as (...args: unknown[]) => void)(...args, (...results: unknown[]) => {
              pending--
              done(...results)
            })
          }, 1)
        }) as never)
      }
    }
    try {
      const reaper = new FileStore({ path, reapInterval: 20 })
      atOnce.length = 0
      const ids = Array.from({ length: 100 }, (_, n) => `many-${n}`)
      await Promise.all(ids.map((id, n) => start.set(id, session({ n }))))
      const found = await Promise.all(ids.map((id) => start.get(id)))
      expect(found.map((data) => data?.n)).toEqual(ids.map((_, n) => n))
      await Promise.all(ids.map((id) => start.touch(id, session({}, 600_000))))
      // Two stores wait for each other at the lock, and for a writer that is dead.
      await Promise.all([start, reaper].map((store) => change(store, 'one', ({ n }) => ({ n: (n as number) + 1 }))))
      expect(await start.get('one')).toMatchObject({ n: 2 })
      await start.set('left', session({ n: 2 }))
      expect([await start.length(), (await start.all()).length]).toEqual([102, 102])
      await until(async () => !(await readdir(dirname(fileOf(path, 'old')))).includes(basename(fileOf(path, 'old'))))
      await start.destroy('left')
      await start.clear()
      expect(await start.length()).toBe(0)
      expect(atOnce).toEqual([])
      expect(most).toBeLessThan(64)
    } finally {
      vi.restoreAllMocks()
    }
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
    expect((await driverOf(store).read('one'))?.record).toMatch(/^\{"cookie":\{.*\},"n":1\}$/)
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
    expect((await driverOf(store).read('one'))?.record).toMatch(/^\{"cookie":\{.*\},"n":1\}$/)
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
    const { cookie } = JSON.parse((await driver.read('one'))?.record as string)
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
    const from = (await driver.read('one')) as Version
    const seen: unknown[] = []
    const held = await driver.update('one', from, (current) => {
      seen.push(current)
      return outgoing({ a: 2 })
    })
    expect(seen).toEqual([from])
    expect(held?.record).toBe((await driver.read('one'))?.record)
    await driver.update('one', from, (current) =>
      outgoing({ ...JSON.parse(current.record as string), cookie: undefined, b: 1 }),
    )
    expect(await store.get('one')).toMatchObject({ a: 2, b: 1 })
  })

  it('writes nothing for a session that is gone', async () => {
    const make = vi.fn(() => outgoing())
    expect(await driverOf(store).update('one', { record: '' }, make)).toBeUndefined()
    await store.set('one', session())
    await store.destroy('one')
    expect(await driverOf(store).update('one', { record: '' }, make)).toBeUndefined()
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
    const file = fileOf(path, 'one')
    await store.set('one', session({ a: 2 }))
    const others = await readFile(file)
    await store.set('one', session({ a: 1 }))
    const seen: unknown[] = []
    const updated = await driver.update('one', { record: '' }, (current) => {
      const { cookie: _, ...data } = JSON.parse(current.record as string)
      seen.push(data)
      if (seen.length === 1) {
        rob(file)
        fs.writeFileSync(file, others)
      }
      return outgoing({ ...data, b: 1 })
    })
    expect(seen).toEqual([{ a: 1 }, { a: 2 }])
    expect(JSON.parse(updated?.record as string)).toMatchObject({ a: 2, b: 1 })
    const make = vi.fn(() => {
      rob(file)
      fs.unlinkSync(file)
      return outgoing({ b: 2 })
    })
    expect(await driver.update('one', { record: '' }, make)).toBeUndefined()
    expect(make).toHaveBeenCalledOnce()
    expect(await files()).toEqual([])
  })

  it('reads the record again only when somebody may have changed it since', async () => {
    const driver = driverOf(store)
    let reads = 0
    const { open } = disk
    vi.spyOn(disk, 'open').mockImplementation((...args) => {
      if (args[1] === 'r') reads++
      return open(...args)
    })
    const add = async (from: Version, key: string): Promise<[number, object]> => {
      reads = 0
      const updated = await driver.update('one', from, (current) => {
        const { cookie: _, ...data } = JSON.parse(current.record as string)
        return outgoing({ ...data, [key]: 1 })
      })
      return [reads, JSON.parse(updated?.record as string)]
    }
    /** Reads the session this many ms after it was written. */
    const readAfter = async (ms: number): Promise<Version> => {
      const written = (await stat(fileOf(path, 'one'))).ctimeMs
      const now = vi.spyOn(Date, 'now').mockReturnValue(written + ms)
      const version = await driver.read('one')
      now.mockRestore()
      return version as Version
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
        rob(fileOf(path, 'one'))
        fs.writeFileSync(lock, '{"half')
        setTimeout(() => fs.unlinkSync(lock), 50)
      }
      return { ...data, b: 1 }
    })
    expect([updated, tries]).toMatchObject([{ a: 1, b: 1 }, 2])
    expect(await store.get('one')).toMatchObject({ a: 1, b: 1 })
  })

  it('does not trust a lock that it has held for too long', async () => {
    const file = fileOf(path, 'one')
    await store.set('one', session({ a: 2 }))
    const others = await readFile(file)
    await store.set('one', session({ a: 1 }))
    const { uptime } = process
    let tries = 0
    const updated = await change(store, 'one', (data) => {
      if (++tries === 1) {
        // Somebody else has taken it away, and is about to write.
        fs.unlinkSync(`${file}.lock`)
        fs.writeFileSync(file, others)
        fs.writeFileSync(`${file}.lock`, '{"half')
        setTimeout(() => fs.unlinkSync(`${file}.lock`), 50)
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
    const looks = looksAt(fileOf(path, 'one'))
    for (const [n, write] of [
      () => store.set('one', session({ n: 2 })),
      () => change(store, 'one', () => ({ n: 2 })),
      () => store.destroy('one'),
    ].entries()) {
      await leave(store, 'one', dead)
      expect(await store.get('one')).toMatchObject({ n: 1 })
      await store.touch('one', session())
      looks.count = 0
      await write()
      // Nobody waits until it is stale.
      expect(looks.count).toBeLessThan(10)
      if (n < 2) expect(await store.get('one')).toMatchObject({ n: 2 })
      expect(await files()).toHaveLength(n < 2 ? 1 : 0)
    }
  })

  it('tells its owner at any moment: whenever a process dies, the next writer goes on, and nothing is lost', async () => {
    const { pid } = process
    for (const work of ['set', 'change', 'destroy', 'take away'] as const) {
      let calls = Infinity
      for (let at = 0; at < calls; at++) {
        for (const when of ['before', 'after']) {
          const [victim, next] = [1, 2].map(() => new FileStore({ path, reapInterval: Infinity })) as [
            FileStore,
            FileStore,
          ]
          await next.set('one', session({ n: 1 }))
          // One that dies while it takes away the lock of one that is dead.
          if (work === 'take away') await leave(next, 'one', dead)
          let count = 0
          let died: (() => void) | undefined
          let wake: (() => void) | undefined
          const death = new Promise<void>((resolve) => {
            died = resolve
          })
          const spies = Object.entries(disk).map(([name, call]) =>
            vi.spyOn(disk, name as keyof Disk).mockImplementation((async (...args: never[]) => {
              const isDeath = count++ === at
              const sleep = (): Promise<void> => {
                died?.()
                return new Promise<void>((resolve) => {
                  wake = resolve
                })
              }
              if (isDeath && when === 'before') await sleep()
              const result = await (call as (...args: never[]) => Promise<unknown>)(...args)
              if (isDeath && when === 'after') await sleep()
              return result
            }) as never),
          )
          Object.defineProperty(process, 'pid', { value: dead })
          const dying = (
            work === 'change' || work === 'take away'
              ? change(victim, 'one', (data) => ({ ...data, theirs: 1 }))
              : victim[work]('one', session({ n: 1, theirs: 1 }))
          ) as Promise<unknown>
          await Promise.race([death, dying])
          for (const spy of spies) spy.mockRestore()
          Object.defineProperty(process, 'pid', { value: pid })
          calls = Math.min(calls, wake ? Infinity : count)
          const looks = looksAt(fileOf(path, 'one'))
          const mine = await change(next, 'one', (data) => ({ ...data, mine: 1 }))
          expect([work, at, looks.count]).toEqual([work, at, expect.any(Number)])
          // As many are given to an owner who cannot be asked after.
          expect(looks.count).toBeLessThan(100)
          if (work !== 'destroy') expect(mine).toMatchObject({ n: 1, mine: 1 })
          const before = await next.get('one')
          // It was alive after all: it does again what was void, and takes nothing back.
          wake?.()
          await dying
          const after = await next.get('one')
          if (work === 'change' || work === 'take away') expect(after).toMatchObject({ n: 1, theirs: 1, mine: 1 })
          if (work === 'destroy') expect(after).toBeUndefined()
          if (work === 'set') expect(after).toMatchObject(before?.theirs ? { theirs: 1, mine: 1 } : { theirs: 1 })
          vi.restoreAllMocks()
          await next.destroy('one')
          expect(await files()).toEqual([])
        }
      }
      expect(calls).toBeGreaterThan(3)
    }
  })

  it.skipIf(process.platform !== 'linux')(
    'of a process whose pid another has by now, or that only its parent remembers, is a dead one',
    async () => {
      const file = fileOf(path, 'one')
      const looks = looksAt(file)
      const reused = await leave(store, 'one', process.pid)
      await writeFile(reused, (await readFile(reused, 'utf8')).replace(/\.\d+\//, '.1/'))
      looks.count = 0
      await store.set('one', session({ n: 2 }))
      expect(looks.count).toBeLessThan(10)

      const parent = spawn('sh', ['-c', 'sleep 0.1 & echo $!; exec sleep 3600'])
      try {
        const zombie = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)))
        await until(() => /\) Z /.test(fs.readFileSync(`/proc/${zombie}/stat`, 'latin1')))
        const lock = await leave(store, 'one', zombie)
        const { 21: start } = fs.readFileSync(`/proc/${zombie}/stat`, 'latin1').split(' ')
        await writeFile(lock, (await readFile(lock, 'utf8')).replace(/\.\d+\//, `.${start}/`))
        looks.count = 0
        await store.set('one', session({ n: 3 }))
        expect(looks.count).toBeLessThan(10)
      } finally {
        parent.kill('SIGKILL')
      }
    },
  )

  it('is looked at a hundred times when nobody knows whose it is, and left to an owner that makes others', async () => {
    // Without pauses between the looks.
    vi.spyOn(Math, 'random').mockReturnValue(-0.5)
    await leave(store, 'nobody')
    const strange = await leave(store, 'stranger', dead)
    await writeFile(strange, (await readFile(strange, 'utf8')).replace(/@[^"]*/, '@000000000000.1/a-1'))
    for (const [sid, data] of [
      ['nobody', { n: 2 }],
      ['stranger', { n: 1, more: 1 }],
    ] as const) {
      const looks = looksAt(fileOf(path, sid))
      if (sid === 'nobody') await store.set(sid, session(data))
      else await change(store, sid, (data) => ({ ...data, more: 1 }))
      expect(looks.count).toBeGreaterThanOrEqual(100)
      expect(await store.get(sid)).toMatchObject(data)
    }

    const busy = await leave(store, 'busy', process.ppid)
    const text = await readFile(busy, 'utf8')
    const looks = looksAt(fileOf(path, 'busy'))
    let locks = 0
    const writing = store.set('busy', session({ n: 2 }))
    await until(() => {
      fs.writeFileSync(busy, text.replace(/@[^"]*/, `@000000000000.1/a-${++locks}`))
      return looks.count > 250
    })
    expect(await store.get('busy')).toMatchObject({ n: 1 })
    fs.unlinkSync(busy)
    await writing
    expect(await store.get('busy')).toMatchObject({ n: 2 })
  })

  it('is made without links where the file system has none', async () => {
    vi.spyOn(disk, 'link').mockRejectedValue(Object.assign(new Error('EPERM: link'), { code: 'EPERM' }))
    const others = [store, new FileStore({ path, reapInterval: Infinity })] as const
    await store.set('one', session({ n: 0 }))
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => change(others[i % 2 ? 1 : 0], 'one', ({ n }) => ({ n: (n as number) + 1 }))),
    )
    expect(await store.get('one')).toMatchObject({ n: 20 })
    await leave(store, 'one', dead)
    const looks = looksAt(fileOf(path, 'one'))
    await store.set('one', session({ n: 2 }))
    expect(looks.count).toBeLessThan(10)
    await store.destroy('one')
    expect(await files()).toEqual([])
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
    // Locks that the reaper holds at this moment are files, too.
    await until(async () => (await files()).length === 3)
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
