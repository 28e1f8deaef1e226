// Classes of actors, and the actors of one.
import { html, useEffect, useState } from "../base.mjs";
import { ask, get, path } from "../api.mjs";
import { useLive } from "../live.mjs";
import { Figures, Notice, Table, Typed, useAction } from "../parts.mjs";
import { bytes, count, time, visible } from "../format.mjs";

export function Actors({ rest: [name, actor], closed }) {
  if (name && actor) return html`<${Actor} key=${actor} name=${name} actor=${actor} closed=${closed} />`;
  return name ? html`<${Class} name=${name} />` : html`<${Classes} />`;
}

function Classes() {
  const { data, refusal } = useLive("functions", 10_000);
  const classes = (data?.functions ?? []).filter(({ actor }) => actor);
  return html`<h1>Actors</h1>
    <${Notice} refusal=${refusal} />
    ${data && html`<${Table} label="Classes of actors" head=${["Class", "Version", "Durability", "Description"]}
      empty="No function is deployed as a class of actors."
      rows=${classes.map(({ name, version, actor, description }) => ({
        key: name,
        cells: [html`<a href=${`#/actors/${path(name)}`}>${name}</a>`, count(version), actor.durability, visible(description)],
      }))} />`}`;
}

function Class({ name }) {
  const [from, setFrom] = useState([]);
  const last = from.at(-1);
  const { data, refusal } = useLive(`actors/${path(name)}${last ? `?from=${encodeURIComponent(last)}` : ""}`, 5_000);
  return html`<h1>Actors of ${name}</h1>
    <${Notice} refusal=${refusal} />
    ${data && html`<${Table} label=${`Actors of ${name}`} head=${["Name", "Is", "Kept", "Writes"]} empty="There are none."
      rows=${data.actors.map((actor) => ({
        key: actor.name,
        cells: [html`<a href=${`#/actors/${path(name, actor.name)}`}>${visible(actor.name)}</a>`, actor.awake ? "awake" : "asleep", bytes(actor.bytes), count(actor.writes)],
      }))} />
      <div class="bar">
        ${from.length > 0 && html`<button onClick=${() => setFrom(from.slice(0, -1))}>Back</button>`}
        ${data.next && html`<button onClick=${() => setFrom([...from, data.next])}>More</button>`}
      </div>`}`;
}

function Actor({ name, actor, closed }) {
  // Asked for once: whoever is looked at is not kept awake by that.
  const [state, set] = useState(null);
  const { act, refusal, busy } = useAction(async () => set(await get(`actors/${path(name, actor)}`)));
  useEffect(() => void act(), []);
  return html`<h1>${visible(actor)}</h1>
    <p>Of the class <a href=${`#/actors/${path(name)}`}>${name}</a>.</p>
    <${Notice} refusal=${refusal} />
    ${state && html`<${Figures} of=${figures(state)} />
      <${Table} label=${`What is known of ${actor}`} head=${["Field", "Value"]} rows=${facts(state).map(([name, value]) => ({ key: name, cells: [name, visible(value)] }))} />`}
    <p><button disabled=${busy} onClick=${act}>Look again</button></p>
    ${!closed && html`<h2>Delete</h2><${Typed} name=${actor} verb="Delete" run=${async () => {
      await ask("DELETE", `actors/${path(name, actor)}`);
      location.hash = `#/actors/${path(name)}`;
    }} />`}`;
}

const figures = (of) => [
  ["Is", of.awake ? "awake" : "asleep"],
  ["Version", count(of.version)],
  ...(of.awake ? [["Calls since it woke", count(of.calls)], ["Calls waiting", count(of.waiting)]] : []),
  ["Writes", count(of.writes)],
  ["Kept", bytes(of.bytes)],
  ["Its values", bytes(of.value_bytes)],
];

const date = (ms) => time(ms / 1000);

function facts({ node, tier, created_at, sha256, alarm, last_error: error, stayed }) {
  const due = alarm && (alarm.failed ? `given up after ${count(alarm.tries)} tries` : `due ${date(alarm.due ?? alarm.at)}, tries that failed: ${count(alarm.tries)}`);
  return [
    ["Created", date(created_at)],
    ["Node", node],
    ["Memory", { live: "in an instance", frozen: "compressed", disk: "on disk alone" }[tier] ?? tier],
    ["Module's SHA-256", sha256],
    ["Alarm", alarm ? `${alarm.operation}, for ${date(alarm.at)}, ${due}` : "none"],
    ["Last error", error ? `${error.reason} at ${date(error.at)}: ${error.message}` : "none"],
    ...(stayed ? [["Stays on its version", `not over to version ${stayed.version}: ${stayed.why}`]] : []),
  ];
}
