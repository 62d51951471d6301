// Numbers, durations and times for people.

const GROUPED = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export const whole = (number) => GROUPED.format(number || 0);

/** About three digits, with k, M, G. */
export function short(number) {
  if (number === null || number === undefined || Number.isNaN(number)) return '–';
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (Math.abs(number) >= size) {
      const scaled = number / (unit === 'k' ? 1e3 : size);
      return `${scaled.toFixed(scaled < 100 ? 1 : 0)} ${unit}`;
    }
  }
  if (Number.isInteger(number)) return whole(number);
  // Below one a second digit tells 0.25 from 0.3.
  if (Math.abs(number) < 1) return String(Number(number.toFixed(2)));
  return Math.abs(number) < 10 ? number.toFixed(1) : whole(number);
}

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms >= 60000) return `${(ms / 60000).toFixed(1)} min`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  if (ms >= 1) return `${ms.toFixed(1)} ms`;
  return `${(ms * 1000).toFixed(0)} µs`;
}

export function percent(share) {
  if (share === null || share === undefined) return '–';
  const value = share * 100;
  if (value === 0) return '0 %';
  if (value < 0.01) return '<0.01 %';
  return `${value < 1 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0)} %`;
}

export function bytes(count) {
  for (const [size, unit] of [[1 << 30, 'GiB'], [1 << 20, 'MiB'], [1 << 10, 'KiB']]) {
    if (count >= size) return `${(count / size).toFixed(1)} ${unit}`;
  }
  return `${whole(count)} B`;
}

/** A length of time in seconds, its two largest units. */
export function span(seconds) {
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  let rest = Math.max(0, Math.round(seconds));
  const words = [];
  for (const [unit, size] of parts) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) words.push(`${count} ${unit}`);
    if (words.length === 2) break;
  }
  return words.join(' ') || '0 s';
}

/** `3 min ago`, or `in 4 s`. */
export function since(time, now = Date.now()) {
  const seconds = (now - Date.parse(time)) / 1000;
  if (Number.isNaN(seconds)) return time || '–';
  if (seconds < -1) return `in ${span(-seconds)}`;
  return seconds < 1 ? 'now' : `${span(seconds)} ago`;
}

export function clock(time) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time || '–';
  const today = new Date().toDateString() === date.toDateString();
  const hours = date.toLocaleTimeString('en-GB');
  return today ? hours : `${date.toISOString().slice(0, 10)} ${hours}`;
}

/** `failure_code` as words. */
export const words = (code) => String(code || '').replaceAll('_', ' ');
