import { CALLED, HANDLER_FAILED, HOLE, NO_TOKEN, PAGE_IS_SLOW, TIMEOUT, report } from "./errors.js";
import { Stateful, isInvalidated } from "./stateful.js";

/** From here on an unsubscribe push means: subscribe anew. */
const SUBSCRIBE_ANEW = 2500;
/** No stream has this epoch: the server answers with where it is now. */
const NOWHERE = { epoch: "_", offset: 0 };
/** So many publications wait for handlers; what comes then is fetched from the history when they are done. */
const LONGEST_QUEUE = 10_000;
const nothing = () => {};

/** A group that the client is in, or is to be in. */
export class Subscription extends Stateful {
  data;
  #client;
  #queue = [];
  #isBusy;
  #attempt;
  #hasBegun;

  constructor(client, group, options, isServers = false) {
    super("subscribed", "unsubscribed", options);
    const since = typeof options.since === "string" ? JSON.parse(options.since) : options.since;
    this.group = group;
    this._isServers = isServers;
    this.#client = client;
    /** Up to here publications are handled; up to `_received` they have come. */
    this.position = since ?? client._positions.get(group, isServers);
    this._received = this.position;
  }

  subscribe() {
    const { subscriptions } = this.#client;
    if (this.state !== "unsubscribed") return this;
    if (subscriptions.has(this.group)) throw new Error(`${this.group} has a subscription: unsubscribe it first`);
    subscriptions.set(this.group, this);
    this._forgetToken();
    this._become("subscribing", CALLED, "subscribe called");
    this._start();
    return this;
  }

  unsubscribe() {
    if (this.state === "unsubscribed") return;
    this.#client._positions.set(this.group, this._isServers, null);
    this.#leave(CALLED, "unsubscribe called");
  }

  publish(data, options) {
    return this.#client.publish(this.group, data, options);
  }

  history(options) {
    return this.#client.history(this.group, options);
  }

  presence() {
    return this.#client.presence(this.group);
  }

  presenceStats() {
    return this.#client.presenceStats(this.group);
  }

  // Beginning and end

  /** Where the server is to begin, if it is the server who subscribes, or may be. */
  get _since() {
    return (this._isServers || !this.#hasBegun) && this._received;
  }

  /** Leaves it to the server, who was first. */
  _adopt() {
    if (this._isServers) return;
    this._isServers = true;
    this._received ??= this.position = this.#client._positions.get(this.group, true);
  }

  get #isFull() {
    return this.#queue.length >= LONGEST_QUEUE;
  }

