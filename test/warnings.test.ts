// The warnings themselves: how they come, how they are silenced. What is warned of is tested where it happens.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { bun } from './support/serve.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

/** What a process that has said nothing yet warns of. */
async function warnings(app: (lib: typeof import('../lib/index.ts')) => unknown): Promise<[unknown, unknown][]> {
  const warned = vi.spyOn(process, 'emitWarning').mockReturnValue()
  vi.resetModules()
  await app(await import('../lib/index.ts'))
  return warned.mock.calls.map(([message, options]) => [message, options])
}

const options = { secret: 'a secret that is long enough for everybody', resave: false, saveUninitialized: false }

describe('a warning', () => {
  it('comes once for each cause, with a code and an address', async () => {
    const said = await warnings(({ session }) => {
      session({ ...options, cookie: { maxAge: 60 } })
      session({ ...options, cookie: { maxAge: 60 } })
      session({ ...options, cookie: { maxAge: 90 } })
    })
    const detail = expect.stringContaining('docs/troubleshooting.md#warn_session_lifetime')
    const kind = { type: 'SessionWarning', code: 'WARN_SESSION_LIFETIME', detail }
    expect(said).toEqual([
      [expect.stringMatching(/^cookie\.maxAge is 60 /), kind],
      [expect.stringMatching(/^cookie\.maxAge is 90 /), kind],
    ])
  })

  it.each([
    ['WARN_SESSION_LIFETIME', ['WARN_SESSION_COOKIE_INSECURE']],
    ['other,WARN_SESSION_COOKIE_INSECURE', ['WARN_SESSION_LIFETIME']],
    ['WARN_SESSION_*', []],
    ['WARN_SESSION_*,-WARN_SESSION_LIFETIME', ['WARN_SESSION_LIFETIME']],
    ['', ['WARN_SESSION_LIFETIME', 'WARN_SESSION_COOKIE_INSECURE']],
  ])('is silenced by its code: NO_WARNING=%s', async (list, left) => {
    vi.stubEnv('NO_WARNING', list)
    const said = await warnings(({ session }) => session({ ...options, cookie: { maxAge: 60, sameSite: 'none' } }))
    expect(said.map(([, { code }]: never[]) => code)).toEqual(left)
  })

  const script = `
    import session from 'unisession'
    session({ secret: '${options.secret}', resave: false, saveUninitialized: false, cookie: { maxAge: 60 } })`
  const runtimes = [
    ['Node', process.execPath, ['--input-type=module']] as const,
    ...(bun ? [['Bun', bun, []] as const] : []),
  ]

  it.each(runtimes)('reaches stderr on %s', async (_, command, flags) => {
    const { stderr } = await promisify(execFile)(command, [...flags, '-e', script])
    expect(stderr).toMatch(/\[WARN_SESSION_LIFETIME\] SessionWarning: cookie\.maxAge is 60 /)
    expect(stderr).toContain('docs/troubleshooting.md#warn_session_lifetime')
    const env = { ...process.env, NO_WARNING: 'WARN_SESSION_LIFETIME' }
    expect((await promisify(execFile)(command, [...flags, '-e', script], { env })).stderr).toBe('')
  })

  it("is silenced by Node's own flag", async () => {
    const flags = ['--disable-warning=WARN_SESSION_LIFETIME', '--input-type=module', '-e', script]
    expect((await promisify(execFile)(process.execPath, flags)).stderr).toBe('')
  })
})
