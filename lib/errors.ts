// The errors this package makes itself. A store's own errors travel unchanged.

/** Stable names for what went wrong; safe to compare with, unlike messages. */
export type SessionErrorCode =
  | 'ERR_SESSION_CROSS_SITE'
  | 'ERR_SESSION_HOST'
  | 'ERR_SESSION_ID'
  | 'ERR_SESSION_MISSING'
  | 'ERR_SESSION_OPTION'
  | 'ERR_SESSION_SECRET'
  | 'ERR_SESSION_SERIALIZE'
  | 'ERR_SESSION_SIZE'
  | 'ERR_SESSION_STORE'
  | 'ERR_SESSION_TIMEOUT'

/** An error of the session layer, told apart by its `code`. */
export class SessionError extends Error {
  override readonly name = 'SessionError'
  readonly code: SessionErrorCode
  /** The status of an answer to a request that is refused; error handlers of Express and bunWay use it. */
  declare readonly status?: number

  constructor(code: SessionErrorCode, message: string, options: { cause?: unknown; status?: number } = {}) {
    const { status, ...rest } = options
    super(message, rest)
    this.code = code
    if (status !== undefined) Object.assign(this, { status, statusCode: status, expose: true })
  }
}

/** A wrong option: a TypeError, as express-session throws, with our code on it. */
export function optionError(message: string, options?: { cause?: unknown }): TypeError & { code: SessionErrorCode } {
  return Object.assign(new TypeError(message, options), {
    code: 'ERR_SESSION_OPTION' as const,
  })
}
