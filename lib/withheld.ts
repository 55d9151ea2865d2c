// What must not stay of an answer that did not leave, where another takes its place; pure.

/** Headers that tell what an answer is, or what may become of it. The others, cookies too, are the app's for any answer. */
const OF_THE_ANSWER: ReadonlySet<string> = new Set([
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

/** Whether a header goes with the answer that was withheld. `no-store` holds for whatever follows. */
export function goesWithAnswer(name: string, value: unknown): boolean {
  const key = name.toLowerCase()
  return OF_THE_ANSWER.has(key) && !(key === 'cache-control' && /\bno-store\b/i.test(String(value)))
}
