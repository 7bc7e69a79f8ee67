// The data of the last five minutes, and the values of the charts.

export const SPAN = 300; // seconds
const WINDOW = 15; // seconds whose first bytes make one quantile

export class History {
  constructor() {
    this.samples = [];
  }

  /** Keep the totals of an event that came at this time, in seconds. */
  add(at, totals) {
    const last = this.samples.at(-1);
    const fell = last && totals.bytes_out < last.totals.bytes_out;
    if (fell) this.samples.length = 0; // another process: its counts began anew
    this.samples.push({ at, totals });
    while (this.samples[0].at < at - SPAN - WINDOW) this.samples.shift();
  }

  /** Points of [time, value] of a number that goes up and down. */
  level(pick) {
    return this.samples.map(({ at, totals }) => [at, pick(totals)]);
  }

  /** Points of how much a count grew in a second; null where it is not known. */
  growth(pick) {
    return this.samples.slice(1).map(({ at, totals }, index) => {
      const before = this.samples[index];
      const [now, then] = [pick(totals), pick(before.totals)];
      const grew = now === null ? null : Math.max(0, now - (then ?? 0));
      return [at, grew === null ? null : grew / Math.max(at - before.at, 0.001)];
    });
  }

  /** Points of a quantile of the time to first byte, in seconds; null where nothing came. */
  quantile(part) {
    let from = 0;
    return this.samples.map(({ at, totals }) => {
      while (this.samples[from].at < at - WINDOW) from += 1;
      const before = this.samples[from].totals.first_bytes;
      const grew = totals.first_bytes.map((count, index) => Math.max(0, count - before[index]));
      return [at, quantile(grew, totals.bounds, part)];
    });
  }
}

/** As Prometheus reads a histogram: evenly spread within the bucket that it falls into. */
export function quantile(counts, bounds, part) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all === 0) return null;
  let left = part * all;
  for (const [index, count] of counts.entries()) {
    if (left <= count && count > 0) {
      if (index === bounds.length) break;
      const lower = index === 0 ? 0 : bounds[index - 1];
      return lower + (bounds[index] - lower) * (left / count);
    }
    left -= count;
  }
  return bounds.at(-1);
}
