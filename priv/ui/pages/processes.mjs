// Processes of guests on this node.
import { html, useState } from "../base.mjs";
import { ask, path } from "../api.mjs";
import { useLive } from "../live.mjs";
import { Notice, Table, useAction } from "../parts.mjs";
import { bytes, count, micros, visible } from "../format.mjs";

export function Processes({ closed }) {
  const [filter, setFilter] = useState("");
  const { data, refusal, reload } = useLive("processes");
  const { act, busy, refusal: refused, dismiss } = useAction(async (id) => {
    await ask("DELETE", `processes/${path(id)}`);
    reload();
  });
  const shown = (data?.processes ?? []).filter(({ function: name }) => name.includes(filter.trim()));
  return html`<h1>Processes</h1>
    <${Notice} refusal=${refusal} /><${Notice} refusal=${refused} dismiss=${dismiss} />
    <div class="bar"><label for="of">Function</label><input id="of" type="search" value=${filter} onInput=${(event) => setFilter(event.target.value)} />
      <span role="status" class="faint">${data && `${count(shown.length)} shown${data.omitted ? `, ${count(data.omitted)} more are not listed` : ""}`}</span></div>
    ${data && html`<${Table} label="Processes" empty="No process of a guest runs on this node."
      head=${["Process", "Function", "State", "In", "Messages", "Memory", "CPU time", "Links", ...(closed ? [] : ["Action"])]}
      rows=${shown.map((each) => ({
        key: each.id,
        cells: [each.id, html`<a href=${`#/functions/${path(each.function)}`}>${each.function}</a>`, each.state,
          visible(each.current_function ?? "–"), count(each.message_queue), bytes(each.memory), micros(each.cpu_us), each.links.join(", "),
          ...(closed ? [] : [html`<button class="danger" disabled=${busy} aria-label=${`Kill ${each.id}`} onClick=${() => act(each.id)}>Kill</button>`])],
      }))} />`}`;
}
