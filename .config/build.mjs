// Builds dist/: ESM and CommonJS with types, then gives the CommonJS entries express-session's shape.

import { readFile, writeFile } from 'node:fs/promises'
import { build } from 'tsdown'

/** The paths into express-session that people import: one class each. */
const deep = ['cookie', 'memory', 'session', 'store']

await build({
  config: false,
  entry: {
    index: 'lib/index.ts',
    ...Object.fromEntries(deep.map((name) => [`session/${name}`, `lib/deep/${name}.ts`])),
  },
  format: ['esm', 'cjs'],
  dts: true,
  fixedExtension: true,
  outputOptions: { exports: 'named' },
  logLevel: 'warn',
  checks: { pluginTimings: false },
})

async function edit(path, change) {
  const before = await readFile(path, 'utf8')
  const after = change(before)
  if (after === before) throw new Error(`nothing to change in ${path}`)
  await writeFile(path, after)
}

// express-session is `module.exports = session` with statics, and code written for it names its types
// `session.SessionData`, in CommonJS and ESM alike: the function is a namespace in both declaration files.
const list = /export (\{[^}]*\});\s*$/
const named = (names) => names.replace(/,?\s*\w+ as default/, '')
const namespace = (names) => `declare namespace session {\n  export ${named(names)};\n}\n`

await edit('dist/index.cjs', (js) => `${js}\nmodule.exports = Object.assign(session, exports);\n`)
await edit('dist/index.d.cts', (dts) => dts.replace(list, (_, names) => `${namespace(names)}export = session;\n`))
await edit('dist/index.d.mts', (dts) => dts.replace(list, (all, names) => `${namespace(names)}${all}`))

for (const name of deep) await edit(`dist/session/${name}.cjs`, (js) => `${js}\nmodule.exports = exports.default;\n`)
