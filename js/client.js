/**
 * antiphon's client for browsers: comes back, resumes, and keeps what it publishes until the server has it.
 * What each name takes, returns and promises stands in client.d.ts; the wire is docs/reference/wire.md.
 *
 * Laws:
 * - publications of a group reach its handlers in order and once, or `onGap` is called in their place;
 * - a position is stored after its handler has returned, so that a crash delivers again and loses nothing;
 * - what `publish` took leaves the outbox when the server has answered for good, and not before.
 */
import { AntiphonError, CALLED, DISCONNECTED, LOST, NO_TOKEN, TIMEOUT, tell } from "./errors.js";
import { Outbox } from "./outbox.js";
import { Positions } from "./positions.js";
import { Stateful } from "./stateful.js";
import { Subscription } from "./subscription.js";

export { AntiphonError, Subscription };

const DEFAULTS = { timeout: 10_000, minDelay: 500, maxDelay: 20_000, server: {} };
const WAKING = ["online", "offline", "pageshow", "visibilitychange"];
const REASONS = {
  [TIMEOUT]: "timeout: the server has not answered in time",
  [LOST]: "the connection was lost, and what became of this is not known",
  [DISCONNECTED]: "the client is not connected",
};
/** Close codes that say: do not come back. */
const isFinal = (code) => code === 1009 || (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
const isOffline = () => globalThis.navigator?.onLine === false;

/** One connection to a consumer, as long as it is wanted. */
export class Client extends Stateful {
  subscriptions = new Map();
  #url;
  #calls = new Map();
  #lastId = 0;
  #socket;
  #attempt;
  /** When the last frame came, and for how many milliseconds from then on silence is normal. */
  #heard = 0;
  #patience = 0;
  #wantsPong;
  #ticker;
  #ticked;
  #listening;
  #isProbing;

  constructor(url, options = {}) {
    super("connected", "disconnected", { ...DEFAULTS, ...options });
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    const name = `antiphon ${this.#url.host}${this.#url.pathname} ${options.user ?? ""}`;
    this._positions = new Positions(options.storage, name);
    this.outbox = new Outbox(this, name);
  }

  connect() {
    if (this.state !== "disconnected") return this;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    for (const event of WAKING) globalThis.addEventListener?.(event, this.#wake, { signal });
    this.#ticked = Date.now();
    this.#ticker = setInterval(this.#tick, this._options.timeout / 2);
    this._tries = 0;
    this._forgetToken();
    this._become("connecting", CALLED, "connect called");
    this.#open();
    return this;
  }

  disconnect() {
    if (this.state !== "disconnected") this._lose(CALLED, "disconnect called", true);
  }

  subscribe(group, options = {}) {
    const found = this.subscriptions.get(group);
    if (found?._options !== this._options.server) return new Subscription(this, group, options).subscribe();
    found._options = options; // the server has put the client into it before
    return found;
  }

  publish(group, data, { key, keep = true } = {}) {
    if (!keep) return this.#ask("publish", { channel: group, data });
    const answered = this.outbox._add(group, data, key);
    if (this._options.onOutbox) answered.catch(() => {}); // which hears of a refusal: nobody else has to
    return answered;
  }

  async rpc(method, data) {
    return (await this.#ask("rpc", { method, data })).data;
  }

  history(group, options) {
    return this.#ask("history", { channel: group, ...options });
  }

  async presence(group) {
    return (await this.#ask("presence", { channel: group })).presence;
  }

  presenceStats(group) {
    return this.#ask("presence_stats", { channel: group });
  }

  send(data) {
    if (this.state !== "connected") throw this.#error(DISCONNECTED);
    this.#socket.send(JSON.stringify({ send: { data } }));
  }

  // Commands

  #ask(name, content) {
    return new Promise((resolve, reject) => {
      this._call(name, content, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }

  /** Sends a command, as soon as there is a connection; calls `done` once, with an error or the result. */
  _call(name, content, done) {
    const id = ++this.#lastId;
    const call = { done, text: JSON.stringify({ id, [name]: content }), name };
    if (this.state === "disconnected") return done(this.#error(DISCONNECTED), {});
    this.#calls.set(id, call);
    call.timer = setTimeout(() => this.#answer(id, this.#error(TIMEOUT)), this._options.timeout);
    if (this.state === "connected" || name === "connect") this.#write(call);
  }

  #write(call) {
    call.isSent = true;
    this.#socket.send(call.text);
  }

  #answer(id, error, reply = {}) {
    const call = this.#calls.get(id);
    if (!call) return; // it comes too late
    this.#calls.delete(id);
    clearTimeout(call.timer);
    call.done(error && new AntiphonError(error), reply[call.name] ?? {});
  }

  #error(code) {
    return new AntiphonError({ code, message: REASONS[code] });
  }

  // The connection

  #open() {
    const attempt = (this.#attempt = {});
    this._timer = undefined;
    this.#heard = Date.now();
    this.#patience = this._options.timeout;
    const failed = (error) => attempt === this.#attempt && this._lose(NO_TOKEN, `no token: ${error}`);
    this._withToken((token) => attempt === this.#attempt && this.#dial(token), failed);
  }

  #dial(token) {
    const socket = new (this._options.WebSocket ?? WebSocket)(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#greet(token);
    socket.onmessage = ({ data }) => {
      for (const line of data.split("\n")) if (socket === this.#socket) this.#receive(line);
    };
    socket.onclose = ({ code, reason }) => this._lose(code, reason);
    socket.onerror = () => {}; // `onclose` says more
  }

  #greet(token) {
    const socket = this.#socket;
    const subs = {};
    const recover = (group, position) => (subs[group] = { recover: true, ...position });
    for (const group of this._positions.ofServer()) recover(group, this._positions.get(group, true));
    for (const { group, _since } of this.subscriptions.values()) if (_since) recover(group, _since);
    this._call("connect", { token, data: this._options.data, name: "antiphon-js", subs }, (error, result) => {
      if (socket !== this.#socket) return; // the close code has said why
      if (error) this._lose(error.code, error.message, !this._mayTryAgain(error));
      else this.#welcome(result);
    });
  }

  #welcome({ client, subs = {}, ping, pong, ...result }) {
    const socket = this.#socket;
    this.id = client;
    this.#wantsPong = pong;
    this.#patience = ping ? ping * 1000 + this._options.timeout : Infinity;
    this._renewAfter(result);
    const waiting = [...this.subscriptions.values()]; // what the page adds when it hears of it, starts by itself
    this._become("connected");
    for (const each of [...this.subscriptions.values()]) {
      if (each._isServers && !subs[each.group]) each._finish(2000, "the server has not put the client into it again");
    }
    for (const [group, each] of Object.entries(subs)) if (socket === this.#socket) this.#server(group)._begin(each);
    for (const each of waiting) each._start();
    for (const call of this.#calls.values()) if (!call.isSent) this.#write(call);
    this.outbox._flush();
  }

  /** Returns the subscription that the server has made; its handlers are the page's for it, or those for all. */
  #server(group) {
    const found = this.subscriptions.get(group) ?? new Subscription(this, group, this._options.server, true);
    this.subscriptions.set(group, found);
    found._adopt();
    return found;
  }

  _refresh(token, done) {
    this._call("refresh", { token }, done);
  }

  #receive(line) {
    this.#heard = Date.now();
    if (line === "{}") return this.#wantsPong && this.#socket.send("{}");
    if (!line) return;
    const { id, error, push, ...reply } = JSON.parse(line);
    if (id) this.#answer(id, error, reply);
    else if (push) this.#push(push);
  }

  #push({ channel, pub, join, leave, message, subscribe, unsubscribe, refresh }) {
    const subscription = this.subscriptions.get(channel);
    if (message) tell(this._options.onMessage, message.data);
    else if (subscribe) this.#server(channel)._begin(subscribe);
    else if (pub) subscription?._take(pub);
    else if (join) subscription?._hand("onJoin", join.info);
    else if (leave) subscription?._hand("onLeave", leave.info);
    else if (unsubscribe) subscription?._end(unsubscribe);
    else if (refresh) this._renewAfter(refresh);
  }

  /** Gives the connection up, and comes back unless that is over. */
  _lose(code, reason, isOver = isFinal(code)) {
    const socket = this.#socket;
    this.#attempt = this.#socket = undefined;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null; // on a dead line it takes minutes to close
      socket.close();
    }
    clearTimeout(this._timer);
    this._renewNoMore();
    this._doubtToken(code);
    Object.assign(this, { state: isOver ? "disconnected" : "connecting", code, reason: reason || "connection lost" });
    if (isOver) {
      clearInterval(this.#ticker);
      this.#listening.abort();
    } else this._later(this, () => this.#open());
    for (const each of this.subscriptions.values()) each._pause(code, this.reason);
    for (const [id, { isSent }] of this.#calls) {
      if (isSent || isOver) this.#answer(id, this.#error(isSent ? LOST : DISCONNECTED));
    }
    this._tellState();
  }

  /** Calls `action` after a while: longer from try to try, and at random, so that not all come at once. */
  _later(waiter, action) {
    const { minDelay, maxDelay } = this._options;
    const delay = Math.random() * Math.min(maxDelay, minDelay * 2 ** waiter._tries++);
    clearTimeout(waiter._timer);
    waiter._timer = setTimeout(action, isOffline() ? maxDelay : delay);
  }

  // Time

  #tick = () => {
    const slept = Math.abs(Date.now() - this.#ticked) > this._options.timeout * 1.5;
    this.#ticked = Date.now();
    if (slept) this.#wake();
    else if (this.#isSilent()) this._lose(TIMEOUT, "no ping");
    else if (this.state === "connected") this._tries = 0; // not before: the server may let it in to close it
  };

  #isSilent() {
    return this.#attempt && Math.abs(Date.now() - this.#heard) > this.#patience;
  }

  /** The computer, the network or the page is back: what is the connection worth? */
  #wake = () => {
    if (this.#isSilent()) this._lose(TIMEOUT, "no ping");
    if (this.state === "connected") this.#probe();
    else if (!this.#attempt && !isOffline()) {
      clearTimeout(this._timer);
      this._tries = 0;
      this.#open();
    }
  };

  /** Sends what no server offers: an error is a sign of life, too. */
  #probe() {
    if (this.#isProbing) return;
    this.#isProbing = true;
    const asked = Date.now();
    this._call("ping", {}, (error) => {
      this.#isProbing = false;
      if (error?.code === TIMEOUT && this.#heard <= asked) this._lose(TIMEOUT, "no answer");
    });
  }
}
