// Many of antiphon's own clients in one process: orders on stdin, what their handlers hear on stdout, one per line.
import { createInterface } from "node:readline";
import { Client } from "../../../src/antiphon/django/static/antiphon/client.js";
import WebSocket from "../node/node_modules/ws/wrapper.mjs";

let lines = [];
const tell = (...what) => {
  if (lines.push(JSON.stringify(what)) > 1) return;
  setImmediate(() => {
    process.stdout.write(lines.join("\n") + "\n");
    lines = [];
  });
};

/** A page with one client: `groups` are those that it subscribes to by itself. */
class Page {
  #due = new Set();
  #pausedUntil = 0;

  constructor(name, url, groups, timeout) {
    this.name = name;
    const server = this.#handlers();
    const onState = ({ state, code }) => tell(name, "client", state, code);
    const onMessage = (data) => tell(name, "message", data);
    this.client = new Client(url, { WebSocket, timeout, minDelay: 20, maxDelay: 300, server, onState, onMessage });
    for (const group of groups) this.client.subscribe(group, { ...server, onState: this.#begins(server) });
    this.client.connect();
  }

  #handlers() {
    return {
      onState: ({ state, code }, subscription) => {
        tell(this.name, "subscription", subscription.group, state, code);
        if (state !== "subscribed") return;
        this.#due.add(subscription.group);
        queueMicrotask(() => this.#stand(subscription));
      },
      onGap: ({ to }, { group }) => {
        this.#due.delete(group);
        tell(this.name, "gap", group, to);
      },
      onPublication: ({ data, offset = 0 }, subscription) => {
        this.#stand(subscription);
        tell(this.name, "publication", subscription.group, data, offset);
        const seconds = this.#pausedUntil - Date.now();
        if (seconds > 0) return new Promise((resolve) => setTimeout(resolve, seconds));
      },
    };
  }

  /** Where it is the page that subscribes, it asks from where on everything will come, as long as it is subscribed. */
  #begins({ onState }) {
    let latest;
    return (change, subscription) => {
      onState(change, subscription);
      latest = change;
      if (change.state !== "subscribed") return;
      const { group } = subscription;
      const told = (position) => latest === change && tell(this.name, "floor", group, position);
      this.client.rpc("floor", group).then(told, () => {});
    };
  }

  /** Says where it stands since it has subscribed, ahead of what comes from there on. */
  #stand({ group, position }) {
    if (this.#due.delete(group)) tell(this.name, "stands", group, position);
  }

  pause(seconds) {
    this.#pausedUntil = Date.now() + seconds * 1000;
  }

  rejoin(group) {
    const subscription = this.client.subscriptions.get(group);
    // What a handler is at when the page unsubscribes is not handled, and comes again.
    if (subscription?.state !== "subscribed" || this.#pausedUntil > Date.now()) return;
    subscription.unsubscribe();
    subscription.subscribe();
  }

  stop() {
    this.client.disconnect();
  }
}

const pages = new Map();
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [name, order, ...args] = JSON.parse(line);
    if (order === "open") pages.set(name, new Page(name, ...args));
    else pages.get(name)[order](...args);
  })
  .on("close", () => process.exit());
