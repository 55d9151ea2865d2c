// unisession/session/session, a path that people import from express-session: the class itself.

export { Session as default } from '../session.ts'
