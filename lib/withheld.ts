// Which headers of a withheld response must be removed before an error handler answers in its place. Pure.

/**
 * Headers that describe one response, its content and how it may be cached (RFC 9110, RFC 9111). All others, cookies
 * among them, apply to whatever response is sent.
 */
const RESPONSE_HEADERS: ReadonlySet<string> = new Set([
  'accept-ranges',
  'age',
  'cache-control',
  'cdn-cache-control',
  'content-digest',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'digest',
  'etag',
  'expires',
  'last-modified',
  'location',
  'refresh',
  'repr-digest',
  'retry-after',
  'surrogate-control',
  'trailer',
  'transfer-encoding',
])

/** Whether a header must be removed with the response it was set for. `no-store` stays: it protects any response. */
export function isRemovedWithResponse(name: string, value: unknown): boolean {
  const key = name.toLowerCase()
  return RESPONSE_HEADERS.has(key) && !(key === 'cache-control' && /\bno-store\b/i.test(String(value)))
}
