// What overlapping requests must make of a session, said independently of lib/merge.ts: each save applies what the
// request has changed since it last agreed with the store, key by key; what is gone stays gone.

import { isDeepStrictEqual } from 'node:util'

type Tree = { [key: string]: unknown }

/** A session as the model sees it: its data, each flash message as a key of its own, and the cookie's lifetime. */
export type View = Tree

const LIFETIME = '(lifetime)'
const MESSAGES = '(messages)'
const POINTER = '(pointer)'

/** The view of a record, or of a live session. */
export function viewOf(session: object): View {
  const { cookie, flash, __lastAccess, ...data } = JSON.parse(JSON.stringify(session)) as Tree
  const { originalMaxAge } = cookie as { originalMaxAge: unknown }
  const messages = ((flash as { info?: string[] } | undefined)?.info ?? []).map((message) => [message, true])
  return { ...data, [LIFETIME]: originalMaxAge, [MESSAGES]: Object.fromEntries(messages) }
}

/** The view of what is left under an id that was renewed. */
export const pointerTo = (sid: string): View => ({ [POINTER]: sid })

export const isPointerView = (view: View | undefined): boolean => view !== undefined && POINTER in view

export const newView = (lifetime: unknown): View => ({ [LIFETIME]: lifetime, [MESSAGES]: {} })

export function setLifetime(view: View, ms: number): void {
  view[LIFETIME] = ms
}

export function addMessage(view: View, message: string): void {
  view[MESSAGES] = { ...(view[MESSAGES] as Tree), [message]: true }
}

export function readMessages(view: View): void {
  view[MESSAGES] = {}
}

const isEmpty = (view: View): boolean => Object.keys(view).length === 2 && isDeepStrictEqual(view[MESSAGES], {})
const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value)

interface Change {
  readonly path: readonly string[]
  /** Undefined: the key was deleted. */
  readonly value: unknown
}

export function changes(base: Tree, current: Tree, path: readonly string[] = []): Change[] {
  return [...new Set([...Object.keys(base), ...Object.keys(current)])].flatMap((key) => {
    const [before, after] = [base[key], current[key]]
    if (isDeepStrictEqual(before, after)) return []
    if (isTree(before) && isTree(after)) return changes(before, after, [...path, key])
    return [{ path: [...path, key], value: after }]
  })
}

/** Puts the changes of a request that now has `current` upon `state`. */
export function apply(list: readonly Change[], state: View, current: View): View {
  const result = structuredClone(state)
  for (const { path, value } of list) {
    let target: Tree = result
    let source: Tree = current
    let replaced = false
    for (const key of path.slice(0, -1)) {
      if (target[key] === undefined) target[key] = {}
      if (!isTree(target[key])) {
        // Another request has made something else of it: one of the two counts, as a whole.
        target[key] = structuredClone(source[key])
        replaced = true
        break
      }
      target = target[key]
      source = source[key] as Tree
    }
    if (!replaced) put(target, path.at(-1) as string, value)
  }
  return result
}

/** What the request's changes make of what the store held when it looked last. */
export function rebased({ base, current, read }: Party): View | undefined {
  if (!base) return current
  return read && apply(changes(base, current), read, current)
}

function put(target: Tree, key: string, value: unknown): void {
  if (value === undefined) delete target[key]
  else if (isTree(value) && isTree(target[key])) {
    for (const [inner, each] of Object.entries(value)) put(target[key], inner, each)
  } else target[key] = structuredClone(value)
}

/** A request, as far as the model goes. */
export interface Party {
  readonly name: string
  /** The session that it has. */
  sid: string
  /** What it agreed with the store on last; undefined: its session is not in the store yet. */
  base: View | undefined
  current: View
  /** What the store gave it last. */
  read: View | undefined
  /** What has become of its changes in the save that goes on. */
  saved: 'applied' | 'nothing to do' | undefined
  /** It has written its session. */
  wrote: boolean
  /** Its process gives old ids another. */
  readonly renews: boolean
  /** It has learnt that its session has another id than its cookie says. */
  moved: boolean
}

/** What the store holds, according to what has been done. */
export class Model {
  /** By id; also pointers, under ids that were renewed. */
  readonly #held = new Map<string, View>()
  readonly #gone = new Set<string>()
  /** The id that a renewed id led to. */
  readonly #next = new Map<string, string>()
  /** Written for a renewal that is not complete: who does it. */
  readonly #copies = new Map<string, string>()
  /** Who means to end a session, and which is ended, each by its first id. */
  readonly #ends = new Map<string, string[]>()
  readonly #ended = new Set<string>()
  readonly #first = new Map<string, string>()

