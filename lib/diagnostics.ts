// What the package tells the people who run it: debug lines, deprecations, warnings.

import { AsyncLocalStorage } from 'node:async_hooks'
import { format } from 'node:util'

const NAMESPACE = 'unisession'
/** Names under which people already switch express-session's output on and off. */
const NAMES: readonly string[] = [NAMESPACE, 'express-session']

/** Each cause of a warning by a stable name, under which docs/troubleshooting.md has its meaning and its cure. */
export type WarningCode =
  | 'WARN_SESSION_CACHE_PUBLIC'
  | 'WARN_SESSION_CHANGED_LATE'
  | 'WARN_SESSION_COOKIE_DOMAIN'
  | 'WARN_SESSION_COOKIE_EXPIRES'
  | 'WARN_SESSION_COOKIE_INSECURE'
  | 'WARN_SESSION_COOKIE_NAME'
  | 'WARN_SESSION_COOKIE_NOT_SENT'
  | 'WARN_SESSION_COOKIE_PATH'
  | 'WARN_SESSION_COOKIE_PREFIX'
  | 'WARN_SESSION_COOKIE_TOO_LONG'
  | 'WARN_SESSION_HEAD_SENT'
  | 'WARN_SESSION_LATE_ERROR'
  | 'WARN_SESSION_LIFETIME'
  | 'WARN_SESSION_MEMORY_STORE'
  | 'WARN_SESSION_OPTIONS'
  | 'WARN_SESSION_OPTION_UNKNOWN'
  | 'WARN_SESSION_OPTION_VALUE'
  | 'WARN_SESSION_REDIS_EVAL'
  | 'WARN_SESSION_SECOND'
  | 'WARN_SESSION_SECRET'
  | 'WARN_SESSION_STORE'
  | 'WARN_SESSION_STORE_SILENT'

/** True when `list`, as in DEBUG or NO_DEPRECATION, has one of `names` (`*` is a wildcard, `-name` excludes). */
export function listed(list: string | undefined, names: readonly string[] = NAMES): boolean {
  let found = false
  for (const entry of (list ?? '').split(/[\s,]+/)) {
    const pattern = new RegExp(
      `^${entry
        .replace(/^-/, '')
        .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
        .replace(/\*/g, '.*')}$`,
    )
    if (!entry || !names.some((name) => pattern.test(name))) continue
    if (entry.startsWith('-')) return false
    found = true
  }
  return found
}

/** Whether `DEBUG` asks for our lines; check it before building an expensive message. */
export const debugging: boolean = listed(process.env.DEBUG)

/** The request that is served, as its method and path. */
const requests = new AsyncLocalStorage<string>()

/** Runs `serve`; debug lines of what comes of it begin with `request`, its method and path. */
export function debugRequest<T>(request: string, serve: () => T): T {
  return requests.run(request, serve)
}

/** Explains a decision in one line on stderr when `DEBUG=unisession`. */
export function debug(message: string, ...args: unknown[]): void {
  if (!debugging) return
  const request = requests.getStore()
  process.stderr.write(`${NAMESPACE} ${request ? `${request} ` : ''}${format(message, ...args)}\n`)
}

/** An id for the log: enough to follow it, too little to use it. */
export function shorten(id: string): string {
  return debugging ? `${id.slice(0, 6)}…` : ''
}

const said = new Set<string>()

function once(message: string): boolean {
  if (said.has(message)) return false
  said.add(message)
  return true
}

/**
 * Announces a deprecated use once, the way `depd` does for express-session: silenced by
 * `NO_DEPRECATION=express-session`, handed to `process.on('deprecation')` when somebody listens,
 * printed on stderr otherwise.
 */
export function deprecate(message: string): void {
  if (listed(process.env.NO_DEPRECATION) || process.argv.includes('--no-deprecation')) return
  const processEvents = process as NodeJS.EventEmitter
  if (processEvents.listenerCount('deprecation') > 0) {
    const error = Object.assign(new Error(message), {
      name: 'DeprecationError',
      namespace: 'express-session',
    })
    processEvents.emit('deprecation', error)
    return
  }
  if (once(message)) process.stderr.write(`express-session deprecated ${message}\n`)
}

/**
 * Warns of what works otherwise than somebody will have meant: once a process for each `message`, which says the cure,
 * too. `detail`, such as an error, does not count. Silenced by `NO_WARNING=<code>` (a list, `*` is a wildcard) and by
 * Node's `--disable-warning=<code>`.
 */
export function warn(code: WarningCode, message: string, detail?: string): void {
  if (listed(process.env.NO_WARNING, [code]) || !once(message)) return
  const address = `unisession: docs/troubleshooting.md#${code.toLowerCase()}`
  process.emitWarning(message, {
    type: 'SessionWarning',
    code,
    detail: detail === undefined ? address : `${detail}\n${address}`,
  })
}
