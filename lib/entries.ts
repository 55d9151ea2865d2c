// Everything that the package gives, by entry. The build makes one file of it, which each entry loads.

export * as bunRouter from './bun-router.ts'
export * as bunway from './bunway.ts'
export * as index from './index.ts'
export * as testing from './testing.ts'
