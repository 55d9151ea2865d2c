// What a shared cache may keep of an answer that carries a session's cookie (RFC 9111, section 5.2.2). Pure.

interface Directives {
  readonly [name: string]: string | undefined
}

/** The parts of a header between its commas; commas within quotes belong to a value. */
function split(header: string): string[] {
  const parts = header.match(/(?:[^,"]|"(?:[^"\\]|\\.)*"?)+/g) ?? []
  return parts.map((part) => part.trim()).filter(Boolean)
}

/** A quote that is not closed. Strict caches take what follows for its value, others do not. */
function hasOpenQuote(header: string): boolean {
  return header.replace(/"(?:[^"\\]|\\.)*"/g, '').includes('"')
}

/** The directives by name, in lower case; one without a value has an empty one. */
function parse(parts: string[]): Directives {
  const directives: Record<string, string> = Object.create(null)
  for (const part of parts) {
    const [name = '', ...value] = part.split('=')
    directives[name.trim().toLowerCase()] = value
      .join('=')
      .trim()
      .replace(/^"(.*)"$/, '$1')
  }
  return directives
}

/** Seconds that a shared cache may use the answer without asking; undefined: the headers do not say. */
function lifetimeOf(directives: Directives, expires: string | undefined): number | undefined {
  const seconds = directives['s-maxage'] ?? directives['max-age']
  if (seconds !== undefined) return /^\d+$/.test(seconds) ? Number(seconds) : 0
  if (expires === undefined) return undefined
  return Math.max(0, (Date.parse(expires) - Date.now()) / 1000) || 0
}

/**
 * The `Cache-Control` that keeps an answer out of shared caches. `public`: the app has said that it may be kept there for
 * a while. Undefined: the header stays as it is, as no shared cache keeps the answer.
 */
export function keepPrivate(
  header: string | undefined,
  expires: string | undefined,
): { readonly header: string } | 'public' | undefined {
  const parts = split(header ?? '')
  const directives = parse(parts)
  // With a value, `private` is about the fields that this names.
  if ('no-store' in directives || parts.some((part) => part.toLowerCase() === 'private')) return undefined
  const isMarked = 'public' in directives || 's-maxage' in directives
  if (isMarked && (lifetimeOf(directives, expires) ?? 0) > 0) return 'public'
  const others = parts.filter((part) => part.toLowerCase() !== 'public')
  return { header: (hasOpenQuote(others.join()) ? ['private', ...others] : [...others, 'private']).join(', ') }
}
