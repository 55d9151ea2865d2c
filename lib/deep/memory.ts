// unisession/session/memory, a path that people import from express-session: the class itself.

export { MemoryStore as default } from '../../stores/memory.ts'
