/** What a command failed with: what the server said, or below 100 why there is no answer. */
export class AntiphonError extends Error {
  name = "AntiphonError";

  constructor({ code, message, reason, temporary = code < 100 }) {
    super(message ?? reason);
    this.code = code;
    this.temporary = temporary;
  }
}

// The client's own codes: of errors, and of states that are not the server's doing.
export const CALLED = 0;
export const TIMEOUT = 1;
export const LOST = 2;
export const DISCONNECTED = 3;
export const HOLE = 4;
export const NO_TOKEN = 5;
export const HANDLER_FAILED = 6;
export const DISCARDED = 7;
export const PAGE_IS_SLOW = 8;
// The server's that mean something to the client; all others it only passes on.
export const PERMISSION_DENIED = 103;
export const TOKEN_EXPIRED = 109;

/** Hands an exception to whoever looks after those of the page. */
export const report = (error) => (globalThis.reportError ?? console.error)(error);

/** Calls a handler of the page; its exceptions do not stop the client. */
export function tell(handler, ...news) {
  try {
    handler?.(...news);
  } catch (error) {
    report(error);
  }
}
