// A schema of its own in a PostgreSQL that is already there (PGHOST, PGUSER, …), dropped afterwards.
import pg from 'pg'

export interface Postgres {
  // biome-ignore lint/suspicious/noExplicitAny: pg brings no types
  pool: any
  schema: string
  stop(): Promise<void>
}

/** Undefined when no server answers. */
export async function startPostgres(): Promise<Postgres | undefined> {
  const pool = new pg.Pool({
    host: process.env.PGHOST ?? '127.0.0.1',
    user: process.env.PGUSER ?? 'postgres',
    database: process.env.PGDATABASE ?? 'postgres',
    connectionTimeoutMillis: 2000,
  })
  const schema = `sessions_${process.pid}_${Date.now()}`
  try {
    await pool.query(`CREATE SCHEMA ${schema}`)
  } catch (error) {
    console.warn(`skipped: no PostgreSQL to use (${(error as Error).message})`)
    await pool.end()
    return undefined
  }
  return {
    pool,
    schema,
    async stop() {
      await pool.query(`DROP SCHEMA ${schema} CASCADE`)
      await pool.end()
    },
  }
}