  /** The id by which the session began that has or had `sid`. */
  firstOf(sid: string): string {
    return this.#first.get(sid) ?? sid
  }

  /** The id that the session has now. */
  now(sid: string): string {
    const next = this.#next.get(sid)
    return next === undefined ? sid : this.now(next)
  }

  /** Somebody has ended it, or means to. */
  isMeantToEnd(sid: string): boolean {
    return this.#ends.has(this.firstOf(sid))
  }

  /** It is gone, and whoever ended it has been told so. */
  isEnded(sid: string): boolean {
    return this.#ended.has(this.firstOf(sid))
  }

  /** The request is about to end its session. */
  ends({ name, sid }: Party): void {
    const first = this.firstOf(sid)
    this.#ends.set(first, [...(this.#ends.get(first) ?? []), name])
  }

  /** It has been told that its session is gone. */
  ended({ name, sid }: Party): void {
    if (this.#held.has(this.now(sid))) throw new Error(`${name} has not ended ${sid}`)
    this.#ended.add(this.firstOf(sid))
  }

  /** What is held under this very id. */
  get(sid: string): View | undefined {
    return structuredClone(this.#held.get(sid))
  }

  /** @throws Error where a renewal has left something behind. */
  over(): void {
    for (const [sid, name] of this.#copies) throw new Error(`${name} has left ${sid} to nobody`)
  }

  /** A request has called the store, which held `before` and now holds `after`. @throws Error when it must not. */
  observe(party: Party, sid: string, before: View | undefined, after: View | undefined): void {
    const state = this.#held.get(sid)
    check(before, state, `${sid} before a call of ${party.name}`)
    const isMine = this.now(party.sid) === sid
    if (isPointerView(before) || isPointerView(after)) party.moved = true
    const mine = isMine ? apply(changes(party.base ?? {}, party.current), state ?? {}, party.current) : state
    if (isDeepStrictEqual(before, after)) {
      if (isMine && (!state || isDeepStrictEqual(mine, state))) party.saved ??= 'nothing to do'
    } else if (!after) this.#removed(party, sid)
    else if (isPointerView(after)) this.#renewed(party, sid, after)
    else if (this.#copies.has(sid) || (!isMine && !before)) this.#copied(party, sid, after)
    else {
      if (this.#gone.has(sid) || this.#next.has(sid)) throw new Error(`${party.name} has brought ${sid} back`)
      if (!before && party.base) throw new Error(`${party.name} has created ${sid}, which it had loaded`)
      check(after, mine, `${sid} after ${party.name} has written`)
      this.#held.set(sid, after)
      party.saved = 'applied'
      party.wrote = true
    }
  }

  #removed({ name }: Party, sid: string): void {
    const isOwn = this.#copies.get(sid) === name
    if (!isOwn && !this.#ends.get(this.firstOf(sid))?.includes(name)) throw new Error(`${name} has removed ${sid}`)
    this.#copies.delete(sid)
    this.#held.delete(sid)
    this.#gone.add(sid)
  }

  /** A session is written under a new id, which is nobody's business before the old one leads there. */
  #copied({ name, base, renews }: Party, sid: string, after: View): void {
    if (!renews || !base || this.#gone.has(sid)) throw new Error(`${name} has no reason to write ${sid}`)
    if ((this.#copies.get(sid) ?? name) !== name) throw new Error(`${name} has written what another renews as ${sid}`)
    this.#copies.set(sid, name)
    this.#held.set(sid, after)
  }

  /** The old id leads to the new one: there must be all that there was. */
  #renewed({ name }: Party, sid: string, pointer: View): void {
    const next = pointer[POINTER] as string
    if (this.#copies.get(next) !== name) throw new Error(`${name} has left a pointer from ${sid} to ${next}`)
    check(this.#held.get(next), this.#held.get(sid), `${next}, the new id of ${sid},`)
    this.#copies.delete(next)
    this.#held.set(sid, pointer)
    this.#next.set(sid, next)
    this.#first.set(next, this.firstOf(sid))
  }

  /** A save of the request is over: nothing of what it changed may be missing, unless its session is gone. */
  settled(party: Party): void {
    const { name, sid, base, current, saved } = party
    const changed = base ? changes(base, current).length > 0 : !isEmpty(current)
    if (changed && !saved && !this.isMeantToEnd(sid)) throw new Error(`${name} was not saved`)
    if (base || saved) party.base = structuredClone(current)
    party.saved = undefined
  }
}

function check(actual: View | undefined, expected: View | undefined, what: string): void {
  if (isDeepStrictEqual(actual, expected)) return
  throw new Error(`${what} is ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`)
}
