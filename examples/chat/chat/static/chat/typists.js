const element = (id) => document.getElementById(id);
const BELIEVED = 6000; // milliseconds

/* Who is writing: the others. Each is believed for a while only, since "stopped" may never come. */
export class Typists {
  #timers = new Map();

  set(name, active) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
    if (active) this.#timers.set(name, setTimeout(() => this.set(name, false), BELIEVED));
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
