// The map: the city is drawn once per size, the drones once per frame that needs it.

import { drawCity, drawDrone, drawTrip, drawVehicle } from "./picture.js";
import { grown, heading, nearest, projection } from "./projection.js";

/** Pixels around a drone that count as on it. */
const NEAR = 14;
/** Phases in which a vehicle has nothing more to do. */
const DONE = new Set(["DroppedOff", "Failed"]);
const INKS = ["line", "faint", "move", "bad"];

/** Gives the page's colours as a canvas takes them: it does not resolve light-dark(), an element does. */
function inkwell() {
  const probe = document.body.appendChild(document.createElement("i"));
  const ink = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  return () => Object.fromEntries(INKS.map((name) => [name, ink(name)]));
}

/** A canvas that shows a city, its drones and vehicles; `onPick` hears of one that was clicked. */
export function createMap(canvas, onPick) {
  const backdrop = document.createElement("canvas");
  const drones = new Map(); // id -> {id, lat, lon, phase, battery, deliveryId, heading}
  const vehicles = new Map(); // deliveryId -> {deliveryId, carrier, lat, lon, phase, eta}
  let town = null;
  let shown = null; // The part of the world on the canvas: the streets, or a little more.
  let followed = null; // The delivery that is looked at.
  let waiting = false;

  const inks = inkwell();
  const ratio = () => devicePixelRatio || 1;
  const shownOnes = () => [...drones.values(), ...vehicles.values()];

  function redrawCity() {
    canvas.width = backdrop.width = Math.max(1, canvas.clientWidth * ratio());
    canvas.height = backdrop.height = Math.max(1, canvas.clientHeight * ratio());
    if (!town) return;
    drawCity(backdrop.getContext("2d"), projection(shown, canvas), town, ratio(), inks());
    draw();
  }

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawFrame(canvas.getContext("2d"));
    });
  }

  function drawFrame(context) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!town) return;
    context.drawImage(backdrop, 0, 0);
    const [place, colours, scale] = [projection(shown, canvas), inks(), ratio()];
    drawTrip(context, place, followed, scale, colours);
    const at = (one, show) => {
      context.save();
      context.translate(...place(one.lon, one.lat));
      show();
      context.restore();
    };
    for (const it of vehicles.values()) at(it, () => drawVehicle(context, it, scale, colours));
    const isFollowed = (drone) => drone.id === followed?.droneId;
    for (const it of drones.values()) at(it, () => drawDrone(context, it, isFollowed(it), scale, colours));
  }

  /** Grows the map where places need it, and draws what has changed. */
  function redraw(places) {
    if (!town) return;
    const before = shown;
    for (const [lon, lat] of places) shown = grown(shown, town.bounds, lon, lat);
    if (shown === before) draw();
    else redrawCity();
  }

  canvas.addEventListener("click", (event) => {
    if (!town) return;
    const at = [event.offsetX * ratio(), event.offsetY * ratio()];
    const picked = nearest(shownOnes(), projection(shown, canvas), at, NEAR * ratio());
    if (picked) onPick(picked);
  });
  new ResizeObserver(redrawCity).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawCity);

  return {
    /** Shows the streets of a city. */
    city(data) {
      town = data;
      shown = { ...data.bounds };
      for (const it of shownOnes()) shown = grown(shown, town.bounds, it.lon, it.lat);
      redrawCity();
    },
    /** Shows where a delivery goes and who carries it; none when it is null. */
    follow(delivery) {
      followed = delivery;
      const ends = [delivery?.pickup, delivery?.dropoff].filter(Boolean);
      redraw(ends.map((end) => [end.longitude, end.latitude]));
    },
    /** Takes in where drones are. */
    move(moved) {
      for (const drone of moved) {
        drone.heading = heading(drones.get(drone.id), drone);
        drones.set(drone.id, drone);
      }
      redraw(moved.map((drone) => [drone.lon, drone.lat]));
    },
    /** Takes in where vehicles are; those that are done leave. */
    drive(moved) {
      for (const vehicle of moved) {
        if (DONE.has(vehicle.phase)) vehicles.delete(vehicle.deliveryId);
        else vehicles.set(vehicle.deliveryId, vehicle);
      }
      redraw(moved.map((it) => [it.lon, it.lat]));
    },
    /** Forgets every drone and vehicle: a snapshot follows. */
    forget() {
      drones.clear();
      vehicles.clear();
    },
  };
}
