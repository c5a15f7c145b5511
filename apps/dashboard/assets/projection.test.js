import assert from "node:assert/strict";
import { test } from "node:test";

import { grown, heading, nearest, points, projection } from "./projection.js";

const city = { west: 24, south: 60, east: 25, north: 60.5 };
const near = ([x, y], [a, b]) => assert.ok(Math.hypot(x - a, y - b) < 1e-6, `${[x, y]} is not ${[a, b]}`);

test("the area is in the middle, north up, with a margin", () => {
  const place = projection(city, { width: 1_000, height: 1_000 });
  near(place(24.5, 60.25), [500, 500]);
  const [[left, bottom], [right, top]] = [place(24, 60), place(25, 60.5)];
  assert.ok(left < right && top < bottom, "north is up, east is right");
  assert.ok(left >= 0 && top >= 0 && right <= 1_000 && bottom <= 1_000);
  // The longer side has six hundredths of margin.
  near([Math.max(right - left, bottom - top), 0], [940, 0]);
});

test("a degree of longitude is shorter than one of latitude", () => {
  const place = projection(city, { width: 1_000, height: 1_000 });
  const [east, north] = [place(24.6, 60.25)[0] - 500, 500 - place(24.5, 60.35)[1]];
  near([east / north, 0], [Math.cos(60.25 * Math.PI / 180), 0]);
});

test("the map grows to a place a little outside, and not to one far away", () => {
  assert.equal(grown(city, city, 24.5, 60.25), city, "what it holds changes nothing");
  assert.deepEqual(grown(city, city, 25.1, 60.2), { ...city, east: 25.1 });
  const most = grown(city, city, 100, -10);
  near([most.east, most.south], [25.6, 59.7]);
  assert.equal(grown(most, city, 100, -10), most, "it does not grow for ever");
  assert.deepEqual(grown({ ...city, east: 25.1 }, city, 24.5, 60.25), { ...city, east: 25.1 }, "it does not shrink");
});

test("a drone points where it flies, and where it flew while it stands", () => {
  const at = (lon, lat) => ({ lon, lat });
  assert.equal(heading(undefined, at(24, 60)), 0);
  assert.equal(heading(at(24, 60), at(24, 60.1)), 0);
  near([heading(at(24, 60), at(24.1, 60)), 0], [Math.PI / 2, 0]);
  near([heading(at(24, 60), at(24, 59.9)), 0], [Math.PI, 0]);
  assert.equal(heading({ ...at(24, 60), heading: 1.5 }, at(24, 60)), 1.5);
});

test("the nearest within reach is meant, and nobody out of it", () => {
  const place = (lon, lat) => [lon, lat];
  const ones = [{ id: "a", lon: 0, lat: 0 }, { id: "b", lon: 10, lat: 0 }];
  assert.equal(nearest(ones, place, [7, 0], 14).id, "b");
  assert.equal(nearest(ones, place, [4, 0], 14).id, "a");
  assert.equal(nearest(ones, place, [30, 0], 14), null);
  assert.equal(nearest([], place, [0, 0], 14), null);
});

test("a line is the first point and steps from it", () => {
  assert.deepEqual([...points([24_000_000, 60_000_000, 1_000_000, -500_000, 0, 0])], [[24, 60], [25, 59.5], [25, 59.5]]);
  assert.deepEqual([...points([])], []);
});
