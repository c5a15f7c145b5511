// The page Topology: asks every two seconds, draws the picture, keeps the table. What is open stands in
// the address, so that it can be shared and gone back from.
import { STATES, drawGraph, nameOf, rate, share, sparkline, time } from "./graph.js";

const ASK_EVERY = 2000;

const byId = (id) => document.getElementById(id);
const body = document.querySelector("#edges tbody");
const link = byId("link");
const rows = new Map(); // name of the edge -> its row
let report = { services: [], edges: [], edgesDropped: 0 };

const selected = () => new URLSearchParams(location.search).get("edge");

function text(tag, words, className) {
  const element = document.createElement(tag);
  element.textContent = words;
  if (className) element.className = className;
  return element;
}

function select(name) {
  const address = new URL(location.href);
  if (name) address.searchParams.set("edge", name);
  else address.searchParams.delete("edge");
  if (address.href !== location.href) history.pushState(null, "", address);
  showSelected();
}

/** Whether a value is one that somebody should look at. */
const bad = (isBad) => (isBad ? "bad" : "");

function breakers(edge) {
  const known = edge.endpoints.length;
  if (edge.breakersOpen > 0) return text("span", `⊘ ${edge.breakersOpen} of ${known} open`, "bad strong");
  return text("span", known ? `${known} closed` : "–");
}

function fill(row, edge) {
  const name = nameOf(edge);
  const from = document.createElement("th");
  from.scope = "row";
  from.textContent = edge.source;
  const numbers = [
    [rate(edge.requestsPerSecond), ""],
    [share(edge.errorShare), bad(edge.errorShare > 0)],
    [time(edge.p50Seconds), ""],
    [time(edge.p99Seconds), ""],
  ].map(([words, className]) => text("td", words, `number ${className}`));
  const state = document.createElement("td");
  state.append(breakers(edge));
  const trend = document.createElement("td");
  trend.append(sparkline(edge.history));
  row.replaceChildren(from, text("td", edge.destination), ...numbers, state, trend);
  if (name === selected()) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
}

/** Only one row is a stop of the Tab key; the arrows lead to the others. */
function setStop(stop) {
  for (const row of rows.values()) row.tabIndex = row === stop ? 0 : -1;
}

function drawTable() {
  const known = new Set(report.edges.map(nameOf));
  for (const [name, row] of rows) {
    if (known.has(name)) continue;
    row.remove();
    rows.delete(name);
  }
  let before = null;
  for (const edge of report.edges) {
    const name = nameOf(edge);
    if (!rows.has(name)) {
      const row = document.createElement("tr");
      row.dataset.row = name;
      row.tabIndex = -1;
      rows.set(name, row);
    }
    const row = rows.get(name);
    // A row that stays where it is keeps the focus.
    const place = before ? before.nextSibling : body.firstChild;
    if (place !== row) body.insertBefore(row, place);
    fill(row, edge);
    before = row;
  }
  const all = [...rows.values()];
  if (!all.some((it) => it.tabIndex === 0)) setStop(rows.get(selected()) ?? body.firstElementChild);
  byId("edges").hidden = all.length === 0;
  byId("empty").hidden = all.length > 0;
  byId("dropped").hidden = report.edgesDropped === 0;
  byId("dropped").textContent = `${report.edgesDropped} more are not shown.`;
}

function showTotals() {
  const calls = report.edges.reduce((sum, it) => sum + it.requestsPerSecond, 0);
  const failed = report.edges.reduce((sum, it) => sum + it.requestsPerSecond * (it.errorShare ?? 0), 0);
  const well = report.services.filter((it) => it.state === "well").length;
  const open = report.edges.reduce((sum, it) => sum + it.breakersOpen, 0);
  const words = {
    services: `${well}/${report.services.length}`,
    calls: calls.toFixed(1),
    errors: calls > 0 ? share(failed / calls) : "–",
    breakers: open,
  };
  for (const [name, value] of Object.entries(words)) {
    const cell = document.querySelector(`[data-total=${name}]`);
    cell.textContent = value;
    cell.classList.toggle("bad", (name === "errors" && failed > 0) || (name === "breakers" && open > 0));
  }
}

