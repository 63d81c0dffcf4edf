/** A place in a group's stream; another epoch means that the earlier stream is gone. */
export interface Position {
  epoch: string;
  offset: number;
}

/** Where a publication stands; `repeated`: it had been published before, with the same key. */
export interface Published extends Position {
  repeated: boolean;
}

/** Who published, joined or left, as the server knows them. */
export interface ClientInfo {
  user: string;
  client: string;
  conn_info?: unknown;
  chan_info?: unknown;
}

export interface Publication<T = any> {
  data: T;
  /** Where it stands in the stream; not there where the group's rule keeps no history. */
  offset?: number;
  /** Its publisher, where that is a client. */
  info?: ClientInfo;
  tags?: Record<string, string>;
}

/**
 * Publications are lost: more than the server keeps, or the stream is gone with its memory.
 * Load what the page shows from where it is stored; what comes next is behind `to`.
 */
export interface Gap {
  /** Up to here all is handled; `null`: that was never known. */
  from: Position | null;
  /** Where the stream is now; `null`: the group keeps no history, and nobody knows whether anything was missed. */
  to: Position | null;
}

/** `limit`: how many at most; 0 or none: only the position; negative: all. `since`: those behind it. */
export interface HistoryOptions {
  limit?: number;
  since?: Position;
  /** Newest first. */
  reverse?: boolean;
}

/** What is kept of a group; the position is that of the newest. */
export interface History<T = any> extends Position {
  publications: Publication<T>[];
}

/** A state, with the code and the words of what led to it: the server's, or below 100 the client's own. */
export interface StateChange<S extends string> {
  state: S;
  code: number;
  reason: string;
}

export type ClientState = "connecting" | "connected" | "disconnected";
export type SubscriptionState = "subscribing" | "subscribed" | "unsubscribed";

/**
 * What is called for a group. Publications, gaps, joins and leaves come one after the other, in order: where a
 * handler returns a promise, the next one waits for it. An exception ends the subscription in front of what was not
 * handled; `subscribe()` begins with that again.
 */
export interface Handlers<T = any> {
  onPublication?(publication: Publication<T>, subscription: Subscription<T>): unknown;
  onGap?(gap: Gap, subscription: Subscription<T>): unknown;
  onJoin?(info: ClientInfo, subscription: Subscription<T>): unknown;
  onLeave?(info: ClientInfo, subscription: Subscription<T>): unknown;
  onState?(change: StateChange<SubscriptionState>, subscription: Subscription<T>): void;
}

/** A token, or what fetches one; it is called again when the server says that the old one is over. */
export type Token<Owner> = string | ((owner: Owner) => string | Promise<string>);

export interface SubscribeOptions<T = any> extends Handlers<T> {
  /** Begin behind this position instead of now; also as JSON text. It wins over what `storage` has. */
  since?: Position | string | null;
  token?: Token<Subscription<T>>;
  /** For `on_subscribe` of the consumer. */
  data?: unknown;
}

/** What is published and not answered for good. */
export interface OutboxEntry<T = any> {
  id: number;
  group: string;
  data: T;
  key: string;
}

/**
 * `stored`: it is kept until there is an answer. `waiting`: the server can't take it now, and is asked again.
 * `sent`: it has `epoch` and `offset`. `refused`: the server will never take it, and it is no longer kept.
 * `discarded`: the page has taken it out. Each is told in all tabs, but `waiting`.
 */
export interface OutboxEvent<T = any> extends Partial<OutboxEntry<T>>, Partial<Position> {
  id: number;
  state: "stored" | "waiting" | "sent" | "refused" | "discarded";
  repeated?: boolean;
  code?: number;
  reason?: string;
}

