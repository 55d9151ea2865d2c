// A browser reduced to what matters here: it keeps cookies, and never follows a redirect by itself.

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The body as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever the test's own handler answered
  readonly json: any
  readonly setCookies: string[]
}

export class Browser {
  readonly #base: string
  readonly cookies = new Map<string, string>()
  /** The values of all cookies that it was given, and the ids in them. */
  readonly seen = new Set<string>()

  constructor(base: string) {
    this.#base = base
  }

  async get(path: string, init: RequestInit & { duplex?: 'half' } = {}): Promise<Reply> {
    const headers = new Headers(init.headers)
    if (!headers.has('cookie') && this.cookies.size > 0) headers.set('cookie', this.header)
    const response = await fetch(this.#base + path, {
      redirect: 'manual',
      ...init,
      headers,
    })
    const setCookies = response.headers.getSetCookie()
    for (const cookie of setCookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? []
      for (const shown of [value, ...decodeURIComponent(value).replace(/^s:/, '').split('.', 1)]) {
        if (shown) this.seen.add(shown)
      }
      const expires = /; Expires=([^;]+)/i.exec(cookie)?.[1]
      if (expires && Date.parse(expires) <= Date.now()) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      text,
      setCookies,
      get json() {
        return JSON.parse(text)
      },
    }
  }

  /** The Cookie header that is sent. */
  get header(): string {
    return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }
}
