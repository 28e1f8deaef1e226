// One function: what it does, what it has, and what can be done with it.
import { html, useMemo, useState } from "../base.mjs";
import { ask, path, send, told } from "../api.mjs";
import { useLive } from "../live.mjs";
import { useStream } from "../stream.mjs";
import { Chart, Figures, Notice, Table, Typed, useAction } from "../parts.mjs";
import { bytes, count, micros, rate, share, time, visible } from "../format.mjs";
import { Call, Start } from "./call.mjs";
import { Failures, gathered } from "./failures.mjs";
import { added } from "./logs.mjs";
import { Latencies } from "./latencies.mjs";
import { Request } from "./request.mjs";
import { Versions } from "./versions.mjs";

export function Function({ rest: [name], closed, reads, guarded, tokened }) {
  const { data: figures, refusal } = useLive(`figures/${path(name)}`);
  const { data: of, refusal: unknown, reload } = useLive(`functions/${path(name)}`, 10_000);
  const [seen, setSeen] = useState({ lines: [], dropped: 0, last: 0, failures: [] });
  useStream(`topics=${encodeURIComponent(`logs:${name},failures:${name}`)}&last=50`, (events) => setSeen((before) => heard(before, events)), reads);
  if (unknown?.status === 404) return html`<h1>${name}</h1><p>No function of that name is deployed.</p>`;
  if (!of) return html`<h1>${name}</h1><${Notice} refusal=${unknown} />`;
  return html`<h1>${name}</h1>
    <${Notice} refusal=${refusal ?? unknown} />
    ${of.description && html`<p>${visible(of.description)}</p>`}
    ${Object.keys(of.labels).length > 0 && html`<p class="faint">${Object.entries(of.labels).map(([key, value]) => visible(value ? `${key}:${value}` : key)).join(" · ")}</p>`}
    ${figures && html`<${Now} figures=${figures} /><${History} figures=${figures} />`}
    <div class="two">
      <section><${{ http: Request, lunatic: Start }[of.abi] ?? Call} of=${of} lines=${seen.lines} guarded=${guarded} tokened=${tokened} /></section>
      <section>
        ${figures && html`<${Use} figures=${figures} limits=${of.limits} />`}
        ${figures?.reasons && html`<${Reasons} reasons=${figures.reasons} />`}
        ${figures?.versions?.length > 1 && html`<${Compared} versions=${figures.versions} />`}
      </section>
    </div>
    ${reads ? html`<${Failures} failures=${seen.failures} />
    <p><a href=${`#/logs/${encodeURIComponent(name)}`}>What it prints</a></p>` : html`<p class="faint"><a href="#/sign-in">Sign in</a> to see what it prints and fails with.</p>`}
    <${Versions} name=${name} newest=${figures?.version ?? of.version} closed=${closed} changed=${reload} />
    <${About} of=${of} />
    ${closed
      ? html`<p class="faint"><a href="#/sign-in">Sign in</a> to download or remove it.</p>`
      : html`<h2>Take along or remove</h2><${Download} name=${name} />
        <${Typed} name=${name} verb="Remove" run=${async () => {
          await ask("DELETE", `functions/${path(name)}`);
          location.hash = "#/functions";
        }} />`}`;
}

function heard(before, events) {
  const failures = events.filter(([name]) => name === "failure").map(([, data]) => data);
  return { ...added(before, events), failures: failures.length > 0 ? gathered(before.failures, failures) : before.failures };
}

const Now = ({ figures }) => html`<${Figures} of=${[
  ["Version", count(figures.version)],
  ["Calls", count(figures.calls)],
  ["Calls/s", rate(figures.per_s)],
  ["Errors, last minute", share(figures.failing), figures.failing > 0 ? "bad" : ""],
  ["p50", micros(figures.p50_us)],
  ["p99", micros(figures.p99_us)],
  ["CPU time a call", figures.calls > 0 ? micros(figures.cpu_us / figures.calls) : "–"],
  ["Live instances", count(figures.live)],
  ["Warm instances", count(figures.idle)],
  ["Memory", bytes(figures.memory)],
  ["Queued", count(figures.queued)],
]} />`;

