// Runs npm scripts side by side: `node .config/parallel.mjs lint typecheck:test`. Shows what those that fail have said.

import { spawn } from 'node:child_process'

const results = await Promise.all(process.argv.slice(2).map(run))
for (const { script, said, code } of results) if (code !== 0) console.error(`npm run ${script}:\n${said}`)
process.exitCode = results.every(({ code }) => code === 0) ? 0 : 1

/** @param {string} script */
function run(script) {
  const child = spawn('npm', ['run', '--silent', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      said += text
    })
  }
  return new Promise((resolve) => child.on('close', (code) => resolve({ script, said, code })))
}
