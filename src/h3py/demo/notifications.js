// Notifications: posted to the webhook from here or from a terminal, shown as they come.
//
// This page has no secret. It asks the demo for a body with its signature, as another server would
// make one, and posts that.

import { byId, clockTime, element } from "/dom.js";
import { post, sse } from "/live.js";

const MOST = 30;
const TITLES = {
  payment: ({ status, amount, currency }) => `Payment ${status}: ${amount}\u00a0${currency}`,
  user_account: ({ action }) => `Account: ${action.replaceAll("_", " ")}`,
  system_health: ({ component, status }) => `${component}: ${status}`,
  maintenance: ({ status }) => `Maintenance ${status}`,
  video_processing: ({ status, percent }) => `Video ${status}${share(percent)}`,
  data_export: ({ status, percent }) => `Export ${status}${share(percent)}`,
  post_update: ({ action, title }) => `Post ${action}: ${title}`,
  profile_update: ({ changed }) => `Profile: ${changed.join(" and ")}`,
  user_activity: ({ user_id, action }) => `${user_id} ${action}`,
};
const TASKS = { video_processing: "video_id", data_export: "export_id" };
const MARKS = { info: "i", success: "✓", warning: "!", error: "×", critical: "×" };

const share = (percent) => (percent == null ? "" : `, ${Math.round(percent)} %`);
let received = 0;

for (const kind of Object.keys(TITLES)) {
  sse.addHandler(`notification:${kind}`, (event) => show(event.json()));
}

function show(told) {
  received += 1;
  byId("notes-count").dataset.state = "open";
  byId("notes-count").querySelector(".word").textContent =
    received === 1 ? "1 so far" : `${received} so far`;
  const feed = byId("feed");
  const task = TASKS[told.kind] ? `${told.kind}:${told[TASKS[told.kind]]}` : told.id;
  const made = entry(told, task);
  const before = [...feed.children].find((one) => one.dataset.task === task);
  if (before) before.replaceWith(made);
  else {
    made.classList.add("new");
    feed.prepend(made);
  }
  while (feed.childElementCount > MOST) feed.lastElementChild.remove();
}

function entry(told, task) {
  const mark = element("span", { className: "mark", textContent: MARKS[told.severity] ?? "i" });
  mark.setAttribute("aria-hidden", "true");
  const title = element("p", { className: "title", textContent: TITLES[told.kind](told) });
  const time = element("time", { dateTime: told.time });
  time.textContent = clockTime(Date.parse(told.time) / 1000);
  const text = element("p", { className: "text", textContent: told.message, dir: "auto" });
  const body = element("div", {}, title, time, text);
  if (told.percent != null) {
    body.append(element("progress", { max: 100, value: told.percent, ariaLabel: title.textContent }));
  }
  const made = element("article", { className: "notification" }, mark, body);
  made.dataset.severity = told.severity;
  made.dataset.kind = told.kind;
  made.dataset.task = task;
  return made;
}

// --- posting one -------------------------------------------------------------------------------

export const signed = () =>
  post("/live/sign", { sample: byId("sample").value, message: byId("said").value });

byId("notify").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const words = byId("said").value;
  let answer = await signed();
  if (answer.ok) {
    const { body, signature } = answer.body;
    answer = await post("/webhooks/notify", body, { "X-Signature": signature });
  }
  byId("notes-error").textContent = answer.error;
  if (answer.ok && byId("said").value === words) byId("said").value = "";
});

byId("export").addEventListener("click", async () => {
  byId("notes-error").textContent = (await post("/live/export")).error;
});
