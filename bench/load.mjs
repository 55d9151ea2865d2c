// A browser crowd: keep-alive connections that each send one request after the other. It does next to nothing
// with the answers, so that the server is what takes the time.

import { once } from 'node:events'
import { connect } from 'node:net'

export class Crowd {
  /** @type {import('node:net').Socket[]} */
  #sockets = []
  #port = 0

  /**
   * Connects to a server of this machine.
   * @param {number} port
   * @param {number} connections
   */
  static async connect(port, connections) {
    const crowd = new Crowd()
    crowd.#port = port
    crowd.#sockets = await Promise.all(
      Array.from({ length: connections }, async () => {
        const socket = connect({ port, host: '127.0.0.1', noDelay: true })
        await once(socket, 'connect')
        return socket.setEncoding('latin1')
      }),
    )
    return crowd
  }

  close() {
    for (const socket of this.#sockets) socket.destroy()
  }

  /**
   * Sends `count` requests for `path`. With `cookies`, each connection has its own part of them, so that no session
   * is in two requests at once. Returns the cookies that were set.
   * @param {string} path
   * @param {number} count
   * @param {string[]} [cookies]
   */
  async send(path, count, cookies) {
    /** @type {string[]} */
    const set = []
    const start = () => count-- > 0
    await Promise.all(
      this.#sockets.map((socket, index) => {
        const own = cookies?.filter((_, n) => n % this.#sockets.length === index)
        const requests = (own?.length ? own : [undefined]).map((cookie) => this.#request(path, cookie))
        return converse(socket, requests, start, (cookie) => set.push(cookie))
      }),
    )
    return set
  }

  /**
   * @param {string} path
   * @param {string} [cookie]
   */
  #request(path, cookie) {
    const lines = [`GET ${path} HTTP/1.1`, `Host: 127.0.0.1:${this.#port}`, 'Accept: text/html']
    if (cookie) lines.push(`Cookie: ${cookie}`)
    return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`)
  }
}

/**
 * Sends `requests` in turn over one connection, as long as `start` allows another.
 * @param {import('node:net').Socket} socket
 * @param {Buffer[]} requests
 * @param {() => boolean} start
 * @param {(cookie: string) => void} onCookie
 * @returns {Promise<void>}
 */
function converse(socket, requests, start, onCookie) {
  return new Promise((resolve, reject) => {
    let sent = 0
    let text = ''

    const next = () => {
      if (!start()) {
        stop()
        resolve()
      } else socket.write(/** @type {Buffer} */ (requests[sent++ % requests.length]))
    }
    const receive = (/** @type {string} */ part) => {
      text += part
      const end = text.indexOf('\r\n\r\n')
      if (end === -1) return
      const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1]
      if (length !== undefined && text.length < end + 4 + Number(length)) return
      if (!text.startsWith('HTTP/1.1 200 ') || text.slice(end + 4) !== 'ok') {
        fail(new Error(`unexpected answer:\n${text}`))
        return
      }
      const cookie = /\r\nset-cookie: ([^;\r]+)/i.exec(text)?.[1]
      if (cookie) onCookie(cookie)
      text = ''
      next()
    }
    const closed = () => fail(new Error('the server has closed the connection'))
    const stop = () => {
      socket.off('data', receive).off('error', fail).off('close', closed)
    }
    const fail = (/** @type {Error} */ error) => {
      stop()
      reject(error)
    }
    socket.on('data', receive).on('error', fail).on('close', closed)
    next()
  })
}
