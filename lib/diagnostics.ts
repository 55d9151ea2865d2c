// Output for the people who run an app: debug lines, deprecations and warnings.

import { AsyncLocalStorage } from 'node:async_hooks'
import { format } from 'node:util'

const NAMESPACE = 'unisession'
/** Names in DEBUG and NO_DEPRECATION that apply to this package; apps have set express-session's already. */
const NAMES: readonly string[] = [NAMESPACE, 'express-session']

/** Stable codes of warnings. docs/troubleshooting.md has a section for each, with its causes and cures. */
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
  | 'WARN_SESSION_DESCRIBE'
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

/**
 * Whether a list, as in DEBUG or NO_DEPRECATION, contains one of `names`: `*` is a wildcard, `-name` excludes a name.
 */
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

/** Whether debug lines are printed; check it before making an expensive message. */
export const debugging: boolean = listed(process.env.DEBUG)

/** The method and path of the request that is being served. */
const requests = new AsyncLocalStorage<string>()

/** Runs `serve`. Debug lines printed by it, or by what it starts, begin with `request`: a method and a path. */
export function debugRequest<T>(request: string, serve: () => T): T {
  return requests.run(request, serve)
}

/**
 * Prints a line to stderr if `DEBUG` contains `unisession` or `express-session`. Takes a format as `util.format` does.
 */
export function debug(message: string, ...args: unknown[]): void {
  if (!debugging) return
  const request = requests.getStore()
  process.stderr.write(`${NAMESPACE} ${request ? `${request} ` : ''}${format(message, ...args)}\n`)
}

/** The beginning of an id, for debug lines: enough to tell sessions apart, not enough to use one. */
export function shorten(id: string): string {
  return debugging ? `${id.slice(0, 6)}…` : ''
}

/** The messages that were printed. Each is printed only once. */
const printed = new Set<string>()

/** Whether a message has not been printed before. Counts it as printed from now on. */
function isFirst(message: string): boolean {
  if (printed.has(message)) return false
  printed.add(message)
  return true
}

/**
 * Reports a deprecated use, as `depd` does for express-session: emits the process event `deprecation` if it has a
 * listener, otherwise prints the message once to stderr. `NO_DEPRECATION=express-session` and Node's `--no-deprecation`
 * switch it off.
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
  if (isFirst(message)) process.stderr.write(`express-session deprecated ${message}\n`)
}

/**
 * Emits a process warning about a use that will not do what was meant. The message includes the cure. Emits each
 * message once per process; `detail`, such as an error, is printed with it but not compared. `NO_WARNING=<code>` (a
 * list, `*` is a wildcard) and Node's `--disable-warning=<code>` switch it off.
 */
export function warn(code: WarningCode, message: string, detail?: string): void {
  if (listed(process.env.NO_WARNING, [code]) || !isFirst(message)) return
  const address = `unisession: docs/troubleshooting.md#${code.toLowerCase()}`
  process.emitWarning(message, {
    type: 'SessionWarning',
    code,
    detail: detail === undefined ? address : `${detail}\n${address}`,
  })
}
