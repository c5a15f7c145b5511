// The map: the city is drawn once per size, the drones once per frame that needs it.

const CHARGE_LOW = 0.2;
/** Pixels around a drone that count as on it. */
const NEAR = 14;
/** How far past the streets the map may grow, as a share of their extent, to show a drone. */
const GROW_MAX = 0.6;
const AT_BASE = new Set(["Idle", "Assigned", "Charging"]);

/** Phases in which a vehicle has nothing more to do. */
const DONE = new Set(["DroppedOff", "Failed"]);

/** What stands beside a vehicle: whose it is, and when it is expected. */
export function caption(vehicle) {
  if (!vehicle.eta) return vehicle.carrier;
  const at = new Date(vehicle.eta).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return `${vehicle.carrier} ${at}`;
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

  // Canvas does not resolve light-dark(); an element does.
  const probe = document.body.appendChild(document.createElement("i"));
  const ink = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const inks = () => ({
    line: ink("--line"), faint: ink("--faint"), move: ink("--move"), bad: ink("--bad"),
  });

  /** Gives the function from degrees to pixels. */
  function projection() {
    const { west, south, east, north } = shown;
    // A degree of longitude is shorter than one of latitude, the more the further north.
    const narrow = Math.cos(((south + north) / 2) * Math.PI / 180);
    const [width, height] = [(east - west) * narrow, north - south];
    const scale = Math.min(canvas.width / width, canvas.height / height) * 0.94;
    const left = (canvas.width - width * scale) / 2;
    const top = (canvas.height - height * scale) / 2;
    return (lon, lat) => [left + (lon - west) * narrow * scale, top + (north - lat) * scale];
  }

  /** Points are millionths of a degree: the first as it is, each other from the one before. */
  function path(context, place, numbers) {
    let [lon, lat] = [0, 0];
    context.beginPath();
    for (let index = 0; index < numbers.length; index += 2) {
      lon += numbers[index];
      lat += numbers[index + 1];
      const [x, y] = place(lon / 1e6, lat / 1e6);
      if (index === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
  }

  function drawCity() {
    const ratio = devicePixelRatio || 1;
    canvas.width = backdrop.width = Math.max(1, canvas.clientWidth * ratio);
    canvas.height = backdrop.height = Math.max(1, canvas.clientHeight * ratio);
    if (!town) return;
    const [context, place, colours] = [backdrop.getContext("2d"), projection(), inks()];
    const fill = (shapes, colour, alpha) => {
      context.fillStyle = colour;
      context.globalAlpha = alpha;
      for (const shape of shapes) {
        path(context, place, shape);
        context.fill();
      }
    };
    fill(town.buildings, colours.line, 0.45);
    fill(town.water, colours.move, 0.25);
    context.lineJoin = context.lineCap = "round";
    for (const street of town.streets) {
      const wide = street.class >= 2;
      context.strokeStyle = wide ? colours.faint : colours.line;
      context.globalAlpha = wide ? 0.55 : 0.9;
      context.lineWidth = (0.6 + street.class * 0.8) * ratio;
      path(context, place, street.points);
      context.stroke();
    }
    draw();
  }

  function drawTrip(context, place, ratio, colour) {
    if (!followed?.pickup || !followed.dropoff) return;
    const from = place(followed.pickup.longitude, followed.pickup.latitude);
    const to = place(followed.dropoff.longitude, followed.dropoff.latitude);
    context.strokeStyle = context.fillStyle = colour;
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

  function drawDrone(context, drone, ratio, colours) {
    if (drone.id === followed?.droneId) {
      context.strokeStyle = colours.move;
      context.lineWidth = 2 * ratio;
      context.beginPath();
      context.arc(0, 0, 12 * ratio, 0, 2 * Math.PI);
      context.stroke();
    }
    const atBase = AT_BASE.has(drone.phase);
    const troubled = drone.phase === "Failed" || drone.battery < CHARGE_LOW;
    context.fillStyle = troubled ? colours.bad : atBase ? colours.faint : colours.move;
    context.globalAlpha = atBase ? 0.6 : 1;
    context.rotate(drone.heading);
    context.beginPath();
    context.moveTo(0, -7 * ratio);
    context.lineTo(4.5 * ratio, 5 * ratio);
    context.lineTo(-4.5 * ratio, 5 * ratio);
    context.closePath();
    context.fill();
  }

  function drawVehicle(context, vehicle, ratio, colours) {
    context.fillStyle = vehicle.phase === "Booked" ? colours.faint : colours.move;
    context.fillRect(-5 * ratio, -4 * ratio, 10 * ratio, 8 * ratio);
    context.font = `${11 * ratio}px sans-serif`;
    context.fillText(caption(vehicle), 8 * ratio, 4 * ratio);
  }

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, canvas.width, canvas.height);
      if (!town) return;
      context.drawImage(backdrop, 0, 0);
      const [place, colours, ratio] = [projection(), inks(), devicePixelRatio || 1];
      drawTrip(context, place, ratio, colours.move);
      const at = (carrier, show) => {
        context.save();
        context.translate(...place(carrier.lon, carrier.lat));
        show(context, carrier, ratio, colours);
        context.restore();
      };
      for (const vehicle of vehicles.values()) at(vehicle, drawVehicle);
      for (const drone of drones.values()) at(drone, drawDrone);
    });
  }

  /** Grows the map to hold a place a little outside. Gives whether it grew. */
  function include(lon, lat) {
    const { west, south, east, north } = town.bounds;
    const [wide, high] = [(east - west) * GROW_MAX, (north - south) * GROW_MAX];
    const grown = {
      west: Math.max(Math.min(shown.west, lon), west - wide),
      south: Math.max(Math.min(shown.south, lat), south - high),
      east: Math.min(Math.max(shown.east, lon), east + wide),
      north: Math.min(Math.max(shown.north, lat), north + high),
    };
    const grew = Object.keys(grown).some((side) => grown[side] !== shown[side]);
    shown = grown;
    return grew;
  }

  function heading(before, drone) {
    const [east, north] = before ? [drone.lon - before.lon, drone.lat - before.lat] : [0, 0];
    if (!east && !north) return before?.heading ?? 0;
    return Math.atan2(east * Math.cos(drone.lat * Math.PI / 180), north);
  }

  function redraw(places) {
    if (!town) return;
    const grew = places.map(([lon, lat]) => include(lon, lat)).some(Boolean);
    if (grew) drawCity();
    else draw();
  }

  const shownOnes = () => [...drones.values(), ...vehicles.values()];
  const places = () => shownOnes().map((it) => [it.lon, it.lat]);

  canvas.addEventListener("click", (event) => {
    if (!town) return;
    const [place, ratio] = [projection(), devicePixelRatio || 1];
    let [nearest, least] = [null, NEAR * ratio];
    for (const carrier of shownOnes()) {
      const [x, y] = place(carrier.lon, carrier.lat);
      const distance = Math.hypot(x - event.offsetX * ratio, y - event.offsetY * ratio);
      if (distance < least) [nearest, least] = [carrier, distance];
    }
    if (nearest) onPick(nearest);
  });
  new ResizeObserver(drawCity).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCity);

  return {
    /** Shows the streets of a city. */
    city(data) {
      town = data;
      shown = { ...data.bounds };
      for (const [lon, lat] of places()) include(lon, lat);
      drawCity();
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
