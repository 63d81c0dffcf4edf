const element = (id) => document.getElementById(id);

/* Who is in the room. What comes and goes are connections; a person is here while one of theirs is. */
export class People {
  #page;
  #list = element("people-list");
  #template = element("person-template");
  #clients = new Map(); // connection's id → who
  #changed = new Map(); // the same, since the server was last asked: its answer may be older than these

  constructor(page) {
    this.#page = page;
    element("people").addEventListener("submit", (event) => this.#moderate(event));
  }

  set isOnline(isOnline) {
    element("people").classList.toggle("uncertain", !isOnline);
  }

  /* Ask who is here: after each connect, since nobody told us who came and went meanwhile. */
  async ask(subscription) {
    const changed = (this.#changed = new Map());
    const answer = await subscription.presence().catch(() => null); // the line is lost: we will ask again
    if (!answer || changed !== this.#changed) return;
    this.#clients = new Map([...Object.entries(answer), ...changed]);
    this.#show();
  }

  /* We are not told any more. */
  clear() {
    this.#clients = new Map();
    this.#changed = new Map();
    this.#show();
  }

  join(info) {
    this.#set(info.client, info, "is here");
  }

  leave(info) {
    this.#set(info.client, null, "has left");
  }

  #set(client, info, news) {
    const before = this.#people();
    const who = info ?? this.#clients.get(client);
    this.#changed.set(client, info);
    this.#clients.set(client, info);
    this.#show();
    if (who && who.user !== this.#page.me.id && before.has(who.user) !== this.#people().has(who.user)) {
      element("people-news").textContent = `${who.conn_info.name} ${news}`;
    }
  }

  /* user's id → who; we come first, then the others by name. */
  #people() {
    const here = [...this.#clients.values()].filter(Boolean);
    const order = ({ user, conn_info }) => (user === this.#page.me.id ? "" : conn_info.name);
    here.sort((a, b) => order(a).localeCompare(order(b)));
    return new Map(here.map(({ user, conn_info }) => [user, conn_info]));
  }

  #show() {
    const people = this.#people();
    const shown = new Map([...this.#list.children].map((item) => [item.dataset.user, item]));
    for (const [user, item] of shown) if (!people.has(user)) item.remove();
    let previous = null;
    for (const [user, person] of people) {
      const item = shown.get(user) ?? this.#make(user, person);
      if (item.previousElementSibling !== previous || !item.isConnected) {
        this.#list.insertBefore(item, previous ? previous.nextElementSibling : this.#list.firstElementChild);
      }
      previous = item;
    }
    element("people-count").textContent = people.size || "";
  }

  #make(user, { name, initials, colour, moderator }) {
    const item = this.#template.content.firstElementChild.cloneNode(true);
    item.dataset.user = user;
    item.querySelector(".avatar").classList.add(`avatar-${colour}`);
    item.querySelector(".avatar").textContent = initials;
    item.querySelector(".person-name").textContent = name;
    item.querySelector(".person-note").textContent = user === this.#page.me.id ? "you" : moderator ? "moderator" : "";
    const form = item.querySelector("form");
    if (form && moderator) form.remove();
    else if (form) {
      form.action = `${this.#page.people_path}${user}/remove/`;
      form.querySelector("button").ariaLabel = `Remove ${name} from the room`;
    }
    return item;
  }

  /* A moderator's forms: the answer is the list of who is removed. */
  async #moderate(event) {
    event.preventDefault();
    const form = event.target;
    const error = element("people-error");
    element("people-title").focus(); // the button is about to go
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form) }).catch(() => null);
    error.hidden = Boolean(answer?.ok);
    if (answer?.ok) element("people-removed").innerHTML = await answer.text();
    else error.textContent = "That did not work. Is the server there, and are you still logged in?";
  }
}
