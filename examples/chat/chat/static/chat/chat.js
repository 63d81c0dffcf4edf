/*
 * A chat room, live.
 *
 * What holds, whatever the network does:
 *   1. A message is on the page once. Its id (from the database) says whether it is there already.
 *   2. Nothing is missed. The cursor is an id up to which the page has everything; each new connection first reads
 *      what came after it over HTTP. While a connection is caught up, each live message moves the cursor on.
 *   3. What was written is sent once. It carries an id made here; the server stores that id once, so it can be sent
 *      again until the echo comes. Until then the message is shown as waiting.
 */

const page = JSON.parse(document.getElementById("room-data").textContent);
const element = (id) => document.getElementById(id);
const seconds = (count) => count * 1000;

const FIRST_RETRY = seconds(0.5);
const LONGEST_RETRY = seconds(20);
const PATIENCE = seconds(10); // for a connection to open and catch up, and for an echo to come
const OVERLAP = 20; // ids read twice: two messages stored in one moment may be told in the other order

class Refused extends Error {} // the server will not have us here: trying again is no use

/* ------------------------------------------------------------------------------------------------ connection ---- */

/*
 * One WebSocket after another. States:
 *
 *   connecting → online            open, and caught up
 *   online → reconnecting          lost: try again, waiting longer each time
 *   online → offline               the same, while the browser says that there is no network
 *   any → closed                   refused (logged out, or the room is gone): stays so
 */
class Connection {
  #socket = null;
  #attempts = 0;
  #timer = 0;
  #deadline = 0;

  constructor({ url, catchUp, onContent, onState }) {
    Object.assign(this, { url, catchUp, onContent, onState, state: "connecting" });
    window.addEventListener("offline", () => this.drop());
    window.addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  open() {
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    this.#deadline = setTimeout(() => this.drop(), PATIENCE);
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#opened(socket);
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.onContent(JSON.parse(data));
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.drop();
      if (!opened) this.#askWhy();
    };
  }

  /* Give up this socket, which may be dead without knowing it, and come back. */
  drop() {
    if (this.state === "closed") return;
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#deadline);
    clearTimeout(this.#timer);
    socket?.close();
    const longest = Math.min(LONGEST_RETRY, FIRST_RETRY * 2 ** this.#attempts);
    const delay = longest * (0.5 + Math.random() / 2); // not all browsers in the same moment
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.open(), delay);
    this.#setState(navigator.onLine ? "reconnecting" : "offline", delay);
  }

  retryNow() {
    if (this.#socket === null && this.state !== "closed") this.open();
  }

  send(content) {
    this.#socket.send(JSON.stringify(content));
  }

  async #opened(socket) {
    try {
      await this.catchUp();
    } catch (problem) {
      if (socket === this.#socket) this.#failed(problem);
      return;
    }
    if (socket !== this.#socket) return;
    clearTimeout(this.#deadline);
    this.#attempts = 0;
    this.#setState("online");
  }

  /* A refused WebSocket does not tell the page why; the JSON view does. */
  async #askWhy() {
    try {
      await this.catchUp();
    } catch (problem) {
      if (problem instanceof Refused) this.#failed(problem);
    }
  }

  #failed(problem) {
    this.drop();
    if (!(problem instanceof Refused)) return;
    clearTimeout(this.#timer);
    this.#setState("closed", 0, problem.message);
  }

  #setState(state, retryIn = 0, reason = "") {
    this.state = state;
    this.onState(state, retryIn, reason);
  }
}

/* ---------------------------------------------------------------------------------------------- message list ---- */

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const fullFormat = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "short" });
const GROUP_WITHIN = seconds(5 * 60); // lines of one person that are nearer than this stand together

function dayName(date) {
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return "Today";
  if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
  return dayFormat.format(date);
}

