// h3py in the browser: one module, no dependencies.
//
//   import { connect } from "/api/sse/client.js";
//   const sse = connect("/api/sse", { channels: ["news"] });
//   sse.addHandler("headline", (event) => console.log(event.json()));
//
// Why fetch() and a parser of its own, and not EventSource: EventSource keeps back events whose
// names nobody asked for (so there could be no "*", and a tab could not pass on what another one
// listens to), sends no headers, begins nowhere but at the start, gives up for good on a 503 and
// does not say why. What it does well is kept: the parser is that of the standard (WHATWG HTML,
// 9.2.6), `retry` is honoured, Last-Event-ID is sent, and a 204 means that there is no more.
//
// One connection for all tabs. A browser allows six connections per host, and each tab would hold
// one. So the tabs (also several clients of one page) that ask for the same stream as the same
// somebody agree on a leader: it holds a Web Lock, has the connection, and passes everything on
// through a BroadcastChannel. When it goes, however it goes, the browser gives the lock to the next
// one, which goes on after the last event that it has seen. Without Web Locks (a page that is not
// served from https or localhost) each tab has a connection of its own.
//
// Nothing is missed and nothing comes twice:
// - Every tab knows its own position. An event that comes by two ways, from the old leader and
//   replayed to the new one, is known by its id, and let through once.
// - A tab that was away (in the back/forward cache, frozen) or begins with a `lastEventId` of its
//   own is behind its leader. It opens a connection for itself, and keeps what the leader says,
//   until the two meet at an event; then it closes it again.
//
// Pages that are put away (back/forward cache, freezing) leave the others first, and join them again.
//
// It is longer than 400 lines because one file is what a page loads.
// Who is who: EventParser (bytes to events), Link (one connection: opens, reads, pings, comes back),
// Tab (this page's part among the tabs: who leads, what was seen), Client (what `connect` returns).

const HELLO = "h3py:hello";
const RESET = "h3py:reset";
const RETRY_MS = 3000;
const MAX_RETRY_MS = 30_000; // of the back-off; a longer `retry` or Retry-After still holds
const MAX_TIMER_MS = 2 ** 31 - 1; // setTimeout takes anything above for 0
const PING_TIMEOUT_MS = 10_000;
const REMEMBERED = 10_000; // ids: what a server replays by default is known
const PENDING = 1_000; // events kept while a tab catches up
const TRY_AGAIN = new Set([408, 409, 425, 429]); // besides 500 and above

/** Open a stream, or take part in the one that another tab has open.
 *
 * @param {string | URL} url Where the manager is mounted, such as "/api/sse".
 * @param {object} [options]
 * @param {string[]} [options.channels] What to follow.
 * @param {boolean | string} [options.shared] One connection for all tabs (the default). A text names
 *   who shares, where headers or token differ from tab to tab for one and the same user.
 * @param {number} [options.pingMs] Say so often that this client is there; by default if and as
 *   often as the server asks for it; 0: never.
 * @param {boolean | string} [options.credentials] true: send cookies to another origin too; or what
 *   fetch() takes.
 * @param {object | function} [options.headers] Sent with every request; a function is asked each
 *   time, and may return a promise.
 * @param {string | function} [options.token] Sent as `Authorization: Bearer`; a function as above.
 * @param {string} [options.lastEventId] Go on after this event.
 * @param {number} [options.retryMs] How soon to come back, until the server says (3000).
 * @param {number} [options.silenceMs] Reconnect if nothing came for so long, not even a heartbeat;
 *   longer than the server's heartbeat; 0 (the default): never.
 * @returns {Client}
 */
export function connect(url, options = {}) {
  return new Client(url, options);
}

/** What a handler is called with. */
export class ReceivedEvent {
  constructor(type, data, id) {
    this.type = type;
    this.data = data;
    this.id = id;
  }

  json() {
    return JSON.parse(this.data);
  }
}

/** The event stream format, incrementally: WHATWG HTML, sections 9.2.5 and 9.2.6. */
export class EventParser {
  #decoder = new TextDecoder(); // takes one BOM away, and puts U+FFFD for what is broken
  #rest = ""; // a line that has not ended
  #afterCR = false; // a LF that comes next belongs to the CR before it
  #data = [];
  #type = "";
  #id;
  #named = false;

  constructor(lastEventId = "") {
    this.lastEventId = this.#id = lastEventId;
    this.retry = null;
  }

