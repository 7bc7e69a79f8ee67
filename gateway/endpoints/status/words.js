// Numbers as people read them. Each takes null for what is not known.

const UNKNOWN = "–";
const count = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export function whole(number) {
  return number === null ? UNKNOWN : count.format(number);
}

export function rate(number) {
  return number === null ? UNKNOWN : short.format(number);
}

export function bytes(number) {
  if (number === null) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${short.format(number)} ${units[unit]}`;
}

/** A duration of seconds as one shows it that goes on: 4s, 3m 12s, 2h 5m, 1d 3h. */
export function age(seconds) {
  if (seconds === null) return UNKNOWN;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
  return `${Math.floor(whole / 86400)}d ${Math.floor((whole % 86400) / 3600)}h`;
}

/** A short time, of seconds: 4 ms, 1.2 s. */
export function latency(seconds) {
  if (seconds === null) return UNKNOWN;
  return seconds < 1 ? `${short.format(seconds * 1000)} ms` : `${short.format(seconds)} s`;
}