/* The list on the page: stored messages by id, then our own that wait for their echo. */
class MessageList {
  #list = element("messages");
  #log = element("log");
  #jump = element("jump-to-latest");
  #template = element("message-template");
  #byId = new Map();
  #atEnd = true; // the reader is at the latest message, and stays there as more come
  #lastTop = 0;
  #unseen = 0; // came while the reader was not there, or not looking

  constructor() {
    this.#log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#jump.addEventListener("click", () => this.toEnd());
    document.addEventListener("visibilitychange", () => this.#scrolled());
    new ResizeObserver(() => this.#atEnd && this.toEnd()).observe(this.#log);
  }

  get firstId() {
    return Math.min(...this.#byId.keys());
  }

  /* Put a stored message where its id belongs. One of ours that waited takes its place; a known one changes nothing. */
  add(message, { waiting = null, live = true } = {}) {
    if (this.#byId.has(message.id)) return;
    const item = waiting ?? this.#make(message);
    this.#setTime(item, message.sent_at); // the server's clock counts
    item.dataset.messageId = message.id;
    this.setStatus(item, "sent");
    this.#byId.set(message.id, item);
    this.#insert(item, message.id);
    if (live) this.#arrived(item);
  }

  /* Show one of ours that is not stored yet, at the end. */
  addWaiting(message) {
    const item = this.#make(message);
    this.#hideMark(); // who answers has read
    this.#list.append(item);
    this.#decorate(item);
    this.#changed();
    this.toEnd();
    return item;
  }

  setStatus(item, state, text = "") {
    item.dataset.state = state;
    item.querySelector(".status-text").textContent = text;
    item.querySelector(".status").hidden = !text;
    if (this.#atEnd) this.toEnd();
  }

  remove(item) {
    const next = item.nextElementSibling;
    item.remove();
    if (next) this.#decorate(next);
    this.#changed();
  }

  /* Messages from before the first one. What the reader looks at stays where it is. */
  prepend(messages) {
    const fromEnd = this.#log.scrollHeight - this.#log.scrollTop;
    for (const message of messages) this.add(message, { live: false });
    this.#log.scrollTop = this.#log.scrollHeight - fromEnd;
  }

  toEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#lastTop = this.#log.scrollTop;
    this.#atEnd = true;
    this.#seen();
  }

  #make(message) {
    const item = this.#template.content.firstElementChild.cloneNode(true);
    const avatar = item.querySelector(".avatar");
    avatar.classList.add(`avatar-${message.author.colour}`);
    avatar.textContent = message.author.initials;
    item.classList.toggle("own", message.author.name === page.me);
    item.dataset.author = message.author.name;
    item.dataset.clientId = message.client_id;
    item.querySelector(".author").textContent = message.author.name;
    item.querySelector(".text").textContent = message.text;
    this.#setTime(item, message.sent_at);
    return item;
  }

  #setTime(item, sentAt) {
    const date = new Date(sentAt);
    const time = item.querySelector("time");
    time.dateTime = sentAt;
    time.textContent = timeFormat.format(date);
    time.title = fullFormat.format(date);
    item.dataset.sentAt = date.getTime();
  }

  #insert(item, id) {
    let previous = this.#list.lastElementChild;
    while (previous && (previous === item || !(Number(previous.dataset.messageId) < id))) {
      previous = previous.previousElementSibling;
    }
    const expected = previous ? previous.nextElementSibling : this.#list.firstElementChild;
    if (expected !== item) {
      const left = item.nextElementSibling;
      this.#list.insertBefore(item, expected);
      if (left) this.#decorate(left);
    }
    this.#decorate(item);
    if (item.nextElementSibling) this.#decorate(item.nextElementSibling);
    this.#changed();
  }

  /* Day, and whether the line goes on from the one before: both follow from the neighbour alone. */
  #decorate(item) {
    const previous = item.previousElementSibling;
    const at = Number(item.dataset.sentAt);
    const date = new Date(at);
    const newDay = !previous || new Date(Number(previous.dataset.sentAt)).toDateString() !== date.toDateString();
    const day = item.querySelector(".day");
    day.hidden = !newDay;
    day.firstElementChild.textContent = newDay ? dayName(date) : "";
    const near = previous && Math.abs(at - Number(previous.dataset.sentAt)) < GROUP_WITHIN;
    const continues = Boolean(near && !newDay && previous.dataset.author === item.dataset.author);
    item.classList.toggle("continues", continues);
    previous?.classList.toggle("continued", continues);
    if (!item.nextElementSibling) item.classList.remove("continued");
  }

