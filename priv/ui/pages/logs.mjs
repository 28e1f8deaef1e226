// What guests print, as they print it.
import { html, useLayoutEffect, useMemo, useRef, useState } from "../base.mjs";
import { useLive } from "../live.mjs";
import { useStream } from "../stream.mjs";
import { Notice } from "../parts.mjs";
import { count, moment, visible } from "../format.mjs";

// Lines that are shown, and those that the page begins with.
const most = 1000;
const first = 200;

export function Logs({ rest: [only = ""], closed }) {
  const { data } = useLive("figures", 30_000);
  const [filter, setFilter] = useState("");
  const [paused, setPaused] = useState(false);
  const [shown, setShown] = useState({ lines: [], dropped: 0, last: 0 });
  const topics = only ? `logs:${only}` : "logs";
  const { live, refusal } = useStream(`topics=${encodeURIComponent(topics)}&last=${first}`, (events) => setShown((before) => added(before, events)), !paused && !closed);
  const names = (data?.functions ?? []).map(({ name }) => name);
  const choices = only && !names.includes(only) ? [only, ...names] : names;
  const lines = useMemo(() => {
    const wanted = filter.toLowerCase();
    return shown.lines.filter(({ text, function: name }) => `${name} ${text}`.toLowerCase().includes(wanted));
  }, [shown, filter]);
  return html`<h1>Logs</h1>
    <${Notice} refusal=${refusal} />
    ${closed && html`<p>What guests print is for those who may read it: <a href="#/sign-in">sign in</a>.</p>`}
    <div class="bar" role="search">
      <label for="of">Function</label>
      <select id="of" class="short" onChange=${(event) => (location.hash = event.target.value ? `#/logs/${encodeURIComponent(event.target.value)}` : "#/logs")}>
        <option value="" selected=${!only}>all</option>
        ${choices.map((name) => html`<option key=${name} value=${name} selected=${name === only}>${name}</option>`)}
      </select>
      <label for="filter">Text</label>
      <input id="filter" type="search" value=${filter} onInput=${(event) => setFilter(event.target.value)} />
      <button aria-pressed=${paused} onClick=${() => setPaused(!paused)}>${paused ? "Go on" : "Pause"}</button>
      <button onClick=${() => setShown((before) => ({ ...before, lines: [], dropped: 0 }))}>Clear</button>
      <span role="status" class="faint">${paused ? "paused" : live ? "live" : "connecting"}</span>
      <span class="faint">${`${count(lines.length)} lines`}</span>
      ${shown.dropped > 0 && html`<span class="bad">${`dropped: ${count(shown.dropped)}`}</span>`}
    </div>
    <${Lines} lines=${lines} named=${!only} />
    <p class="faint">The newest ${count(most)} lines. What a function prints over its budget is dropped, and so is what the page is too
      slow for. Lines of while it was paused come when it goes on, as far as the node has them.</p>`;
}

/** What is shown after some more events. */
export function added(before, events) {
  const { lines, dropped, last } = before;
  const next = { lines: lines.slice(), dropped, last };
  for (const [name, data] of events) {
    if (name === "log") {
      next.lines.push({ ...data, key: ++next.last });
      next.dropped += data.dropped;
    } else if (name === "dropped") next.dropped += data.count ?? 1;
  }
  next.lines.splice(0, next.lines.length - most);
  return next;
}

/** Lines, the newest below, which stays in sight while it is. */
export function Lines({ lines, named, label = "Lines" }) {
  const place = useRef(null);
  const below = useRef(true);
  const look = () => {
    const { scrollTop, scrollHeight, clientHeight } = place.current;
    below.current = scrollHeight - scrollTop - clientHeight < 40;
  };
  useLayoutEffect(() => {
    if (below.current) place.current.scrollTop = place.current.scrollHeight;
  }, [lines]);
  return html`<div class="scroll lines" role="log" aria-live="off" aria-label=${label} tabindex="0" ref=${place} onScroll=${look}>
    ${lines.map((line) => html`<div key=${line.key} class=${line.level === "warning" ? "bad" : ""}><span class="faint">${moment(line.at_ms)} ${named && html`<a href=${`#/logs/${encodeURIComponent(line.function)}`}>${line.function}</a>`} v${line.version}</span> ${visible(line.text)}${line.dropped > 0 && html` <span class="bad">(${count(line.dropped)} lines before this one were dropped)</span>`}</div>`)}
  </div>`;
}
