// Numbers and texts as people read them.

const plain = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const shortest = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });

export const count = (number) => (number == null ? "–" : plain.format(number));
export const rate = (number) => (number == null ? "–" : short.format(number));
export const compact = (number) => shortest.format(number);
export const share = (number) => (number == null ? "–" : `${short.format(number * 100)} %`);

export function bytes(number) {
  if (number == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) [number, unit] = [number / 1024, unit + 1];
  return `${short.format(number)} ${units[unit]}`;
}

export function micros(us) {
  if (us == null) return "–";
  if (us < 1_000) return `${short.format(us)} µs`;
  return us < 1_000_000 ? `${short.format(us / 1_000)} ms` : `${short.format(us / 1_000_000)} s`;
}

export function seconds(s) {
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  const from = Math.max(parts.findIndex(([size]) => s >= size), 0);
  return parts.slice(from === -1 ? 3 : from, from + 2).map(([size, unit], i) =>
    `${Math.floor((i ? s % parts[from][0] : s) / size)} ${unit}`).join(" ");
}

const dated = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** When something was, in ms: the time of the day, and the day where that is not today. */
export const moment = (ms, now = Date.now()) => {
  const at = new Date(ms);
  const time = `${at.toLocaleTimeString("en-GB")}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  return at.toDateString() === new Date(now).toDateString() ? time : `${day.format(at)}, ${time}`;
};

/** A time of the day to the minute, in ms. */
export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

/** A date with its time, in s. */
export const time = (s) => dated.format(new Date(s * 1000));

/** Text with what would not show, or would show as something else, made visible. */
export const visible = (text) =>
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);

/** Bytes as lines of hexadecimal. */
export function hex(data) {
  const pairs = Array.from(data, (byte) => byte.toString(16).padStart(2, "0"));
  const lines = [];
  for (let at = 0; at < pairs.length; at += 16) lines.push(pairs.slice(at, at + 16).join(" "));
  return lines.join("\n");
}

/** The bytes that hexadecimal says, or null. */
export function unhex(text) {
  const digits = text.replace(/[\s:,]|0x/g, "");
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** An argument of a shell. */
export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
