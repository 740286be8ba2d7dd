// The tus peer: @tus/server with its file store. No login, no checks, no fsync.
import { createRequire } from 'node:module'

const [home, port, directory] = process.argv.slice(2)
const require = createRequire(`${home}/`)
const { Server } = await import(require.resolve('@tus/server'))
const { FileStore } = await import(require.resolve('@tus/file-store'))

const server = new Server({ path: '/files', relativeLocation: true, datastore: new FileStore({ directory }) })
server.listen({ host: '127.0.0.1', port: Number(port) })
