// What tests of antiphon's own client find in Node and in a page: a client that keeps a record of what it hears.

/** Waits for a condition; whoever asks has a limit. */
const until = async (condition) => {
  for (;;) {
    const result = await condition();
    if (result) return result;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

/** A Storage without a browser; two clients with one of them are a page before and after its reload. */
class Drawer {
  getItem(key) {
    return this[key] ?? null;
  }

  setItem(key, value) {
    this[key] = value;
  }

  removeItem(key) {
    delete this[key];
  }
}

/** A WebSocket whose server is the test: `sent` are the client's commands, `say` answers. */
class Line {
  static all = [];
  sent = [];

  constructor() {
    Line.all.push(this);
    queueMicrotask(() => this.onopen?.());
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  say(...replies) {
    this.onmessage?.({ data: replies.map((reply) => JSON.stringify(reply)).join("\n") });
  }

  close() {
    this.isClosed = true;
  }

  /** Waits for the next command of a kind, and answers it. */
  async answer(name, reply) {
    const command = await until(() => this.sent.find((each) => name in each && !each.isAnswered));
    command.isAnswered = true;
    this.say({ id: command.id, ...reply });
    return command[name];
  }
}

/** Puts all of it where the test's code is run. */
export function prepare({ Client }, defaults) {
  const heard = { states: [], messages: [], outbox: [], groups: {} };
  const handlers = (group) => {
    const of = (heard.groups[group] ??= { publications: [], gaps: [], states: [], offsets: [] });
    return {
      onPublication: ({ data, offset }) => (of.publications.push(data), of.offsets.push(offset)),
      onGap: (gap) => of.gaps.push(gap),
      onState: (change) => of.states.push(change),
    };
  };
  const connect = (url, options = {}) => {
    const server = {
      onPublication: (publication, { group }) => handlers(group).onPublication(publication),
      onGap: (gap, { group }) => handlers(group).onGap(gap),
      onState: (change, { group }) => handlers(group).onState(change),
    };
    globalThis.client = new Client(url, {
      minDelay: 20,
      maxDelay: 100,
      server,
      onState: (change) => heard.states.push(change),
      onMessage: (data) => heard.messages.push(data),
      onOutbox: (event) => heard.outbox.push(event),
      ...defaults,
      ...options,
    });
    return client.connect();
  };
  /** Subscribes, and returns what is heard. */
  const join = (group, options) => {
    client.subscribe(group, { ...handlers(group), ...options });
    return heard.groups[group];
  };
  /** Returns what `promise` was rejected with. */
  const refusal = (promise) =>
    promise.then(
      (value) => `not refused: ${JSON.stringify(value)}`,
      ({ name, code, message, temporary }) => ({ name, code, message, temporary }),
    );
  const states = () => heard.states.map(({ state, code }) => `${state} ${code}`);
  Object.assign(globalThis, { Client, Drawer, Line, connect, handlers, heard, join, refusal, states, until });
}
