// What the calls of a function failed with last.
import { html } from "../base.mjs";
import { count, hex, moment, visible } from "../format.mjs";

const kept = 50;

// What tells a failure from another: all but when it was, and what this one was given and has printed.
const kind = ({ at_ms: _at, position: _place, payload_base64: _payload, console: _printed, ...rest }) => JSON.stringify(Object.entries(rest).sort());

/** Failures, the newest first, with some more that are given oldest first: those of one kind are one, with how many there were. */
export function gathered(before, failures) {
  const kinds = new Map(before.map((of) => [of.key, of]).reverse());
  for (const last of failures) {
    const key = kind(last);
    const { times, since_ms } = kinds.get(key) ?? { times: 0, since_ms: last.at_ms };
    kinds.delete(key);
    kinds.set(key, { key, times: times + 1, since_ms, last });
  }
  return [...kinds.values()].reverse().slice(0, kept);
}

/** Those that there are, each kind with all that is known of its last one. */
export const Failures = ({ failures }) => html`<h2>Last failures</h2>
  ${failures.length === 0 && html`<p class="faint">None on this node.</p>`}
  ${failures.map(({ key, times, since_ms, last }) => html`<details key=${key} class="failure">
    <summary><span class="faint">${moment(last.at_ms)} v${last.version}</span> <strong class="bad">${said(last)}</strong> ${last.operation != null && html`<span class="code">${visible(last.operation)}</span>`} ${visible(line(last.message))}
      ${times > 1 && html` <span class="count">${`${count(times)} times since ${moment(since_ms)}`}</span>`}</summary>
    <${Failure} error=${last} />
  </details>`)}`;

const said = ({ reason, trap, limit, quota }) => [reason, trap ?? limit ?? quota].filter(Boolean).join(": ");
const line = (text) => (text ?? "").split("\n", 1)[0].slice(0, 160);

const own = ["reason", "message", "function", "backtrace", "console", "at_ms", "position", "version", "operation", "payload_base64"];

/** An error as the node tells it: its members, message, backtrace and what was printed. */
export function Failure({ error }) {
  const frames = error.backtrace ?? [];
  const lines = (error.console ?? []).map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
  const more = Object.entries(error).filter(([key]) => !own.includes(key));
  const payload = error.payload_base64 && Uint8Array.from(atob(error.payload_base64), (byte) => byte.charCodeAt(0));
  return html`<p><strong>${error.reason}</strong>${more.map(([key, value]) => ` · ${key}: ${visible(typeof value === "string" ? value : JSON.stringify(value))}`)}</p>
    <pre class="reply" tabindex="0" aria-label="Message">${visible(String(error.message ?? ""))}</pre>
    ${frames.length > 0 && html`<h3>Backtrace</h3><pre class="reply" tabindex="0" aria-label="Backtrace">${frames.map(({ function: name, index, offset, file, line }) => visible(`${name ?? `function ${index}`} ${file ? `at ${file}:${line}` : `+ ${offset ?? "?"}`}`)).join("\n")}</pre>`}
    ${lines.length > 0 && html`<h3>Printed</h3><pre class="reply" tabindex="0" aria-label="Printed">${visible(lines.join("\n"))}</pre>`}
    ${payload && html`<h3>Payload, its beginning</h3><pre class="reply" tabindex="0" aria-label="Payload's beginning">${hex(payload)}</pre>`}`;
}
