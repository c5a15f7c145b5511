// The picture: services in columns, from callers on the left to the called on the right. Where each
// stands is the server's word, so that the same system looks the same everywhere.

const SPACE = "http://www.w3.org/2000/svg";
const NODE = { width: 164, height: 58 };
const GAP = { column: 236, row: 34 };
const EDGE_OF_PICTURE = 28;
const LABEL = { width: 104, line: 14 };
/** Where on its line a label may stand, the best first. */
const SPOTS = [0.56, 0.66, 0.46, 0.76, 0.36, 0.84, 0.26];
/** A state is told by a sign and a word, never by its colour alone. */
export const STATES = {
  well: ["✓", "well"],
  partly: ["!", "partly well"],
  down: ["✕", "down"],
  unknown: ["?", "not listed"],
};

export const nameOf = (edge) => `${edge.source}->${edge.destination}`;
export const rate = (perSecond) =>
  `${perSecond >= 100 ? Math.round(perSecond) : perSecond.toFixed(1)}/s`;
export const share = (value) =>
  value == null ? "–" : `${(value * 100).toFixed(value > 0 && value < 0.1 ? 2 : 1)} %`;
export const time = (seconds) => {
  if (seconds == null) return "–";
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  const milliseconds = seconds * 1000;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
};

function make(tag, attributes, ...children) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The middle of every service, and the size of all. Columns are centred on the highest one. */
function arrange(services) {
  const placed = services.filter((it) => it.layer != null);
  const apart = services.filter((it) => it.layer == null);
  const heights = new Map();
  for (const { layer, row } of placed) heights.set(layer, Math.max(heights.get(layer) ?? 0, row + 1));
  const step = { x: NODE.width + GAP.column, y: NODE.height + GAP.row };
  const highest = Math.max(1, ...heights.values());
  const columns = Math.max(1, heights.size);
  const width = Math.max(columns * step.x - GAP.column, 3 * (NODE.width + GAP.row)) + 2 * EDGE_OF_PICTURE;
  const middles = new Map();
  // What is left of the width is left on both sides.
  const left = (width - (columns * step.x - GAP.column)) / 2 + NODE.width / 2;
  for (const { name, layer, row } of placed) {
    const down = (highest - heights.get(layer)) / 2 + row;
    middles.set(name, { x: left + layer * step.x, y: EDGE_OF_PICTURE + NODE.height / 2 + down * step.y });
  }
  // Who calls nobody stands below, in rows.
  const perRow = Math.max(1, Math.floor((width - 2 * EDGE_OF_PICTURE + GAP.row) / (NODE.width + GAP.row)));
  const top = placed.length ? EDGE_OF_PICTURE + highest * step.y + 22 : EDGE_OF_PICTURE;
  for (const { name, row } of apart) {
    middles.set(name, {
      x: EDGE_OF_PICTURE + NODE.width / 2 + (row % perRow) * (NODE.width + GAP.row),
      y: top + NODE.height / 2 + Math.floor(row / perRow) * step.y,
    });
  }
  const rows = Math.ceil(apart.length / perRow);
  const height = (rows ? top + rows * step.y - GAP.row : top - 22 - GAP.row) + EDGE_OF_PICTURE;
  return { middles, width, height, line: rows && placed.length ? top - 28 : null };
}

/** The four points of the curve of an edge. One that leads back goes round below. */
function curve(from, to) {
  const half = NODE.width / 2;
  if (to.x > from.x) {
    const bend = Math.min((to.x - from.x - NODE.width) / 2, 130);
    const [start, end] = [[from.x + half, from.y], [to.x - half - 7, to.y]];
    return [start, [start[0] + bend, start[1]], [end[0] - bend, end[1]], end];
  }
  const start = [from.x, from.y + NODE.height / 2];
  const end = [to.x + half / 2, to.y + NODE.height / 2 + 7];
  const low = Math.max(start[1], end[1]) + 60;
  return [start, [start[0], low], [end[0], low], end];
}

function along([a, b, c, d], t) {
  const of = (axis) =>
    (1 - t) ** 3 * a[axis] + 3 * (1 - t) ** 2 * t * b[axis] + 3 * (1 - t) * t ** 2 * c[axis] + t ** 3 * d[axis];
  return { x: of(0), y: of(1) };
}

const overlaps = (one, other) =>
  Math.abs(one.x - other.x) * 2 < one.width + other.width &&
  Math.abs(one.y - other.y) * 2 < one.height + other.height;

/** The first spot on the line that covers nothing else; the best one where all do. */
function spot(points, height, taken) {
  const boxes = SPOTS.map((t) => ({ ...along(points, t), width: LABEL.width, height }));
  const box = boxes.find((it) => !taken.some((other) => overlaps(it, other))) ?? boxes[0];
  taken.push(box);
  return box;
}

