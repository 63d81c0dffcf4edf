// A WebSocket client of the ws package, driven line by line: a JSON command on stdin, a JSON event on stdout.
import { createInterface } from 'node:readline'
import WebSocket from 'ws'

const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const encoded = (data) => data.toString('base64')
let socket

const commands = {
  open({ url, protocols, headers, compress }) {
    socket = new WebSocket(url, protocols, { headers, perMessageDeflate: compress })
    socket.on('upgrade', (response) => tell({ event: 'upgrade', headers: response.headers }))
    socket.on('open', () => tell({ event: 'open', protocol: socket.protocol }))
    socket.on('message', (data, binary) => tell({ event: 'message', binary, data: encoded(data) }))
    socket.on('pong', (data) => tell({ event: 'pong', data: encoded(data) }))
    socket.on('error', (error) => tell({ event: 'error', message: error.message }))
    socket.on('close', (code, reason) => tell({ event: 'close', code, reason: reason.toString() }))
  },
  send({ data, binary, final }) {
    const bytes = Buffer.from(data, 'base64')
    socket.send(binary ? bytes : bytes.toString(), { binary, fin: final })
  },
  ping({ data }) {
    socket.ping(Buffer.from(data, 'base64'))
  },
  close({ code, reason }) {
    socket.close(code, reason)
  },
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line)
    commands[command.do](command)
  })
  .on('close', () => process.exit(0))
