// The path option of FileStore: read and checked once, when the store is made. The only synchronous calls of the file
// system are here.

import fs from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { optionError } from '../../lib/errors.ts'
import { codeOf } from './disk.ts'

const { R_OK, W_OK, X_OK } = fs.constants

/**
 * The path option as an absolute path. A missing folder is not created here, but by the first session that is saved.
 * @throws TypeError `ERR_SESSION_OPTION` for a folder that cannot be used; it says why, and what to do.
 */
export function readFolder(given: unknown): string {
  const path = resolve(toText(given))
  try {
    check(path)
  } catch (error) {
    throw optionError(`path option of FileStore is ${path}, which cannot be used: ${reasonOf(error)}`, { cause: error })
  }
  return path
}

/** The option as text. @throws TypeError for what cannot be meant, such as a path that only a shell would expand. */
function toText(given: unknown): string {
  if (given instanceof Uint8Array) throw wrong('is a Buffer; give it as a string')
  if (given instanceof URL) {
    if (given.protocol !== 'file:')
      throw wrong(`is a ${given.protocol} URL; sessions are kept in a folder of this machine`)
    return fileURLToPath(given)
  }
  if (typeof given !== 'string' || given.trim() === '' || given.includes('\0')) {
    throw wrong("must be the folder for the sessions, such as './sessions'")
  }
  if (/^file:/i.test(given)) throw wrong(`is a URL as text; use new URL('${given}')`)
  const [unexpanded] = /^(~|\$\w+|\$\{\w+\}|%\w+%)(?=$|[\\/])/.exec(given) ?? []
  if (unexpanded) {
    const instead = unexpanded === '~' ? 'os.homedir()' : 'process.env'
    throw wrong(`begins with ${unexpanded}, which only a shell replaces; use path.join with ${instead}`)
  }
  return given
}

function wrong(what: string): TypeError {
  return optionError(`path option of FileStore ${what}`)
}

/** `process.permission`, which exists when Node's permission model is on. */
interface Permission {
  has(scope: 'fs.read' | 'fs.write', path: string): boolean
}

/** Throws unless the folder can be used, or can be created in the nearest folder above that exists. */
function check(path: string): void {
  const { permission } = process as { permission?: Permission }
  const inside = join(path, '00')
  // Under Node's permission model, the calls below can succeed for a folder into which this process may not write.
  if (permission && !(permission.has('fs.read', inside) && permission.has('fs.write', inside))) {
    throw Object.assign(new Error(`${inside} is not allowed`), { code: 'ERR_ACCESS_DENIED' })
  }
  for (let at = path; ; at = dirname(at)) {
    try {
      if (!fs.statSync(at).isDirectory()) throw Object.assign(new Error(`${at} is no folder`), { code: 'ENOTDIR' })
      fs.accessSync(at, at === path ? R_OK | W_OK | X_OK : W_OK | X_OK)
      return
    } catch (error) {
      if (codeOf(error) === 'ERR_ACCESS_DENIED' && at !== path) return
      if (codeOf(error) !== 'ENOENT' || at === dirname(at)) throw error
      // A dangling link: no folder can be created in its place.
      if (fs.lstatSync(at, { throwIfNoEntry: false })) throw error
    }
  }
}

/** What to tell the user, by the code of the error. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this process has no right to read and write there; give it that, or choose another folder',
  EPERM: 'this process has no right to read and write there; give it that, or choose another folder',
  ENOENT: 'it is a link to what is not there; make that, or choose another folder',
  ENOTDIR: 'it is a file, or in one; choose another folder',
  EROFS: 'its file system can only be read; mount it writable, or choose another folder',
  ERR_ACCESS_DENIED:
    "Node's permission model does not allow it; start Node with --allow-fs-read and --allow-fs-write of it, and make it before",
}

function reasonOf(error: unknown): string {
  return REASONS[String(codeOf(error))] ?? String(error)
}

/** @throws TypeError `ERR_SESSION_OPTION` where Node's permission model refuses what `sync` needs. */
export function checkSync(): void {
  try {
    // -1 is no file, so the call fails either way; the code says why.
    fs.fsyncSync(-1)
  } catch (error) {
    if (codeOf(error) !== 'ERR_ACCESS_DENIED') return
    throw optionError("sync option of FileStore needs fsync, which Node's permission model refuses; leave it out")
  }
}
