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
  /** Whose session it is. */
  user?: string | undefined
}

const NAMES = ['createdAt', 'issuedAt', 'seenAt', 'authenticatedAt', 'user'] as const satisfies (keyof Facts)[]

/** The facts that a cookie carries, to be read and set. */
export function factsOf(cookie: object): Facts {
  return cookie as Facts
}

/** The facts among the attributes of a cookie; undefined where there are none. */
export function factsIn(cookie: object): Facts | undefined {
  const source = factsOf(cookie)
  let facts: Record<string, unknown> | undefined
  for (const name of NAMES) {
    if (source[name] === undefined) continue
    facts ??= {}
    facts[name] = source[name]
  }
  return facts
}

/** Gives one cookie the facts of another, and no others. */
export function copyFacts(from: object | undefined, to: object): void {
  for (const name of NAMES) delete factsOf(to)[name]
  if (from) Object.assign(to, factsIn(from))
}
