const element = (id) => document.getElementById(id);
const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const fullFormat = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "short" });
const STILL_WAITING = ["pending", "queued"];
const GROUP_WITHIN = 5 * 60 * 1000; // lines of one person that are nearer than this stand together

function dayName(date) {
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return "Today";
  if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
  return dayFormat.format(date);
}

/* The list on the page: stored messages by id, then our own that are not stored yet. */
export class MessageList {
  onEdit = () => {};
  #page;
  #list = element("messages");
  #log = element("log");
  #jump = element("jump-to-latest");
  #template = element("message-template");
  #stored = new Map(); // id → item
  #waiting = new Map(); // client id → item
  #isOnline = false;
  #atEnd = true; // the reader is at the latest message, and stays there as more come
  #lastTop = 0;
  #unseen = 0; // came while the reader was not there, or not looking

  constructor(page) {
    this.#page = page;
    for (const item of this.#list.children) {
      this.#stored.set(Number(item.dataset.messageId), item);
      this.#setTime(item, item.querySelector("time").dateTime);
      this.#decorate(item);
    }
    this.#log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#jump.addEventListener("click", () => this.toEnd());
    document.addEventListener("visibilitychange", () => this.#scrolled());
    new ResizeObserver(() => this.#atEnd && this.toEnd()).observe(this.#log);
    this.toEnd();
  }

  get firstId() {
    return Math.min(...this.#stored.keys());
  }

  get lastId() {
    return Math.max(0, ...this.#stored.keys());
  }

  /* Says what waiting messages wait for. */
  set isOnline(isOnline) {
    this.#isOnline = isOnline;
    for (const item of this.#waiting.values()) if (STILL_WAITING.includes(item.dataset.state)) this.#showWaiting(item);
  }

  /* Put a stored message where its id belongs. One of ours that waited takes its place; a known one changes nothing. */
  add(message, { live = true } = {}) {
    if (this.#stored.has(message.id)) return;
    const item = this.#waiting.get(message.client_id) ?? this.#make(message);
    this.#waiting.delete(message.client_id);
    this.#setTime(item, message.sent_at); // the server's clock counts
    item.dataset.messageId = message.id;
    this.#setStatus(item, "sent");
    this.#stored.set(message.id, item);
    this.#insert(item, message.id);
    if (live) this.#arrived(item);
  }

  /* Show one of ours that is not stored yet, at the end. */
  addWaiting({ text, client_id }) {
    if (this.#list.querySelector(`[data-client-id="${client_id}"]`)) return; // the server had it, and we had not heard
    const item = this.#make({ text, client_id, author: this.#page.me, sent_at: new Date().toISOString() });
    item.querySelector("[data-action=edit]").addEventListener("click", () => {
      this.#remove(client_id);
      this.onEdit(text);
    });
    item.querySelector("[data-action=discard]").addEventListener("click", () => this.#remove(client_id));
    this.#waiting.set(client_id, item);
    this.#hideMark(); // who answers has read
    this.#list.append(item);
    this.#decorate(item);
    this.#changed();
    this.#showWaiting(item);
    this.toEnd();
  }

  /* The server has it. Where it was there before, it is further up, or will come with what was missed. */
  sent(client_id, wasThere) {
    const item = this.#waiting.get(client_id);
    if (item && wasThere) this.#remove(client_id);
    else if (item) this.#setStatus(item, "sent");
  }

  fail(client_id, reason) {
    const item = this.#waiting.get(client_id);
    if (item) this.#setStatus(item, "failed", `Not sent. ${reason}`);
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

  /* The same as _message.html, which both are made from. */
  #make(message) {
    const item = this.#template.content.firstElementChild.cloneNode(true);
    const avatar = item.querySelector(".avatar");
    avatar.classList.add(`avatar-${message.author.colour}`);
    avatar.textContent = message.author.initials;
    item.classList.toggle("own", message.author.name === this.#page.me.name);
    item.dataset.clientId = message.client_id;
    item.querySelector(".author").textContent = message.author.name;
    item.querySelector(".text").textContent = message.text;
    this.#setTime(item, message.sent_at);
    return item;
  }

  #showWaiting(item) {
    if (this.#isOnline) this.#setStatus(item, "pending", "Sending…");
    else this.#setStatus(item, "queued", "Waits for the connection");
  }

  #setStatus(item, state, text = "") {
    item.dataset.state = state;
    item.querySelector(".status-text").textContent = text;
    item.querySelector(".status").hidden = !text;
    if (this.#atEnd) this.toEnd();
  }

  #setTime(item, sentAt) {
    const date = new Date(sentAt);
    const time = item.querySelector("time");
    time.dateTime = sentAt;
    time.textContent = timeFormat.format(date);
    time.title = fullFormat.format(date);
    item.dataset.sentAt = date.getTime();
  }

  #remove(client_id) {
    const item = this.#waiting.get(client_id);
    const next = item.nextElementSibling;
    this.#waiting.delete(client_id);
    item.remove();
    if (next) this.#decorate(next);
    this.#changed();
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
    const author = (line) => line.querySelector(".author").textContent;
    const near = previous && Math.abs(at - Number(previous.dataset.sentAt)) < GROUP_WITHIN;
    const continues = Boolean(near && !newDay && author(previous) === author(item));
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
    document.title = `${count ? `(${count}) ` : ""}${this.#page.room} · antiphon chat`;
  }
}