  #changed() {
    element("empty-room").hidden = this.#list.childElementCount > 0;
  }

  #arrived(item) {
    const own = item.classList.contains("own");
    if (!own) item.classList.add("arrived");
    const seen = this.#atEnd && !document.hidden;
    if (!seen && !own) this.#countUnseen(item);
    if (this.#atEnd) this.toEnd();
  }

  #countUnseen(item) {
    if (this.#unseen === 0) {
      this.#hideMark();
      item.querySelector(".new-mark").hidden = false;
    }
    this.#unseen += 1;
    this.#showUnseen();
  }

  #hideMark() {
    for (const mark of this.#list.querySelectorAll(".new-mark:not([hidden])")) mark.hidden = true;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    const near = scrollHeight - scrollTop - clientHeight < 40;
    const grewBelow = this.#atEnd && scrollTop >= this.#lastTop; // nobody scrolled up: there is more, or less room
    this.#lastTop = scrollTop;
    if (!near && grewBelow) {
      this.toEnd();
      return;
    }
    this.#atEnd = near;
    if (near) this.#seen();
    else this.#showUnseen();
  }

  #seen() {
    if (!document.hidden) this.#unseen = 0;
    this.#showUnseen();
  }

  #showUnseen() {
    const count = this.#unseen;
    this.#jump.hidden = this.#atEnd;
    this.#jump.classList.toggle("plain", count === 0);
    this.#jump.dataset.unseen = count;
    this.#jump.textContent = count === 0 ? "↓ To the latest" : `↓ ${count} new ${count === 1 ? "message" : "messages"}`;
    document.title = `${count ? `(${count}) ` : ""}${page.room} · antiphon chat`;
  }
}

/* ---------------------------------------------------------------------------------------------------- outbox ---- */

/* Ours that wait for their echo, oldest first. Kept over a reload of the page, for this tab. */
class Outbox {
  #waiting = new Map(); // client id → { text, item, failed }
  #key = `antiphon-chat:${page.me}:${page.messages_path}`;