// Ten minutes, each tick of them, or six hours, each minute.
function History({ figures }) {
  const [long, setLong] = useState(false);
  const { bounds_us: bounds } = figures;
  const [history, tick, kept] = long
    ? [figures.minutes?.map((of) => ({ ...of, ticks_ago: of.minutes_ago })), 60_000, figures.kept_minutes]
    : [figures.history, figures.tick_ms, figures.kept_ticks];
  const span = long ? "six hours" : "ten minutes";
  const data = useMemo(() => {
    if (!history) return null;
    const now = Math.floor(Date.now() / 1000);
    const times = Array.from({ length: kept }, (_, at) => now - ((kept - 1 - at) * tick) / 1000);
    const calls = new Array(kept).fill(0), errors = new Array(kept).fill(0);
    for (const sample of history) {
      calls[kept - 1 - sample.ticks_ago] = (sample.calls * 1000) / tick;
      errors[kept - 1 - sample.ticks_ago] = (sample.errors * 1000) / tick;
    }
    return [times, calls, errors];
  }, [figures, long]);
  if (!data) return null;
  return html`<h2>Last ${span}</h2>
    <div class="choices">${[["10 minutes", false], ["6 hours", true]].map(([label, value]) => html`<label key=${label}><input type="radio" name="span" checked=${long === value} onChange=${() => setLong(value)} /> ${label}</label>`)}</div>
    <${Chart} key=${span} label=${`Calls and errors in a second, of the last ${span}`} data=${data} format=${rate}
      series=${[["calls/s", "--accent"], ["errors/s", "--bad"]]} />
    <${Latencies} history=${history} kept=${kept} tick=${tick} bounds=${bounds} span=${span} />`;
}

function Use({ figures, limits }) {
  const rows = [
    ["memory", figures.peak_memory, limits.memory, bytes],
    ["time, p99", figures.p99_us, limits.time * 1000, micros],
    ["cpu_time, mean", figures.calls > 0 ? figures.cpu_us / figures.calls : null, limits.cpu_time * 1000, micros],
    ["queue", figures.queued, limits.queue, count],
  ];
  return html`<h2>Use of limits</h2><div class="use">
    ${rows.map(([name, used, limit, show]) => html`
      <span>${name}</span>
      <meter min="0" max=${limit} high=${limit * 0.8} value=${used ?? 0} aria-label=${name}></meter>
      <span class="number">${show(used)} of ${show(limit)}</span>`)}
  </div>`;
}

const Reasons = ({ reasons }) => html`<h2>How calls ended</h2>
  <${Table} label="Calls by how they ended" head=${["Reason", "Calls"]} empty="It was not called yet."
    rows=${Object.entries(reasons).filter(([, calls]) => calls > 0).sort((a, b) => b[1] - a[1]).map(([reason, calls]) => ({ key: reason, cells: [reason, count(calls)] }))} />`;

// What the calls of each version came to, side by side.
const Compared = ({ versions }) => html`<h2>Versions compared</h2>
  <${Table} label="Calls by version" head=${["Version", "Calls", "Errors", "p50", "p99", "CPU time a call", "Live"]}
    rows=${versions.map((of) => ({ key: of.version, cells: [count(of.version), count(of.calls), share(of.calls > 0 ? of.errors / of.calls : 0), micros(of.p50_us), micros(of.p99_us), of.calls > 0 ? micros(of.cpu_us / of.calls) : "–", count(of.live)] }))} />`;

function Download({ name }) {
  const { busy, refusal, act, dismiss } = useAction(async () => {
    const response = await send("GET", `functions/${path(name)}/wasm`);
    if (!response.ok) return told(response);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `${name.replace("/", "-")}.wasm`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
  return html`<${Notice} refusal=${refusal} dismiss=${dismiss} />
    <p><button disabled=${busy} onClick=${act}>Download its module</button></p>`;
}

function About({ of }) {
  const value = { size: bytes, deployed_at: time, compile_us: micros, interface: described };
  const rows = Object.keys(of).sort().map((key) => ({ key, cells: [key, html`<span class=${key === "interface" ? "code wit" : "code"}>${visible((value[key] ?? shown)(of[key]))}</span>`] }));
  return html`<h2>As it is deployed</h2><${Table} label="As it is deployed" head=${["Field", "Value"]} rows=${rows} />`;
}

// With spaces between the parts, where lines may end.
const shown = (value) => (value === null ? "–" : typeof value === "object" ? JSON.stringify(value, null, 1).replace(/\n\s*/g, " ") : String(value));

// As WIT where there is that, else by names; schemas are the form's.
const described = (value) => value?.wit ?? (value ? value.functions.map(({ name }) => name).join(", ") : "–");
