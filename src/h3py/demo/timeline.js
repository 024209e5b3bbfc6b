// The events of the last seconds, a lane for each stream, a mark for each event.
//
// Drawn on a canvas, from colours of the style sheet, at the screen's own resolution. Where motion
// is not wanted it steps once a second.

const SPAN_MS = 12000;
const LANE = 34;
const LABEL = 66;

export class Timeline {
  #marks = [];
  #gaps = new Map();

  constructor(canvas, names) {
    this.canvas = canvas;
    this.names = names;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    const frame = () => {
      if (!document.hidden) this.draw();
      if (this.still.matches) setTimeout(frame, 1000);
      else requestAnimationFrame(frame);
    };
    frame();
  }

  mark(name) {
    this.#marks.push({ name, at: performance.now() });
  }

  // Between a connection that was lost and the next one, the lane shows a gap.
  gap(name, begins) {
    const now = performance.now();
    const gaps = (this.#gaps.get(name) ?? []).filter((gap) => (gap.to ?? now) > now - SPAN_MS);
    const last = gaps.at(-1);
    const open = last && last.to === null;
    if (begins && !open) gaps.push({ from: now, to: null });
    if (!begins && open) last.to = now;
    this.#gaps.set(name, gaps);
  }

  draw() {
    const { canvas, names } = this;
    const width = canvas.clientWidth;
    const height = LANE * names.length + 22;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.height = `${height}px`;
    }
    const styles = getComputedStyle(document.documentElement);
    const colour = (name) => styles.getPropertyValue(name).trim();
    const now = performance.now();
    const x = (at) => width - ((now - at) / SPAN_MS) * (width - LABEL);
    this.#marks = this.#marks.filter((mark) => mark.at > now - SPAN_MS);

    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = `500 12px ${styles.fontFamily}`;
    context.textBaseline = "middle";
    names.forEach((name, lane) => {
      const middle = lane * LANE + LANE / 2;
      context.fillStyle = colour("--soft");
      context.fillText(name, 0, middle);
      context.strokeStyle = colour("--line");
      context.lineWidth = 1;
      context.setLineDash([]);
      line(context, LABEL, middle, width, middle);
      for (const gap of this.#gaps.get(name) ?? []) {
        const from = Math.max(LABEL, x(gap.from));
        const to = gap.to === null ? width : x(gap.to);
        if (to <= from) continue;
        context.fillStyle = colour("--page");
        context.fillRect(from, middle - 11, to - from, 22);
        context.strokeStyle = colour("--soft");
        context.setLineDash([2, 4]);
        line(context, from, middle, to, middle);
      }
      context.setLineDash([]);
      context.strokeStyle = colour(`--${name}`);
      context.lineCap = "round";
      for (const mark of this.#marks) {
        if (mark.name !== name) continue;
        const age = (now - mark.at) / SPAN_MS;
        const fresh = Math.max(0, 1 - age * 24);
        context.globalAlpha = 1 - age * 0.7;
        context.lineWidth = 2 + fresh * 2;
        line(context, x(mark.at), middle - 7 - fresh * 3, x(mark.at), middle + 7 + fresh * 3);
      }
      context.globalAlpha = 1;
    });
    context.fillStyle = colour("--soft");
    const foot = LANE * names.length + 12;
    const every = width < 420 ? 6 : 3;
    for (let seconds = 0; seconds <= SPAN_MS / 1000; seconds += every) {
      const text = seconds === 0 ? "now" : `${seconds} s ago`;
      const at = x(now - seconds * 1000);
      const wide = context.measureText(text).width;
      context.fillText(text, Math.min(Math.max(at - wide / 2, LABEL), width - wide), foot);
    }
  }
}

function line(context, fromX, fromY, toX, toY) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}
