export { default, FileStore, MemoryStore, RedisStore, Store } from '../../lib/index.ts'
export * from '../../lib/session.ts'
export type * from '../../lib/types.ts'
