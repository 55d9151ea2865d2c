// What the package itself knows of a session. It is kept in the session's record beside the cookie's attributes, which
// express-session and every store pass on: a process that does not record a fact keeps what another has recorded.

/** Dates are in ms since the epoch. */
export interface Facts {
  /** When the session was created. An id that is renewed changes nothing about it. */
  createdAt?: number | undefined
  /** When its id was issued; recorded where ids are renewed. */
  issuedAt?: number | undefined
  /** When a request last extended it. */
  seenAt?: number | undefined
  /** When its user last proved who they are. */
  authenticatedAt?: number | undefined
  /** Whose session it is: a hash of the user's id. */
  user?: string | undefined
  /** What the option `describe` said of it: base64url of JSON, encrypted where the data is. */
  about?: string | undefined
  /** Until when the index of its user's sessions has it; 0: for ever. */
  indexedUntil?: number | undefined
}

const NAMES = [
  'createdAt',
  'issuedAt',
  'seenAt',
  'authenticatedAt',
  'user',
  'about',
  'indexedUntil',
] as const satisfies (keyof Facts)[]

/** The facts that a cookie carries, to be read and set. */
export function factsOf(cookie: object): Facts {
  return cookie as Facts
}

/** The facts among the attributes of a cookie; undefined where there are none. */
export function factsIn(cookie: object): Facts | undefined {
  const { createdAt, issuedAt, seenAt, authenticatedAt, user, about, indexedUntil } = cookie as Facts
  // Asked for each cookie that is written: mostly there are none. The last two come with a user.
  if ((createdAt ?? issuedAt ?? seenAt ?? authenticatedAt ?? user) === undefined) return undefined
  return { createdAt, issuedAt, seenAt, authenticatedAt, user, about, indexedUntil }
}

/** A date among the facts of a cookie; undefined where there is none, or no number. */
export function dateIn(
  cookie: object,
  name: 'createdAt' | 'issuedAt' | 'seenAt' | 'authenticatedAt',
): number | undefined {
  const date: unknown = factsOf(cookie)[name]
  return typeof date === 'number' && Number.isFinite(date) ? date : undefined
}

/** Changes facts of a record that is about to be written; undefined takes one away. */
export function amend(record: { cookie: object; attributes: object }, facts: Facts): void {
  for (const target of new Set([record.cookie, record.attributes])) {
    for (const [name, value] of Object.entries(facts)) {
      if (value === undefined) delete factsOf(target)[name as keyof Facts]
      else Object.assign(target, { [name]: value })
    }
  }
}

/** When a session was last extended, by its record: the date itself, or the one that its expiry shows. */
export function lastSeenOf(cookie: object): number | undefined {
  const { expires, originalMaxAge } = cookie as { expires?: unknown; originalMaxAge?: unknown }
  const end = expires instanceof Date || typeof expires === 'string' ? new Date(expires).getTime() : Number.NaN
  const start = typeof originalMaxAge === 'number' ? end - originalMaxAge : Number.NaN
  return dateIn(cookie, 'seenAt') ?? (Number.isNaN(start) ? undefined : start)
}

export function dateOf(ms: number | undefined): Date | undefined {
  return ms === undefined ? undefined : new Date(ms)
}

/** Records that a request extends the session now, where that is recorded. */
export function markSeen(cookie: object): void {
  const facts = factsOf(cookie)
  if (facts.seenAt !== undefined) facts.seenAt = Date.now()
}

/**
 * The facts of a session that two requests have written: it was created when the first says so, and seen when the last
 * does. Of another fact, a change by this request (`ours` against `base`) counts, and what is stored (`theirs`) otherwise.
 */
export function mergeFacts(base: Facts, ours: Facts, theirs: Facts): Facts {
  const merged: Record<string, unknown> = {}
  for (const name of NAMES) {
    const value = ours[name] === base[name] ? theirs[name] : ours[name]
    if (value !== undefined) merged[name] = value
  }
  const dates = (name: 'createdAt' | 'seenAt'): number[] =>
    [ours, theirs].map((facts) => dateIn(facts, name)).filter((date) => date !== undefined)
  const [created, seen] = [dates('createdAt'), dates('seenAt')]
  if (created.length > 0) merged.createdAt = Math.min(...created)
  if (seen.length > 0) merged.seenAt = Math.max(...seen)
  return merged
}

/** Gives the cookie of a session under a new id what is known of its user. */
export function keepUser(from: object, to: object): void {
  const { user, authenticatedAt, about } = factsOf(from)
  Object.assign(to, { ...(user !== undefined && { user, authenticatedAt, about }) })
}

/** Takes away what is known of a session's user. */
export function forgetUser(cookie: object): void {
  const facts = factsOf(cookie)
  for (const name of ['user', 'authenticatedAt', 'about', 'indexedUntil'] as const) delete facts[name]
}

/** Gives one cookie the facts of another, and no others. */
export function copyFacts(from: object | undefined, to: object): void {
  for (const name of NAMES) {
    const value = from && factsOf(from)[name]
    if (value === undefined) delete factsOf(to)[name]
    else Object.assign(to, { [name]: value })
  }
}
