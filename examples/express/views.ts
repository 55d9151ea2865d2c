// The pages, as functions from data to HTML. They know no request and no session.

export interface User {
  username: string
  name: string
  password: string
}

export interface Note {
  text: string
  /** When it was written, as `Date.now()`. */
  at: number
}

/** Markup that needs no escaping. */
export interface Html {
  markup: string
}

type Value = Html | Html[] | string | number | false | undefined

/** A template whose values are escaped, unless they are `Html` themselves. */
function html(parts: TemplateStringsArray, ...values: Value[]): Html {
  return { markup: parts.reduce((page, part, i) => page + toMarkup(values[i - 1]) + part) }
}

function toMarkup(value: Value): string {
  if (value === undefined || value === false) return ''
  if (Array.isArray(value)) return value.map(toMarkup).join('')
  if (typeof value === 'object') return value.markup
  return String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

interface LayoutData {
  title: string
  body: Html
  messages: Record<string, unknown[]>
  path: string
  user: User | undefined
}

export function layout({ title, body, messages, path, user }: LayoutData): string {
  const link = (href: string, label: string) =>
    html`<a href="${href}"${path === href && html` aria-current="page"`}>${label}</a>`
  const page = html`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>${title} · Notebook</title>
  <link rel="icon" href="${ICON}">
  <link rel="stylesheet" href="/style.css">
</head>
<body>
  <a class="skip" href="#content">Skip to content</a>
  <header class="top">
    <a class="brand" href="/">${MARK}Notebook</a>
    <nav aria-label="Main">
      ${link('/', 'Home')}
      ${link('/notes', 'Notes')}
      ${user && link('/sessions', 'Sessions')}
      ${user ? signOutForm(user) : link('/sign-in', 'Sign in')}
    </nav>
  </header>
  <main id="content" tabindex="-1">
    <div class="messages" aria-live="polite">${messageList(messages)}</div>
    ${body}
  </main>
  <footer>An example of <strong>unisession</strong> on Express. Everything you see here is kept in your session.</footer>
</body>
</html>
`
  return page.markup
}

function signOutForm(user: User): Html {
  return html`<form method="post" action="/sign-out"><button class="quiet" title="Signed in as ${user.name}">Sign out</button></form>`
}

const MESSAGE_TYPES = ['success', 'error', 'info']

function messageList(messages: Record<string, unknown[]>): Html[] {
  return MESSAGE_TYPES.flatMap((type) =>
    (messages[type] ?? []).map(
      (text) => html`<p class="message ${type}" role="${type === 'error' ? 'alert' : 'status'}">${String(text)}</p>`,
    ),
  )
}

interface HomeData {
  user: User | undefined
  visits: number
  noteCount: number
  startedAt: Date
  expires: Date | undefined
  reference: string
  store: string
}

export function homePage({ user, visits, noteCount, startedAt, expires, reference, store }: HomeData): Html {
  return html`<h1>${user ? `Hello, ${user.name.split(' ')[0]}.` : 'Hello.'}</h1>
    <p class="lead">${
      visits === 1
        ? 'This is your first visit. Reload, and your session remembers it.'
        : html`You have opened this page <strong>${visits} times</strong>. Your session remembers.`
    }</p>

    <section aria-labelledby="session">
      <h2 id="session">Your session</h2>
      <dl class="facts">
        <div class="count"><dt>Visits</dt><dd id="visits">${visits}</dd></div>
        <div><dt>Started</dt><dd>${moment(startedAt)}</dd></div>
        <div><dt>Expires</dt><dd>${expires ? moment(expires) : 'when the browser closes'}</dd></div>
        <div><dt>Signed in</dt><dd>${user ? `as ${user.username}` : 'no'}</dd></div>
        <div><dt>Reference</dt><dd><code id="reference">${reference}</code></dd></div>
        <div><dt>Store</dt><dd><code>${store}</code></dd></div>
      </dl>
      <p class="hint">The reference is a hash. The session’s real id stays in your browser’s <code>httpOnly</code> cookie.</p>
    </section>

    <section aria-labelledby="next">
      <h2 id="next">${user ? 'Your notes' : 'Try it'}</h2>
      ${
        user
          ? html`<p>${noteCount === 0 ? 'You have no notes yet.' : `You have ${plural(noteCount, 'note')}.`}</p>
      <p><a class="button" href="/notes">${noteCount === 0 ? 'Write the first one' : 'Open your notes'}</a></p>`
          : html`<p>Sign in and watch the reference change: a new session begins, so that nobody can reuse the old id.</p>
      <p><a class="button" href="/sign-in">Sign in</a></p>`
      }
    </section>`
}

interface SignInData {
  users: User[]
  username: string
}

export function signInPage({ users, username }: SignInData): Html {
  return html`<div class="narrow">
      <h1>Sign in</h1>
      <form class="card stack" method="post" action="/sign-in">
        <div class="field">
          <label for="username">Name</label>
          <input id="username" name="username" value="${username}" autocomplete="username" autocapitalize="none" spellcheck="false" required${!username && FOCUS}>
        </div>
        <div class="field">
          <label for="password">Password</label>
          <input id="password" name="password" type="password" autocomplete="current-password" required${username !== '' && FOCUS}>
        </div>
        <button>Sign in</button>
      </form>

      <section aria-labelledby="accounts">
        <h2 id="accounts">Demo accounts</h2>
        <ul class="rows">${users.map(
          (user) => html`
          <li>
            <div>
              <strong>${user.name}</strong>
              <p class="hint"><code>${user.username}</code> <span aria-hidden="true">/</span> <code>${user.password}</code></p>
            </div>
            <form method="post" action="/sign-in">
              <input type="hidden" name="username" value="${user.username}">
              <input type="hidden" name="password" value="${user.password}">
              <button class="secondary">Use<span class="hidden"> the account of ${user.name}</span></button>
            </form>
          </li>`,
        )}
        </ul>
      </section>
    </div>`
}

interface NotesData {
  notes: (Note & { id: string })[]
  maxNotes: number
  maxLength: number
}

export function notesPage({ notes, maxNotes, maxLength }: NotesData): Html {
  const isFull = notes.length >= maxNotes
  return html`<h1>Notes</h1>
    <p class="lead">They live in your session, and leave with it when you sign out.</p>
    ${
      isFull
        ? html`<p class="card">Your notebook is full. Delete a note to make room for another.</p>`
        : html`<form class="card stack" method="post" action="/notes">
      <div class="field">
        <label for="text">New note</label>
        <textarea id="text" name="text" rows="3" maxlength="${maxLength}" aria-describedby="text-hint" required></textarea>
      </div>
      <div class="actions">
        <p class="hint" id="text-hint">Up to ${maxLength} characters</p>
        <button>Add note</button>
      </div>
    </form>`
    }

    <section aria-labelledby="list">
      <h2 id="list">Your notes <span class="tally">${notes.length} of ${maxNotes}</span></h2>
      ${
        notes.length === 0
          ? html`<p class="empty">Nothing here yet. What is on your mind?</p>`
          : html`<ul class="rows">${notes.map(
              (note) => html`
        <li>
          <div>
            <p class="text">${note.text}</p>
            <p class="hint">${moment(new Date(note.at))}</p>
          </div>
          <form method="post" action="/notes/${note.id}/delete">
            <button class="secondary">Delete<span class="hidden"> the note “${note.text.slice(0, 40)}”</span></button>
          </form>
        </li>`,
            )}
      </ul>`
      }
    </section>`
}

/** One of a user's sessions. */
export interface SessionRow {
  id: string
  browser: string
  address: string
  signedInAt: Date | undefined
  lastSeen: Date | undefined
  /** It is the one of this browser. */
  current: boolean
}

interface SessionsData {
  /** The one that signed in last first. */
  sessions: SessionRow[]
  /** Stands for all sessions but this one in the form that ends them. */
  others: string
}

export function sessionsPage({ sessions, others }: SessionsData): Html {
  const rows = [...sessions].sort((a, b) => Number(b.current) - Number(a.current))
  return html`<h1>Your sessions</h1>
    <p class="lead">The browsers in which you are signed in. End every session that you do not recognise.</p>

    <section aria-labelledby="list">
      <h2 id="list">Signed in <span class="tally">${plural(rows.length, 'browser')}</span></h2>
      <ul class="rows">${rows.map(
        (row) => html`
        <li>
          <div>
            <p><strong>${row.browser}</strong>${row.current && html` <span class="badge">This browser</span>`}</p>
            <p class="hint">${row.address && html`<span class="address">${row.address}</span> · `}signed in ${moment(row.signedInAt)} · last seen ${moment(row.lastSeen)}</p>
          </div>
          ${
            !row.current &&
            html`<form method="post" action="/sessions/end">
            <input type="hidden" name="end" value="${row.id}">
            <button class="secondary">End<span class="hidden"> the session of ${row.browser}, signed in ${moment(row.signedInAt)}</span></button>
          </form>`
          }
        </li>`,
      )}
      </ul>
      ${
        rows.length > 1 &&
        html`<form class="after" method="post" action="/sessions/end">
        <input type="hidden" name="end" value="${others}">
        <button>End all other sessions</button>
      </form>`
      }
    </section>`
}

interface ConfirmData {
  user: User
  /** What is to end, for the form. */
  end: string
  /** The session that is to end; undefined: all others. */
  row: SessionRow | undefined
}

export function confirmPage({ user, end, row }: ConfirmData): Html {
  return html`<div class="narrow">
      <h1>Your password</h1>
      <p class="lead">Enter it again to end ${
        row
          ? html`the session of <strong>${row.browser}</strong>, signed in ${moment(row.signedInAt)}`
          : 'all other sessions'
      }.</p>
      <form class="card stack" method="post" action="/confirm">
        <input type="hidden" name="end" value="${end}">
        <input class="hidden" name="username" value="${user.username}" autocomplete="username" tabindex="-1" aria-hidden="true" readonly>
        <div class="field">
          <label for="password">Password of ${user.name}</label>
          <input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
        </div>
        <div class="actions">
          <button>${row ? 'End session' : 'End sessions'}</button>
          <a href="/sessions">Cancel</a>
        </div>
      </form>
    </div>`
}

export function errorPage(heading: string, advice: string): Html {
  return html`<h1>${heading}</h1>
    <p class="lead">${advice}</p>
    <p><a class="button" href="/">Back to the home page</a></p>`
}

const FOCUS = html` autofocus`

const MARK = html`<svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true"><rect x="4" y="2.5" width="16" height="19" rx="3"/><path d="M8.5 2.5v19M12 8h4.5M12 12h4.5"/></svg>`

const ICON = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2c7a66" stroke-width="2" stroke-linecap="round"><rect x="4" y="2.5" width="16" height="19" rx="3"/><path d="M8.5 2.5v19M12 8h4.5M12 12h4.5"/></svg>',
)}`

/** A date relative to now, in words, so that no time zone is needed. The exact date is in the tooltip. */
function moment(date: Date | undefined): Html {
  if (!date) return html`at an unknown time`
  return html`<time datetime="${date.toISOString()}" title="${date.toUTCString()}">${relative(date.getTime() - Date.now())}</time>`
}

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const

function relative(distance: number): string {
  const format = new Intl.RelativeTimeFormat('en')
  // Rounded to minutes first, so that 59:59 is an hour.
  const minutes = Math.round(distance / 60_000) * 60_000
  for (const [unit, size] of UNITS) {
    if (Math.abs(minutes) >= size) return format.format(Math.round(minutes / size), unit)
  }
  return distance > 0 ? 'in a moment' : 'just now'
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
