// What the package tells the people who run it: debug lines, deprecations, warnings.

import { format } from 'node:util'

const NAMESPACE = 'unisession'
/** Names under which people already switch express-session's output on and off. */
const NAMES = [NAMESPACE, 'express-session']

/** True when `list`, as in DEBUG or NO_DEPRECATION, names this package (`*` is a wildcard, `-name` excludes). */
export function listed(list: string | undefined): boolean {
  let found = false
  for (const entry of (list ?? '').split(/[\s,]+/)) {
    const pattern = new RegExp(
      `^${entry
        .replace(/^-/, '')
        .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
        .replace(/\*/g, '.*')}$`,
    )
    if (!entry || !NAMES.some((name) => pattern.test(name))) continue
    if (entry.startsWith('-')) return false
    found = true
  }
  return found
}

/** Whether `DEBUG` asks for our lines; check it before building an expensive message. */
export const debugging: boolean = listed(process.env.DEBUG)

/** Explains a decision in one line on stderr when `DEBUG=unisession`. */
export function debug(message: string, ...args: unknown[]): void {
  if (debugging) process.stderr.write(`${NAMESPACE} ${format(message, ...args)}\n`)
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

/** Warns once a process, through `process.emitWarning`. */
export function warn(message: string): void {
  if (once(message)) process.emitWarning(message, 'SessionWarning')
}
