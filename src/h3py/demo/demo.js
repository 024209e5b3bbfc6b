// The page: what each stream's events show, and the controls of all of them.

import "/chat.js";
import "/crowd.js";
import { byId, element, number } from "/dom.js";
import { ChannelStream, live, sse } from "/live.js";
import { signed } from "/notifications.js";
import "/replay.js";
import { LiveStream, STATES, wireOf } from "/streams.js";
import { Timeline } from "/timeline.js";

// --- what the events show ----------------------------------------------------------------------

const shows = {
  counter: {
    count: (event) => (byId("count").textContent = number.format(JSON.parse(event.data).count)),
  },
  tokens: {
    token: (event) => byId("answer").append(JSON.parse(event.data).text),
    done: (event, stream) => {
      stream.finish();
      log("tokens", `done: ${JSON.parse(event.data).tokens} tokens`);
    },
  },
  text: {
    verse: (event) => {
      const [verse, author] = event.data.split("\n\n");
      const by = Object.assign(document.createElement("cite"), { textContent: author });
      byId("verse").replaceChildren(verse, by);
    },
    greeting: (event) => {
      byId("greeting").textContent = event.data;
      const bytes = new TextEncoder().encode(event.data).length;
      const glyphs = [...new Intl.Segmenter().segment(event.data)].length;
      byId("greeting-note").textContent = `${glyphs} characters, ${bytes} bytes of UTF-8`;
    },
  },
  clock: { tick: (event) => showTime(JSON.parse(event.data)) },
};

function showTime({ time, streams }) {
  const now = new Date(time);
  const hours = now.getHours() + now.getMinutes() / 60;
  const angles = { hour: hours * 30, minute: now.getMinutes() * 6, second: now.getSeconds() * 6 };
  for (const [hand, degrees] of Object.entries(angles)) {
    byId(hand).setAttribute("transform", `rotate(${degrees})`);
  }
  byId("time").textContent = now.toLocaleTimeString("en-GB");
  byId("time").dateTime = time;
  const listeners = streams === 1 ? "1 stream, which holds" : `${streams} streams, which hold`;
  byId("audience").textContent = `Sent once a second to ${listeners} no thread and no task.`;
}

for (let hour = 0; hour < 12; hour += 1) {
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "line");
  mark.setAttribute("y1", -43);
  mark.setAttribute("y2", hour % 3 ? -40 : -37);
  mark.setAttribute("transform", `rotate(${hour * 30})`);
  byId("marks").append(mark);
}

// --- the streams, and the card of each ------------------------------------------------------------

const queries = { tokens: () => ({ q: byId("question").value }) };
const streams = Object.entries(shows).map(([name, types]) =>
  name === "clock"
    ? new ChannelStream(name, Object.keys(types))
    : new LiveStream(name, Object.keys(types), queries[name]),
);
const timeline = new Timeline(byId("timeline"), ["counter", "tokens", "text", "shared"]);
const total = { events: 0, recent: [] };

