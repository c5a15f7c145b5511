import assert from "node:assert/strict";
import { test } from "node:test";

import { caption, inkOf } from "./picture.js";

test("a vehicle is captioned with its carrier, and with its time when it has one", () => {
  assert.equal(caption({ carrier: "acme", eta: null }), "acme");
  assert.match(caption({ carrier: "acme", eta: "2026-05-14T20:10:00Z" }), /^acme .*\d/);
});

test("a drone that needs somebody is bad, also on its base", () => {
  const drone = (phase, battery = 1) => inkOf({ phase, battery });
  assert.equal(drone("EnRouteToPickup"), "move");
  assert.equal(drone("Idle"), "faint");
  assert.equal(drone("Failed"), "bad");
  assert.equal(drone("EnRouteToPickup", 0.19), "bad");
  assert.equal(drone("Charging", 0.1), "bad");
  assert.equal(drone("Charging", 0.2), "faint");
});
