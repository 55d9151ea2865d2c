// Packages without types of their own, and what they put on requests.
declare module 'compression'
declare module 'connect-pg-simple'
declare module 'cookie-parser'
declare module 'csurf'
declare module 'express4'
declare module 'lusca'
declare module 'passport'
declare module 'passport-local'
declare module 'pg'
declare module 'polka'
declare module 'session-file-store'

declare module 'bun:test' {
  export { afterAll, describe, expect, it } from 'vitest'
}
declare const Bun: {
  RedisClient: new (url?: string) => import('../../stores/redis.ts').RedisStoreClient & { close(): void }
}

declare namespace Express {
  interface Request {
    // connect-flash
    flash(): Record<string, string[]>
    flash(type: string): string[]
    flash(type: string, message: string | string[], ...format: unknown[]): number
    // passport
    // biome-ignore lint/suspicious/noExplicitAny: whatever the app's strategy says
    user?: any
    logIn(user: unknown, done: (error?: unknown) => void): void
    logout(done: (error?: unknown) => void): void
    logout(options: { keepSessionInfo?: boolean }, done: (error?: unknown) => void): void
  }
  interface Response {
    // compression
    flush(): void
  }
}
