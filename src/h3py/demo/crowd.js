// A thousand streams in a helper process: the buttons, and what arrives there, as a chart.

import { byId, number, palette, prepared } from "/dom.js";
import { post, sse } from "/live.js";

const SPAN_S = 60;
const HEIGHT = 170;
const AXIS = 46;

const canvas = byId("crowd-chart");
let points = []; // { at, value }
let fastest = Infinity; // seconds of this page's clock, less the server's

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const milliseconds = (value) =>
  value == null ? "–" : value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;

function show(told) {
  const { state } = told;
  const running = state !== "stopped";
  byId("crowd-state").dataset.state = { running: "open", opening: "connecting" }[state] ?? "stopped";
  byId("crowd-state").querySelector(".word").textContent = !running
    ? "stopped"
    : state === "opening"
      ? "opening"
      : `${told.left_s} s left`;
  byId("crowd-start").disabled = running;
  byId("crowd-stop").disabled = !running;
  byId("crowd-open").textContent = number.format(told.open ?? 0);
  byId("crowd-rate").textContent = number.format(told.deliveries_a_second ?? 0);
  byId("crowd-p50").textContent = milliseconds(told.p50_ms);
  byId("crowd-p99").textContent = milliseconds(told.p99_ms);
  byId("crowd-cpu").textContent = told.cpu_percent == null ? "–" : `${told.cpu_percent} %`;
  const now = performance.now() / 1000;
  if (told.time) {
    // At the time of the server's clock: what was replayed after a cut belongs further back.
    fastest = Math.min(fastest, now - told.time);
    points.push({ at: told.time + fastest, value: told.deliveries_a_second });
  }
  points = points.filter(({ at }) => at > now - SPAN_S - 2);
}

sse.addHandler("crowd", (event) => show(event.json()));

const rate = () => Number(document.querySelector("[name=rate]:checked").value);

async function start() {
  const answer = await post("/crowd/start", { rate: rate() });
  byId("crowd-error").textContent = answer.error;
  if (answer.ok) show(answer.body);
}

byId("crowd-start").addEventListener("click", () => {
  points = [];
  start();
});
byId("crowd-stop").addEventListener("click", () => post("/crowd/stop"));
byId("crowd-rates").addEventListener("change", () => {
  if (byId("crowd-start").disabled) start(); // it runs: at another rate from now on
});

// --- the chart ---------------------------------------------------------------------------------

// A round number that is not below the highest.
function top() {
  const highest = Math.max(1000, ...points.map(({ value }) => value));
  const unit = 10 ** Math.floor(Math.log10(highest));
  return [1, 1.5, 2, 3, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= highest);
}

function draw() {
  const width = canvas.clientWidth;
  const { colour, font } = palette();
  const context = prepared(canvas, width, HEIGHT);
  const right = width - 4;
  const [ceiling, floor] = [10, HEIGHT - 24];
  const now = performance.now() / 1000;
  const highest = top();
  const x = (at) => right - ((now - at) / SPAN_S) * (right - AXIS);
  const y = (value) => floor - (value / highest) * (floor - ceiling);
  context.font = `500 11.5px ${font}`;
  context.textBaseline = "middle";
  context.lineWidth = 1;
  for (const share of [0, 0.5, 1]) {
    const at = y(highest * share);
    context.strokeStyle = colour("--line");
    context.beginPath();
    context.moveTo(AXIS, at);
    context.lineTo(right, at);
    context.stroke();
    context.fillStyle = colour("--soft");
    context.textAlign = "right";
    context.fillText(compact.format(highest * share), AXIS - 8, at);
  }
  for (const seconds of [60, 45, 30, 15, 0]) {
    context.textAlign = seconds === 60 ? "left" : seconds ? "center" : "right";
    context.fillText(seconds ? `${seconds} s` : "now", x(now - seconds), HEIGHT - 8);
  }
  if (points.length < 2) return;
  const inside = points.filter(({ at }) => x(at) >= AXIS);
  if (!inside.length) return;
  context.beginPath();
  inside.forEach(({ at, value }) => context.lineTo(x(at), y(value)));
  context.strokeStyle = colour("--crowd");
  context.lineWidth = 2.5;
  context.lineJoin = "round";
  context.stroke();
  const { at: newest, value } = inside.at(-1);
  context.lineTo(x(newest), floor);
  context.lineTo(x(inside[0].at), floor);
  const fill = context.createLinearGradient(0, ceiling, 0, floor);
  fill.addColorStop(0, colour("--crowd-fill"));
  fill.addColorStop(1, colour("--crowd-fade"));
  context.fillStyle = fill;
  context.fill();
  context.beginPath();
  context.arc(x(newest), y(value), 4, 0, 7);
  context.fillStyle = colour("--crowd");
  context.fill();
}

const still = matchMedia("(prefers-reduced-motion: reduce)");
(function frame() {
  if (!document.hidden) draw();
  if (still.matches) setTimeout(frame, 1000);
  else requestAnimationFrame(frame);
})();
