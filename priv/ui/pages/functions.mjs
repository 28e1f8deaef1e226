// All functions, as they are called now.
import { html, useEffect, useMemo, useRef, useState } from "../base.mjs";
import { useLive } from "../live.mjs";
import { Notice, Spark } from "../parts.mjs";
import { bytes, count, micros, rate, share } from "../format.mjs";

const row = 36;
const beyond = 8;

// What there is of each, by what, and where it is left out.
const columns = [
  ["name", "Name", (of) => html`<a href=${`#/functions/${encodeURIComponent(of.name)}`}>${of.name}</a>`],
  ["version", "Version", (of) => count(of.version), "number wide"],
  ["calls", "Calls", (of) => count(of.calls), "number"],
  ["per_s", "Calls/s", (of) => rate(of.per_s), "number"],
  ["failing", "Errors", (of) => html`<span class=${of.failing > 0 ? "bad" : ""}>${share(of.failing)}</span>`, "number"],
  ["p50_us", "p50", (of) => micros(of.p50_us), "number wide"],
  ["p99_us", "p99", (of) => micros(of.p99_us), "number"],
  ["idle", "Warm", (of) => count(of.idle), "number wide"],
  ["queued", "Queued", (of) => count(of.queued), "number wide"],
  ["peak_memory", "Peak memory", (of) => bytes(of.peak_memory), "number wide"],
  ["ticks", "Last minute", (of) => of.ticks?.length > 0 && html`<${Spark} values=${of.ticks} />`, "wide"],
];

export function Functions() {
  const { data, refusal } = useLive("figures", 1_500);
  const { data: health } = useLive("health");
  const [filter, setFilter] = useState("");
  const [[by, down], setOrder] = useState(["name", false]);
  const all = data?.functions ?? [];
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    const value = (of) => (by === "ticks" ? of.per_s : of[by]) ?? -1;
    const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.name < b.name ? -1 : 1);
    const found = all.filter(({ name }) => name.toLowerCase().includes(wanted)).sort(order);
    return down ? found.reverse() : found;
  }, [data, filter, by, down]);
  const sort = (key) => setOrder(([was, down]) => [key, was === key ? !down : key !== "name"]);
  const instances = health?.instances;
  return html`<h1>Functions</h1>
    <${Notice} refusal=${refusal} />
    <div class="bar" role="search">
      <label for="filter">Filter</label>
      <input id="filter" type="search" value=${filter} onInput=${(event) => setFilter(event.target.value)} />
      <span role="status" class="faint">${data && `${count(shown.length)} of ${count(all.length)}`}</span>
      ${instances && html`<span class="faint">${`Instances of the node: ${count(instances.live)} live, ${count(instances.idle)} warm, ${count(instances.queued)} queued`}</span>`}
    </div>
    ${health?.functions_unavailable > 0 && html`<p class="bad" role="alert">${count(health.functions_unavailable)} deployed
      could not be loaded on this node, whose log says why: <a href="#/cluster">the cluster</a> names what is pending.</p>`}
    ${data && all.length === 0
      ? html`<p>Nothing is deployed yet: <a href="#/deploy">deploy a module</a>.</p>`
      : html`<${Rows} shown=${shown} filter=${filter} by=${by} down=${down} sort=${sort} />`}
    <p class="faint">Calls are counted since the node started, calls/s over 10 s, errors and latencies over the last minute.
      Latencies are estimated within buckets, of which there are eight in an octave.</p>`;
}

// Only rows that can be seen are made, however many there are.
function Rows({ shown, filter, by, down, sort }) {
  const place = useRef(null);
  const [view, setView] = useState([0, 60]);
  const look = () => {
    const { scrollTop, clientHeight } = place.current;
    const first = Math.max(Math.floor(scrollTop / row) - beyond, 0);
    setView(([from, to]) => {
      const last = first + Math.ceil(Math.max(clientHeight, 20 * row) / row) + 2 * beyond;
      return from === first && to === last ? [from, to] : [first, last];
    });
  };
  useEffect(() => {
    look();
    addEventListener("resize", look);
    return () => removeEventListener("resize", look);
  }, [shown.length]);
  // What was asked for anew begins at its beginning.
  useEffect(() => {
    place.current.scrollTop = 0;
    look();
  }, [filter, by, down]);
  const from = Math.min(view[0], Math.max(shown.length - 1, 0));
  const seen = shown.slice(from, view[1]);
  const space = (rows) => rows > 0 && html`<tr class="space" aria-hidden="true"><td colspan=${columns.length} style=${{ height: `${rows * row}px` }}></td></tr>`;
  return html`<div class="scroll rows" role="region" aria-label="Functions" tabindex="0" ref=${place} onScroll=${look}>
    <table aria-rowcount=${shown.length + 1}>
      <thead><tr aria-rowindex="1">${columns.map(([key, label, _show, kind]) => html`<th key=${key} scope="col" class=${kind}
        aria-sort=${by === key ? (down ? "descending" : "ascending") : undefined}>
        <button onClick=${() => sort(key)}>${label}${by === key ? (down ? " ▾" : " ▴") : ""}</button></th>`)}</tr></thead>
      <tbody>
        ${space(from)}
        ${seen.map((of, at) => html`<tr key=${of.name} aria-rowindex=${from + at + 2}>
          ${columns.map(([key, _label, show, kind]) => html`<td key=${key} class=${kind}>${show(of)}</td>`)}</tr>`)}
        ${space(shown.length - from - seen.length)}
      </tbody>
    </table>
  </div>`;
}
