// Parts that several pages have.
import { html, useEffect, useRef, useState } from "./base.mjs";
import { clock, compact, time, visible } from "./format.mjs";

/** What was refused: it stays until it is dismissed. */
export function Notice({ refusal, dismiss }) {
  if (!refusal) return null;
  const { reason, step } = refusal.details ?? {};
  return html`<div class="notice" role="alert">
    <p class="bad"><strong>${reason ?? "error"}</strong>${step ? ` (step ${step})` : ""}: ${visible(refusal.message)}</p>
    ${dismiss && html`<button onClick=${dismiss}>Dismiss</button>`}
  </div>`;
}

/** What changes something: one at a time, with its last refusal. */
export function useAction(run) {
  const [state, set] = useState({ busy: false, refusal: null });
  const act = async (...given) => {
    set({ busy: true, refusal: null });
    try {
      const done = await run(...given);
      set({ busy: false, refusal: null });
      return done;
    } catch (refusal) {
      set({ busy: false, refusal });
    }
  };
  return { ...state, act, dismiss: () => set({ busy: false, refusal: null }) };
}

/** Figures with their names: [[name, value, class]]. */
export const Figures = ({ of }) => html`<dl class="figures">
  ${of.map(([name, value, kind]) => html`<div key=${name}><dt>${name}</dt><dd class=${kind}>${value}</dd></div>`)}
</dl>`;

/** A table that may be wider than the screen; rows are lists of cells. */
export function Table({ label, head, rows, empty }) {
  if (rows.length === 0) return html`<p class="faint">${empty}</p>`;
  return html`<div class="scroll" role="region" aria-label=${label} tabindex="0"><table>
    <thead><tr>${head.map((name) => html`<th scope="col" key=${name}>${name}</th>`)}</tr></thead>
    <tbody>${rows.map(({ key, cells }) => html`<tr key=${key}>${cells.map((cell) => html`<td class="wrap">${cell}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** A line of the last calls, with their scale of its own. */
export function Spark({ values }) {
  const most = Math.max(1, ...values);
  const points = values.map((value, at) => `${at},${(1 - value / most) * 20 + 2}`).join(" ");
  return html`<svg class="spark" viewBox="0 0 29 24" preserveAspectRatio="none" aria-hidden="true">
    <polyline points=${points} /></svg>`;
}

/** Lines over time: `data` is [seconds, …values], `series` their names and colours by property of the style sheet. */
export function Chart({ label, data, series, format }) {
  const place = useRef(null);
  const plot = useRef(null);
  const dark = useDark();
  useEffect(() => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const within = place.current;
    const width = () => Math.max(within.clientWidth, 200);
    const options = {
      width: width(), height: 180, cursor: { y: false }, scales: { y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [
        { ...axis, space: 80, values: (_plot, ticks) => ticks.map((at) => clock(at * 1000)) },
        { ...axis, size: 70, values: (_plot, ticks) => ticks.map(compact) },
      ],
      series: [{ label: "Time", value: (_plot, at) => (at == null ? "–" : time(at)) }, ...series.map(([name, property]) => ({ label: name, stroke: colour(property), width: 1.5, points: { show: false }, value: (_plot, value) => (value == null ? "–" : format(value)) }))],
    };
    plot.current = new uPlot(options, data, within);
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: width(), height: 180 }));
    observer.observe(within);
    return () => {
      observer.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [dark]);
  useEffect(() => plot.current?.setData(data), [data]);
  return html`<div class="chart" role="img" aria-label=${label} ref=${place}></div>`;
}

function useDark() {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, set] = useState(query.matches);
  useEffect(() => {
    const changed = () => set(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}

/** A text to take along. Where the page may not write to the clipboard, it is selected instead. */
export function Copied({ text, what, label = "Copy as curl" }) {
  const place = useRef(null);
  const [done, set] = useState(false);
  useEffect(() => set(false), [text]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      set(true);
    } catch {
      getSelection().selectAllChildren(place.current);
    }
  };
  return html`<pre class="reply" ref=${place} tabindex="0" aria-label=${what}>${text}</pre>
    <button onClick=${copy}>${label}</button>${done && html`<span role="status"> copied</span>`}`;
}

/** Removing what can't be had back: its name is typed first. */
export function Typed({ name, verb, run }) {
  const [typed, set] = useState("");
  const { busy, refusal, act, dismiss } = useAction(run);
  const submit = (event) => (event.preventDefault(), act());
  return html`<form onSubmit=${submit} class="field">
    <${Notice} refusal=${refusal} dismiss=${dismiss} />
    <label for="typed">${verb}: type ${name}</label>
    <div class="bar"><input id="typed" autocomplete="off" value=${typed} onInput=${(event) => set(event.target.value)} />
    <button class="danger" disabled=${busy || typed !== name}>${verb}</button></div>
  </form>`;
}
