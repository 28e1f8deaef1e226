// The cluster as this node sees it.
import { html, useState } from "../base.mjs";
import { ask, path } from "../api.mjs";
import { useLive } from "../live.mjs";
import { Figures, Notice, Table, useAction } from "../parts.mjs";
import { bytes, count } from "../format.mjs";

export function Cluster({ closed }) {
  const { data, refusal, reload } = useLive("cluster");
  const { act, busy, refusal: refused, dismiss } = useAction(async (node) => {
    await ask("DELETE", `cluster/nodes/${path(node)}`);
    reload();
  });
  if (!data) return html`<h1>Cluster</h1><${Notice} refusal=${refusal} />`;
  const behind = data.functions.filter(({ pending }) => pending.length > 0);
  return html`<h1>Cluster</h1>
    <${Notice} refusal=${refusal} /><${Notice} refusal=${refused} dismiss=${dismiss} />
    <${Figures} of=${[
      ["This node", data.node],
      ["Shares what is deployed", data.distributed ? "yes" : "no"],
      ["Nodes", count(data.nodes.length)],
      ["Lost", count(data.lost.length), data.lost.length > 0 ? "bad" : ""],
      ["Functions pending", count(behind.length)],
      ["Fetching", count(data.fetching.length)],
    ]} />
    <h2>Nodes</h2>
    <${Table} label="Nodes" head=${["Node", "Links to", "Catalog", "Pending", "Clock ahead by"]} empty="There are none."
      rows=${data.nodes.map((node) => ({ key: node.name, cells: [node.name, node.links.join(", ") || "–", node.catalog, count(node.functions_pending), node.skew_ms == null ? "–" : `${count(node.skew_ms)} ms`] }))} />
    <h2>Lost</h2>
    <${Table} label="Lost nodes" head=${["Node", "Action"]} empty="None."
      rows=${data.lost.map((node) => ({ key: text(node), cells: [text(node), !closed && html`<button class="danger" disabled=${busy} aria-label=${`Forget ${text(node)}`} onClick=${() => act(text(node))}>Forget</button>`] }))} />
    <h2>Functions that some nodes can't serve yet</h2>
    <${Table} label="Pending functions" head=${["Function", "Version", "Ready on", "Pending on"]} empty="None."
      rows=${behind.map(({ name, version, ready, pending }) => ({ key: name, cells: [name, count(version), ready.join(", "), pending.join(", ")] }))} />
    <h2>On their way to this node</h2>
    <${Table} label="Fetching" head=${["Function", "Version", "Size", "State", "Attempts"]} empty="None."
      rows=${data.fetching.map(({ name, version, size, state, attempts }) => ({ key: name, cells: [name, count(version), bytes(size), state, count(attempts)] }))} />
    ${data.members && html`<${Members} closed=${closed} />`}
    ${(data.apart.length > 0 || data.withheld.length > 0) && html`<h2>Kept apart</h2>
      <p>Nodes: ${data.apart.map(text).join(", ") || "none"}. Functions that nobody is told of: ${data.withheld.map(text).join(", ") || "none"}.</p>`}`;
}

/** The nodes that keep actors together, and their changes, which the node answers once they are made. */
function Members({ closed }) {
  const { data, refusal, reload } = useLive("members", 5000);
  const [how, setHow] = useState("add");
  const [node, setNode] = useState("");
  const { act, busy, refusal: refused, dismiss } = useAction(async () => {
    await ask("POST", "members", { body: JSON.stringify({ [how]: node.trim() }) });
    setNode("");
    reload();
  });
  const submit = (event) => (event.preventDefault(), act());
  return html`<h2>Nodes that keep actors together</h2>
    <${Notice} refusal=${refusal} /><${Notice} refusal=${refused} dismiss=${dismiss} />
    ${data && html`<${Table} label="Members" head=${["Node", "Is", "Answers", "Lacks entries", "What is wrong"]} empty="There are none."
      rows=${data.members.map((of) => ({ key: of.node, cells: [of.node, part(of), of.answers ? "yes" : "no", of.lacks == null ? "–" : count(of.lacks), of.problem ?? "–"] }))} />`}
    ${!closed && html`<form onSubmit=${submit} class="field"><div class="bar">
      <label for="how">Change</label>
      <select id="how" value=${how} onChange=${(event) => setHow(event.target.value)}>${["add", "remove", "replace"].map((name) => html`<option key=${name}>${name}</option>`)}</select>
      <label for="member">node</label>
      <input id="member" autocomplete="off" placeholder="d@10.0.0.4" value=${node} onInput=${(event) => setNode(event.target.value)} />
      <button disabled=${busy || node.trim() === ""}>${busy ? "Changing" : "Change members"}</button>
    </div></form>`}`;
}

const part = ({ votes, leads }) => (leads ? "leads" : votes ? "votes" : "catches up");

const text = (of) => (typeof of === "string" ? of : of.name ?? JSON.stringify(of));