for (const stream of streams) {
  const card = document.querySelector(`[data-stream=${stream.name}]`);
  const title = card.querySelector("h3").textContent;
  card.append(byId("controls").content.cloneNode(true));
  card.querySelector(".facts").before(card.querySelector(".wire"), card.querySelector(".code"));
  const part = (selector) => card.querySelector(selector);
  let wire = "";

  for (const button of card.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent} ${title}`);
    button.addEventListener("click", () => stream[button.dataset.do]());
  }

  const showFacts = () => {
    part(".last-id").value = stream.lastEventId || "none";
    part(".opened").value = stream.opened === 1 ? "once" : `${stream.opened} times`;
    part(".events").value = number.format(stream.events);
  };

  stream.addEventListener("received", ({ detail: event }) => {
    if (stream.name !== "clock") count(stream.name);
    if (event.type === "hello") {
      const told = JSON.parse(event.data).lastEventId;
      log(stream.name, told ? `back after Last-Event-ID ${told}` : "connected");
    } else {
      shows[stream.name][event.type](event, stream);
    }
    showFacts();
    wire = wireOf(event);
    if (part(".wire").open) part(".wire pre").textContent = wire;
  });
  part(".wire").addEventListener("toggle", () => (part(".wire pre").textContent = wire));

  stream.addEventListener("state", ({ detail: { before, state } }) => {
    part(".state").dataset.state = state;
    part(".state .word").textContent = STATES[state];
    part("[data-do=start]").disabled = stream.running;
    part("[data-do=stop]").disabled = !stream.running;
    part("[data-do=drop]").disabled = state !== "open";
    showOpen();
    if (stream.name === "clock") return showFacts();
    timeline.gap(stream.name, state === "waiting" || state === "refused");
    if (state === "waiting" && before === "open") log(stream.name, "dropped; the browser reconnects");
    if (state === "refused") log(stream.name, "refused by the server");
    if (state === "stopped") log(stream.name, "stopped");
    if (state === "paused") log(stream.name, "paused: the tab is hidden");
    if (stream.name === "tokens") byId("answer").setAttribute("aria-busy", String(stream.running));
    showFacts();
  });
}

function count(name) {
  total.events += 1;
  total.recent.push(performance.now());
  timeline.mark(name);
}

// The clock is a channel of the shared connection, which counts once.
function showOpen() {
  const own = streams.filter((one) => one.name !== "clock" && one.state === "open").length;
  byId("total-open").textContent = own + (sse.connected ? 1 : 0);
}

// --- the shared connection -------------------------------------------------------------------------

let lastId = "";
sse.addHandler("*", (event) => {
  if (event.type === "h3py:hello") log("shared", lastId ? `back after event ${position(lastId)}` : "connected");
  if (event.type === "h3py:reset") log("shared", "the history was lost: the server is another");
  if (event.id) lastId = event.id;
  count("shared");
});

// An id is an epoch and a sequence, both hexadecimal; the sequence says how far.
const position = (id) => number.format(parseInt(id.split("-").at(-1), 16));

live.addEventListener("status", ({ detail: status }) => {
  timeline.gap("shared", status === "waiting");
  if (status === "waiting") log("shared", "cut; the script comes back");
  showOpen();
});
setInterval(() => {
  const whose = sse.leader ? "This window holds the connection." : "Another window holds the connection.";
  byId("sharing").textContent = sse.connected ? whose : "This window is connecting.";
}, 500);

const named = (name) => streams.find((stream) => stream.name === name);
const tokens = named("tokens");
tokens.addEventListener("state", () => {
  if (tokens.state === "connecting" && !tokens.lastEventId) byId("answer").textContent = "";
});
document.querySelector("[data-stream=tokens] [data-do=start]").textContent = "Ask";
byId("question").addEventListener("change", () => {
  tokens.stop();
  tokens.start();
});

setInterval(() => {
  const now = performance.now();
  total.recent = total.recent.filter((at) => at > now - 2000);
  byId("total-events").textContent = number.format(total.events);
  byId("total-rate").textContent = number.format(Math.round(total.recent.length / 2));
}, 250);

function log(name, text) {
  const entry = document.createElement("p");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString("en-GB");
  const who = Object.assign(document.createElement("b"), { textContent: name, className: name });
  entry.append(time, who, text);
  const box = byId("log");
  box.append(entry);
  while (box.childElementCount > 40) box.firstElementChild.remove();
  box.scrollTop = box.scrollHeight;
}

// --- what to type elsewhere ---------------------------------------------------------------------

const commands = [
  ["Watch the counter", () => `curl -N ${location.origin}/counter`],
  ["Go on after event 41", () => `curl -N -H 'Last-Event-ID: 41' ${location.origin}/counter`],
  ["Ask for tokens", () => `curl -N '${location.origin}/tokens?q=1'`],
  ["Listen to the clock", () => `curl -N '${location.origin}/api/sse?channels=clock'`],
  ["Listen to the lobby", () => `curl -N '${location.origin}/api/sse?channels=room:lobby'`],
  [
    "Say something there",
    () =>
      `curl -d '{"room": "lobby", "name": "curl", "text": "hello"}' ${location.origin}/live/say`,
  ],
  ["Post a notification", webhookCommand],
];

// The signature is the body's, and holds for five minutes.
async function webhookCommand() {
  const { ok, body, error } = await signed();
  if (!ok) return `# ${error}`;
  return `curl -H 'X-Signature: ${body.signature}' -d '${body.body}' ${location.origin}/webhooks/notify`;
}

for (const [what, make] of commands) {
  const label = element("span", { textContent: what });
  const code = element("code", { tabIndex: 0 });
  const row = element("li", {}, label, code);
  const fill = async () => (code.textContent = await make());
  fill();
  if (make === webhookCommand) {
    byId("notify").addEventListener("change", fill);
    setInterval(() => document.hidden || fill(), 120_000);
  }
  if (navigator.clipboard) {
    const copy = element("button", { type: "button", textContent: "Copy" });
    copy.setAttribute("aria-label", `Copy: ${what}`);
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    });
    row.append(copy);
  }
  byId("commands").append(row);
}

// --- begin ---------------------------------------------------------------------------------------

// This window says first who it is: where several windows have all the connections that a browser
// allows, a request would wait for a stream to end.
let begun = false;
function begin() {
  if (begun) return;
  begun = true;
  for (const stream of streams) stream.start();
}
named("clock").start();
live.addEventListener("entered", begin);
setTimeout(begin, 2000);
document.addEventListener("visibilitychange", () => {
  for (const stream of streams) document.hidden ? stream.pause() : stream.resume();
});