function drawLabel(lines, box) {
  const { x, y, width, height } = box;
  const label = make("g", { class: "label" });
  label.append(make("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: 6 }));
  lines.forEach(([words, className], index) => {
    const down = y - height / 2 + 3 + LABEL.line * (index + 0.78);
    label.append(make("text", { x, y: down, class: className }, words));
  });
  return label;
}

function drawEdge(edge, middles, taken, isSelected) {
  const points = curve(middles.get(edge.source), middles.get(edge.destination));
  const [a, b, c, d] = points.map((it) => it.map((number) => number.toFixed(1)).join(","));
  const path = `M${a} C${b} ${c} ${d}`;
  const isOpen = edge.breakersOpen > 0;
  const isFailing = edge.errorShare > 0;
  const isIdle = edge.requestsPerSecond === 0;
  const kind = isOpen ? "open" : isFailing ? "failing" : isIdle ? "idle" : "well";
  const thickness = 1.5 + Math.min(3, Math.log10(1 + edge.requestsPerSecond) * 1.4);
  const lines = [[`${rate(edge.requestsPerSecond)} · ${share(edge.errorShare)}`, isFailing ? "bad" : ""]];
  if (edge.p99Seconds != null) lines.push([`p99 ${time(edge.p99Seconds)}`, "faint"]);
  if (isOpen) lines.push([`⊘ ${edge.breakersOpen} open`, "bad strong"]);
  const box = spot(points, lines.length * LABEL.line + 6, taken);
  const line = make("g", { class: `edge ${kind}${isSelected ? " selected" : ""}`, "data-edge": nameOf(edge) });
  line.append(
    make("path", { class: "reach", d: path }),
    make("path", { class: "line", d: path, "stroke-width": thickness.toFixed(2), "marker-end": `url(#tip-${kind})` }),
  );
  if (!isIdle) line.append(make("path", { class: "flow", d: path, "stroke-width": Math.max(1, thickness - 1).toFixed(2) }));
  return [line, drawLabel(lines, box)];
}

function drawNode(service, middle) {
  const [sign, word] = STATES[service.state];
  const [x, y] = [middle.x - NODE.width / 2, middle.y - NODE.height / 2];
  const node = make("g", { class: `node ${service.state}`, "data-service": service.name });
  node.append(
    make("title", {}, `${service.name}: ${word}, ${service.ready} of ${service.total} ready`),
    make("rect", { x, y, width: NODE.width, height: NODE.height, rx: 10 }),
    make("circle", { cx: x + 24, cy: middle.y, r: 11 }),
    make("text", { class: "sign", x: x + 24, y: middle.y + 5 }, sign),
    make("text", { class: service.name.length > 15 ? "name long" : "name", x: x + 44, y: middle.y - 3 }, service.name),
    make("text", { class: "ready", x: x + 44, y: middle.y + 15 },
      service.total ? `${service.ready}/${service.total} ready` : word),
  );
  return node;
}

function tips() {
  const tip = (kind) =>
    make("marker", { id: `tip-${kind}`, class: `tip ${kind}`, viewBox: "0 0 8 8", refX: 2, refY: 4,
      markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
    make("path", { d: "M0,0 L8,4 L0,8 z" }));
  return make("defs", {}, ...["well", "failing", "open", "idle"].map(tip));
}

/** Draws all anew; there are a few dozen things, and they keep their places. */
export function drawGraph(svg, report, selected) {
  const { middles, width, height, line } = arrange(report.services);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.maxWidth = `${width * 1.25}px`;
  const boxes = [...middles.values()].map((it) => ({ ...it, ...NODE }));
  const edges = report.edges.filter((it) => it.source !== it.destination);
  const drawn = edges.map((it) => drawEdge(it, middles, boxes, nameOf(it) === selected));
  const parts = [tips()];
  if (line != null) {
    parts.push(
      make("line", { class: "rule", x1: EDGE_OF_PICTURE, x2: width - EDGE_OF_PICTURE, y1: line, y2: line }),
      make("text", { class: "rule-name", x: EDGE_OF_PICTURE, y: line + 17 }, "no calls through the mesh"),
    );
  }
  parts.push(...drawn.map((it) => it[0]));
  parts.push(...report.services.map((it) => drawNode(it, middles.get(it.name))));
  parts.push(...drawn.map((it) => it[1]));
  svg.replaceChildren(...parts);
}

/** A line of the last minute, as high as its highest value. */
export function sparkline(history) {
  const [width, height] = [96, 20];
  const highest = Math.max(...history, 0.001);
  const step = width / Math.max(1, history.length - 1);
  const points = history.map((it, index) => `${(index * step).toFixed(1)},${(height - 1 - (it / highest) * (height - 3)).toFixed(1)}`);
  return make("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `at most ${rate(Math.max(...history, 0))}` },
  make("polyline", { points: points.join(" ") }));
}
