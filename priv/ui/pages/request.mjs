// Asking a handler of HTTP from the page: over the same route as everybody, as far as a browser lets a page.
import { html, useEffect, useRef, useState } from "../base.mjs";
import { path, send, url } from "../api.mjs";
import { Copied, Notice, useAction } from "../parts.mjs";
import { bytes, quoted, visible } from "../format.mjs";
import { most, Printed, refused, shown, took } from "./call.mjs";
import { Failure } from "./failures.mjs";
import { Payload, bearer, curl, usePayload } from "./payload.mjs";

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** What the node says of each response of a handler, and of nothing else. */
const confined = "sandbox";

/** `lines` is all that the function has printed while the page was looked at; `guarded` says that calls take a token. */
export function Request({ of, lines, guarded }) {
  const [method, setMethod] = useState("GET");
  const [target, setTarget] = useState("/");
  const [head, setHead] = useState("");
  const body = usePayload();
  const [answer, setAnswer] = useState(null);
  const [began, setBegan] = useState(Infinity);
  const running = useRef(null);
  const stop = () => running.current?.abort();
  useEffect(() => stop, []);
  const base = `call/${path(of.name)}`;
  const { busy, refusal, act, dismiss } = useAction(async () => {
    setAnswer(null);
    setBegan(lines.at(-1)?.key ?? 0);
    const headers = pairs(head);
    check(base, method, target, headers, body);
    const { signal } = (running.current = new AbortController());
    const began = performance.now();
    const tell = (more) => setAnswer((so_far) => ({ ...so_far, ...more, ms: performance.now() - began }));
    const sent = body.isEmpty ? undefined : body.bytes();
    try {
      const response = await send(method, base + target, { body: sent, headers, signal, redirect: "manual", cache: "no-store" });
      tell({ response, first: performance.now() - began, data: new Uint8Array(), size: 0, end: "comes" });
      await read(response, (data, size) => tell({ data, size }));
      tell({ end: "whole" });
    } catch (error) {
      if (error.name === "AbortError") setAnswer((so_far) => so_far && { ...so_far, end: "stopped" });
      else if (error instanceof TypeError) tell({ end: "broken" });
      else throw error;
    }
  });
  const input = (set) => (event) => set(event.target.value);
  return html`<h2>Ask it</h2>
    <form onSubmit=${(event) => (event.preventDefault(), act())}>
      <div class="field"><label for="method">Method</label>
        <input id="method" list="methods" autocomplete="off" value=${method} onInput=${input(setMethod)} />
        <datalist id="methods">${methods.map((each) => html`<option key=${each} value=${each} />`)}</datalist></div>
      <div class="field"><label for="path">Path and query</label>
        <input id="path" autocomplete="off" spellcheck="false" value=${target} onInput=${input(setTarget)} /></div>
      <div class="field"><label for="headers">Headers, one a line</label>
        <textarea id="headers" spellcheck="false" placeholder="accept: text/plain" value=${head} onInput=${input(setHead)}></textarea></div>
      <${Payload} of=${body} name="Body" />
      <p><button class="main" disabled=${busy}>${busy ? "Waiting…" : "Send"}</button>
        ${busy && html` <button type="button" onClick=${stop}>Stop</button>`}</p>
    </form>
    <${Notice} refusal=${refusal} dismiss=${dismiss} />
    <div aria-live="polite">${answer?.response && html`<${Answer} answer=${answer} />`}</div>
    <${Printed} lines=${lines} since=${began} />
    <h3>The same with curl</h3>
    <${Copied} text=${line(url(base) + target, method, head, body, bearer(guarded))} what="The request with curl" />`;
}

const ends = { comes: ", and more may come", whole: "", stopped: ", and was stopped here", broken: ", and broke off there" };

