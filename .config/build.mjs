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
  format: { esm: { dts: false }, cjs: { dts: true } },
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
// `session.SessionData`, in CommonJS and ESM alike: the function is a namespace.
//
// ESM has the types of CommonJS under other names. With declarations of its own a program that loads both, as one
// does whose store's types are CommonJS, had two types of `req.session`, and only one with the app's properties.
const list = /export \{([^}]*)\};\s*$/
const isDefault = /,?\s*\w+ as default/
let names

await edit('dist/index.cjs', (js) => {
  return `${js}\ndelete exports.default;\nmodule.exports = Object.assign(session, exports);\n`
})
await edit('dist/index.d.cts', (dts) =>
  dts.replace(list, (_, all) => {
    names = all.replace(isDefault, '').trim()
    return `declare namespace session {\n  export { ${names} };\n}\nexport = session;\n`
  }),
)
await writeFile('dist/index.d.mts', `export { ${names}, session as default } from './index.cjs';\n`)

for (const name of deep) {
  await edit(`dist/session/${name}.cjs`, (js) => `${js}\nmodule.exports = exports.default;\n`)
  await writeFile(`dist/session/${name}.d.mts`, `export { default } from './${name}.cjs';\n`)
}
