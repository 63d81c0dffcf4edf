const element = (id) => document.getElementById(id);
const inWords = (number) => number.toLocaleString("en");
const REPEAT = 2500; // milliseconds: so often the others are told that somebody still writes

/* The box to write in. */
export class Composer {
  #input = element("message-input");
  #count = element("composer-count");
  #error = element("composer-error");
  #saidTyping = 0; // when the others were last told

  constructor({ maxLength, onSend, onTyping }) {
    Object.assign(this, { maxLength, onSend, onTyping });
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
    if (length > this.maxLength) {
      this.showError(`This message has ${inWords(length)} characters; the most is ${inWords(this.maxLength)}.`);
      return;
    }
    this.#input.value = "";
    this.#saidTyping = 0; // the message itself tells the others that we are done
    this.#changed();
    this.onSend(text);
  }

  #changed() {
    const length = [...this.#input.value.trim()].length;
    this.#count.hidden = length < this.maxLength * 0.8;
    this.#count.textContent = `${inWords(length)} / ${inWords(this.maxLength)}`;
    this.#count.classList.toggle("over", length > this.maxLength);
    if (length <= this.maxLength) this.showError("");
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
    this.#tellTyping(length > 0);
  }

  #tellTyping(active) {
    const due = active ? Date.now() - this.#saidTyping > REPEAT : this.#saidTyping > 0;
    if (!due) return;
    this.#saidTyping = active ? Date.now() : 0;
    this.onTyping(active);
  }
}
