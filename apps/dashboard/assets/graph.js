// The picture: services in columns, from callers on the left to the called on the right. Where each
// stands is the server's word, so that the same system looks the same everywhere.

const SPACE = "http://www.w3.org/2000/svg";
const NODE = { width: 220, height: 56 };
const GAP = { column: 370, row: 22 };
const MARGIN = 20;
/** A label is one line of text on the last, level piece of its edge, so that none covers another. */
const LABEL = { letter: 6.5, pad: 8, height: 19, step: 21 };
const TIP = 16;
/** How far an edge that leads back goes below the services. */
const BELOW = 40;
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

/** Edges that end at a service come in one below the other, in the order of where they begin. */
function arrivals(edges) {
  const arriving = new Map();
  for (const edge of edges) {
    if (!arriving.has(edge.destination)) arriving.set(edge.destination, []);
    arriving.get(edge.destination).push(edge);
  }
  return arriving;
}

/** Where every service stands: its middle and its height. Columns are centred on the highest one. */
function arrange(services, arriving) {
  const heightOf = ({ name }) =>
    Math.max(NODE.height, (arriving.get(name)?.length ?? 0) * LABEL.step + 14);
  const columns = [];
  for (const service of services.filter((it) => it.layer != null)) {
    (columns[service.layer] ??= []).push(service);
  }
  const tall = (column) => column.reduce((sum, it) => sum + heightOf(it) + GAP.row, -GAP.row);
  const highest = Math.max(0, ...columns.map(tall));
  const inside = Math.max(columns.length * (NODE.width + GAP.column) - GAP.column, 4 * (NODE.width + GAP.row));
  const places = new Map();
  // What the columns leave of the width is left on both sides.
  let left = MARGIN + (inside - (columns.length * (NODE.width + GAP.column) - GAP.column)) / 2;
  for (const column of columns) {
    let top = MARGIN + (highest - tall(column)) / 2;
    for (const service of column.sort((one, other) => one.row - other.row)) {
      const height = heightOf(service);
      places.set(service.name, { x: left + NODE.width / 2, y: top + height / 2, height });
      top += height + GAP.row;
    }
    left += NODE.width + GAP.column;
  }
  return { places, inside, bottom: MARGIN + highest };
}

/** Puts those that neither call nor are called in rows below; gives where they end. */
function arrangeApart(services, places, inside, top) {
  const step = NODE.width + GAP.row;
  const perRow = Math.max(1, Math.floor((inside + GAP.row) / step));
  for (const { name, row } of services) {
    const down = Math.floor(row / perRow) * (NODE.height + GAP.row);
    const x = MARGIN + NODE.width / 2 + (row % perRow) * step;
    places.set(name, { x, y: top + down + NODE.height / 2, height: NODE.height });
  }
  return top + Math.ceil(services.length / perRow) * (NODE.height + GAP.row) - GAP.row;
}

function words(edge) {
  const parts = [
    [rate(edge.requestsPerSecond), ""],
    [share(edge.errorShare), edge.errorShare > 0 ? "bad" : ""],
    [`p99 ${time(edge.p99Seconds)}`, "faint"],
  ];
  if (edge.requestsPerSecond === 0) parts.splice(0, 3, ["no calls now", "faint"]);
  if (edge.breakersOpen > 0) parts.unshift([`⊘ ${edge.breakersOpen} open`, "bad strong"]);
  return parts;
}

/** The way of an edge, and the middle of its label. One that leads back goes round below. */
function route(from, to, at, below, width) {
  const side = NODE.width / 2;
  if (to.x > from.x) {
    const [start, end] = [from.x + side, to.x - side - TIP / 2];
    const level = end - TIP - width;
    const bend = Math.min((level - start) / 2, 90);
    const path = `M${start},${from.y} C${start + bend},${from.y} ${level - bend},${at} ${level},${at} H${end}`;
    return { path, x: end - TIP - width / 2, y: at };
  }
  const [start, end] = [from.x - side / 2, to.x + side / 2];
  const [leave, arrive] = [from.y + from.height / 2, to.y + to.height / 2 + TIP / 2];
  const path = `M${start},${leave} C${start},${below} ${start},${below} ${(start + end) / 2},${below} S${end},${below} ${end},${arrive}`;
  return { path, x: (start + end) / 2, y: below };
}

