// Numbers and times for people.

export function cpuTime(nanos) {
  if (nanos === 0) return "0 s";
  if (nanos >= 1e9) return `${digits(nanos / 1e9)} s`;
  if (nanos >= 1e6) return `${digits(nanos / 1e6)} ms`;
  return `${digits(nanos / 1e3)} µs`;
}

function digits(value) {
  return value.toLocaleString("en-US", { maximumFractionDigits: value < 10 ? 2 : value < 100 ? 1 : 0 });
}

export function percent(part, whole) {
  if (!(whole > 0) || part === 0) return "0 %";
  const value = (100 * part) / whole;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  return `${value.toFixed(value < 10 ? 2 : 1)} %`;
}

export function count(value) {
  return value.toLocaleString("en-US");
}

export function cores(value) {
  return value.toFixed(value < 10 ? 2 : 1);
}

export function clock(ms, seconds = true) {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (seconds) options.second = "2-digit";
  return new Date(ms).toLocaleTimeString("en-GB", options);
}

export function duration(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
}

export function baseName(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}
