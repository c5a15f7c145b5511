import assert from "node:assert/strict";
import { test } from "node:test";

import { heard, plan, said } from "./alerts.js";

const once = {
  id: "g1",
  reason: "drone refused",
  count: 1,
  alerts: 1,
  firstSeen: "2026-01-01T10:00:00Z",
  lastSeen: "2026-01-01T11:30:00Z",
  latest: { text: "transaction d1/create: drone refused" },
};
const shown = (time) => new Date(time).toLocaleString();

test("what was heard once says when, what is heard again since when and how often", () => {
  assert.equal(heard(once), shown(once.firstSeen));
  const again = { ...once, count: 3 };
  assert.equal(heard(again), `3 times, first ${shown(once.firstSeen)}, last ${shown(once.lastSeen)}`);
});

test("one alert is told in its own words, many by their reason and the latest", () => {
  assert.equal(said(once), once.latest.text);
  assert.equal(said({ ...once, count: 3 }), once.latest.text);
  assert.equal(said({ ...once, alerts: 2 }), `drone refused (2); latest: ${once.latest.text}`);
});

test("rows go whose alert is gone, and those that stay are kept in the order that is told", () => {
  const alerts = [{ id: "b" }, { id: "c" }, { id: "a" }];
  assert.deepEqual(plan([], alerts), { gone: [], ids: ["b", "c", "a"] });
  assert.deepEqual(plan(["a", "x", "b"], alerts), { gone: ["x"], ids: ["b", "c", "a"] });
  assert.deepEqual(plan(["a", "b"], []), { gone: ["a", "b"], ids: [] });
});