function Answer({ answer: { response, first, data, size, ms, end } }) {
  if (response.type === "opaqueredirect") {
    return html`<p class="good">A redirection, after ${took(first)}: a browser shows it to no page, and curl does.</p>`;
  }
  const { status, headers } = response;
  const type = headers.get("content-type") ?? "";
  const cut = size > data.length ? ` (the first ${bytes(data.length)} of it)` : "";
  const said = `${status} after ${took(first)}, ${bytes(size)} after ${took(ms)}${ends[end]}`;
  const isOwn = (headers.get("content-security-policy") ?? "").split(", ").includes(confined);
  const error = !isOwn && end === "whole" && refused(type, data);
  if (error) return html`<p class="bad">${said}</p><${Failure} error=${error} />`;
  const lines = [...headers].map(([name, value]) => `${name}: ${visible(value)}`);
  return html`<p class=${status < 400 && end !== "broken" ? "good" : "bad"}>${said}${cut}</p>
    <h3>Headers</h3><pre class="reply" tabindex="0" aria-label="Headers of the response">${lines.join("\n")}</pre>
    <h3>Body</h3><pre class="reply" tabindex="0" aria-label="Body of the response">${shown(type, data)}</pre>`;
}

/** Gives the beginning of a body to `tell` as it comes, and how much there is of it. */
async function read(response, tell) {
  const reader = response.body?.getReader();
  let [data, size] = [new Uint8Array(), 0];
  for (;;) {
    const { value, done } = (await reader?.read()) ?? { done: true };
    if (done) return;
    size += value.length;
    if (data.length < most) {
      const more = new Uint8Array(Math.min(most, data.length + value.length));
      more.set(data);
      more.set(value.subarray(0, more.length - data.length), data.length);
      data = more;
    }
    tell(data, size);
  }
}

/** Lines of headers as pairs. */
const pairs = (text) => text.split("\n").filter((line) => line.trim()).map((line) => {
  const [name, ...value] = line.split(":");
  if (value.length === 0) throw new Error(`write a header as NAME: VALUE, and not ${line}`);
  return [name.trim(), value.join(":").trim()];
});

/** Says what no page can send, and what would go elsewhere. */
function check(base, method, target, headers, body) {
  const address = new URL(url(base) + target);
  const isThere = target.startsWith("/") && address.pathname.startsWith(`${new URL(url(base)).pathname}/`);
  // A browser resolves dots, turns backslashes into slashes, and leaves out what is behind a #.
  const isChanged = target.includes("#") || target.split("?")[0].split(/[/\\]/).some((segment) => /^(\.|%2e){1,2}$/i.test(segment));
  if (!isThere || isChanged) throw new Error("write a path that begins with /, without .. and #: a browser would ask for another");
  if (["GET", "HEAD"].includes(method.toUpperCase()) && !body.isEmpty) throw new Error(`no page sends a body with ${method}: curl does`);
  try {
    new globalThis.Request(address, { method });
  } catch {
    throw new Error(`no page sends ${method || "a request without a method"}: curl does`);
  }
  for (const pair of headers) {
    let sent;
    try {
      sent = new globalThis.Request(address, { headers: [pair] }).headers;
    } catch {
      throw new Error(`no header is named or written like this: ${pair.join(": ")}`);
    }
    if (!sent.has(pair[0])) throw new Error(`no page sends a header ${pair[0]} of its own: curl does`);
  }
}

function line(address, method, head, body, token) {
  const headers = [...head.split("\n").map((each) => each.trim()).filter(Boolean).map(written), ...typeOf(body, head)].map((each) => `-H ${quoted(each)}`);
  // Brackets and braces are curl's own language otherwise.
  const more = [...(method === "HEAD" ? ["-I"] : ["-i", `-X ${quoted(method)}`]), "--path-as-is", "-g", token, ...headers, quoted(address)].filter(Boolean);
  return body.isEmpty ? ["curl -sS", ...more].join(" ") : curl(body, ...more);
}

// A header without a value is one that curl leaves out, unless it ends so.
const written = (header) => header.replace(/^([^:]+):$/, "$1;");

// What the page says of a body, for curl would call it a form.
function typeOf(body, head) {
  if (body.isEmpty || /^\s*content-type\s*:/im.test(head)) return [];
  const type = body.kind === "text" ? "text/plain;charset=UTF-8" : body.file && body.kind === "file" ? body.file.type : "";
  return [type ? `content-type: ${type}` : "content-type:"];
}
