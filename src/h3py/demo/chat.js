// Rooms: who is there, what was said, and saying something.

import { appendTo, byId, clockTime, element, hueOf } from "/dom.js";
import { ROOMS, enter, follow, follows, live, me, rename, say, sse } from "/live.js";

const MOST_MESSAGES = 150;

let shown = "lobby";
let members = [];
const heard = new Map(ROOMS.map((room) => [room, []]));
const unread = new Map(ROOMS.map((room) => [room, 0]));
const known = new Set();

// --- what is said ------------------------------------------------------------------------------

function hear(message, old = false) {
  const { number, room } = message;
  if (known.has(number) || !heard.has(room) || !follows(`room:${room}`)) return;
  known.add(number);
  const messages = heard.get(room);
  messages.push(message);
  if (messages.length > MOST_MESSAGES) messages.shift();
  if (room === shown) appendTo(byId("messages"), line(message, old), MOST_MESSAGES);
  else if (!old) {
    unread.set(room, unread.get(room) + 1);
    showRooms();
  }
}

function line({ from, name, text, time }, old) {
  const mine = from !== 0 && from === me.id;
  const who = element("b", { textContent: name });
  const at = element("time", { textContent: clockTime(time) });
  const entry = element("div", { className: `said ${hueOf(name)}${mine ? " mine" : ""}` });
  entry.append(avatar(name), element("div", {}, element("p", { className: "by" }, who, at),
    element("p", { className: "text", textContent: text, dir: "auto" })));
  entry.dataset.old = old;
  return entry;
}

function note(text) {
  appendTo(byId("messages"), element("p", { className: "note", textContent: text }), MOST_MESSAGES);
}

function avatar(name) {
  const [letter = "?"] = [...new Intl.Segmenter().segment(name)].map(({ segment }) => segment);
  const made = element("span", { className: `avatar ${hueOf(name)}`, title: name });
  made.textContent = letter.toLocaleUpperCase();
  made.setAttribute("aria-hidden", "true");
  return made;
}

sse.addHandler("message", (event) => hear(event.json()));

live.addEventListener("entered", ({ detail: { you, messages } }) => {
  if (!me.name) byId("name").placeholder = you.name;
  for (const message of messages) hear(message, true);
  showRooms();
});

// Another server, or one that has forgotten: its messages have numbers of their own.
sse.addHandler("h3py:reset", () => {
  known.clear();
  for (const room of ROOMS) heard.set(room, []);
  redraw();
  enter();
});

// --- who is there ------------------------------------------------------------------------------

sse.addHandler("here", (event) => {
  const told = event.json();
  const before = new Map(within(members, shown).map((one) => [one.id, one.name]));
  members = told.members;
  const now = new Map(within(members, shown).map((one) => [one.id, one.name]));
  if (before.size) {
    for (const [id, name] of now) if (!before.has(id) && id !== me.id) note(`${name} has come`);
    for (const [id, name] of before) if (!now.has(id) && id !== me.id) note(`${name} has left`);
  }
  const people = members.length === 1 ? "1 window" : `${members.length} windows`;
  const streams = told.streams === 1 ? "1 connection" : `${told.streams} connections`;
  byId("here").dataset.state = "open";
  byId("here").querySelector(".word").textContent = `${people}, ${streams}`;
  showRooms();
});

const within = (all, room) => all.filter((one) => one.rooms.includes(room));

function showRooms() {
  byId("rooms").replaceChildren(...ROOMS.map(roomEntry));
}

function roomEntry(room) {
  const inside = follows(`room:${room}`);
  const people = within(members, room);
  const open = element("button", { type: "button", className: "room" });
  open.setAttribute("aria-pressed", String(room === shown));
  open.append(element("span", { className: "hash", textContent: "#" }), room);
  if (unread.get(room)) {
    open.append(element("em", { textContent: unread.get(room), title: "not read yet" }));
  }
  open.addEventListener("click", () => show(room));
  const turn = element("button", { type: "button", className: "turn" });
  turn.textContent = inside ? "Leave" : "Join";
  turn.setAttribute("aria-label", `${turn.textContent} ${room}`);
  turn.addEventListener("click", () => (inside ? leave(room) : show(room)));
  const faces = element("span", { className: "faces" });
  faces.append(...people.slice(0, 6).map(({ name }) => avatar(name)));
  if (people.length > 6) faces.append(` +${people.length - 6}`);
  const names = people.map(({ name }) => name).join(", ") || "nobody";
  const entry = element("li", {}, open, turn, faces,
    element("span", { className: "names", textContent: names, title: names }));
  entry.dataset.room = room;
  entry.dataset.joined = inside;
  return entry;
}

function show(room) {
  shown = room;
  unread.set(room, 0);
  redraw();
  if (!follows(`room:${room}`)) follow(`room:${room}`);
  showRooms();
}

function leave(room) {
  follow(`room:${room}`, false);
  for (const { number } of heard.get(room)) known.delete(number);
  heard.set(room, []);
  unread.set(room, 0);
  redraw();
  showRooms();
}

function redraw() {
  const box = byId("messages");
  box.replaceChildren(...heard.get(shown).map((message) => line(message, true)));
  box.scrollTop = box.scrollHeight;
  byId("text").placeholder = `Say something in #${shown}`;
}

// --- saying something --------------------------------------------------------------------------

byId("say").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const text = byId("text").value.trim();
  if (!text) return;
  if (!follows(`room:${shown}`)) await follow(`room:${shown}`);
  const answer = await say(shown, text);
  byId("chat-error").textContent = answer.error;
  // Only what was said: the next line may have been typed before the answer came.
  if (answer.ok && byId("text").value.trim() === text) byId("text").value = "";
});

byId("name").value = me.name;
byId("name").addEventListener("change", () => rename(byId("name").value.trim()));
redraw();
showRooms();
