import { AntiphonError, DISCARDED, PERMISSION_DENIED, TIMEOUT, report, tell } from "./errors.js";
import { openStore } from "./store.js";

/** The call that publishes once, however often it is made with the same key. */
const KEYED_PUBLISH = "antiphon.publish";

/** What is published and not yet answered for good; all tabs of the browser share it. */
export class Outbox {
  persistent;
  _tries = 0;
  #client;
  #name;
  #opening;
  #others;
  #promises = new Map();
  #isWanted;
  #isFlushing;

  constructor(client, name) {
    this.#client = client;
    this.#name = name;
  }

  async pending() {
    return (await this.#store()).all();
  }

  async discard(id) {
    await (await this.#store()).delete(id);
    this.#say({ id, state: "discarded", code: DISCARDED, reason: "discarded" });
  }

  async _add(group, data, key = crypto.getRandomValues(new Uint32Array(4)).join("-")) {
    const entry = { group, data, key };
    entry.id = await (await this.#store()).add(entry);
    const answered = new Promise((...waiter) => this.#promises.set(entry.id, waiter));
    this.#say({ ...entry, state: "stored" });
    return answered;
  }

  /** Sends what there is to send; what comes meanwhile, too. One tab at a time, where the browser has locks. */
  async _flush() {
    this.#isWanted = true;
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    clearTimeout(this._timer);
    try {
      await this.#store();
      const locks = this.persistent && globalThis.navigator.locks;
      while (this.#isWanted && this.#client.state === "connected") {
        this.#isWanted = false;
        await (locks ? locks.request(this.#name, () => this.#sendAll()) : this.#sendAll());
      }
    } catch (error) {
      report(error);
      this.#client._later(this, () => this._flush());
    }
    this.#isFlushing = false;
  }

  /** One after the other. Where one has to wait, others to its group wait behind it. */
  async #sendAll() {
    const waiting = new Set();
    for (const entry of await this.pending()) {
      const { group } = entry;
      const subscription = this.#client.subscriptions.get(group);
      if (this.#client.state !== "connected") return;
      if (subscription?.state === "subscribing") waiting.add(group);
      if (!waiting.has(group) && !(await this.#send(entry, subscription))) waiting.add(group);
    }
  }

  /** Tells whether that is answered for good. */
  async #send(entry, subscription) {
    const { id, group, data, key } = entry;
    const [error, result] = await new Promise((resolve) => {
      const call = { method: KEYED_PUBLISH, data: { channel: group, data, key } };
      this.#client._call("rpc", call, (...answer) => resolve(answer));
    });
    // Another tab's, or another page's before: who is not in the group leaves it to one who is.
    const isForeign = error?.code === PERMISSION_DENIED && !subscription && !this.#promises.has(id);
    if (error?.code === TIMEOUT) this.#client._lose(TIMEOUT, "no answer");
    else if (error?.temporary || isForeign) this.#wait(entry, error);
    if (error?.temporary || isForeign) return false;
    this._tries = 0;
    await (await this.#store()).delete(id);
    if (error) this.#say({ ...entry, state: "refused", code: error.code, reason: error.message });
    else this.#say({ ...entry, state: "sent", ...result.data });
    return true;
  }

  #wait(entry, { code, message, temporary }) {
    if (code < 100) return; // the connection's end: the next one begins with a flush
    if (temporary) this.#client._later(this, () => this._flush());
    this.#hear({ ...entry, state: "waiting", code, reason: message });
  }

  /** Tells this page, and those in other tabs. */
  #say(event) {
    this.#hear(event);
    this.#others?.postMessage(event);
  }

  #hear(event) {
    const { id, state, epoch, offset, repeated } = event;
    const [resolve, reject] = this.#promises.get(id) ?? [];
    if (state === "stored") this._flush();
    else if (state !== "waiting") this.#promises.delete(id);
    if (state === "sent") resolve?.({ epoch, offset, repeated });
    if (state === "refused" || state === "discarded") reject?.(new AntiphonError(event));
    tell(this.#client._options.onOutbox, event);
  }

  #store() {
    return (this.#opening ??= this.#open());
  }

  async #open() {
    const store = await openStore(this.#name, () => (this.#opening = undefined));
    this.persistent = store.persistent;
    if (this.persistent && !this.#others) {
      this.#others = new BroadcastChannel(this.#name);
      this.#others.onmessage = ({ data }) => this.#hear(data);
    }
    return store;
  }
}
