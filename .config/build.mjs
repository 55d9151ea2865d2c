// Builds dist/. All code is one file, unisession.cjs, so a process has one copy of it, whatever loads it. It is a
// function of the modules that it needs: CommonJS gets them by `require`, ES modules by `import`, and a bundle of ES
// modules has no `require` in it.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { minifySync, parseSync } from 'rolldown/utils'
import { build } from 'tsdown'

const require = createRequire(import.meta.url)

/** The entries beside the main one, by their names in lib/entries.ts. */
const named = { bunway: 'bunway', 'bun-router': 'bunRouter', testing: 'testing' }

/** The paths into express-session that people import: one class each. */
const deep = { cookie: 'Cookie', memory: 'MemoryStore', session: 'Session', store: 'Store' }

const read = (file) => readFile(`dist/${file}`, 'utf8')
const write = (file, text) => writeFile(`dist/${file}`, text)
/**
 * The body of a function without indentation and most spaces, which is a sixth less to install. Names stay, and so do
 * lines, one for each member of a class and each statement: a stack trace leads to one.
 */
function compact(body) {
  // The comment in `import` is for webpack, and would go.
  const [comment, inner] = [/import\(\s*\/\* webpackIgnore: true \*\/\s*/, 'webpackIgnore(']
  const source = `function unisession(modules) {${body.replace(comment, inner)}}`
  const only = { compress: false, mangle: false, codegen: { removeWhitespace: true } }
  const { code, errors } = minifySync('unisession.cjs', source, only)
  if (errors.length > 0) throw errors[0]
  const { program } = parseSync('unisession.cjs', code)
  const starts = []
  const visit = (node) => {
    if (typeof node !== 'object' || node === null) return
    if (['BlockStatement', 'ClassBody'].includes(node.type)) starts.push(...node.body.map(({ start }) => start))
    Object.values(node).forEach(visit)
  }
  visit(program.body[0])
  starts.sort((a, b) => a - b)
  const lines = starts.map((start, n) => code.slice(start, starts[n + 1] ?? code.lastIndexOf('}')))
  return lines.join('\n').replace(inner, 'import(/* webpackIgnore: true */ ')
}

const options = {
  config: false,
  dts: false,
  fixedExtension: true,
  format: 'esm',
  logLevel: 'warn',
  checks: { pluginTimings: false },
}

// The code, under the names of its source. Comments are in the declarations, where editors look for them; those that
// speak to bundlers stay.
await build({
  ...options,
  entry: { unisession: 'lib/entries.ts' },
  outputOptions: { comments: { annotation: true, jsdoc: false, legal: true }, keepNames: true },
})
const modules = []
const body = (await read('unisession.mjs'))
  .replaceAll(/^import (?:(\w+)(?:, )?)?(\{.*\})? from "(.+)";$/gm, (_, whole, members, module) => {
    modules.push(module)
    const names = [whole, members?.replaceAll(' as ', ': ')].filter(Boolean)
    return names.map((name) => `const ${name} = modules["${module}"];`).join('\n')
  })
  .replace(/^export \{(.*)\};\s*$/m, (_, names) => `return {${names.replaceAll(/(\w+) as (\w+)/g, '$2: $1')}};\n`)
await rm('dist/unisession.mjs')
await mkdir('dist/session')
// In parentheses, V8 compiles it at once, and does not read it twice.
await write('unisession.cjs', `'use strict';\nmodule.exports = (function unisession(modules) {\n${compact(body)}});\n`)
// Node searches a CommonJS file that an ES module imports for the names of exports: in a file as long as the one above,
// that takes longer than all the rest.
await write(
  'once.cjs',
  `'use strict';
const make = require('./unisession.cjs');
let made;
module.exports = (modules) => made ??= make(modules);
`,
)

// Both kinds of entries.
const variable = (module) => module.replaceAll(/\W/g, '_')
await write(
  'load.cjs',
  `'use strict';
module.exports = require('./once.cjs')({
${modules.map((module) => `\t'${module}': require('${module}'),\n`).join('')}});
`,
)
// Names that a banner in front of a bundle does not declare, too. `cookie` is a module that has no default export in
// some bundlers; a builtin whose namespace was passed would not show what somebody replaces in it.
await write(
  'load.mjs',
  `${modules
    .map((module) => {
      const what = module.startsWith('node:') ? variable(module) : `* as ${variable(module)}`
      return `import ${what} from '${module === 'cookie-signature' ? '#cookie-signature' : module}';\n`
    })
    .join('')}import unisession from './once.cjs';

