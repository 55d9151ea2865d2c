// The errors that this package makes. Errors of a store are passed on unchanged.

/** Stable codes of errors. Compare these: messages may change. */
export type SessionErrorCode =
  /** A cross-site request was refused: option `crossSite`. Its `status` is 403. */
  | 'ERR_SESSION_CROSS_SITE'
  /** Nobody is signed in: `sessions.confirm`. */
  | 'ERR_SESSION_ANONYMOUS'
  /** Somebody signed in or out after the head of the response had left, so that the session could get no new id. */
  | 'ERR_SESSION_HEAD_SENT'
  /** The middleware was called with arguments of no known host. */
  | 'ERR_SESSION_HOST'
  /** The option `genid` did not return a non-empty string. */
  | 'ERR_SESSION_ID'
  /** The user has as many sessions as the option `maxSessions` allows. Its `status` is 403. */
  | 'ERR_SESSION_LIMIT'
  /** The session does not exist any more, as for `reload`. */
  | 'ERR_SESSION_MISSING'
  /** An option is invalid. The error is a TypeError, not a SessionError. */
  | 'ERR_SESSION_OPTION'
  /** There is no secret to sign cookies with. */
  | 'ERR_SESSION_SECRET'
  /** The data of a session cannot be written as JSON. */
  | 'ERR_SESSION_SERIALIZE'
  /** A session is larger than the option `maxSize`. */
  | 'ERR_SESSION_SIZE'
  /** The user of a request has not proved recently who they are: `sessions.fresh`. Its `status` is 403. */
  | 'ERR_SESSION_STALE'
  /** A bundled store could not do its work, or a store did not answer. */
  | 'ERR_SESSION_STORE'
  /** A store did not answer within the option `storeTimeout`. */
  | 'ERR_SESSION_TIMEOUT'
  /** The option `userOf` named no user that can be one, or the store cannot list the sessions of one. */
  | 'ERR_SESSION_USERS'

/** An error of this package. Its `code` says which. */
export class SessionError extends Error {
  override readonly name = 'SessionError'
  readonly code: SessionErrorCode
  /**
   * HTTP status for the response to a refused request, which error handlers of Express and bunWay use; otherwise
   * undefined.
   */
  declare readonly status?: number

  constructor(code: SessionErrorCode, message: string, options: { cause?: unknown; status?: number } = {}) {
    const { status, ...rest } = options
    super(message, rest)
    this.code = code
    if (status !== undefined) Object.assign(this, { status, statusCode: status, expose: true })
  }
}

/** The error for a wrong option: a TypeError, as express-session throws, with the code `ERR_SESSION_OPTION`. */
export function optionError(message: string, options?: { cause?: unknown }): TypeError & { code: SessionErrorCode } {
  return Object.assign(new TypeError(message, options), {
    code: 'ERR_SESSION_OPTION' as const,
  })
}
