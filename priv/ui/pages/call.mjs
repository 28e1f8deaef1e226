// Calling a function from the page: over the same route as everybody.
import { html, useMemo, useState } from "../base.mjs";
import { path, send, url } from "../api.mjs";
import { Copied, Notice, useAction } from "../parts.mjs";
import { bytes, hex, quoted, visible } from "../format.mjs";
import { argumentsOf, blanks, exportsOf } from "../schema.mjs";
import { Arguments } from "./arguments.mjs";
import { Failure } from "./failures.mjs";
import { Lines } from "./logs.mjs";
import { Payload, bearer, curl, usePayload } from "./payload.mjs";

/** Bytes of a reply that are shown. */
export const most = 65_536;

/**
 * Calls of a function: of its exports, where its interface names them, else of the operation that is written. `lines` is all that the
 * function has printed while the page was looked at; `guarded` says that calls take a token.
 */
export function Call({ of, lines, guarded }) {
  const [operation, setOperation] = useState("");
  const exports = useMemo(() => exportsOf(of), [of]);
  const wanted = operation || of.operation;
  const found = exports.find((each) => each.operation === wanted || each.name === wanted) ?? exports[0];
  const shared = { of, lines, guarded };
  if (!found) {
    return html`<h2>Call it</h2><${Attempt} ...${shared} operation=${operation}><div class="field"><label for="operation">Operation</label>
      <input id="operation" placeholder=${of.operation} value=${operation} onInput=${(event) => setOperation(event.target.value)} /></div><//>`;
  }
  // What was filled in belongs to these parameters.
  return html`<h2>Call it</h2><${Attempt} ...${shared} key=${found.name + JSON.stringify(found.params)} operation=${found.operation} export=${found}>
    <div class="field"><label for="operation">Operation</label>
      <select id="operation" value=${found.operation} onChange=${(event) => setOperation(event.target.value)}>
        ${exports.map(({ name, operation }) => html`<option key=${name} value=${operation}>${visible(operation)}</option>`)}</select>
      ${found.signature && html`<p class="code">${visible(found.signature)}</p>`}
      ${found.docs && html`<p>${visible(found.docs)}</p>`}</div><//>`;
}

function Attempt({ of, lines, guarded, operation, export: exported, children }) {
  const [values, setValues] = useState(() => exported?.params && blanks(exported));
  const payload = usePayload(exported?.params && (() => argumentsOf(exported, values)));
  // An interface and its export are two segments.
  const target = `call/${path(...[of.name, ...(exported?.named ? operation.split("#") : [operation])].filter(Boolean))}`;
  return html`<${Sent} target=${target} payload=${payload} lines=${lines} guarded=${guarded}>
    ${children}
    <${Payload} of=${payload} name=${exported?.params ? "Arguments" : "Payload"}>${exported?.params && html`<${Arguments} of=${exported} values=${values} set=${setValues} />`}<//><//>`;
}

/** Starting a program of processes, which is no function to call: its first process, with arguments. `tokened` says that the node has a token. */
export function Start({ of, lines, tokened: guarded }) {
  const [said, setSaid] = useState("");
  const args = said.split("\n").filter(Boolean);
  const given = JSON.stringify(args.length > 0 ? { args } : {});
  return html`<h2>Start it</h2>
    <${Sent} target=${`processes/${path(of.name)}`} payload=${{ kind: "JSON", given, problem: null, bytes: () => given }} lines=${lines} guarded=${guarded} verb="Start">
      <div class="field"><label for="arguments">Arguments, one a line</label>
        <textarea id="arguments" rows="2" spellcheck="false" value=${said} onInput=${(event) => setSaid(event.target.value)}></textarea></div><//>
    <p><a href="#/processes">Processes</a> has what it has started.</p>`;
}

/** What sends a payload somewhere, with what comes of it, and the line of curl that does the same. */
function Sent({ target, payload, lines, guarded, verb = "Call", children }) {
  const [answer, setAnswer] = useState(null);
  const [began, setBegan] = useState(Infinity);
  const { busy, refusal, act, dismiss } = useAction(async () => {
    setAnswer(null);
    setBegan(lines.at(-1)?.key ?? 0);
    const body = payload.bytes();
    const began = performance.now();
    const response = await send("POST", target, { body });
    const data = new Uint8Array(await response.arrayBuffer());
    setAnswer({ status: response.status, type: response.headers.get("content-type") ?? "", data, ms: performance.now() - began });
  });
  return html`<form onSubmit=${(event) => (event.preventDefault(), act())}>
      ${children}
      <p><button class="main" disabled=${busy}>${busy ? `${verb}ing…` : verb}</button></p>
    </form>
    <${Notice} refusal=${refusal} dismiss=${dismiss} />
    <div aria-live="polite">${answer && html`<${Answer} answer=${answer} />`}</div>
    <${Printed} lines=${lines} since=${began} />
    <h3>The same with curl</h3>
    ${payload.kind === "form" && payload.problem
      ? html`<p class="faint">Once the form is filled in: ${payload.problem}.</p>`
      : html`<${Copied} text=${curl(payload, bearer(guarded), quoted(url(target)))} what="The call with curl" />`}`;
}

function Answer({ answer: { status, type, data, ms } }) {
  const said = `${status} after ${took(ms)}, ${bytes(data.length)}`;
  const cut = data.length > most ? ` (the first ${bytes(most)} of it)` : "";
  const error = status >= 400 && refused(type, data);
  if (error) return html`<p class="bad">${said}</p><${Failure} error=${error} />`;
  return html`<p class=${status < 400 ? "good" : "bad"}>${said}${cut}</p>
    <pre class="reply" tabindex="0" aria-label="Reply">${shown(type, data.subarray(0, most))}</pre>`;
}

/** What was printed since a line. */
export function Printed({ lines, since }) {
  const printed = lines.filter(({ key }) => key > since);
  return printed.length > 0 && html`<h3>Printed since then</h3><${Lines} lines=${printed} label="Printed since the call" />`;
}

/** A time as it was measured here. */
export const took = (ms) => `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;

/** A body as text, or as hexadecimal where its type says that it is none. */
export const shown = (type, data) => (type.startsWith("application/octet-stream") ? hex(data) : visible(new TextDecoder().decode(data)));

/** The error that the node answers with, if that is one. */
export function refused(type, data) {
  if (!type.startsWith("application/json")) return null;
  try {
    return JSON.parse(new TextDecoder().decode(data)).error ?? null;
  } catch {
    return null;
  }
}
