// What somebody should look at, by its reason: asked for now and then, rows keyed by id so that clicks
// and focus survive a change.

const EVERY_MS = 3000;

/** What a row says about when and how often. */
export function heard(group) {
  const first = new Date(group.firstSeen).toLocaleString();
  if (group.count <= 1) return first;
  const last = new Date(group.lastSeen).toLocaleString();
  return `${group.count} times, first ${first}, last ${last}`;
}

/** What a row says has happened: of many, what they have in common and the latest. */
export function said(group) {
  const { latest } = group;
  return group.alerts > 1 ? `${group.reason} (${group.alerts}); latest: ${latest.text}` : latest.text;
}

/** Which rows to take away, and the ids in the order in which they are shown. */
export function plan(shown, alerts) {
  const ids = alerts.map((it) => it.id);
  return { gone: shown.filter((id) => !ids.includes(id)), ids };
}

function rowOf(alert, acknowledge) {
  const row = document.createElement("li");
  row.dataset.alert = alert.id;
  const text = document.createElement("span");
  const when = document.createElement("small");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "I look after it";
  button.addEventListener("click", () => acknowledge(alert.id));
  row.append(text, when, button);
  return row;
}

function fill(row, alert) {
  row.className = alert.severity;
  row.children[0].textContent = said(alert);
  row.children[1].textContent = heard(alert);
}

/** Shows alerts in `section`, and asks again and again. */
export function showAlerts(section) {
  const list = section.querySelector("ol");
  const rows = new Map();

  async function acknowledge(id) {
    await fetch(`api/alertgroups/${encodeURIComponent(id)}/acknowledgement`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ actor: "page" }),
    });
    await look();
  }

  async function look() {
    const answer = await fetch("api/alertgroups");
    if (!answer.ok) return;
    const alerts = await answer.json();
    const { gone } = plan([...rows.keys()], alerts);
    for (const id of gone) {
      rows.get(id).remove();
      rows.delete(id);
    }
    for (const [at, alert] of alerts.entries()) {
      const row = rows.get(alert.id) ?? rowOf(alert, acknowledge);
      rows.set(alert.id, row);
      fill(row, alert);
      if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
    }
    section.hidden = alerts.length === 0;
  }

  const again = () => look().catch(() => {}).finally(() => setTimeout(again, EVERY_MS));
  again();
}
