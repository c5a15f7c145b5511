// The page Queues: asks every two seconds and keeps three tables. Rows are keyed, so that focus and
// clicks survive a change; letters are sent back after a second press of the same button.
import { count, drain, isStuck, nameOf, rate, time, totals } from "./backlog.js";

const ASK_EVERY = 2000;
/** A button that asks whether it is meant goes back to itself after so long. */
const MEANT_WITHIN = 6000;

const byId = (id) => document.getElementById(id);
const link = byId("link");

function cell(words, className) {
  const element = document.createElement("td");
  element.textContent = words;
  if (className) element.className = className;
  return element;
}

/** Rows of one table by their names; `fill` gives the cells of one. */
function keyed(table, empty, fill) {
  const body = table.querySelector("tbody");
  const rows = new Map();
  const setStop = (stop) => rows.forEach((row) => (row.tabIndex = row === stop ? 0 : -1));
  body.addEventListener("keydown", (event) => {
    // A button in a row has keys of its own.
    if (event.target.tagName !== "TR") return;
    const all = [...body.children];
    const at = all.indexOf(event.target);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
    if (!(event.key in moves)) return;
    const next = all[Math.min(Math.max(moves[event.key], 0), all.length - 1)];
    setStop(next);
    next.focus();
    event.preventDefault();
  });
  return (named) => {
    const known = new Set(named.map(([name]) => name));
    for (const [name, row] of rows) {
      if (known.has(name)) continue;
      row.remove();
      rows.delete(name);
    }
    let before = null;
    for (const [name, value] of named) {
      if (!rows.has(name)) {
        const row = document.createElement("tr");
        row.dataset.row = name;
        row.tabIndex = -1;
        rows.set(name, row);
      }
      const row = rows.get(name);
      const place = before ? before.nextSibling : body.firstChild;
      if (place !== row) body.insertBefore(row, place);
      fill(row, value);
      before = row;
    }
    const all = [...rows.values()];
    if (!all.some((it) => it.tabIndex === 0) && body.firstElementChild) setStop(body.firstElementChild);
    table.hidden = all.length === 0;
    empty.hidden = all.length > 0;
  };
}

function head(words) {
  const element = document.createElement("th");
  element.scope = "row";
  element.textContent = words;
  return element;
}

function fillGroup(row, it) {
  const behind = it.lag > 0 ? time(it.lagSeconds) : "–";
  const when = isStuck(it) ? `! ${drain(it)}` : drain(it);
  row.replaceChildren(
    head(it.group),
    cell(it.topic),
    cell(`${it.state}, ${it.members}`, it.members === 0 && it.lag > 0 ? "bad" : ""),
    cell(count(it.lag), "number"),
    cell(behind, "number"),
    cell(rate(it.donePerSecond), "number"),
    cell(when, `number ${isStuck(it) ? "bad" : ""}`),
  );
}

function fillTopic(row, it) {
  const numbers = [count(it.partitions), count(it.records), rate(it.arrivingPerSecond)];
  row.replaceChildren(head(it.name), ...numbers.map((words) => cell(words, "number")));
}

/** Sends the letters of a topic back, and says what came of it. */
async function redrive(topic) {
  const answer = await fetch(`api/queues/letters/${encodeURIComponent(topic)}/redrive`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  const said = await answer.json().catch(() => ({}));
  const words = answer.ok ? `${count(said.redriven)} sent back` : `not sent back: ${said.detail ?? answer.status}`;
  byId("done").textContent = `${topic}: ${words}.`;
}

function redriveButton(topic) {
  const button = document.createElement("button");
  button.type = "button";
  const rest = () => {
    button.textContent = "Send back";
    delete button.dataset.meant;
  };
  rest();
  button.addEventListener("click", async () => {
    if (!button.dataset.meant) {
      button.dataset.meant = "yes";
      button.textContent = "Really send back?";
      setTimeout(rest, MEANT_WITHIN);
      return;
    }
    rest();
    button.disabled = true;
    await redrive(topic).catch((error) => (byId("done").textContent = `${topic}: ${error}.`));
    button.disabled = false;
    button.focus();
  });
  return button;
}

function fillLetters(row, it) {
  if (row.children.length === 0) {
    const what = cell("");
    what.append(redriveButton(it.topic));
    row.append(head(it.topic), cell("", "number bad"), what);
  }
  row.children[1].textContent = count(it.letters);
}

const showGroups = keyed(byId("groups"), byId("no-groups"), fillGroup);
const showTopics = keyed(byId("topics"), byId("no-topics"), fillTopic);
const showLetters = keyed(byId("letters"), byId("no-letters"), fillLetters);

function show(report) {
  showGroups(report.groups.map((it) => [nameOf(it), it]));
  showTopics(report.topics.map((it) => [it.name, it]));
  showLetters(report.letters.map((it) => [it.topic, it]));
  byId("refused").hidden = report.groupsRefused == null;
  byId("refused").textContent = `The log tells this page nothing of groups: ${report.groupsRefused}.`;
  const sums = totals(report);
  const words = {
    topics: count(sums.topics),
    waiting: count(sums.waiting),
    oldest: sums.waiting > 0 ? time(sums.oldest) : "–",
    letters: count(sums.letters),
  };
  for (const [name, value] of Object.entries(words)) {
    const total = document.querySelector(`[data-total=${name}]`);
    total.textContent = value;
    total.classList.toggle("bad", name === "letters" && sums.letters > 0);
  }
}

function say(words, className) {
  if (link.textContent === words) return;
  link.textContent = words;
  link.className = className;
}

async function ask() {
  try {
    const answer = await fetch("api/queues");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    say("live", "");
  } catch {
    say("connection lost, trying again", "lost");
  }
  setTimeout(ask, ASK_EVERY);
}
ask();
