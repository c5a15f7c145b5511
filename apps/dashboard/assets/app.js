// The live page: one stream of events in, a canvas and two lists out. No framework, no build.
// What is selected stands in the address, so that a page can be shared and gone back from.
import { showAlerts } from "./alerts.js";
import { createMap } from "./map.js";
import { renderTrace } from "./trace.js";

const LISTED_MAX = 200;
const KEPT_MAX = 5000;

const byId = (id) => document.getElementById(id);
const deliveries = new Map(); // id -> {id, stage, failedStep, reason, droneId}; the newest is last.
const find = byId("find");
const link = byId("link");
const map = createMap(document.querySelector("#map canvas"), (carrier) => {
  if (carrier.deliveryId) select(carrier.deliveryId);
});

// Words of the stages as the contracts write them, and of what lies beside them.
const STAGES = {
  Accepted: ["accepted", ""],
  Created: ["scheduled", ""],
  Rescheduled: ["rescheduled", ""],
  HeadedToPickup: ["on the way to the sender", "moving"],
  HeadedToDropoff: ["on the way to the recipient", "moving"],
  Completed: ["delivered", "done"],
  Cancelled: ["cancelled", "bad"],
  Failed: ["failed", "bad"],
  Parked: ["waits for a person", "parked"],
};

function text(tag, value, className) {
  const element = document.createElement(tag);
  element.textContent = value;
  if (className) element.className = className;
  return element;
}

function words(delivery) {
  const [word] = STAGES[delivery.stage] ?? [delivery.stage];
  const why = delivery.reason ?? delivery.failedStep;
  return why ? `${word}: ${why}` : word;
}

function stageOf(delivery) {
  const [, className] = STAGES[delivery.stage] ?? ["", ""];
  return text("span", words(delivery), `stage ${className}`);
}

function row(delivery) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(stageOf(delivery), text("span", delivery.id, "id"));
  button.addEventListener("click", () => select(delivery.id));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

let drawing = false;
function drawList() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const wanted = find.value.trim().toLowerCase();
    const rows = [];
    for (const delivery of [...deliveries.values()].reverse()) {
      if (rows.length === LISTED_MAX) break;
      const searched = `${delivery.id} ${delivery.stage} ${words(delivery)}`.toLowerCase();
      if (searched.includes(wanted)) rows.push(row(delivery));
    }
    byId("list").replaceChildren(...rows);
  });
}

function take(changed) {
  for (const delivery of changed) {
    deliveries.delete(delivery.id);
    deliveries.set(delivery.id, delivery);
    if (delivery.id === selected()) show(delivery.id);
  }
  while (deliveries.size > KEPT_MAX) deliveries.delete(deliveries.keys().next().value);
  drawList();
}

function showTotals(counts) {
  for (const cell of document.querySelectorAll("[data-total]")) {
    cell.textContent = (counts[cell.dataset.total] ?? 0).toLocaleString();
  }
}

function selected() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // An address that somebody mistyped.
  }
}

function select(id) {
  location.hash = encodeURIComponent(id);
}

/** What is there, or null; the line at the top says when the server is gone. */
async function read(path) {
  try {
    const answer = await fetch(path);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** Fills the panel; an answer that comes after something else was selected is dropped. */
async function show(id) {
  const query = encodeURIComponent(id);
  const delivery = await read(`api/deliveries/${query}`);
  if (selected() !== id) return;
  byId("detail").hidden = false;
  byId("detail-id").textContent = id;
  const state = delivery ? stageOf(delivery) : text("span", "nothing was heard of it yet");
  byId("detail-state").replaceChildren(state);
  byId("events").replaceChildren(...(delivery?.events ?? []).map(line));
  map.follow(delivery);
  const traced = await read(`api/traces?delivery=${query}`);
  if (selected() === id) renderTrace(byId("trace"), traced?.spans ?? []);
}

function line(event) {
  const time = text("time", new Date(event.at).toLocaleTimeString());
  time.dateTime = event.at;
  const item = document.createElement("li");
  item.append(time, text("span", event.detail ? `${event.kind}: ${event.detail}` : event.kind));
  return item;
}

function showSelected() {
  if (selected()) {
    show(selected());
  } else {
    byId("detail").hidden = true;
    map.follow(null);
  }
}

function say(words, className) {
  link.textContent = words;
  link.className = className;
}

function listen() {
  const stream = new EventSource("api/stream");
  const on = (name, taken) =>
    stream.addEventListener(name, (event) => taken(JSON.parse(event.data)));
  stream.onopen = () => say("live", "");
  // The browser connects again by itself; the first event is then a whole snapshot.
  stream.onerror = () => say("connection lost, trying again", "lost");
  on("snapshot", (all) => {
    deliveries.clear();
    map.forget();
    map.move(all.drones);
    map.drive(all.vehicles);
    take(all.deliveries);
    showTotals(all.totals);
  });
  on("drones", map.move);
  on("vehicles", map.drive);
  on("deliveries", take);
  on("totals", showTotals);
}

find.addEventListener("input", drawList);
byId("close").addEventListener("click", () => {
  history.pushState(null, "", location.pathname);
  showSelected();
});
addEventListener("hashchange", showSelected);
listen();
showSelected();
showAlerts(byId("alerts"));
const city = await read("city.json");
if (city) map.city(city);
