// How long the tests play. `npm run test:all` plays in full what `npm test` plays in a few rounds or leaves out.
// ROUNDS and RUNS set the numbers themselves.

export const isFull = process.env.FULL_TESTS === '1'

/** How many rounds of each race. */
export const ROUNDS = Number(process.env.ROUNDS ?? (isFull ? 50 : 5))

/** How many random scenes of a kind, of which `npm test` plays `count`. */
export const runsOf = (count: number): number => Number(process.env.RUNS ?? (isFull ? 5 * count : count))