/** The line of an edge and its label. */
function drawEdge(edge, from, to, at, below, isSelected) {
  const parts = words(edge);
  const letters = parts.reduce((sum, it) => sum + it[0].length, 3 * (parts.length - 1));
  const width = letters * LABEL.letter + 2 * LABEL.pad;
  const { path, x, y } = route(from, to, at, below, width);
  const isIdle = edge.requestsPerSecond === 0;
  const kind = edge.breakersOpen > 0 ? "open" : edge.errorShare > 0 ? "failing" : isIdle ? "idle" : "well";
  const thickness = 1.5 + Math.min(2.5, Math.log10(1 + edge.requestsPerSecond) * 1.2);
  const common = { class: `${kind}${isSelected ? " selected" : ""}`, "data-edge": nameOf(edge) };
  const line = make("g", { ...common, class: `edge ${common.class}` });
  line.append(
    make("path", { class: "reach", d: path }),
    make("path", { class: "line", d: path, "stroke-width": thickness.toFixed(2), "marker-end": `url(#tip-${kind})` }),
  );
  if (!isIdle) line.append(make("path", { class: "flow", d: path, "stroke-width": thickness.toFixed(2) }));
  const label = make("text", { x, y: y + 4 });
  parts.forEach(([said, className], index) => {
    if (index > 0) label.append(make("tspan", { class: "faint" }, " · "));
    label.append(make("tspan", { class: className }, said));
  });
  const box = { x: x - width / 2, y: y - LABEL.height / 2, width, height: LABEL.height, rx: LABEL.height / 2 };
  return [line, make("g", { ...common, class: `label ${common.class}` }, make("rect", box), label)];
}

function drawEdges(report, places, arriving, bottom, selected) {
  let below = bottom + BELOW;
  const drawn = [];
  for (const [name, edges] of arriving) {
    const to = places.get(name);
    // Who stands higher comes in higher, so that lines to one service do not cross.
    edges.sort((one, other) => places.get(one.source).y - places.get(other.source).y);
    edges.forEach((edge, index) => {
      const from = places.get(edge.source);
      const at = to.y + (index - (edges.length - 1) / 2) * LABEL.step;
      drawn.push(drawEdge(edge, from, to, at, below, nameOf(edge) === selected));
      if (to.x <= from.x) below += LABEL.step;
    });
  }
  return drawn;
}

function drawNode(service, place) {
  const [sign, word] = STATES[service.state];
  const [x, y] = [place.x - NODE.width / 2, place.y - place.height / 2];
  const node = make("g", { class: `node ${service.state}`, "data-service": service.name });
  node.append(
    make("title", {}, `${service.name}: ${word}, ${service.ready} of ${service.total} ready`),
    make("rect", { x, y, width: NODE.width, height: place.height, rx: 10 }),
    make("circle", { cx: x + 22, cy: place.y, r: 11 }),
    make("text", { class: "sign", x: x + 22, y: place.y + 5 }, sign),
    make("text", { class: "name", x: x + 42, y: place.y - 3 }, service.name),
    make("text", { class: "ready", x: x + 42, y: place.y + 15 },
      service.total ? `${service.ready}/${service.total} ready` : word),
  );
  return node;
}

function tips() {
  const tip = (kind) =>
    make("marker", { id: `tip-${kind}`, class: `tip ${kind}`, viewBox: "0 0 8 8", refX: 3, refY: 4,
      markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
    make("path", { d: "M0,0 L8,4 L0,8 z" }));
  return make("defs", {}, ...["well", "failing", "open", "idle"].map(tip));
}

/** Draws all anew; there are a few dozen things, and they keep their places. */
export function drawGraph(svg, report, selected) {
  const edges = report.edges.filter((it) => it.source !== it.destination);
  const arriving = arrivals(edges);
  const { places, inside, bottom } = arrange(report.services, arriving);
  const drawn = drawEdges(report, places, arriving, bottom, selected);
  const back = edges.filter((it) => places.get(it.destination).x <= places.get(it.source).x);
  let end = bottom + (back.length ? BELOW + back.length * LABEL.step : 0);
  const apart = report.services.filter((it) => it.layer == null);
  const parts = [tips()];
  if (apart.length) {
    const line = end + GAP.row;
    if (edges.length) {
      parts.push(
        make("line", { class: "rule", x1: MARGIN, x2: MARGIN + inside, y1: line, y2: line }),
        make("text", { class: "rule-name", x: MARGIN, y: line + 18 }, "no calls through the mesh"),
      );
    }
    end = arrangeApart(apart, places, inside, edges.length ? line + 30 : MARGIN);
  }
  parts.push(...drawn.map((it) => it[0]));
  parts.push(...report.services.map((it) => drawNode(it, places.get(it.name))));
  // Last: a line that passes must not strike a label out.
  parts.push(...drawn.map((it) => it[1]));
  const width = inside + 2 * MARGIN;
  svg.setAttribute("viewBox", `0 0 ${width} ${end + MARGIN}`);
  svg.style.maxWidth = `${width}px`;
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
