// The connection that all windows share, and what this window follows on it.
//
// The script of the library keeps it open, brings it back, and asks for what was missed. Added
// here: this window tells the server who it is and which channels it follows, whenever there is a
// connection that the server knows.

import { connect } from "/api/sse/client.js";

export const ROOMS = ["lobby", "library", "kitchen"];
const CHANNELS = ["clock", "pulse", "here", "notifications", "crowd"];

const tab = crypto.randomUUID?.() ?? `${Math.random()}${Math.random()}`;
const followed = new Set([...CHANNELS, "room:lobby"]);

export const me = { id: null, name: remembered() };

export const sse = connect("/api/sse", {
  channels: [...CHANNELS, ...ROOMS.map((room) => `room:${room}`)],
});

// What panels listen to: "entered" with the server's answer, "status" with the connection's.
export const live = new EventTarget();

sse.onstatus = (status) => {
  live.dispatchEvent(new CustomEvent("status", { detail: status }));
  if (status === "open") enter();
};
sse.addHandler("h3py:hello", () => enter());

let entering = null;
let again = false;

// A stream is known by name a moment after its greeting has left.
const SOON_MS = 100;
const TRIES = 50;

// Tell the server who this window is and what it follows. Calls that come meanwhile become one.
export async function enter() {
  if (!sse.connected || !sse.clientId) return;
  again = entering !== null;
  entering ??= (async () => {
    let tries = TRIES;
    do {
      again = false;
      const said = { tab, client_id: sse.clientId, name: me.name, channels: [...followed] };
      const answer = await post("/live/enter", said);
      if (!answer.body) {
        // Not there yet; or gone, and then the next hello has another name, or none comes.
        if (answer.ok && sse.connected && tries-- > 0) {
          await new Promise((soon) => setTimeout(soon, SOON_MS));
          again = true;
        }
        continue;
      }
      me.id = answer.body.you.id;
      live.dispatchEvent(new CustomEvent("entered", { detail: answer.body }));
    } while (again);
  })().finally(() => (entering = null));
  await entering;
}

export function follow(channel, wanted = true) {
  if (wanted) followed.add(channel);
  else followed.delete(channel);
  return enter();
}

export const follows = (channel) => followed.has(channel);

export function rename(name) {
  me.name = name;
  try {
    localStorage.setItem("h3py-demo-name", name);
  } catch {
    // A browser that keeps nothing: the name lasts as long as the window.
  }
  return enter();
}

export const say = (room, text) => post("/live/say", { tab, room, text });

export const cut = () => post("/live/cut", { client_id: sse.clientId });

// POST JSON; { ok, body, error }, where `error` is a sentence for people.
export async function post(path, body = {}, headers = {}) {
  const raw = typeof body === "string" ? body : JSON.stringify(body);
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: raw,
    });
    const text = await response.text();
    const json = (response.headers.get("content-type") ?? "").includes("json");
    if (response.ok) return { ok: true, body: json ? JSON.parse(text) : text, error: "" };
    return { ok: false, body: null, error: json ? JSON.parse(text).error ?? text : text };
  } catch {
    return { ok: false, body: null, error: "the server does not answer" };
  }
}

function remembered() {
  try {
    return localStorage.getItem("h3py-demo-name") ?? "";
  } catch {
    return "";
  }
}

addEventListener("pagehide", () => {
  const body = new Blob([JSON.stringify({ tab })], { type: "application/json" });
  navigator.sendBeacon("/live/leave", body);
});
addEventListener("pageshow", ({ persisted }) => persisted && enter());

// A channel of the shared connection, with the looks of a `LiveStream`.
export class ChannelStream extends EventTarget {
  constructor(name, types) {
    super();
    this.name = name;
    this.state = "stopped";
    this.forget();
    live.addEventListener("entered", () => this.#enter(follows(name) ? "open" : "stopped"));
    live.addEventListener("status", ({ detail }) => {
      if (this.running && detail !== "open") this.#enter("waiting");
    });
    for (const type of types) {
      sse.addHandler(type, (event) => {
        if (!this.running) return;
        this.events += 1;
        this.lastEventId = event.id;
        const { data, id } = event;
        const detail = { type, data, lastEventId: id };
        this.dispatchEvent(new CustomEvent("received", { detail }));
      });
    }
  }

  forget() {
    this.lastEventId = "";
    this.events = 0;
    this.opened = 0;
  }

  get running() {
    return ["connecting", "open", "waiting"].includes(this.state);
  }

  start() {
    if (this.running) return;
    this.forget();
    this.#enter("connecting");
    follow(this.name);
  }

  stop() {
    this.#enter("stopped");
    follow(this.name, false);
  }

  drop() {
    return cut();
  }

  // The connection is every window's: a hidden one keeps it.
  pause() {}

  resume() {}

  #enter(state) {
    if (state === this.state) return;
    const before = this.state;
    this.state = state;
    if (state === "open") this.opened += 1;
    this.dispatchEvent(new CustomEvent("state", { detail: { before, state } }));
  }
}