  constructor({ list, connection, onEdit }) {
    Object.assign(this, { list, connection, onEdit });
    for (const message of JSON.parse(sessionStorage.getItem(this.#key) ?? "[]")) this.#show(message);
  }

  write(text) {
    const message = { text, client_id: makeId(), sent_at: new Date().toISOString() };
    this.#show(message);
    this.#save();
    this.#post(message.client_id);
  }

  /* The connection is back: send again whatever has no echo yet. */
  flush() {
    for (const [id, { failed }] of this.#waiting) if (!failed) this.#post(id);
  }

  /* The connection is gone: say so at each message. */
  hold() {
    for (const { item, failed } of this.#waiting.values()) {
      if (!failed) this.list.setStatus(item, "queued", "Waits for the connection");
    }
  }

  /* Return the item of a message that has now been stored, which then waits no more. */
  take(message) {
    if (message.author.name !== page.me) return null;
    const item = this.#waiting.get(message.client_id)?.item ?? null;
    this.#forget(message.client_id);
    return item;
  }

  fail(id, reason) {
    const entry = this.#waiting.get(id);
    if (!entry) return;
    entry.failed = true;
    this.list.setStatus(entry.item, "failed", `Not sent. ${reason}`);
    this.#save();
  }

  #show({ text, client_id, sent_at }) {
    const item = this.list.addWaiting({ text, client_id, sent_at, author: { name: page.me, initials: "", colour: 0 } });
    this.#waiting.set(client_id, { text, item, sent_at, failed: false });
    this.list.setStatus(item, "queued", "Waits for the connection");
    item.querySelector("[data-action=edit]").addEventListener("click", () => {
      this.#discard(client_id);
      this.onEdit(text);
    });
    item.querySelector("[data-action=discard]").addEventListener("click", () => this.#discard(client_id));
  }

  #post(id) {
    if (this.connection.state !== "online") return;
    const entry = this.#waiting.get(id);
    this.list.setStatus(entry.item, "pending", "Sending…");
    this.connection.send({ type: "message", text: entry.text, client_id: id });
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => this.connection.state === "online" && this.connection.drop(), PATIENCE);
  }

  #discard(id) {
    this.list.remove(this.#waiting.get(id).item);
    this.#forget(id);
  }

  #forget(id) {
    clearTimeout(this.#waiting.get(id)?.timer);
    if (this.#waiting.delete(id)) this.#save();
  }

  #save() {
    const kept = [...this.#waiting].filter(([, entry]) => !entry.failed);
    const messages = kept.map(([client_id, { text, sent_at }]) => ({ client_id, text, sent_at }));
    sessionStorage.setItem(this.#key, JSON.stringify(messages));
  }
}

/* crypto.randomUUID is there for https and localhost only; a phone on the same network has neither. */
function makeId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/* --------------------------------------------------------------------------------------------- who is typing ---- */

/* The others. Each is believed for a while only, since "stopped" may never come. */
class Typists {
  #timers = new Map();

  set(name, active) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
    if (active) this.#timers.set(name, setTimeout(() => this.set(name, false), seconds(6)));
    this.#show();
  }

  clear() {
    for (const name of [...this.#timers.keys()]) this.set(name, false);
  }

  #show() {
    const names = [...this.#timers.keys()];
    const text = ["", `${names[0]} is writing`, `${names[0]} and ${names[1]} are writing`][names.length];
    element("typing").classList.toggle("active", names.length > 0);
    element("typing-text").textContent = text ?? `${names.length} people are writing`;
  }
}

/* --------------------------------------------------------------------------------------------------- composer ---- */

/* The box to write in. */
class Composer {
  #input = element("message-input");
  #count = element("composer-count");
  #error = element("composer-error");
  #saidTyping = 0; // when the others were last told

  constructor({ onSend, onTyping }) {
    Object.assign(this, { onSend, onTyping });
    this.#input.addEventListener("input", () => this.#changed());
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    element("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
      this.#input.focus();
    });
    this.#changed();
    if (matchMedia("(hover: hover)").matches) this.#input.focus(); // on a phone it would bring the keyboard up
  }

  /* Put a text that was refused back, before what is being written. */
  restore(text) {
    this.#input.value = [text, this.#input.value].filter(Boolean).join("\n");
    this.#changed();
    this.#input.focus();
  }

  showError(text) {
    this.#error.textContent = text;
    this.#error.hidden = !text;
    this.#input.setAttribute("aria-invalid", String(Boolean(text)));
  }

  #submit() {
    const text = this.#input.value.trim();
    if (!text) return;
    const length = [...text].length;
    if (length > page.max_length) {
      this.showError(`This message has ${length.toLocaleString("en")} characters; the most is ${page.max_length.toLocaleString("en")}.`);
      return;
    }
    this.#input.value = "";
    this.#saidTyping = 0; // the message itself tells the others that we are done
    this.#changed();
    this.onSend(text);
  }

  #changed() {
    const length = [...this.#input.value.trim()].length;
    this.#count.hidden = length < page.max_length * 0.8;
    this.#count.textContent = `${length.toLocaleString("en")} / ${page.max_length.toLocaleString("en")}`;
    this.#count.classList.toggle("over", length > page.max_length);
    if (length <= page.max_length) this.showError("");
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
    this.#tellTyping(length > 0);
  }

  #tellTyping(active) {
    const due = active ? Date.now() - this.#saidTyping > seconds(2.5) : this.#saidTyping > 0;
    if (!due) return;
    this.#saidTyping = active ? Date.now() : 0;
    this.onTyping(active);
  }
}

/* -------------------------------------------------------------------------------------------------- the room ---- */

const STATES = {
  connecting: "Connecting…",
  online: "Connected",
  reconnecting: "Reconnecting…",
  offline: "Offline",
  closed: "Disconnected",
};

let cursor = page.messages.at(-1)?.id ?? 0; // the page has every message up to this id
let countdown = 0;

const list = new MessageList();
const typists = new Typists();
const connection = new Connection({
  url: Object.assign(new URL(page.socket_path, location), { protocol: location.protocol.replace("http", "ws") }),
  catchUp,
  onContent: receive,
  onState: showState,
});
for (const message of page.messages) list.add(message, { live: false });
list.toEnd();
const outbox = new Outbox({ list, connection, onEdit: (text) => composer.restore(text) });
const composer = new Composer({
  onSend: (text) => outbox.write(text),
  onTyping: (active) => connection.state === "online" && connection.send({ type: "typing", active }),
});
element("empty-room").hidden = element("messages").childElementCount > 0;
element("load-earlier").hidden = !page.more;
element("load-earlier").addEventListener("click", loadEarlier);
element("reconnect-now").addEventListener("click", () => connection.retryNow());
connection.open();

function receive(content) {
  if (content.type === "message") {
    if (connection.state === "online") cursor = Math.max(cursor, content.id);
    typists.set(content.author.name, false);
    list.add(content, { waiting: outbox.take(content) });
    element("sidebar-latest").textContent = `${content.author.name}: ${content.text}`;
  } else if (content.type === "typing") {
    typists.set(content.author.name, content.active);
  } else if (content.type === "error") {
    if (content.client_id) outbox.fail(content.client_id, content.reason);
    else composer.showError(content.reason);
  }
}

async function getMessages(query) {
  const url = `${page.messages_path}?${new URLSearchParams(query)}`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  if (answer.status === 401) throw new Refused("You are logged out.");
  if (answer.status === 404) throw new Refused("This room is gone.");
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.json();
}

/* Read what came after the cursor. Live messages may come in between; ids sort it out. */
async function catchUp() {
  let after = Math.max(0, cursor - OVERLAP);
  for (let more = true; more; ) {
    const answer = await getMessages({ after });
    for (const message of answer.messages) list.add(message, { waiting: outbox.take(message) });
    after = answer.messages.at(-1)?.id ?? after;
    cursor = Math.max(cursor, after);
    more = answer.more;
  }
}

async function loadEarlier() {
  const button = element("load-earlier");
  button.disabled = true;
  element("log").setAttribute("aria-busy", "true");
  try {
    const answer = await getMessages({ before: list.firstId });
    list.prepend(answer.messages);
    button.hidden = !answer.more;
  } catch (problem) {
    composer.showError(problem instanceof Refused ? problem.message : "Earlier messages cannot be read just now.");
  }
  button.disabled = false;
  element("log").removeAttribute("aria-busy");
}

function showState(state, retryIn, reason) {
  element("connection-state").dataset.state = state;
  element("connection-state").textContent = STATES[state];
  element("connection-banner").hidden = state === "online" || state === "connecting";
  element("reconnect-now").hidden = state === "closed";
  element("login-again").hidden = state !== "closed";
  element("banner-text").textContent = reason || "Not connected. You can go on writing; it is sent once you are back.";
  countDown(Date.now() + retryIn, retryIn > 0);
  if (state === "online") {
    outbox.flush();
  } else {
    typists.clear();
    outbox.hold();
  }
}

function countDown(until, running) {
  clearInterval(countdown);
  const show = () => {
    const left = Math.ceil((until - Date.now()) / seconds(1));
    element("banner-countdown").textContent = !running ? "" : left > 0 ? `Next try in ${left} s.` : "Trying…";
  };
  show();
  if (running) countdown = setInterval(show, 250);
}
