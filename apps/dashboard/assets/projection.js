// Where the world stands on the canvas. Pure: degrees in, pixels out.

/** How far past the streets the map may grow, as a share of their extent, to show a drone. */
const GROW_MAX = 0.6;
/** Share of the canvas that is used; the rest is margin. */
const USED = 0.94;

/** The function from degrees to pixels that shows an area as large as fits, in the middle. */
export function projection({ west, south, east, north }, canvas) {
  // A degree of longitude is shorter than one of latitude, the more the further north.
  const narrow = Math.cos(((south + north) / 2) * Math.PI / 180);
  const [width, height] = [(east - west) * narrow, north - south];
  const scale = Math.min(canvas.width / width, canvas.height / height) * USED;
  const left = (canvas.width - width * scale) / 2;
  const top = (canvas.height - height * scale) / 2;
  return (lon, lat) => [left + (lon - west) * narrow * scale, top + (north - lat) * scale];
}

/** The area that is shown, grown to hold a place a little outside of the streets; as it is when it does. */
export function grown(shown, streets, lon, lat) {
  const { west, south, east, north } = streets;
  const [wide, high] = [(east - west) * GROW_MAX, (north - south) * GROW_MAX];
  const area = {
    west: Math.max(Math.min(shown.west, lon), west - wide),
    south: Math.max(Math.min(shown.south, lat), south - high),
    east: Math.min(Math.max(shown.east, lon), east + wide),
    north: Math.min(Math.max(shown.north, lat), north + high),
  };
  return Object.keys(area).some((side) => area[side] !== shown[side]) ? area : shown;
}

/** Which way a drone flies, in radians from north to east; as before while it stands. */
export function heading(before, drone) {
  const [east, north] = before ? [drone.lon - before.lon, drone.lat - before.lat] : [0, 0];
  if (!east && !north) return before?.heading ?? 0;
  return Math.atan2(east * Math.cos(drone.lat * Math.PI / 180), north);
}

/** The one whose place is nearest to a point on the canvas, when it is within so many pixels of it. */
export function nearest(ones, place, [x, y], within) {
  let [found, least] = [null, within];
  for (const one of ones) {
    const [left, top] = place(one.lon, one.lat);
    const distance = Math.hypot(left - x, top - y);
    if (distance < least) [found, least] = [one, distance];
  }
  return found;
}

/** Points in degrees of a line in millionths: the first as it is, each other from the one before. */
export function* points(numbers) {
  let [lon, lat] = [0, 0];
  for (let index = 0; index < numbers.length; index += 2) {
    lon += numbers[index];
    lat += numbers[index + 1];
    yield [lon / 1e6, lat / 1e6];
  }
}
