// The options of FileStore, and their checks.

import { optionError } from '../../lib/errors.ts'
import { lintMilliseconds } from '../../lib/lint.ts'
import { each, type OptionNames, readStoreOptions } from '../options.ts'
import { checkSync, readFolder } from './folder.ts'

export interface FileStoreOptions {
  /**
   * The folder for the sessions, as text or a `file:` URL; a relative path counts from the working directory. It is
   * looked at when the store is made, and made by the first session when it is missing.
   */
  path: string | URL
  /**
   * The lifetime in milliseconds of a session whose cookie has no expiry date, from its last write or touch on. Default
   * 24 hours.
   */
  ttl?: number | undefined
  /** The encoding in which files are written. Files in either encoding are read. Default `'utf8'`. */
  encoding?: 'utf8' | 'utf-8' | 'utf16le' | 'utf-16le' | 'ucs2' | 'ucs-2' | undefined
  /** The end of the files' names. Default `'.json'`. */
  fileExtension?: string | undefined
  /** How often expired sessions are deleted, in milliseconds; `Infinity`: never. Default 10 minutes. */
  reapInterval?: number | undefined
  /**
   * Answers only when the disk has confirmed the change, so that a power cut cannot undo it. A write then takes
   * milliseconds. Default `false`.
   */
  sync?: boolean | undefined
}

const NAMES: OptionNames<FileStoreOptions> = {
  store: 'FileStore',
  known: ['path', 'ttl', 'encoding', 'fileExtension', 'reapInterval', 'sync'],
  text: 'path',
  // The options of the package session-file-store.
  instead: {
    ...each('dir directory folder', 'use path'),
    ...each('secret crypto encryptEncoding', 'sessions are not encrypted; only their owner can read the files'),
    ...each('encoder decoder', 'sessions are kept as JSON'),
    ...each('retries factor minTimeout maxTimeout', 'a session that is there is found at the first try'),
    ...each(
      'reapMaxConcurrent reapAsync reapSyncFallback reapIntervalObject',
      'reaping never blocks; set reapInterval',
    ),
    keyFunction: "a file is named by the SHA-256 of its session's id",
    filePattern: 'files of others are left alone; set fileExtension',
    fallbackSessionFn: 'where a session is missing, the visitor is given a new one',
    logFn: 'set DEBUG=unisession in the environment',
  },
}

const DAY = 86_400_000
const ENCODINGS = ['utf8', 'utf-8', 'utf16le', 'utf-16le', 'ucs2', 'ucs-2']

/** The options with their defaults. */
interface FileSettings {
  /** Absolute. */
  readonly path: string
  readonly ttl: number
  readonly encoding: BufferEncoding
  readonly fileExtension: string
  readonly reapInterval: number
  readonly sync: boolean
}

/** Checks the options and adds the defaults. @throws TypeError `ERR_SESSION_OPTION`; it says how to correct the option. */
export function readFileOptions(options: FileStoreOptions): FileSettings {
  const {
    path,
    ttl = DAY,
    encoding = 'utf8',
    fileExtension = '.json',
    reapInterval = 600_000,
    sync = false,
  } = readStoreOptions(options, NAMES)
  if (!(Number.isFinite(ttl) && ttl > 0)) throw wrong('ttl', 'a number of milliseconds above 0')
  if (!ENCODINGS.includes(encoding)) throw wrong('encoding', "'utf8' or 'utf16le', which can hold every session")
  if (typeof fileExtension !== 'string' || !/^(\.[\w-]+)*$/.test(fileExtension)) {
    throw wrong('fileExtension', "a dot and a word, such as '.json'")
  }
  if (!(typeof reapInterval === 'number' && reapInterval > 0)) {
    throw wrong('reapInterval', 'a number of milliseconds above 0 (Infinity: never)')
  }
  if (typeof sync !== 'boolean') throw wrong('sync', 'true or false')
  if (sync) checkSync()
  lintMilliseconds('ttl option of FileStore', ttl)
  lintMilliseconds('reapInterval option of FileStore', reapInterval)
  return { path: readFolder(path), ttl, encoding, fileExtension, reapInterval, sync }
}

function wrong(option: string, what: string): TypeError {
  return optionError(`${option} option of FileStore must be ${what}`)
}
