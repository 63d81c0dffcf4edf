import { AntiphonError, TOKEN_EXPIRED, tell } from "./errors.js";

const STATE_INVALIDATED = [2502, 3014];
/** Codes behind which the token that was sent is not good any more. */
const TOKEN_IS_OVER = [TOKEN_EXPIRED, 2501, 3005, ...STATE_INVALIDATED];
const SECONDS_BETWEEN_TOKENS = 5;
const LONGEST_TIMER = 2 ** 31 - 1;

export const isInvalidated = (code) => STATE_INVALIDATED.includes(code);

/** What the client and a subscription have in common: a state that is told, and a token that is renewed in time. */
export class Stateful {
  code = 0;
  reason = "";
  _tries = 0;
  #goal;
  #end;
  #told = {};
  #waiters = [];
  #token;
  #renewal;

  constructor(goal, end, options) {
    this.state = this.#end = end;
    this.#goal = goal;
    this._options = options;
  }

  ready() {
    return new Promise((...waiter) => {
      this.#waiters.push(waiter);
      this.#settle();
    });
  }

  #settle() {
    if (this.state !== this.#goal && this.state !== this.#end) return;
    for (const [resolve, reject] of this.#waiters.splice(0)) {
      if (this.state === this.#goal) resolve(this);
      else reject(new AntiphonError(this));
    }
  }

  _become(state, code = 0, reason = "") {
    Object.assign(this, { state, code, reason });
    this._tellState();
  }

  _tellState() {
    const { state, code, reason } = this;
    const told = this.#told;
    if (state === told.state && code === told.code && reason === told.reason) return;
    this.#told = { state, code, reason };
    tell(this._options.onState, this.#told, this);
    this.#settle();
  }

  // The token

  get #fetches() {
    return typeof this._options.token === "function";
  }

  /** Calls `use` with the token: at once where none has to be fetched, so that commands keep their order. */
  _withToken(use, failed) {
    const { token } = this._options;
    if (!this.#fetches) return use(token);
    if (this.#token) return use(this.#token);
    return Promise.resolve(this).then(token).then((fetched) => use((this.#token = fetched)), failed);
  }

  _forgetToken() {
    this.#token = undefined;
  }

  /** Forgets the token if it may be the reason for `code`. */
  _doubtToken(code) {
    if (TOKEN_IS_OVER.includes(code)) this._forgetToken();
  }

  _mayTryAgain({ code, temporary }) {
    this._doubtToken(code);
    return temporary || (code === TOKEN_EXPIRED && this.#fetches);
  }

  /** Sends a new token when the time of the present one is over, as an answer of the server says. */
  _renewAfter({ expires, ttl }) {
    this._renewNoMore();
    if (!expires || !this.#fetches) return;
    const again = () => this.state === this.#goal && this._renewAfter({ expires, ttl: SECONDS_BETWEEN_TOKENS });
    const renew = () => {
      const send = (token) => this._refresh(token, (error, result) => (error ? again() : this._renewAfter(result)));
      this._forgetToken();
      this._withToken(send, again);
    };
    this.#renewal = setTimeout(renew, Math.min(ttl * 1000, LONGEST_TIMER));
  }

  _renewNoMore() {
    clearTimeout(this.#renewal);
  }
}
