// Tests the documentation. For each fenced block of the Markdown files at the top level and in docs/, by its language:
//
//   js, ts          The block compiles as a module, in strict mode, against the built package. A block without imports is
//                   the body of a request handler; `app`, `req`, `res`, `next` and `sessions` are declared.
//   js run, ts run  The block is also run, on Node and on Bun, and does what its comments say, in their order:
//                     // → text                        a line that it prints
//                     // POST /path a=b → 303 text     the answer to a request; `text` is in its body or its Location
//                   All requests come from one browser, whatever port the block listens on.
//   sh              Its npm scripts exist, and it runs only npm, node and bun.
//
// Other blocks, such as text and json, are not tested. Links to files and headings are valid. Every option, error code,
// warning and source file is documented.

import { execFile } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Browser } from './support/jar.ts'
import { bun, spawnServer } from './support/serve.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const pages = ['', 'docs/']
  .flatMap((dir) => readdirSync(join(root, dir)).map((name) => dir + name))
  .filter((path) => path.endsWith('.md'))

interface Block {
  /** Its page and line: `README.md:12`. */
  readonly at: string
  readonly language: string
  readonly run: boolean
  readonly text: string
}

/** Other names of the tested languages, which would skip the tests. */
const otherNames = /^(?:[cm][jt]s|[jt]sx|javascript|typescript|bash|shell|console|unknown)$/

const blocks = pages.flatMap((page) => {
  const found: Block[] = []
  const lines = readFileSync(join(root, page), 'utf8').split('\n')
  for (let i = 0; i < lines.length; i++) {
    if (!lines[i]?.trimStart().startsWith('```')) continue
    const start = i + 1
    const at = `${page}:${start}`
    const [, language = '', run] = /^ *```(\w*)( run)?$/.exec(lines[i] ?? '') ?? [null, 'unknown']
    if (otherNames.test(language)) throw new Error(`${at}: call it js, ts, sh or text, and nothing else but "run"`)
    while (lines[++i]?.trim() !== '```') if (i === lines.length) throw new Error(`${at}: the block has no end`)
    found.push({ at, language, run: run !== undefined, text: lines.slice(start, i).join('\n') })
  }
  return found
})

const code = blocks.filter(({ language }) => language === 'js' || language === 'ts')
const running = code.filter(({ run }) => run)

/** An app's folder that has this package installed under both its names. */
let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'docs-'))
  const modules = join(folder, 'node_modules')
  mkdirSync(join(modules, '@types'), { recursive: true })
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (/^[^.@]/.test(name) && name !== 'express-session') {
      symlinkSync(join(root, 'node_modules', name), join(modules, name))
    }
  }
  for (const name of ['express', 'node']) {
    symlinkSync(join(root, 'node_modules/@types', name), join(modules, '@types', name))
  }
  for (const name of ['unisession', 'express-session']) symlinkSync(root, join(modules, name))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Declarations for a block without imports. On one line, so that line numbers do not change. */
const preamble =
  "import type { Express, NextFunction, Request, Response } from 'express'; import type { SessionMiddleware } from 'unisession'; " +
  'declare const app: Express, req: Request, res: Response, next: NextFunction, sessions: SessionMiddleware; '

