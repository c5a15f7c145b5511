import assert from "node:assert/strict";
import { test } from "node:test";

import { count, drain, isStuck, nameOf, rate, time, totals } from "./backlog.js";

const row = { group: "billing", topic: "orders", members: 2, lag: 40, lagSeconds: 3, donePerSecond: 20, drainSeconds: 4 };

test("a time is told in its two largest parts", () => {
  assert.equal(time(null), "–");
  assert.equal(time(3.14), "3.1 s");
  assert.equal(time(59), "59 s");
  assert.equal(time(60), "1 min");
  assert.equal(time(3_725), "1 h 2 min");
  assert.equal(time(90_000), "1 d 1 h");
});

test("a drain that never ends is told in words", () => {
  assert.equal(drain({ ...row, lag: 0 }), "nothing waits");
  assert.equal(drain(row), "4.0 s");
  assert.equal(drain({ ...row, drainSeconds: null }), "it grows");
  assert.equal(drain({ ...row, drainSeconds: null, donePerSecond: 0 }), "it stands");
  assert.equal(drain({ ...row, drainSeconds: null, donePerSecond: 0, members: 0 }), "nobody reads");
  assert.equal(drain({ ...row, drainSeconds: null, donePerSecond: null }), "–");
});

test("a group that does not catch up is stuck, one that was seen once is not known", () => {
  assert.equal(isStuck(row), false);
  assert.equal(isStuck({ ...row, drainSeconds: null }), true);
  assert.equal(isStuck({ ...row, drainSeconds: null, donePerSecond: null }), false);
  assert.equal(isStuck({ ...row, lag: 0, drainSeconds: 0 }), false);
});

test("the figures at the top are sums, and the oldest is of what waits", () => {
  const idle = { ...row, lag: 0, lagSeconds: 99 };
  const report = { topics: [{}, {}], groups: [row, idle], letters: [{ letters: 2 }, { letters: 3 }] };
  assert.deepEqual(totals(report), { topics: 2, waiting: 40, oldest: 3, letters: 5 });
  assert.equal(nameOf(row), "billing@orders");
  assert.equal(count(1_234), "1,234");
  assert.equal(rate(null), "–");
});
