// unisession/session/cookie, a path that people import from express-session: the class itself.

export { Cookie as default } from '../cookie.ts'
