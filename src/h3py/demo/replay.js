// What a cut costs: numbers that come four times a second, and what becomes of those that were
// sent while nobody listened.
//
// A number that was sent before the connection came back was kept for this window, and replayed. Its
// time is the server's; how the two clocks differ is known from the number that came fastest.

import { byId, element, number } from "/dom.js";
import { cut, live, sse } from "/live.js";

const SLOTS = 44;
const PERIOD_MS = 250;

const counts = { missed: 0, replayed: 0, lost: 0, twice: 0 };
let last = 0;
let fastest = Infinity;
let awaySince = 0;
let backAt = 0; // in ms of this page's clock
let slots = []; // { number, element }

const WORDS = {
  connecting: "connecting",
  open: "connected",
  waiting: "cut, coming back",
  closed: "closed",
};

function slot(of, state) {
  const made = { number: of, element: element("i", { className: state }) };
  slots.push(made);
  byId("pulses").append(made.element);
  while (slots.length > SLOTS) slots.shift().element.remove();
  return made;
}

sse.addHandler("pulse", (event) => {
  const { number: now, time } = event.json();
  if (last && now < last - 1000) last = 0; // another server's
  fastest = Math.min(fastest, Date.now() - time * 1000);
  const late = time * 1000 + fastest < backAt;
  if (last && now <= last) {
    counts.twice += 1;
  } else {
    if (last && now > last + 1) lose(last + 1, now);
    last = now;
    const waiting = slots.find((one) => one.number === now);
    if (waiting) waiting.element.className = late ? "replayed" : "live";
    else slot(now, late ? "replayed" : "live");
    if (late) {
      counts.replayed += 1;
      counts.missed += 1;
    }
  }
  show();
});

function lose(from, to) {
  counts.lost += to - from;
  for (const one of slots) {
    if (one.number >= from && one.number < to) one.element.className = "lost";
  }
}

// The server has another history (it was started again): what was missed is not to be had.
sse.addHandler("h3py:reset", () => (last = 0));

function show() {
  for (const [name, count] of Object.entries(counts)) {
    byId(`replay-${name}`).textContent = number.format(count);
  }
  const verdict = byId("verdict");
  const { missed, replayed, lost, twice } = counts;
  if (awaySince && sse.status !== "open") return;
  const clean = !lost && !twice;
  verdict.dataset.clean = clean;
  if (!missed && clean) verdict.textContent = "Every number so far has come once.";
  else if (clean) {
    verdict.textContent = `${missed} missed, ${replayed} replayed, in order, each of them once.`;
  } else verdict.textContent = `${missed} missed, ${replayed} replayed; ${lost} lost, ${twice} twice.`;
}

// While the connection is away: a place for each number that is being missed.
setInterval(() => {
  if (!awaySince || sse.status === "open" || !last) return;
  const away = performance.now() - awaySince;
  const due = Math.floor(away / PERIOD_MS);
  const newest = slots.at(-1)?.number ?? last;
  if (newest - last < due) slot(newest + 1, "missing");
  byId("verdict").textContent = `Away for ${(away / 1000).toFixed(1)} s: about ${due} missed.`;
}, PERIOD_MS / 2);

live.addEventListener("status", ({ detail: status }) => {
  const state = byId("replay-state");
  state.dataset.state = status === "closed" ? "stopped" : status;
  state.querySelector(".word").textContent = WORDS[status];
  byId("cut").disabled = status !== "open";
  if (status === "waiting") {
    awaySince = performance.now();
  } else if (status === "open") {
    if (awaySince) backAt = Date.now();
    awaySince = 0;
    // Places that were guessed for numbers that the server had not come to yet.
    setTimeout(() => {
      for (const one of slots.filter((other) => other.number > last)) one.element.remove();
      slots = slots.filter((one) => one.number <= last);
    }, 3 * PERIOD_MS);
  }
});

byId("cut").addEventListener("click", () => cut());
