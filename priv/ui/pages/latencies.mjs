// How many calls took how long, over time: the more, the stronger.
import { html } from "../base.mjs";
import { clock, micros } from "../format.mjs";

const width = 100;
// Buckets that are shown at least: an octave.
const fewest = 8;
// How near two labels of the axis may be, in hundredths of its height.
const near = 14;

/** `history` has the buckets of each tick, of `tick` ms; `bounds` are the upper ones of buckets, in µs. */
export function Latencies({ history, kept, tick, bounds, span }) {
  const ticks = kept / width;
  const cells = new Map();
  for (const { ticks_ago: ago, latencies } of history) {
    const x = width - 1 - Math.floor(ago / ticks);
    for (const [bucket, calls] of latencies) {
      const key = `${x},${bucket}`;
      cells.set(key, (cells.get(key) ?? 0) + calls);
    }
  }
  if (cells.size === 0) return null;
  const used = [...cells.keys()].map((key) => Number(key.split(",")[1]));
  const [least, most] = shown(Math.min(...used), Math.max(...used), bounds.length);
  const height = most - least + 1;
  const strongest = Math.log1p(Math.max(...cells.values()));
  const now = Date.now();
  const times = [0, 25, 50, 75, 100].map((at) => [at, clock(now - ((100 - at) / 100) * kept * tick)]);
  return html`<h2>Latencies</h2>
    <div class="heat" role="img" aria-label=${`Latencies of calls in the last ${span}, between ${micros(bounds[least - 1] ?? 0)} and ${upTo(most, bounds)}`}>
      <div class="heat-y">${scale(least, most, bounds).map(([label, at]) => html`<span key=${label} style=${{ bottom: `${at}%` }}>${label}</span>`)}</div>
      <svg viewBox=${`0 0 ${width * 4} ${height * 8}`} preserveAspectRatio="none">
        ${[...cells].map(([key, calls]) => {
          const [x, bucket] = key.split(",").map(Number);
          return html`<rect key=${key} x=${x * 4} y=${(most - bucket) * 8} width="4" height="8" opacity=${0.15 + (0.85 * Math.log1p(calls)) / strongest} />`;
        })}
      </svg>
      <div class="heat-x">${times.map(([at, label]) => html`<span key=${at} style=${{ left: `${at}%` }}>${label}</span>`)}</div>
    </div>`;
}

// The first and last bucket of the axis, around those that there are; behind the last bound there is one more.
function shown(least, most, last) {
  const missing = Math.max(fewest - (most - least + 1), 0);
  const from = Math.max(least - Math.ceil(missing / 2), 0);
  return [from, Math.min(Math.max(most, from + fewest - 1), last)];
}

const upTo = (bucket, bounds) => (bucket < bounds.length ? micros(bounds[bucket]) : `over ${micros(bounds.at(-1))}`);

/** Labels of the axis, with their places in hundredths of its height: both ends, and 1, 2 and 5 of each decade between them. */
export function scale(least, most, bounds) {
  const height = most - least + 1;
  const labels = [[micros(bounds[least - 1] ?? 0), 0], [upTo(most, bounds), 100]];
  for (let decade = 0.1; decade <= bounds.at(-1); decade *= 10) {
    for (const value of [1, 2, 5].map((of) => of * decade)) {
      const bucket = bounds.findIndex((bound) => bound >= value);
      if (bucket < least || bucket > most || bucket === -1) continue;
      const below = bounds[bucket - 1] ?? bounds[bucket] / 2;
      const within = Math.log(value / below) / Math.log(bounds[bucket] / below);
      const at = ((bucket - least + Math.min(Math.max(within, 0), 1)) / height) * 100;
      if (labels.every(([, other]) => Math.abs(other - at) >= near)) labels.push([micros(value), at]);
    }
  }
  return labels;
}
