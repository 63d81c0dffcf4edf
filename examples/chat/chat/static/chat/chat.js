/*
 * A chat room, live: antiphon's client brings what is said and who is here, and keeps what is written until it is sent.
 *
 * What holds, whatever the network does:
 *   1. A message is on the page once. Its id, from the database, says whether it is there already.
 *   2. Nothing is missed. The page was made at a position of the room's stream, and the client goes on from there; where
 *      the stream has lost something, it says so, and the page reads the database.
 *   3. What was written is sent once. It is in the client's outbox until the server has it, with an id made here: the
 *      server stores that id once, and publishes it once, however often it is sent.
 */
import { Client } from "antiphon";
import { Composer } from "./composer.js";
import { MessageList } from "./messages.js";
import { People } from "./people.js";
import { Typists } from "./typists.js";

const element = (id) => document.getElementById(id);
const page = JSON.parse(element("room-data").textContent);

const OVERLAP = 20; // ids read twice: two messages stored in one moment may be published in the other order
const LOGGED_OUT = [3503, 4501]; // antiphon's close code for a session that has ended, and that of consumers.py
const HANDLER_FAILED = 6; // the client's own code: readAgain had no answer; it is called again with the next try
const STATES = {
  connecting: "Connecting…",
  online: "Connected",
  reconnecting: "Reconnecting…",
  offline: "Offline",
  closed: "Disconnected",
};

let room;
let wasOnline = false;
const list = new MessageList(page);
const typists = new Typists();
const people = new People(page);
const client = new Client("/ws/", {
  user: page.me.id,
  onState: ({ state }) => {
    if (state === "connected") room.subscribe(); // after a refusal: it may be open to us again
    showState();
  },
  onMessage: ({ type, author, active, reason }) => {
    if (type === "typing") typists.set(author, active);
    else composer.showError(reason);
  },
  onOutbox: showOutbox,
});
room = client.subscribe(page.group, {
  since: element("position").textContent,
  onPublication: ({ data }) => receive(data),
  onGap: readAgain,
  onJoin: (info) => people.join(info),
  onLeave: (info) => people.leave(info),
  onState: ({ state }, subscription) => {
    if (state === "subscribed") people.ask(subscription);
    if (state === "unsubscribed") people.clear();
    showState();
  },
});

const composer = new Composer({
  maxLength: page.max_length,
  onSend: (text) => say(text),
  onTyping: (active) => client.state === "connected" && client.send({ group: page.group, active }),
});

list.onEdit = (text) => composer.restore(text);
element("load-earlier").addEventListener("click", loadEarlier);
element("try-again").addEventListener("click", tryAgain);
element("gap-seen").addEventListener("click", () => (element("gap").hidden = true));
window.addEventListener("online", showState);
window.addEventListener("offline", showState);
for (const { group, data } of await client.outbox.pending()) if (group === page.group) list.addWaiting(data);
client.connect();

/* ---------------------------------------------------------------------------------------------- what is said ---- */

function say(text) {
  const client_id = makeId();
  client.publish(page.group, { text, client_id }, { key: client_id }); // showOutbox hears of a refusal
}

/* crypto.randomUUID is there for https and localhost only; a phone on the same network has neither. */
function makeId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function receive(message) {
  typists.set(message.author.name, false);
  list.add(message);
  element("sidebar-latest").textContent = `${message.author.name}: ${message.text}`;
}

/* What became of something written, here or in another tab. */
function showOutbox({ state, group, data, repeated, reason }) {
  if (group !== page.group) return;
  if (state === "stored") list.addWaiting(data);
  else if (state === "refused") list.fail(data.client_id, reason);
  else if (state === "sent") list.sent(data.client_id, repeated);
}

/* ------------------------------------------------------------------------------------- what the database has ---- */

async function getMessages(query) {
  const answer = await fetch(`${page.messages_path}?${new URLSearchParams(query)}`, { cache: "no-store" });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.reason);
  return content;
}

/* The stream has a gap. What comes next waits until the page has read what the database has. */
async function readAgain() {
  const say = (text) => {
    element("gap").hidden = false;
    element("gap-text").textContent = text;
  };
  say("Some messages may be missing here. Reading them again…");
  let after = Math.max(0, list.lastId - OVERLAP);
  for (let more = true; more; ) {
    const answer = await getMessages({ after });
    for (const message of answer.messages) list.add(message);
    after = answer.messages.at(-1)?.id ?? after;
    more = answer.more;
  }
  say("Some messages were missing here for a moment. They have been read again.");
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
    composer.showError(`Earlier messages cannot be read just now. ${problem.message}`);
  }
  button.disabled = false;
  element("log").removeAttribute("aria-busy");
}

/* ------------------------------------------------------------------------------------------------ connection ---- */

function currentState() {
  if (client.state === "disconnected" || room.state === "unsubscribed") return "closed";
  if (room.state === "subscribed" && navigator.onLine) return "online";
  if (!navigator.onLine) return "offline";
  return wasOnline ? "reconnecting" : "connecting";
}

function showState() {
  if (!room) return;
  const state = currentState();
  wasOnline ||= state === "online";
  element("connection-state").dataset.state = state;
  element("connection-state").textContent = STATES[state];
  element("connection-banner").classList.toggle("final", state === "closed");
  element("connection-banner").hidden = state === "online" || state === "connecting";
  const isLoggedOut = state === "closed" && LOGGED_OUT.includes(client.code);
  element("try-again").hidden = isLoggedOut;
  element("login-again").hidden = !isLoggedOut;
  element("banner-text").textContent = explain(state, isLoggedOut);
  list.isOnline = state === "online";
  people.isOnline = state === "online";
  if (state !== "online") typists.clear();
}

function explain(state, isLoggedOut) {
  if (state !== "closed") return "Not connected. You can go on writing; it is sent once you are back.";
  if (isLoggedOut) return "You are logged out.";
  if (room.code === HANDLER_FAILED) return "What was missed cannot be read just now.";
  return room.state === "unsubscribed" ? room.reason : client.reason;
}

function tryAgain() {
  if (client.state === "connected") room.subscribe();
  else client.disconnect(), client.connect();
}
