// Small helpers of all panels. Text from outside is only ever set as text.

export const byId = (id) => document.getElementById(id);

export const number = new Intl.NumberFormat("en");

// element("p", { className: "quiet" }, "text", other): a new element.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export const clockTime = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

// Each name has a colour of its own, from the palette of the style sheet.
export function hueOf(name) {
  let sum = 7;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 997;
  return `hue${sum % 6}`;
}

// Add to a list that keeps what it shows in view, unless somebody has scrolled away from its end.
export function appendTo(box, entry, most) {
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.append(entry);
  while (box.childElementCount > most) box.firstElementChild.remove();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

// A canvas in the screen's own resolution; returns what to draw with.
export function prepared(canvas, width, height) {
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// The colours of the style sheet, as they are now.
export function palette() {
  const styles = getComputedStyle(document.documentElement);
  return { colour: (name) => styles.getPropertyValue(name).trim(), font: styles.fontFamily };
}
