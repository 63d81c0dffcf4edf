import { report } from "./errors.js";

/** Where the page stands in each group, in a `Storage` of the browser, so that it outlives the page. */
export class Positions {
  #storage;
  #prefix;

  constructor(storage, name) {
    this.#storage = storage;
    this.#prefix = name;
  }

  get(group, isServers) {
    return JSON.parse(this.#storage?.getItem(this.#key(group, isServers)) ?? null);
  }

  /** Stores a position, or forgets it: `null`. */
  set(group, isServers, position) {
    try {
      if (position) this.#storage?.setItem(this.#key(group, isServers), JSON.stringify(position));
      else this.#storage?.removeItem(this.#key(group, isServers));
    } catch (error) {
      this.#storage = undefined; // it is full: said once
      report(error);
    }
  }

  /** Returns the groups of the server's choice that have a position. */
  ofServer() {
    const prefix = this.#key("", true);
    const keys = Object.keys(this.#storage ?? {}).filter((key) => key.startsWith(prefix));
    return keys.map((key) => key.slice(prefix.length));
  }

  #key(group, isServers) {
    return `${this.#prefix} ${isServers ? "server" : "own"} ${group}`;
  }
}
