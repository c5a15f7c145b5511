// What the page Queues says of numbers: no document, no network, so that it can be tried alone.

export const count = (number) => number.toLocaleString("en");
export const rate = (perSecond) =>
  perSecond == null ? "–" : `${perSecond >= 100 ? Math.round(perSecond) : perSecond.toFixed(1)}/s`;

/** A time for people: the two largest of its parts. */
export function time(seconds) {
  if (seconds == null) return "–";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const parts = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  const whole = Math.round(seconds);
  const first = parts.findIndex(([, size]) => whole >= size);
  const [unit, size] = parts[first];
  const [below, small] = parts[first + 1];
  const rest = Math.floor((whole % size) / small);
  return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${below}` : ""}`;
}

/** When nothing waits any more: in words where that is no time. */
export function drain(row) {
  if (row.lag === 0) return "nothing waits";
  if (row.drainSeconds != null) return time(row.drainSeconds);
  if (row.donePerSecond == null) return "–";
  return row.members === 0 ? "nobody reads" : row.donePerSecond > 0 ? "it grows" : "it stands";
}

/** Whether somebody should look at a group: it is behind and does not catch up. */
export const isStuck = (row) => row.lag > 0 && row.donePerSecond != null && row.drainSeconds == null;

export const nameOf = (row) => `${row.group}@${row.topic}`;

/** The figures at the top. */
export function totals(report) {
  const sum = (rows, of) => rows.reduce((all, it) => all + of(it), 0);
  return {
    topics: report.topics.length,
    waiting: sum(report.groups, (it) => it.lag),
    oldest: report.groups.reduce((most, it) => Math.max(most, it.lag > 0 ? it.lagSeconds : 0), 0),
    letters: sum(report.letters, (it) => it.letters),
  };
}
