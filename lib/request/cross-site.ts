// Requests that a browser says come from another site: a defence against cross-site request forgery (OWASP CSRF
// Prevention, "Fetch Metadata" and "Verifying Origin"). Pure, but for what the host tells.

import type { HostRequest } from './host.ts'

/** RFC 9110, section 9.2.1: methods that change nothing. */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/**
 * Why a request counts as one from another site, by `Sec-Fetch-Site`, or by `Origin` where a browser sends no such header.
 * Undefined: it is the site's own, changes nothing, or comes from no browser. `proxy`: the option of that name.
 */
export function whyCrossSite(
  host: HostRequest,
  trusted: ReadonlySet<string>,
  proxy: boolean | undefined,
): string | undefined {
  if (SAFE.has(host.method)) return undefined
  const origin = host.header('origin')
  if (origin !== undefined && trusted.has(origin.toLowerCase())) return undefined
  const site = host.header('sec-fetch-site')?.trim().toLowerCase()
  if (site === 'same-origin' || site === 'none') return undefined
  if (site === 'cross-site' || site === 'same-site') return `Sec-Fetch-Site is ${site}`
  if (origin === undefined) return undefined
  return isOwn(origin, host, proxy) ? undefined : 'Origin is that of another site'
}

/** Whether an origin is that of the host which the browser has asked. A proxy may have changed the scheme. */
function isOwn(origin: string, host: HostRequest, proxy: boolean | undefined): boolean {
  const isTrusted = proxy ?? host.trustsProxy
  const forwarded = isTrusted ? host.header('x-forwarded-host')?.split(',', 1)[0]?.trim() : undefined
  const own = forwarded || host.header('host')
  if (!own || !URL.canParse(origin)) return false
  const { protocol, host: theirs } = new URL(origin)
  // `Origin: null` parses to nothing; a default port is no part of a host.
  return theirs !== '' && URL.canParse(`${protocol}//${own}`) && new URL(`${protocol}//${own}`).host === theirs
}
