// What the calls of a function failed with last.
import { html } from "../base.mjs";
import { hex, moment, visible } from "../format.mjs";

/** Those that there are, the newest first, each with all that is known of it. */
export const Failures = ({ failures }) => html`<h2>Last failures</h2>
  ${failures.length === 0 && html`<p class="faint">None on this node.</p>`}
  ${failures.map((of) => html`<details key=${of.key} class="failure">
    <summary><span class="faint">${moment(of.at_ms)} v${of.version}</span> <strong class="bad">${said(of)}</strong> ${of.operation != null && html`<span class="code">${visible(of.operation)}</span>`} ${visible(line(of.message))}</summary>
    <${Failure} error=${of} />
  </details>`)}`;

const said = ({ reason, trap, limit, quota }) => [reason, trap ?? limit ?? quota].filter(Boolean).join(": ");
const line = (text) => (text ?? "").split("\n", 1)[0].slice(0, 160);

const own = ["reason", "message", "function", "backtrace", "console", "at_ms", "version", "operation", "key", "payload_base64"];

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
