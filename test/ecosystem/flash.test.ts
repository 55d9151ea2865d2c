import { describe, expect, test } from 'vitest'
import { type Express, expresses, SlowStore, serve, sessions } from '../support/app.ts'
import { connectFlash, expressFlash, originalSession } from '../support/required.ts'
import { MemoryStore } from '../support/session.ts'

type Options = Parameters<typeof sessions>[0]

function flashSite(express: Express, middleware: ReturnType<typeof sessions>) {
  const app = express()
  app.use(middleware, connectFlash())
  app.get('/show', (req, res) => {
    res.json(req.flash('info'))
  })
  app.get('/show/all', (req, res) => {
    res.json(req.flash())
  })
  app.get('/one', (req, res) => {
    res.json(req.flash('info', 'one'))
  })
  app.get('/array', (req, res) => {
    res.json(req.flash('info', ['two', 'three']))
  })
  app.get('/format', (req, res) => {
    res.json(req.flash('info', 'hello %s, you are %d%%', 'Ann', 99))
  })
  app.get('/error', (req, res) => {
    res.json(req.flash('error', 'bad'))
  })
  app.get('/redirect', (req, res) => {
    req.flash('info', 'saved')
    res.redirect('/show')
  })
  app.get('/own/one', (req, res) => {
    res.json(req.session.flash('info', 'own'))
  })
  app.get('/own/show', (req, res) => {
    res.json(req.session.flash('info'))
  })
  app.get('/own/show/all', (req, res) => {
    res.json(req.session.flash())
  })
  app.get('/both', (req, res) => {
    req.flash('info', 'a')
    req.session.flash('info', 'b')
    req.flash('error', 'c')
    res.json([req.session.flash('info'), req.flash('info'), req.session.flash(), req.flash()])
  })
  return app
}

const site = (express: Express, options: Options = {}) => serve(flashSite(express, sessions(options)))

describe.concurrent.each(expresses)('connect-flash on %s', (_, express) => {
  test('a message is shown once', async () => {
    const browser = await site(express)
    expect((await browser.follow('/redirect')).json).toEqual(['saved'])
    expect((await browser.get('/show')).json).toEqual([])
  })

  test('a message flashed before a redirect is there with a slow store', async () => {
    const browser = await site(express, { store: new SlowStore() })
    expect((await browser.follow('/redirect')).json).toEqual(['saved'])
    expect((await browser.get('/show')).json).toEqual([])
  })

  test('messages, arrays and formats add up in order and return the count', async () => {
    const browser = await site(express)
    expect((await browser.get('/one')).json).toBe(1)
    expect((await browser.get('/array')).json).toBe(3)
    expect((await browser.get('/format')).json).toBe(4)
    expect((await browser.get('/show')).json).toEqual(['one', 'two', 'three', 'hello Ann, you are 99%'])
  })

  test('one type is read and the others wait', async () => {
    const browser = await site(express)
    await browser.get('/one')
    await browser.get('/error')
    expect((await browser.get('/show')).json).toEqual(['one'])
    expect((await browser.get('/show/all')).json).toEqual({ error: ['bad'] })
  })

  test('all messages are read as an object, once', async () => {
    const browser = await site(express)
    await browser.get('/array')
    await browser.get('/error')
    expect((await browser.get('/show/all')).json).toEqual({
      info: ['two', 'three'],
      error: ['bad'],
    })
    expect((await browser.get('/show/all')).json).toEqual({})
  })

  test('a message is stored under the flash key', async () => {
    const store = new MemoryStore()
    const browser = await site(express, { store })
    await browser.get('/one')
    expect(JSON.parse(store.sessions[browser.id as string] as string).flash).toEqual({ info: ['one'] })
  })

  test('nobody sees the messages of another session', async () => {
    const ann = await site(express)
    const bob = ann.another()
    await ann.get('/one')
    await bob.get('/error')
    expect((await ann.another().get('/show/all')).json).toEqual({})
    expect((await bob.get('/show')).json).toEqual([])
    expect((await bob.get('/show/all')).json).toEqual({ error: ['bad'] })
    expect((await ann.get('/show/all')).json).toEqual({ info: ['one'] })
  })

  test('messages pass between express-session and this package on one store', async () => {
    const store = new SlowStore(0)
    const options = {
      secret: 'keyboard cat',
      resave: false,
      saveUninitialized: false,
      store,
    }
    const here = await site(express, { store })
    const there = await serve(flashSite(express, originalSession(options)))

    await there.get('/one')
    here.cookies.set('connect.sid', there.cookies.get('connect.sid') as string)
    expect((await here.get('/show')).json).toEqual(['one'])
    await here.get('/array')
    expect((await there.get('/show')).json).toEqual(['two', 'three'])
    expect((await here.get('/show')).json).toEqual([])
  })
})

