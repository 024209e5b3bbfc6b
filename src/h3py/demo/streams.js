// One stream of the page: an EventSource, and what its user wants to know of it.
//
// The browser reconnects by itself and sends Last-Event-ID; nothing here does that for it. What is
// added: a name for each state, counts, and two cases that EventSource leaves to its user. It gives
// up where the server answers with an error (503 while it stops): then it is tried again here. And
// a tab that was hidden starts anew: then the last id travels in the query.

const RETRY_MS = 3000;

export const STATES = {
  stopped: "stopped",
  connecting: "connecting",
  open: "open",
  waiting: "reconnecting",
  refused: "refused, trying again",
  paused: "paused while hidden",
  ended: "finished",
};

export class LiveStream extends EventTarget {
  #source = null;
  #timer = null;

  constructor(name, types, query = () => ({})) {
    super();
    this.name = name;
    this.types = types;
    this.query = query;
    this.tab = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
    this.forget();
    this.state = "stopped";
  }

  // As if it had never been started.
  forget() {
    this.lastEventId = "";
    this.events = 0;
    this.opened = 0;
  }

  get running() {
    return ["connecting", "open", "waiting", "refused"].includes(this.state);
  }

  start() {
    if (this.running) return;
    this.forget();
    this.#connect();
  }

  stop() {
    this.#disconnect();
    this.#enter("stopped");
  }

  // The stream's own end: without this, EventSource would connect again.
  finish() {
    this.#disconnect();
    this.#enter("ended");
  }

  pause() {
    if (!this.running) return;
    this.#disconnect();
    this.#enter("paused");
  }

  resume() {
    if (this.state === "paused") this.#connect();
  }

  // Ask the server to end this connection, as a restart or a network would.
  async drop() {
    const query = new URLSearchParams({ stream: this.name, tab: this.tab });
    await fetch(`/drop?${query}`, { method: "POST" });
  }

  #connect() {
    const query = new URLSearchParams({ ...this.query(), tab: this.tab });
    if (this.lastEventId) query.set("last-event-id", this.lastEventId);
    this.#enter("connecting");
    const source = (this.#source = new EventSource(`/${this.name}?${query}`));
    source.addEventListener("open", () => {
      this.opened += 1;
      this.#enter("open");
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CONNECTING) {
        this.#enter("waiting");
        return;
      }
      this.#disconnect();
      this.#enter("refused");
      this.#timer = setTimeout(() => this.#connect(), RETRY_MS);
    });
    for (const type of ["hello", ...this.types]) {
      source.addEventListener(type, (event) => {
        this.events += 1;
        this.lastEventId = event.lastEventId;
        this.dispatchEvent(new CustomEvent("received", { detail: event }));
      });
    }
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #enter(state) {
    const before = this.state;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { before, state } }));
  }
}

// The lines that an event was on the wire, in the order h3py writes its fields.
export function wireOf(event) {
  const lines = event.lastEventId ? [`id: ${event.lastEventId}`] : [];
  if (event.type !== "message") lines.push(`event: ${event.type}`);
  lines.push(...event.data.split("\n").map((line) => `data: ${line}`));
  return lines.join("\n");
}
