// Checks what `npm publish` would upload: publint its manifest and files, attw its types as each kind of resolution sees
// them. Needs a built dist/.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'package-'))
try {
  // Without scripts: `prepack` would build dist/ anew under those who use it.
  run('npm', 'pack', '--silent', '--ignore-scripts', '--pack-destination', folder)
  const [tarball] = readdirSync(folder).map((name) => join(folder, name))
  run('publint', '--strict', tarball)
  run('attw', tarball)
} finally {
  rmSync(folder, { recursive: true })
}

/** Runs a command, and shows what it says when it fails. */
function run(command, ...args) {
  const { status, output } = spawnSync(command, args, { encoding: 'utf8', shell: process.platform === 'win32' })
  if (status === 0) return
  console.error(output?.join('') ?? `${command} cannot be started`)
  process.exitCode = 1
}