describe.concurrent.each(expresses)('connect-flash together with session.flash on %s', (_, express) => {
  test('what req.flash adds, session.flash reads and clears', async () => {
    const browser = await site(express)
    await browser.get('/array')
    expect((await browser.get('/own/show')).json).toEqual(['two', 'three'])
    expect((await browser.get('/own/show')).json).toEqual([])
    expect((await browser.get('/show')).json).toEqual([])
  })

  test('what session.flash adds, req.flash reads and clears', async () => {
    const browser = await site(express)
    expect((await browser.get('/own/one')).json).toBe(1)
    expect((await browser.get('/show')).json).toEqual(['own'])
    expect((await browser.get('/show')).json).toEqual([])
    expect((await browser.get('/own/show')).json).toEqual([])
  })

  test('both add to one list', async () => {
    const browser = await site(express)
    await browser.get('/one')
    expect((await browser.get('/own/one')).json).toBe(2)
    await browser.get('/array')
    await browser.get('/error')
    expect((await browser.get('/own/show/all')).json).toEqual({
      info: ['one', 'own', 'two', 'three'],
      error: ['bad'],
    })
    expect((await browser.get('/show/all')).json).toEqual({})
  })

  test('both in one request', async () => {
    const browser = await site(express)
    expect((await browser.get('/both')).json).toEqual([['a', 'b'], [], { error: ['c'] }, {}])
    expect((await browser.get('/show/all')).json).toEqual({})
  })

  test('nobody sees the messages of another session', async () => {
    const ann = await site(express)
    const bob = ann.another()
    await ann.get('/one')
    await ann.get('/own/one')
    for (const path of ['/own/show', '/show', '/own/show/all', '/show/all']) {
      expect(Object.keys((await bob.get(path)).json)).toEqual([])
      expect(Object.keys((await ann.another().get(path)).json)).toEqual([])
    }
    expect((await ann.get('/own/show')).json).toEqual(['one', 'own'])
  })
})

class MessagesView {
  readonly path = 'messages'

  render(locals: { messages?: unknown }, done: (error: null, html: string) => void) {
    done(null, JSON.stringify(locals.messages))
  }
}

describe.concurrent.each(expresses)('express-flash on %s', (_, express) => {
  async function rendering(options: Options = {}) {
    const app = express()
    app.set('view', MessagesView)
    app.use(sessions(options), expressFlash())
    app.get('/save', (req, res) => {
      req.flash('info', 'saved')
      req.flash('error', ['a', 'b'])
      res.redirect('/view')
    })
    app.get('/view', (_req, res) => res.render('view'))
    return serve(app)
  }

  test('messages are handed to the view, once', async () => {
    const browser = await rendering()
    expect((await browser.follow('/save')).json).toEqual({
      info: ['saved'],
      error: ['a', 'b'],
    })
    expect((await browser.get('/view')).json).toEqual({})
  })

  test('a message flashed before a redirect is there with a slow store', async () => {
    const browser = await rendering({ store: new SlowStore() })
    expect((await browser.follow('/save')).json).toMatchObject({
      info: ['saved'],
    })
  })
})
