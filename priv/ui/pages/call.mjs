// Calling a function from the page: over the same route as everybody.
import { html, useState } from "../base.mjs";
import { path, send, url } from "../api.mjs";
import { Copied, Notice, useAction } from "../parts.mjs";
import { bytes, hex, quoted, unhex, visible } from "../format.mjs";
import { Failure } from "./failures.mjs";
import { Lines } from "./logs.mjs";

const most = 65_536;

/** `lines` is all that the function has printed while the page was looked at. */
export function Call({ of, lines }) {
  const [operation, setOperation] = useState("");
  const [kind, setKind] = useState("text");
  const [text, setText] = useState("");
  const [file, setFile] = useState(null);
  const [answer, setAnswer] = useState(null);
  const [began, setBegan] = useState(Infinity);
  const printed = lines.filter(({ key }) => key > began);
  const target = `call/${path(...[of.name, operation].filter(Boolean))}`;
  const body = kind === "file" ? file : kind === "hex" ? unhex(text) : text;
  const { busy, refusal, act, dismiss } = useAction(async () => {
    setAnswer(null);
    setBegan(lines.at(-1)?.key ?? 0);
    if (body === null) throw new Error(kind === "file" ? "choose a file" : "write pairs of hexadecimal digits");
    const began = performance.now();
    const response = await send("POST", target, { body });
    const data = new Uint8Array(await response.arrayBuffer());
    setAnswer({ status: response.status, type: response.headers.get("content-type") ?? "", data, ms: performance.now() - began });
  });
  const kinds = ["text", "hex", "file"];
  return html`<h2>Call it</h2>
    <form onSubmit=${(event) => (event.preventDefault(), act())}>
      <div class="field"><label for="operation">Operation</label>
        <input id="operation" placeholder=${of.operation} value=${operation} onInput=${(event) => setOperation(event.target.value)} /></div>
      <fieldset><legend>Payload</legend>
        <div class="choices">${kinds.map((each) => html`<label key=${each}><input type="radio" name="kind" checked=${kind === each} onChange=${() => setKind(each)} /> ${each}</label>`)}</div>
        ${kind === "file"
          ? html`<input type="file" aria-label="Payload file" onChange=${(event) => setFile(event.target.files[0] ?? null)} />`
          : html`<textarea aria-label="Payload" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}></textarea>`}
      </fieldset>
      <p><button class="main" disabled=${busy}>${busy ? "Calling…" : "Call"}</button></p>
    </form>
    <${Notice} refusal=${refusal} dismiss=${dismiss} />
    <div aria-live="polite">${answer && html`<${Answer} answer=${answer} />`}</div>
    ${printed.length > 0 && html`<h3>Printed since then</h3><${Lines} lines=${printed} label="Printed since the call" />`}
    <h3>The same with curl</h3>
    <${Copied} text=${curl(url(target), kind, text, body, file)} what="The call with curl" />`;
}

function Answer({ answer: { status, type, data, ms } }) {
  const said = `${status} after ${ms.toFixed(ms < 10 ? 1 : 0)} ms, ${bytes(data.length)}`;
  const cut = data.length > most ? ` (the first ${bytes(most)} of it)` : "";
  const error = status >= 400 && type.startsWith("application/json") && parsed(data)?.error;
  if (error) return html`<p class="bad">${said}</p><${Failure} error=${error} />`;
  const binary = type.startsWith("application/octet-stream");
  const shown = data.subarray(0, most);
  return html`<p class=${status < 400 ? "good" : "bad"}>${said}${cut}</p>
    <pre class="reply" tabindex="0" aria-label="Reply">${binary ? hex(shown) : visible(new TextDecoder().decode(shown))}</pre>`;
}

function parsed(data) {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return null;
  }
}

function curl(address, kind, text, body, file) {
  const to = quoted(address);
  if (kind === "file") return `curl -sS --data-binary ${quoted(`@${file?.name ?? "FILE"}`)} ${to}`;
  if (kind === "hex") {
    const escaped = Array.from(body ?? [], (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
    return `printf '${escaped}' | curl -sS --data-binary @- ${to}`;
  }
  // A leading @ would be a file's name.
  if (text.startsWith("@")) return `printf %s ${quoted(text)} | curl -sS --data-binary @- ${to}`;
  return `curl -sS --data-binary ${quoted(text) || "''"} ${to}`;
}
