// Builds dist/: ESM and CommonJS with types, then gives the CommonJS entries express-session's shape.

import { readFile, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { build } from 'tsdown'

/** The paths into express-session that people import: one class each. */
const deep = ['cookie', 'memory', 'session', 'store']

/** The entries beside the main one. */
const named = ['bunway', 'bun-router', 'testing']

const entry = {
  index: 'lib/index.ts',
  ...Object.fromEntries(named.map((name) => [name, `lib/${name}.ts`])),
  ...Object.fromEntries(deep.map((name) => [`session/${name}`, `lib/deep/${name}.ts`])),
}

await build({
  config: false,
  entry,
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

// ESM has the declarations of CommonJS under other names. With declarations of its own, a program that loads both (an
// ES module whose store is typed in CommonJS) would have two types of `req.session`, one without the app's properties.
const list = /export \{([^}]*)\};\s*$/
for (const name of Object.keys(entry)) {
  const [, names] = list.exec(await readFile(`dist/${name}.d.cts`, 'utf8')) ?? [null, ' default ']
  await writeFile(`dist/${name}.d.mts`, `export {${names.replace(/\w+ as /g, '')}} from './${basename(name)}.cjs';\n`)
}

// express-session is `module.exports = session` with statics, and code written for it names its types
// `session.SessionData`, in CommonJS and ESM alike: the function is a namespace.
await edit('dist/index.cjs', (js) => {
  return `${js}\ndelete exports.default;\nmodule.exports = Object.assign(session, exports);\n`
})
await edit('dist/index.d.cts', (dts) =>
  dts.replace(list, (_, names) => {
    const inside = names.replace(/,?\s*\w+ as default/, '')
    return `declare namespace session {\n  export {${inside}};\n}\nexport = session;\n`
  }),
)
for (const name of deep) await edit(`dist/session/${name}.cjs`, (js) => `${js}\nmodule.exports = exports.default;\n`)
