// Whose session it is, as the options say. Users are told apart in stores by hashes of their ids.

import { createHash, createHmac } from 'node:crypto'
import { SessionError } from './errors.ts'
import type { Facts } from './facts.ts'
import { keysOf, seal, unseal } from './port/encrypt.ts'
import type { Secret } from './signature.ts'
import type { Stored } from './snapshot.ts'

/** Names the user that a session belongs to: the option `userOf`. */
export type UserOf = (session: never) => unknown

/** How many hashes of users are remembered. */
const MAX_REMEMBERED = 1_000

/** What descriptions are bound to when they are encrypted. */
const ABOUT = 'about'

/** A session as passport leaves it. */
interface PassportSession {
  readonly passport?: { readonly user?: unknown } | null
}

/** The user that passport has signed in, where it is one that has a name. */
function passportUser({ passport }: PassportSession): string | undefined {
  const user = passport?.user
  return typeof user === 'string' || typeof user === 'number' ? String(user) : undefined
}

/** What the options make of users. */
export class Identity {
  readonly #userOf: UserOf | undefined
  readonly #secrets: readonly Secret[]
  readonly #encryptionKeys: readonly Buffer[]
  readonly #remembered = new Map<string, string>()

  /** `userOf`: undefined, as passport says. `secrets`: of the option `encrypt`. */
  constructor(userOf: UserOf | undefined, secrets: readonly Secret[] = []) {
    this.#userOf = userOf
    this.#secrets = secrets
    this.#encryptionKeys = keysOf(secrets)
  }

  /**
   * The user's id; undefined where nobody is signed in. Numbers are users by their digits.
   * @throws SessionError `ERR_SESSION_USERS` when `userOf` returned neither text nor a number.
   */
  userOf(session: object): string | undefined {
    if (!this.#userOf) return passportUser(session)
    const user = this.#userOf(session as never)
    if (user === undefined || user === null || user === false) return undefined
    if (typeof user === 'string') return user
    if (typeof user === 'number' || typeof user === 'bigint') return String(user)
    throw new SessionError(
      'ERR_SESSION_USERS',
      `userOf option must return the user's id as a string, or undefined; it returned ${typeof user === 'object' ? 'an object, whose id may need toString()' : typeof user}`,
    )
  }

  /** The user of a record as a store holds it, or of its data as JSON; undefined also where it cannot be read. */
  userIn(record: Stored): string | undefined {
    try {
      return this.userOf(typeof record === 'string' ? JSON.parse(record) : record)
    } catch {
      return undefined
    }
  }

  /** What stands for a user in records and in the index: a hash, with a secret where sessions are encrypted. */
  keyOf(user: string): string {
    let key = this.#remembered.get(user)
    if (key === undefined) {
      key = hash(user, this.#secrets[0])
      if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear()
      this.#remembered.set(user, key)
    }
    return key
  }

  /** The same under each secret, and without one, as sessions from before a change of the secrets have it. */
  keysOf(user: string): string[] {
    return [...this.#secrets.map((secret) => hash(user, secret)), hash(user, undefined)]
  }

  /** Whether these facts are of a session of this user. */
  isUser(facts: Facts, user: string): boolean {
    return facts.user !== undefined && (facts.user === this.keyOf(user) || this.keysOf(user).includes(facts.user))
  }

  /**
   * What a request does that leaves a session with this user. `facts`: those of the session as the request has it.
   * `base`: its data before, as JSON, which tells where it has no facts, as from another version of the app.
   */
  change(facts: Facts, user: string | undefined, base: string | undefined): 'in' | 'out' | undefined {
    if (user === undefined) return facts.user === undefined ? undefined : 'out'
    if (this.isUser(facts, user)) return undefined
    return base !== undefined && this.userIn(base) === user ? undefined : 'in'
  }

  /** A description as it is stored. */
  sealAbout(about: object): string {
    const text = JSON.stringify(about)
    const [key] = this.#encryptionKeys
    return key ? seal(text, ABOUT, key) : Buffer.from(text).toString('base64url')
  }

  /** The description that was stored; undefined where there is none, or none of the secrets opens it. */
  openAbout(stored: unknown): Record<string, unknown> | undefined {
    if (typeof stored !== 'string') return undefined
    for (const key of this.#encryptionKeys) {
      const text = unseal(stored, ABOUT, key)
      if (text !== undefined) return parseAbout(text)
    }
    return parseAbout(Buffer.from(stored, 'base64url').toString())
  }
}

function parseAbout(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return undefined
  }
}

function hash(user: string, secret: Secret | undefined): string {
  const text = `unisession user\0${user}`
  const made = secret === undefined ? createHash('sha256') : createHmac('sha256', secret as string)
  return made.update(text).digest('base64url')
}