  /** Take bytes; returns [event, whether it brought an id of its own] for each event they end. */
  feed(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (!text) return [];
    if (this.#afterCR && text[0] === "\n") text = text.slice(1);
    this.#afterCR = text.endsWith("\r");
    // Only what is new is searched: a line of many megabytes costs no more than many lines.
    const lines = text.split(/\r\n|\n|\r/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop();
    return lines.map((line) => this.#line(line)).filter(Boolean);
  }

  #line(line) {
    if (line === "") return this.#end();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) [this.#id, this.#named] = [value, true];
    else if (name === "retry" && /^[0-9]+$/.test(value)) {
      this.retry = Math.min(Number(value), MAX_TIMER_MS);
    }
    return null;
  }

  #end() {
    this.lastEventId = this.#id;
    const [data, type, named] = [this.#data, this.#type || "message", this.#named];
    [this.#data, this.#type, this.#named] = [[], "", false];
    return data.length ? [new ReceivedEvent(type, data.join("\n"), this.#id), named] : null;
  }
}

/** Why there is no stream; `status` is the server's answer, `final` says that asking is over. */
class Refused extends Error {
  constructor(response, what) {
    super(`${what} (${response.status})`);
    const { status } = response;
    this.status = status;
    this.final = status < 500 && !TRY_AGAIN.has(status);
    this.retryAfterMs = 1000 * (Number(response.headers.get("retry-after")) || 0);
  }
}

/** One connection, again and again, until it is stopped or told that there is no more. */
class Link {
  #terms;
  #tell;
  #stopped = false;
  #again = false; // at once, for this end was our own doing
  #failures = 0;
  #retryMs;
  #cut = new AbortController();
  #hurry = () => {};
  #pingTimer = null;
  #pingMs = 0;
  #pingedAt = 0;
  #silence = null;

  /** @param tell {event(link, event, named), changed(link)}, called as things happen. */
  constructor(terms, { lastEventId, clientId }, tell) {
    this.#terms = terms;
    this.#tell = tell;
    this.#retryMs = terms.retryMs ?? RETRY_MS;
    this.source = crypto.randomUUID?.() ?? "alone"; // who brought an event, where there are others
    this.lastEventId = lastEventId;
    this.clientId = clientId;
    this.status = "connecting";
    this.why = null;
    this.#run();
  }

  stop() {
    this.#stopped = true;
    this.#rest();
    this.#hurry();
    this.#cut.abort();
  }

  /** End what is open, and connect again at once. */
  reconnect() {
    this.#again = true;
    this.#hurry();
    this.#cut.abort();
  }

  async #run() {
    const online = () => this.#hurry();
    addEventListener("online", online);
    while (!this.#stopped) {
      let why = null;
      this.#again = false;
      this.#cut = new AbortController();
      try {
        await this.#read(this.#cut.signal);
      } catch (error) {
        why = error;
      }
      this.#rest();
      this.#cut.abort(); // the body of an answer that was no stream
      if (this.#stopped) break;
      if (why?.final) {
        this.#stopped = true;
        this.#become("closed", why);
      } else if (this.#again) {
        this.#become("connecting");
      } else {
        this.#become("waiting", why);
        await this.#pause(why);
        if (!this.#stopped) this.#become("connecting");
      }
    }
    removeEventListener("online", online);
  }

  /** One connection, from the request to its end. */
  async #read(signal) {
    const { url, credentials } = this.#terms;
    this.#failures += 1; // until something comes
    this.#listen();
    const headers = await headersOf(this.#terms);
    headers.set("Accept", "text/event-stream");
    if (this.lastEventId) headers.set("Last-Event-ID", latin1(this.lastEventId));
    const target = new URL(url);
    if (this.clientId) target.searchParams.set("client_id", this.clientId);
    signal.throwIfAborted();
    const response = await fetch(target, { headers, credentials, cache: "no-store", signal });
    if (response.status === 409 && this.clientId) {
      this.clientId = null; // somebody else's by now
      this.#again = true;
    }
    if (response.status !== 200) throw new Refused(response, "the server opens no stream");
    const type = response.headers.get("content-type") ?? "";
    if (!/^\s*text\/event-stream\s*(;|$)/i.test(type)) {
      throw new Refused(response, `not an event stream, but ${type || "of no type"}`);
    }
    this.#become("open");
    const parser = new EventParser(this.lastEventId);
    const reader = response.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.#stopped) return;
      this.#listen();
      this.#failures = 0;
      this.#heard(parser, parser.feed(value));
    }
  }

  #heard(parser, events) {
    for (const [event, named] of events) {
      this.lastEventId = event.id;
      if (event.type === HELLO) this.#greeted(event);
      this.#tell.event(this, event, named);
      if (this.#stopped) return;
    }
    this.#retryMs = parser.retry ?? this.#retryMs;
    if (this.lastEventId !== parser.lastEventId) {
      this.lastEventId = parser.lastEventId; // an id without data: the position moves silently
      this.#tell.changed(this);
    }
    // The timers of a hidden tab may come once a minute; what arrives is never held back.
    if (this.#pingMs && performance.now() - this.#pingedAt > 1.5 * this.#pingMs) this.#ping();
  }

  #greeted(event) {
    const { client_id: clientId, ping_s: pingS } = event.json();
    this.clientId = clientId;
    this.#pingMs = this.#terms.pingMs ?? 1000 * (pingS ?? 0);
    clearInterval(this.#pingTimer);
    if (this.#pingMs > 0) this.#pingTimer = setInterval(() => this.#ping(), this.#pingMs);
    this.#pingedAt = performance.now();
    this.#tell.changed(this);
  }

  async #ping() {
    const asked = this.#cut; // an answer that is about the connection before is no news
    this.#pingedAt = performance.now();
    // Nor is a ping that got lost: the next one goes its own way.
    const status = await ping(this.#terms, this.clientId).catch(() => null);
    if (status === 404 && asked === this.#cut && this.status === "open") this.reconnect();
  }

  #listen() {
    clearTimeout(this.#silence);
    const { silenceMs } = this.#terms;
    if (silenceMs > 0) this.#silence = setTimeout(() => this.reconnect(), silenceMs);
  }

  #rest() {
    clearTimeout(this.#silence);
    clearInterval(this.#pingTimer);
    this.#pingMs = 0;
  }

  /** Never sooner than the server asked for; longer after each failure; not all clients at once. */
  #pause(why) {
    const backOff = this.#retryMs * 2 ** Math.max(0, this.#failures - 1);
    const atMost = Math.max(this.#retryMs, MAX_RETRY_MS);
    const least = Math.max(Math.min(backOff, atMost), why?.retryAfterMs ?? 0);
    const delay = Math.min(least * (1 + Math.random() / 4), MAX_TIMER_MS);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#hurry = () => (clearTimeout(timer), resolve());
    });
  }

  #become(status, why = null) {
    this.status = status;
    this.why = why;
    this.#tell.changed(this);
  }
}

/** This page's part among the tabs of one stream; on its own, it leads from the beginning. */
class Tab {
  #terms;
  #tell;
  #channel = null;
  #link = null;
  #leave = null; // ends the part that is played now
  #pending = null; // what the leader says while this tab is behind it
  #leaderAt = ""; // where the leader was when this tab heard of it first
  #seen = new Map(); // id of an event: who brought it

  /** @param tell {event(event), changed()}, called as things happen. */
  constructor(terms, tell) {
    this.#terms = terms;
    this.#tell = tell;
    this.lastEventId = terms.lastEventId;
    this.clientId = null;
    this.status = "connecting";
    this.why = null;
    this.leading = false;
  }

  join() {
    if (this.#leave || this.status === "closed") return;
    const left = new AbortController();
    this.#leave = () => left.abort();
    this.#takePart(left.signal);
  }

  leave() {
    this.#leave?.();
    this.#leave = null;
    this.leading = false;
    this.#link?.stop();
    this.#channel?.close();
    this.#link = this.#channel = this.#pending = null;
    if (this.status !== "closed") this.#become({ status: "waiting", clientId: this.clientId });
  }

  async #takePart(signal) {
    if (!this.#terms.shared) return this.#lead();
    try {
      const name = await nameOf(this.#terms);
      if (signal.aborted) return;
      this.#enter(name);
      await navigator.locks.request(name, { signal }, () => {
        if (signal.aborted) return null;
        this.#lead();
        return new Promise((resolve) => signal.addEventListener("abort", resolve));
      });
    } catch {
      // There are no locks, or this frame may not have any, or the token failed.
      if (signal.aborted) return;
      this.#channel?.close();
      this.#channel = null;
      this.#lead();
    }
  }

  #enter(name) {
    this.#pending = this.lastEventId ? [] : null;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#told(data);
    this.#channel.postMessage({ kind: "who" });
  }

  /** The connection is this tab's now; one that it has to catch up will do. */
  #lead() {
    this.leading = true;
    this.#pending = null; // the link brings it
    this.#link ??= this.#open(this.clientId);
    this.#changed(this.#link);
  }

  #open(clientId) {
    const { lastEventId } = this;
    return new Link(this.#terms, { lastEventId, clientId }, {
      event: (link, event, named) => this.#brought(link, event, named),
      changed: (link) => this.#changed(link),
    });
  }

  /** An event from a link of this tab. */
  #brought(link, event, named) {
    const { type, data, id } = event;
    if (this.leading) {
      this.#channel?.postMessage({ kind: "event", type, data, id, named, source: link.source });
      this.#see(event, named, link.source);
    } else if (type !== HELLO) {
      this.#see(event, named, link.source);
      const met = this.#pending.findLastIndex((other) => other.named && other.id === id);
      if (type === RESET || (named && id === this.#leaderAt)) this.#caughtUp();
      else if (named && met >= 0) this.#caughtUp(met);
    }
  }

  #changed(link) {
    if (this.leading) {
      this.lastEventId = link.lastEventId;
      this.#become(link);
      this.#sayWhere();
      // A new tab may well be let in where this one is not: it shall not have to wait for it.
      if (link.status === "closed") this.leave();
    } else if (link === this.#link && link.status === "closed") {
      this.#caughtUp();
    }
  }

  #sayWhere() {
    const { status, clientId, lastEventId } = this;
    if (status !== "closed") {
      this.#channel?.postMessage({ kind: "state", status, clientId, lastEventId });
    }
  }

  /** A message from another tab. */
  #told(message) {
    if (message.kind === "who") {
      if (this.leading) this.#sayWhere();
    } else if (message.kind === "event") {
      this.#passedOn(message);
    } else if (!this.leading) {
      this.#become(message);
      if (!this.#pending) this.lastEventId = message.lastEventId;
      else if (!this.#link) this.#compare(message.lastEventId);
      else if (message.lastEventId === this.lastEventId) this.#caughtUp(this.#pending.length);
    }
  }

  #passedOn(message) {
    if (!this.#pending) {
      this.#see(message, message.named, message.source);
    } else if (message.named && (message.id === this.lastEventId || this.#broughtIt(message.id))) {
      this.#caughtUp(this.#pending.length);
    } else {
      this.#pending.push(message);
      if (this.#pending.length > PENDING) this.#pending.shift();
    }
  }

  /** Whether this tab's own link has brought an event. */
  #broughtIt(id) {
    return this.#link !== null && this.#seen.get(id) === this.#link.source;
  }

  /** This tab has a position of its own: go on with the leader if it is there too. */
  #compare(leaderAt) {
    this.#leaderAt = leaderAt;
    if (leaderAt === this.lastEventId) this.#caughtUp();
    else this.#link = this.#open(null);
  }

  /** Both are at the same event: from there on what the leader says is enough.
   *
   * Of what it said, the first `older` messages are from before that event. The leader may have been
   * behind this tab: what has an id among them is older than where this tab began, or was seen.
   */
  #caughtUp(older = 0) {
    const pending = this.#pending ?? [];
    this.#link?.stop();
    this.#link = this.#pending = null;
    pending.forEach((message, at) => {
      if (at >= older || !message.named) this.#see(message, message.named, message.source);
    });
  }

  /** Hand on an event, unless it came by another way before. */
  #see({ type, data, id }, named, source) {
    if (named && this.#channel) {
      const before = this.#seen.get(id);
      if (before !== undefined && before !== source) {
        // It came by another way, and this one is here as well. A leader is where its link is.
        if (!this.leading || source === this.#link?.source) this.lastEventId = id;
        return;
      }
      this.#seen.delete(id);
      this.#seen.set(id, source);
      if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.keys().next().value);
    }
    this.lastEventId = id;
    this.#tell.event(new ReceivedEvent(type, data, id));
  }

  #become({ status, clientId, why = null }) {
    const same = this.status === status && this.clientId === clientId;
    [this.status, this.clientId, this.why] = [status, clientId, why];
    if (!same) this.#tell.changed();
  }
}

