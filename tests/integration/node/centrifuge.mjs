// The centrifuge SDK, driven line by line: a JSON command on stdin, JSON events and results on stdout.
import { createInterface } from 'node:readline'
import * as json from 'centrifuge'
import * as protobuf from 'centrifuge/build/protobuf'
import WebSocket from 'ws'

const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const library = (module) => module.Centrifuge ?? module.default.Centrifuge
const bytes = new TextEncoder()
const text = new TextDecoder()
const clients = {}
const HANDLER_FAILS = 'the handler of the application fails'

/** Tells how many commands each frame has that the SDK sends. */
const watched = (name) =>
  class extends WebSocket {
    send(frame, ...others) {
      tell({ client: name, event: 'frame', commands: String(frame).split('\n').length, bytes: frame.length })
      super.send(frame, ...others)
    }
  }

class Client {
  constructor({ client, url, encoding, options }) {
    const isProtobuf = encoding === 'protobuf'
    this.name = client
    this.encode = (content) => (isProtobuf ? bytes.encode(JSON.stringify(content)) : content)
    this.decode = (data) => (isProtobuf && data !== undefined ? JSON.parse(text.decode(data)) : data)
    const Centrifuge = library(isProtobuf ? protobuf : json)
    const { data, watch, ...others } = options
    this.sdk = new Centrifuge(url, {
      websocket: watch ? watched(client) : WebSocket,
      minReconnectDelay: 20,
      maxReconnectDelay: 100,
      ...(data === undefined ? {} : { data: this.encode(data) }),
      ...others,
    })
    this.listen(this.sdk, '', { server: true })
  }

  tell(event, context) {
    tell({ client: this.name, event, ...context })
  }

  listen(emitter, channel, more) {
    const state = ({ code, reason }) => ({ code, reason })
    const views = {
      connecting: state,
      connected: ({ client, transport }) => ({ id: client, transport }),
      disconnected: state,
      subscribing: state,
      unsubscribed: state,
      subscribed: ({ recoverable, wasRecovering, recovered, streamPosition }) => ({
        recoverable, wasRecovering, recovered, position: streamPosition,
      }),
      publication: ({ data, offset, info, tags }) => ({ data: this.decode(data), offset, user: info?.user, tags }),
      join: ({ info }) => this.who(info),
      leave: ({ info }) => this.who(info),
      message: ({ data }) => ({ data: this.decode(data) }),
      error: ({ error }) => ({ code: error.code, message: error.message }),
    }
    for (const [event, view] of Object.entries(views)) {
      emitter.on(event, (context) => this.tell(event, { channel: context.channel ?? channel, ...more, ...view(context) }))
    }
  }

  who({ user, client, connInfo, chanInfo }) {
    const words = (info) => (info?.length === 0 ? null : (this.decode(info) ?? null)) // Protobuf: no bytes for nothing
    return { user, id: client, says: words(connInfo), said: words(chanInfo) }
  }

  subscription(channel) {
    return this.sdk.getSubscription(channel)
  }

  // What a test may ask for; what is returned, or what the promise brings, is the result.

  connect() {
    this.sdk.connect()
  }

  disconnect() {
    this.sdk.disconnect()
  }

  subscribe({ channels, options }) {
    for (const channel of channels) {
      let subscription = this.subscription(channel)
      if (subscription === null) {
        const { data, failOn, ...others } = options ?? {}
        const given = data === undefined ? others : { data: this.encode(data), ...others }
        subscription = this.sdk.newSubscription(channel, given)
        this.listen(subscription, channel, { server: false })
        let fails = failOn !== undefined
        subscription.on('publication', ({ offset }) => {
          if (fails && offset === failOn) {
            fails = false
            throw new Error(HANDLER_FAILS)
          }
        })
      }
      subscription.subscribe()
    }
  }

  unsubscribe({ channel }) {
    this.subscription(channel).unsubscribe()
  }

  renew({ channel, times }) {
    for (let time = 0; time < times; time++) {
      this.subscription(channel).unsubscribe()
      this.subscription(channel).subscribe()
    }
  }

  async publish({ channel, data }) {
    await this.sdk.publish(channel, this.encode(data))
  }

  async rpc({ method, data }) {
    return this.decode((await this.sdk.rpc(method, data === undefined ? undefined : this.encode(data))).data)
  }

  async history({ channel, options }) {
    const { publications, epoch, offset } = await this.sdk.history(channel, options)
    return { epoch, offset, publications: publications.map((each) => [each.offset, this.decode(each.data)]) }
  }

  async presence({ channel }) {
    const { clients } = await this.sdk.presence(channel)
    return Object.values(clients).map((info) => this.who(info))
  }

  async presenceStats({ channel }) {
    const { numClients, numUsers } = await this.sdk.presenceStats(channel)
    return [numClients, numUsers]
  }

  send({ data }) {
    return this.sdk.send(this.encode(data))
  }

  state() {
    return this.sdk.state
  }
}

// The SDK passes on what a handler of the application throws, as a browser would show it.
process.on('uncaughtException', (error) => {
  if (error.message !== HANDLER_FAILS) throw error
})

createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const command = JSON.parse(line)
    try {
      if (command.do === 'open') {
        clients[command.client] = new Client(command)
        tell({ result: command.id })
      } else {
        tell({ result: command.id, value: (await clients[command.client][command.do](command)) ?? null })
      }
    } catch (error) {
      tell({ result: command.id, error: { code: error.code ?? -1, message: error.message ?? String(error) } })
    }
  })
  .on('close', () => process.exit(0))