describe('the code in the documentation', () => {
  it('compiles', () => {
    const files = new Map<string, Block>()
    for (const [index, block] of code.entries()) {
      const isModule = /^import /m.test(block.text)
      // A block without imports is checked as TypeScript, because only TypeScript can declare what it uses.
      const path = join(folder, `${index}.${isModule ? block.language : 'ts'}`)
      writeFileSync(path, isModule ? block.text : `${preamble}export {}; ${block.text}`)
      files.set(path, block)
    }
    const program = ts.createProgram([...files.keys()], {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.NodeNext,
      strict: true,
      allowJs: true,
      checkJs: true,
      noEmit: true,
      skipLibCheck: true,
      types: ['node'],
    })
    const problems = ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
      const [page, first] = files.get(file?.fileName ?? '')?.at.split(':') ?? [file?.fileName, 0]
      const line = Number(first) + 1 + (file?.getLineAndCharacterOfPosition(start).line ?? 0)
      return `${page}:${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
    })
    expect(problems).toEqual([])
    expect(code.length).toBeGreaterThan(5)
  })

  // Replaces the port of a block by a free one, and prints it.
  const anyPort = `
    import http from 'node:http'
    const { listen } = http.Server.prototype
    http.Server.prototype.listen = function (port, ...rest) {
      this.once('listening', () => console.log('listening ' + this.address().port))
      return listen.call(this, 0, ...rest)
    }`

  const runtimes = [
    ['Node', process.execPath, '--import'] as const,
    ...(bun ? [['Bun', bun, '--preload'] as const] : []),
  ]

  describe.concurrent.each(runtimes)('on %s', (_, command, preload) => {
    it.each(running.map((block) => [block.at, block] as const))('does what it says: %s', async (at, { text }) => {
      const script = join(folder, `${at.replace(/\W/g, '-')}-${preload}.mjs`)
      const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext }
      writeFileSync(script, ts.transpileModule(text, { compilerOptions }).outputText)
      const prints = [...text.matchAll(/\/\/ → (.+)$/gm)].map(([, line]) => line)
      const requests = [...text.matchAll(/^\/\/ (GET|POST) +(\S+)(?: +(\S+))? +→ (\d{3}) ?(.*)$/gm)]

      if (requests.length === 0) {
        const { stdout } = await promisify(execFile)(command, [script])
        expect(stdout.trim().split('\n')).toEqual(prints)
        expect(prints).not.toEqual([])
        return
      }
      const patch = join(folder, `any-port${preload}.mjs`)
      writeFileSync(patch, anyPort)
      const server = await spawnServer(command, [preload, patch, script])
      try {
        const browser = new Browser(server.url)
        for (const [line, method, path, body, status, answer] of requests) {
          const form = body === undefined ? {} : { body: new URLSearchParams(body) }
          const reply = await browser.get(path ?? '', { method: method ?? '', ...form })
          const said = reply.status < 300 || reply.status >= 400 ? reply.text : (reply.headers.get('location') ?? '')
          expect([line, String(reply.status)]).toEqual([line, status])
          expect(said, line).toContain(answer)
        }
      } finally {
        await server.stop()
      }
    })
  })
})

describe('the commands in the documentation', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const commands = blocks
    .filter(({ language }) => language === 'sh')
    .flatMap(({ at, text }) => text.split('\n').map((line) => [at, line.replace(/ +#.*/, '').trim()] as const))
    .flatMap(([at, line]) => line.split(' && ').map((command) => [at, command] as const))
    .filter(([, command]) => command !== '')

  it.each(commands)('are there: %s %s', (_, command) => {
    expect(command).toMatch(/^(?:[A-Z_]+=\S+ )*(?:npm|node|bun) /)
    const script = /^npm (?:run (\S+)|(start|test)$)/.exec(command)
    if (script) expect(Object.keys(scripts)).toContain(script[1] ?? script[2])
    else if (command.startsWith('npm ')) expect(command).toMatch(/^npm (?:ci|i|rm)\b/)
  })
})

describe('the documentation', () => {
  const text = (page: string): string => readFileSync(join(root, page), 'utf8')
  const anchors = (page: string): string[] =>
    [...text(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    )

  it.each(pages)('of %s has links that lead somewhere', (page) => {
    const broken = [...text(page).matchAll(/\]\((?!\w+:)([^)#]*)(?:#([^)]+))?\)/g)].filter(([, path, anchor]) => {
      const target = path ? join(dirname(page), path) : page
      return !existsSync(join(root, target)) || (anchor !== undefined && !anchors(target).includes(anchor))
    })
    expect(broken.map(([link]) => link)).toEqual([])
  })

  it('names every option and every error code', () => {
    const source = ts.createSourceFile('options.ts', text('lib/options.ts'), ts.ScriptTarget.Latest)
    const options = source.statements
      .filter((node) => ts.isInterfaceDeclaration(node) && node.name.text === 'SessionOptions')
      .flatMap((node) => (node as ts.InterfaceDeclaration).members.map((member) => member.name as ts.Identifier))
      .map((name) => name.text)
    const codes = text('lib/errors.ts').match(/ERR_SESSION_\w+/g) ?? []
    expect(options).toContain('secret')
    expect(codes).toContain('ERR_SESSION_STORE')
    const page = text('docs/options.md')
    expect([...options, ...codes].filter((name) => !page.includes(`\`${name}\``))).toEqual([])
  })

  it('explains every warning, and none that there is not', () => {
    const codes = (page: string): string[] => [...new Set(text(page).match(/WARN_SESSION_\w+/g) ?? [])].sort()
    const sources = ['lib', 'stores'].flatMap((dir) =>
      readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' }).map((path) => `${dir}/${path}`),
    )
    const used = sources.filter((path) => path.endsWith('.ts') && path !== 'lib/diagnostics.ts').flatMap(codes)
    const headings = [...text('docs/troubleshooting.md').matchAll(/^### (WARN_SESSION_\w+)$/gm)].map(([, code]) => code)
    expect(codes('lib/diagnostics.ts')).toContain('WARN_SESSION_SECRET')
    expect([...new Set(used)].sort()).toEqual(codes('lib/diagnostics.ts'))
    expect(headings).toEqual(codes('lib/diagnostics.ts'))
  })

  it('maps every source file, and none that is not there', () => {
    const map = text('docs/architecture.md')
    const files = ['lib', 'stores'].flatMap((dir) =>
      readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' })
        .filter((path) => path.endsWith('.ts'))
        .map((path) => `${dir}/${path}`),
    )
    expect(files.filter((path) => !map.includes(path))).toEqual([])
    const named = map.match(/\b(?:lib|stores)\/[\w/-]+\.ts\b/g) ?? []
    expect(named.filter((path) => !files.includes(path))).toEqual([])
  })
})