/** What `connect` returns. */
class Client {
  #terms;
  #tab;
  #handlers = new Map();
  #closed = false;
  #told = "connecting";
  #watched = [
    [window, "pagehide", () => this.#tab.leave()], // for good, or into the back/forward cache
    [window, "pageshow", () => this.#tab.join()],
    [document, "freeze", () => this.#tab.leave()],
    [document, "resume", () => this.#tab.join()],
  ];

  /** Called with the new status ("connecting", "open", "waiting", "closed") and, where there is
   * one, the error that is the reason. */
  onstatus = null;

  constructor(url, options) {
    this.#terms = termsOf(url, options);
    this.#tab = new Tab(this.#terms, {
      event: (event) => this.#dispatch(event),
      changed: () => this.#changed(),
    });
    for (const [target, type, listener] of this.#watched) target.addEventListener(type, listener);
    this.#tab.join();
  }

  /** "connecting", "open", "waiting" (it will come back), or "closed". */
  get status() {
    return this.#closed ? "closed" : this.#tab.status;
  }

  get connected() {
    return this.status === "open";
  }

  /** Names the stream to the server; all tabs that share it have the same. */
  get clientId() {
    return this.#tab.clientId;
  }

  /** The last event that this tab has seen. */
  get lastEventId() {
    return this.#tab.lastEventId;
  }

  /** Whether this tab has the connection. */
  get leader() {
    return this.#tab.leading;
  }

  /** Call `handler` for each event of that name, or of any ("*"); returns what removes it. */
  addHandler(type, handler) {
    if (typeof handler !== "function") throw new TypeError("a handler must be a function");
    if (!this.#handlers.has(type)) this.#handlers.set(type, new Set());
    this.#handlers.get(type).add(handler);
    return () => this.removeHandler(type, handler);
  }

  removeHandler(type, handler) {
    this.#handlers.get(type)?.delete(handler);
  }

  /** Tell the server that this client is there; resolves to whether it knows it. */
  async ping() {
    if (this.clientId === null || this.#closed) return false;
    return (await ping(this.#terms, this.clientId)) < 300;
  }

  /** End it, for this tab; no handler is called any more. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    for (const [target, type, listener] of this.#watched) target.removeEventListener(type, listener);
    this.#tab.leave();
    this.#changed();
  }

  #dispatch(event) {
    for (const type of new Set([event.type, "*"])) {
      const handlers = this.#handlers.get(type) ?? [];
      for (const handler of [...handlers]) {
        if (!this.#closed && handlers.has(handler)) guarded(handler, event);
      }
    }
  }

  #changed() {
    const { status } = this;
    if (status === this.#told) return;
    this.#told = status;
    if (this.onstatus) guarded(this.onstatus, status, this.#tab.why);
  }
}

/** What somebody else's function throws is reported, and harms nobody. */
function guarded(callback, ...given) {
  try {
    callback(...given);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

function termsOf(url, options) {
  const { channels = [], shared = true, credentials = "same-origin", lastEventId = "" } = options;
  const target = new URL(url, document.baseURI);
  if (channels.some((name) => name.includes(","))) {
    throw new TypeError(`the names of channels have no commas: ${channels}`);
  }
  const pingUrl = new URL(target);
  pingUrl.pathname = `${target.pathname.replace(/\/$/, "")}/ping`;
  const names = [...new Set(channels)].sort();
  if (names.length) target.searchParams.set("channels", names.join(","));
  const sent = { true: "include", false: "same-origin" }[credentials] ?? credentials;
  return { ...options, shared, lastEventId, credentials: sent, url: target.href, pingUrl };
}

async function headersOf({ headers, token }) {
  const asked = (given) => (typeof given === "function" ? given() : given);
  const result = new Headers((await asked(headers)) ?? {});
  const bearer = await asked(token);
  if (bearer) result.set("Authorization", `Bearer ${bearer}`);
  return result;
}

/** Who shares a connection; a hash, for a token is nobody else's business. */
async function nameOf(terms) {
  const { url, credentials, shared } = terms;
  const who = typeof shared === "string" ? shared : [...(await headersOf(terms))];
  const text = new TextEncoder().encode(JSON.stringify([url, credentials, who]));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  return `h3py:1:${Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

async function ping(terms, clientId) {
  const headers = await headersOf(terms);
  headers.set("Content-Type", "application/json");
  const response = await fetch(terms.pingUrl, {
    method: "POST",
    headers,
    credentials: terms.credentials,
    body: JSON.stringify({ client_id: clientId }),
    signal: AbortSignal.timeout(PING_TIMEOUT_MS),
  });
  return response.status;
}

/** A header's value as EventSource sends it: the bytes of its UTF-8. */
function latin1(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}