export default unisession({
${modules.map((module) => `\t'${module}': ${variable(module)},\n`).join('')}});
`,
)

const loaded = require('../dist/load.cjs')
const members = (entry) => Object.keys(entry).filter((name) => name !== 'default')
await write('index.cjs', `'use strict';\nmodule.exports = require('./load.cjs').index.session;\n`)
await write(
  'index.mjs',
  `import unisession from './load.mjs';

export const { ${members(loaded.index).join(', ')} } = unisession.index;
export { session as default };
`,
)
for (const [name, key] of Object.entries(named)) {
  await write(`${name}.cjs`, `'use strict';\nmodule.exports = { ...require('./load.cjs').${key} };\n`)
  await write(
    `${name}.mjs`,
    `import unisession from './load.mjs';

export const { ${members(loaded[key]).join(', ')} } = unisession.${key};
`,
  )
}
for (const [name, type] of Object.entries(deep)) {
  await write(`session/${name}.cjs`, `'use strict';\nmodule.exports = require('../load.cjs').index.${type};\n`)
  await write(`session/${name}.mjs`, `export { ${type} as default } from '../index.mjs';\n`)
}

// The declarations are those of CommonJS. ES modules have them under other names: with declarations of their own, a
// program that loads both would have two types of `req.session`, one without the app's properties.
await build({
  ...options,
  entry: ['index', ...Object.keys(named)].map((name) => `lib/${name}.ts`),
  clean: false,
  dts: { emitDtsOnly: true },
  outExtensions: () => ({ js: '.cjs', dts: '.d.cts' }),
  outputOptions: {
    chunkFileNames: '[name].cjs',
    minifyInternalExports: false,
    // What the entries share is one file, and exports what they do: other names are inlined in what compilers infer.
    codeSplitting: { groups: [{ name: 'types.d', test: /\/(lib\/(?!(index|bunway|bun-router|testing)\b)|stores\/)/ }] },
  },
})

// `Store` is a function that does as a class; whoever reads its declaration sees a class.
const types = (await read('types.d.cts')).split('type Store = StoreBase;\ndeclare const Store: typeof StoreBase;\n')
if (types.length !== 2) throw new Error('Store is not declared as it was')
// Which of its names are types alone, each entry says.
const asWhole = (list) => list.replaceAll('type ', '')
await write(
  'types.d.cts',
  types
    .join('')
    .replaceAll('StoreBase', 'Store')
    .replace(/^export \{.*$/m, asWhole),
)

/** A declaration without its list of exports, and the list, in which what the code does not have is a type. */
async function declared(name, code) {
  const dts = await read(`${name}.d.cts`)
  const [list, names] = /export \{([^}]*)\};\s*$/.exec(dts)
  const exports = names.split(',').map((name) => {
    const [local, given = local] = name
      .trim()
      .replace(/^type /, '')
      .split(' as ')
    return { local: local === given ? local : `${local} as ${given}`, given, type: code.includes(given) ? '' : 'type ' }
  })
  return { rest: dts.slice(0, -list.length), exports }
}
const listed = (exports, key) => exports.map((one) => one.type + one[key]).join(', ')

const { rest, exports } = await declared('index', members(loaded.index))
// express-session is `module.exports = session` with statics, and code written for it names its types
// `session.SessionData`, in CommonJS and ESM alike: the function is a namespace.
const statics = exports.filter(({ given }) => given !== 'default')
await write(
  'index.d.cts',
  `${rest}declare namespace session {\n  export { ${listed(statics, 'local')} };\n}\nexport = session;\n`,
)
await write('index.d.mts', `export { ${listed(statics, 'given')}, default } from './index.cjs';\n`)
for (const [name, key] of Object.entries(named)) {
  const { rest, exports } = await declared(name, members(loaded[key]))
  await write(`${name}.d.cts`, `${rest}export { ${listed(exports, 'local')} };\n`)
  await write(`${name}.d.mts`, `export * from './${name}.cjs';\n`)
}
for (const [name, type] of Object.entries(deep)) {
  await write(`session/${name}.d.cts`, `import { ${type} } from '../index.cjs';\nexport = ${type};\n`)
  await write(`session/${name}.d.mts`, `export { default } from './${name}.cjs';\n`)
}

// cookie-signature is CommonJS, and requires `crypto`: what bundlers of ES modules take in its place.
const signature = require.resolve('cookie-signature')
await write(
  'cookie-signature.mjs',
  `// cookie-signature ${require('cookie-signature/package.json').version} by TJ Holowaychuk, MIT-licensed as this package is, for bundles of ES modules.
import node_crypto from 'node:crypto';

export const { sign, unsign } = ((exports, require) => {
${await readFile(signature, 'utf8')}
return exports;
})({}, () => node_crypto);
`,
)