export interface ClientOptions {
  /** Not needed where a session says who the client is. */
  token?: Token<Client>;
  /** For the consumer: `scope["centrifuge"].data`. */
  data?: unknown;
  /** Whose outbox and positions these are; give it where people log in and out. */
  user?: string;
  /** Where positions outlive the page: `sessionStorage`, or `localStorage`. Without it they don't. */
  storage?: Storage;
  /** What is called for the groups that the consumer puts the client into. */
  server?: Handlers;
  onState?(change: StateChange<ClientState>, client: Client): void;
  /** `send_json` of the consumer. */
  onMessage?(data: any): void;
  onOutbox?(event: OutboxEvent): void;
  /** Milliseconds for an answer, and for a ping that is late: 10,000. */
  timeout?: number;
  /** Milliseconds: a lost connection is tried again after a random part of this, doubled from try to try: 500. */
  minDelay?: number;
  /** Milliseconds: it is not doubled beyond: 20,000. */
  maxDelay?: number;
  /** Where there is no global one. */
  WebSocket?: unknown;
}

export class Client {
  /** `url` may be relative to the page; nothing happens before `connect()`. */
  constructor(url: string | URL, options?: ClientOptions);
  readonly state: ClientState;
  readonly code: number;
  readonly reason: string;
  /** The connection's id, another one after each reconnect. */
  readonly id?: string;
  /** By group: the page's and the server's. */
  readonly subscriptions: ReadonlyMap<string, Subscription>;
  readonly outbox: Outbox;
  /** Connects, and stays connected until `disconnect()` or until the server says that coming back is no use. */
  connect(): this;
  disconnect(): void;
  /** Resolves when connected; rejects in the state `disconnected`. */
  ready(): Promise<this>;
  /** Throws where the page has already subscribed to the group. Positions go on after each lost connection. */
  subscribe<T = any>(group: string, options?: SubscribeOptions<T>): Subscription<T>;
  /**
   * Publishes once, in the order of the calls, now or as soon as there is a connection, also after a reload; within
   * the rule's `idempotency_window`, a second one with the same `key` is not made. Rejects when the server refuses.
   */
  publish(group: string, data: unknown, options?: { key?: string; keep?: true }): Promise<Published>;
  /** Publishes now and once, or never: rejects where the answer does not come. */
  publish(group: string, data: unknown, options: { keep: false }): Promise<unknown>;
  /** Calls an `@rpc` method of the consumer; waits for a connection up to `timeout`. */
  rpc<T = any>(method: string, data?: unknown): Promise<T>;
  history<T = any>(group: string, options?: HistoryOptions): Promise<History<T>>;
  /** By the connection's id. */
  presence(group: string): Promise<Record<string, ClientInfo>>;
  presenceStats(group: string): Promise<{ num_clients: number; num_users: number }>;
  /** For `receive_json` of the consumer: no answer. Throws where there is no connection. */
  send(data: unknown): void;
}

/** A group that the client is in, or is to be in. */
export class Subscription<T = any> {
  private constructor();
  readonly group: string;
  readonly state: SubscriptionState;
  readonly code: number;
  readonly reason: string;
  /** What the server says of the subscription: `data` of its token. */
  readonly data?: any;
  /** Up to here publications are handled; `null` where that is not known. */
  readonly position: Position | null;
  /** Resolves when subscribed; rejects in the state `unsubscribed`. */
  ready(): Promise<this>;
  /** Subscribes again after an end, behind `position`. */
  subscribe(): this;
  /** Leaves the group, and forgets the position in `storage`. */
  unsubscribe(): void;
  publish(data: T, options?: { key?: string; keep?: true }): Promise<Published>;
  publish(data: T, options: { keep: false }): Promise<unknown>;
  history(options?: HistoryOptions): Promise<History<T>>;
  presence(): Promise<Record<string, ClientInfo>>;
  presenceStats(): Promise<{ num_clients: number; num_users: number }>;
}

/** What was published and is not answered yet. */
export interface Outbox {
  /** Whether it outlives the page; `undefined` before it was first used. */
  readonly persistent?: boolean;
  pending(): Promise<OutboxEntry[]>;
  /** Takes an entry out; its promise is rejected. */
  discard(id: number): Promise<void>;
}

/** A refusal of the server, with its code; with a code below 100, the client has given up waiting. */
export class AntiphonError extends Error {
  readonly code: number;
  /** The same may succeed later. */
  readonly temporary: boolean;
}
