// What the map's things look like: the city, a trip, a drone, a vehicle. Each draws on the context that
// it is given; `ratio` is the pixels of the canvas for one of the page, `inks` are its colours.

import { points } from "./projection.js";

const CHARGE_LOW = 0.2;
const AT_BASE = new Set(["Idle", "Assigned", "Charging"]);

/** What stands beside a vehicle: whose it is, and when it is expected. */
export function caption(vehicle) {
  if (!vehicle.eta) return vehicle.carrier;
  const at = new Date(vehicle.eta).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return `${vehicle.carrier} ${at}`;
}

/** The ink of a drone: bad when it needs a person or power, faint on its base. */
export function inkOf(drone) {
  if (drone.phase === "Failed" || drone.battery < CHARGE_LOW) return "bad";
  return AT_BASE.has(drone.phase) ? "faint" : "move";
}

function path(context, place, numbers) {
  context.beginPath();
  // The first of a path is moved to, whatever it is called.
  for (const [lon, lat] of points(numbers)) context.lineTo(...place(lon, lat));
}

/** Buildings, water and streets. */
export function drawCity(context, place, town, ratio, inks) {
  const fill = (shapes, ink, alpha) => {
    context.fillStyle = ink;
    context.globalAlpha = alpha;
    for (const shape of shapes) {
      path(context, place, shape);
      context.fill();
    }
  };
  fill(town.buildings, inks.line, 0.45);
  fill(town.water, inks.move, 0.25);
  context.lineJoin = context.lineCap = "round";
  for (const street of town.streets) {
    const wide = street.class >= 2;
    context.strokeStyle = wide ? inks.faint : inks.line;
    context.globalAlpha = wide ? 0.55 : 0.9;
    context.lineWidth = (0.6 + street.class * 0.8) * ratio;
    path(context, place, street.points);
    context.stroke();
  }
}

/** From door to door of the delivery that is looked at. */
export function drawTrip(context, place, delivery, ratio, inks) {
  if (!delivery?.pickup || !delivery.dropoff) return;
  const from = place(delivery.pickup.longitude, delivery.pickup.latitude);
  const to = place(delivery.dropoff.longitude, delivery.dropoff.latitude);
  context.strokeStyle = context.fillStyle = inks.move;
  context.lineWidth = 2 * ratio;
  context.setLineDash([6 * ratio, 5 * ratio]);
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.arc(...from, 4 * ratio, 0, 2 * Math.PI);
  context.stroke();
  context.beginPath();
  context.arc(...to, 4 * ratio, 0, 2 * Math.PI);
  context.fill();
}

/** A drone where the context stands; the one that is followed has a ring. */
export function drawDrone(context, drone, isFollowed, ratio, inks) {
  if (isFollowed) {
    context.strokeStyle = inks.move;
    context.lineWidth = 2 * ratio;
    context.beginPath();
    context.arc(0, 0, 12 * ratio, 0, 2 * Math.PI);
    context.stroke();
  }
  context.fillStyle = inks[inkOf(drone)];
  context.globalAlpha = AT_BASE.has(drone.phase) ? 0.6 : 1;
  context.rotate(drone.heading);
  context.beginPath();
  context.moveTo(0, -7 * ratio);
  context.lineTo(4.5 * ratio, 5 * ratio);
  context.lineTo(-4.5 * ratio, 5 * ratio);
  context.closePath();
  context.fill();
}

/** A carrier's vehicle where the context stands, with its caption. */
export function drawVehicle(context, vehicle, ratio, inks) {
  context.fillStyle = vehicle.phase === "Booked" ? inks.faint : inks.move;
  context.fillRect(-5 * ratio, -4 * ratio, 10 * ratio, 8 * ratio);
  context.font = `${11 * ratio}px sans-serif`;
  context.fillText(caption(vehicle), 8 * ratio, 4 * ratio);
}
