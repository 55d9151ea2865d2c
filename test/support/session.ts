// The one place where the tests in ../ecosystem name the implementation they run against.
export * from '../../lib/index.ts'
export { default as session } from '../../lib/index.ts'

declare module 'unisession' {
  interface SessionData {
    cart: unknown
    count: number
    paid: number
    seen: string
    user: string
    visits: number
  }
}
