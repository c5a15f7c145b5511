// A trace as a waterfall: spans in the order of the tree, bars in the order of time.

const DEPTH_SHOWN_MAX = 12;

const nanoseconds = (text) => BigInt(text ?? 0);
const milliseconds = (from, to) => Number(to - from) / 1e6;

function byStart(one, other) {
  return nanoseconds(one.startUnixNano) < nanoseconds(other.startUnixNano) ? -1 : 1;
}

/** Pairs of span and depth. A span whose parent never came stands at the root. */
function inTreeOrder(spans) {
  const known = new Set(spans.map((span) => span.spanId));
  const children = new Map();
  for (const span of spans) {
    const parent = known.has(span.parentSpanId) ? span.parentSpanId : "";
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(span);
  }
  const rows = [];
  const visit = (parent, depth) => {
    for (const span of (children.get(parent) ?? []).sort(byStart)) {
      rows.push([span, depth]);
      visit(span.spanId, depth + 1);
    }
  };
  visit("", 0);
  return rows;
}

function element(className, words) {
  const made = document.createElement("span");
  made.className = className;
  if (words) made.textContent = words;
  return made;
}

function row(span, depth, first, whole) {
  const start = nanoseconds(span.startUnixNano);
  const took = milliseconds(start, nanoseconds(span.endUnixNano));
  const name = element("name", `${span.service} ${span.name}`);
  name.style.paddingLeft = `${Math.min(depth, DEPTH_SHOWN_MAX) * 0.6}rem`;
  name.title = span.error ? `${name.textContent}: ${span.error}` : name.textContent;
  const bar = element("bar");
  bar.style.left = `${(milliseconds(first, start) / whole) * 100}%`;
  bar.style.width = `${(took / whole) * 100}%`;
  const lane = element("lane");
  lane.append(bar);
  const line = document.createElement("div");
  line.className = span.status === "error" ? "span failed" : "span";
  line.append(name, lane, element("took", `${took.toFixed(1)} ms`));
  return line;
}

/** Fills `target` with one row a span. */
export function renderTrace(target, spans) {
  if (spans.length === 0) {
    target.textContent = "no spans were kept for this delivery";
    return;
  }
  const starts = spans.map((span) => nanoseconds(span.startUnixNano));
  const ends = spans.map((span) => nanoseconds(span.endUnixNano));
  const first = starts.reduce((a, b) => (a < b ? a : b));
  const last = ends.reduce((a, b) => (a > b ? a : b));
  const whole = Math.max(milliseconds(first, last), 0.001);
  const rows = inTreeOrder(spans);
  target.replaceChildren(...rows.map(([span, depth]) => row(span, depth, first, whole)));
}
