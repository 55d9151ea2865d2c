// unisession/session/store, a path that people import from express-session: the class itself.

export { Store as default } from '../store.ts'