  /** Subscribes, if it is not the server who does. */
  _start() {
    if (this._isServers || this.state !== "subscribing" || this.#client.state !== "connected" || this.#isFull) return;
    const attempt = (this.#attempt = {});
    const failed = (error) => attempt === this.#attempt && this.#failed(error);
    const ask = (token) => {
      if (attempt !== this.#attempt) return;
      const recover = this._received && { recover: true, ...this._received };
      const content = { channel: this.group, token, data: this._options.data, ...recover };
      this.#client._call("subscribe", content, (error, result) => {
        if (error) failed(error);
        else if (attempt === this.#attempt) this._begin(result);
      });
    };
    this._withToken(ask, (error) => failed({ code: NO_TOKEN, message: `no token: ${error}`, temporary: true }));
  }

  #failed(error) {
    if (error.code === TIMEOUT) return this.#client._lose(TIMEOUT, `no answer for ${this.group}`);
    if (!this._mayTryAgain(error)) return this._finish(error.code, error.message);
    this.#client._later(this, () => this._start());
    this._become("subscribing", error.code, error.message);
  }

  /** Takes the server's word for the beginning, and where the stream is. */
  _begin({ recoverable, epoch = "", offset = 0, recovered, publications = [], data, ...result }) {
    const before = this._received;
    const now = (this._received = recoverable ? { epoch, offset } : null);
    const goesOn = before ? recovered || (before.epoch === epoch && before.offset === offset) : !this.#hasBegun;
    this.#hasBegun = true;
    this._tries = 0;
    this.data = data;
    this._become("subscribed");
    this.#enqueue(goesOn ? nothing : () => this.#gap(now), now);
    for (const each of publications) this._take(each);
    this._renewAfter(result);
    this.#client.outbox._flush();
  }

  _refresh(token, done) {
    this.#client._call("sub_refresh", { channel: this.group, token }, done);
  }

  /** Takes the server's word for the end, which may be none. */
  _end({ code, reason }) {
    if (this._isServers) return this._finish(code, reason);
    // Where it is being subscribed to, it was said before the server has heard of that: what is asked for comes.
    if (code < SUBSCRIBE_ANEW) return this.state === "subscribed" ? this._finish(code, reason) : this.#leave(code, reason);
    if (this.state !== "subscribed") return;
    this._doubtToken(code);
    this._pause(code, reason);
    this._start();
  }

  /** Waits for a connection, or for the server. */
  _pause(code, reason) {
    if (isInvalidated(code)) this._received &&= NOWHERE;
    this.#attempt = undefined;
    this._renewNoMore();
    clearTimeout(this._timer);
    if (this.state === "subscribed") this._become("subscribing", code, reason);
  }

  _finish(code, reason) {
    this.state = "unsubscribed";
    this._pause();
    this.#client.subscriptions.delete(this.group);
    this._become("unsubscribed", code, reason);
    this.#client.outbox._flush();
  }

  /** Is done with the group, on this side first. */
  #leave(code, reason) {
    if (this.#client.state === "connected") this.#client._call("unsubscribe", { channel: this.group }, nothing);
    this.#queue = [];
    this._received = this.position;
    this._finish(code, reason);
  }

  // What comes

  _take(publication) {
    if (this.state !== "subscribed") return; // sent before the server knew
    if (this.#isFull) return this.#subscribeAnew(PAGE_IS_SLOW, `the page is too slow for ${this.group}`);
    const { offset } = publication;
    if (!offset || !this._received) return this._hand("onPublication", publication);
    const epoch = publication.epoch ?? this._received.epoch;
    const isSameStream = !this._received.epoch || epoch === this._received.epoch;
    if (isSameStream && offset <= this._received.offset) return;
    if (!isSameStream || offset > this._received.offset + 1) {
      return this.#subscribeAnew(HOLE, `a hole in ${this.group}`); // of a server that does not keep to the protocol
    }
    this._received = { epoch, offset };
    this._hand("onPublication", publication, this._received);
  }

  /** Leaves what comes to the history: what is behind `_received` comes with the next answer. */
  #subscribeAnew(code, reason) {
    if (this._isServers) return this.#client._lose(code, reason);
    this.#client._call("unsubscribe", { channel: this.group }, nothing);
    this._pause(code, reason);
    this._start();
  }

  /** Calls a handler of the page when those before have returned, and moves to `position` when this one has. */
  _hand(name, news, position) {
    this.#enqueue(() => this._options[name]?.(news, this), position);
  }

  #gap(to) {
    const { onGap } = this._options;
    if (onGap) return onGap({ from: this.position ?? null, to }, this);
    console.warn(`antiphon: publications of ${this.group} are lost, and there is no onGap`);
  }

  #enqueue(action, position) {
    this.#queue.push([action, position]);
    if (!this.#isBusy) this.#work();
  }

  async #work() {
    this.#isBusy = true;
    try {
      while (this.#queue.length) {
        const [action, position] = this.#queue.shift();
        const result = action();
        if (result?.then) await result;
        if (position !== undefined) this.#move(position);
      }
    } catch (error) {
      report(error);
      if (this.state !== "unsubscribed") this.#leave(HANDLER_FAILED, `a handler failed: ${error}`);
    }
    this.#isBusy = false;
    if (!this.#attempt) this._start();
  }

  #move(position) {
    this.position = position;
    const isLeft = this.state === "unsubscribed" && this.code === CALLED; // by the page, while a handler was at it
    if (!isLeft) this.#client._positions.set(this.group, this._isServers, position);
  }
}
