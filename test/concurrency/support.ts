// What the tests of overlapping requests share: an app on a store of the table, and its browsers.

import type { RequestHandler } from 'express'
import type { SessionOptions } from '../../lib/index.ts'
import { session } from '../../lib/index.ts'
import { Browser } from '../support/jar.ts'
import { connectFlash } from '../support/required.ts'
import { nodeArgs } from '../support/run.ts'
import { serve } from '../support/serve.ts'
import { type App, createApp } from './fixture/app.ts'
import type { AnyStore, Place, StoreCase } from './fixture/kinds.ts'

export const secret = 'a secret of these tests, long enough'

export interface Site extends App {
  readonly url: string
  stop(): Promise<void>
  /** A browser that has signed in, and the id of its session. */
  visitor(): Promise<{ browser: Browser; id: string }>
}

export async function open(store: AnyStore, options: SessionOptions = {}): Promise<Site> {
  return openOn(session({ secret, resave: false, saveUninitialized: false, store, ...options }) as RequestHandler)
}

export async function openOn(sessions: RequestHandler): Promise<Site> {
  const app = createApp(sessions, connectFlash() as RequestHandler)
  const { url, stop } = await serve(app.express)
  return { ...app, url, stop, visitor: () => visit(url) }
}

export async function visit(url: string): Promise<{ browser: Browser; id: string }> {
  const browser = new Browser(url)
  const { json } = await browser.get('/login')
  return { browser, id: json.id }
}

/** A second tab: the same cookies, kept apart from now on, at this or another server. */
export function tab(browser: Browser, url: string): Browser {
  const other = new Browser(url)
  for (const [name, value] of browser.cookies) other.cookies.set(name, value)
  return other
}

/** The command of a process that serves the same app on the same folder or Redis. */
export function serverOf(kind: StoreCase, place: Place, options: object = {}): [string, string[]] {
  const wish = JSON.stringify({ kind: kind.name, place, options })
  return [process.execPath, [...nodeArgs('test/concurrency/fixture/server.ts'), wish]]
}

export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, n) => make(n))
