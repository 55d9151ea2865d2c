// The errors that this package makes. Errors of a store are passed on unchanged.

/** Stable codes of errors. Compare these: messages may change. */
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

/** An error of this package. Its `code` says which. */
export class SessionError extends Error {
  override readonly name = 'SessionError'
  readonly code: SessionErrorCode
  /** HTTP status for the response to a refused request, which error handlers of Express and bunWay use; otherwise undefined. */
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