function processesOf(name) {
  const service = report.services.find((it) => it.name === name);
  return (service?.processes ?? []).map((it) => {
    const silent = it.answers === false;
    const isWell = it.state === "ready" && !silent;
    const item = document.createElement("li");
    const [sign] = isWell ? STATES.well : STATES.down;
    const state = silent ? `${it.state}, does not answer` : it.answers === null ? `${it.state}, has no metrics` : it.state;
    item.append(text("span", sign, isWell ? "sign good" : "sign bad"), text("span", it.instance), text("span", state, "faint"));
    return item;
  });
}

function endpoint(it) {
  const item = document.createElement("li");
  const of = it.callers > 1 ? ` for ${it.open} of ${it.callers} callers` : "";
  item.append(
    text("span", it.open ? "⊘" : "✓", it.open ? "sign bad" : "sign good"),
    text("span", it.name),
    text("span", it.open ? `breaker open${of}` : "breaker closed", it.open ? "bad" : "faint"),
  );
  return item;
}

function drawDetail() {
  const name = selected();
  const edge = report.edges.find((it) => nameOf(it) === name);
  byId("detail").hidden = !name;
  if (!name) return;
  byId("detail-title").textContent = edge ? `${edge.source} → ${edge.destination}` : name;
  const numbers = edge
    ? [
        ["calls", rate(edge.requestsPerSecond)],
        ["failed", share(edge.errorShare)],
        ["half within (p50)", time(edge.p50Seconds)],
        ["99 of 100 within (p99)", time(edge.p99Seconds)],
        ["tried again", rate(edge.retriesPerSecond)],
        ["answered by the mesh", rate(edge.refusalsPerSecond)],
      ]
    : [["calls", "none was seen"]];
  byId("numbers").replaceChildren(
    ...numbers.map(([word, value]) => {
      const pair = document.createElement("div");
      pair.append(text("dt", word), text("dd", value));
      return pair;
    }),
  );
  const endpoints = (edge?.endpoints ?? []).map(endpoint);
  byId("endpoints").replaceChildren(...(endpoints.length ? endpoints : [text("li", "none is known", "faint")]));
  const ends = edge ? [edge.source, edge.destination].flatMap(processesOf) : [];
  byId("processes").replaceChildren(...(ends.length ? ends : [text("li", "none is listed", "faint")]));
}

function showSelected() {
  drawGraph(byId("graph"), report, selected());
  drawTable();
  drawDetail();
}

/** Closes the panel; the focus goes back to the row that opened it. */
function close() {
  const row = rows.get(selected());
  select(null);
  if (row) {
    setStop(row);
    row.focus();
  }
}

function say(words, className) {
  if (link.textContent === words) return;
  link.textContent = words;
  link.className = className;
}

async function ask() {
  try {
    const answer = await fetch("api/topology");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    report = await answer.json();
    say("live", "");
    showTotals();
    showSelected();
  } catch {
    say("connection lost, trying again", "lost");
  }
  setTimeout(ask, ASK_EVERY);
}

body.addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  const all = [...body.children];
  const at = all.indexOf(row);
  const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
  if (event.key in moves) {
    const next = all[Math.min(Math.max(moves[event.key], 0), all.length - 1)];
    setStop(next);
    next.focus();
  } else if (event.key === "Enter" || event.key === " ") {
    select(row.dataset.row);
    byId("detail-title").focus();
  } else {
    return;
  }
  event.preventDefault();
});
body.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  setStop(row);
  select(row.dataset.row);
});
byId("graph").addEventListener("click", (event) => {
  const edge = event.target.closest("[data-edge]");
  if (edge) select(edge.dataset.edge);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && selected()) close();
});
byId("close").addEventListener("click", close);
addEventListener("popstate", showSelected);
ask();
