// This node: how it is, and its settings.
import { html } from "../base.mjs";
import { useLive } from "../live.mjs";
import { Figures, Notice, Table } from "../parts.mjs";
import { bytes, count, seconds, visible } from "../format.mjs";

export function Node({ closed }) {
  if (closed) return html`<h1>Node</h1><p>Settings name folders and other machines: <a href="#/sign-in">sign in</a> to see them.</p>`;
  return html`<${Open} />`;
}

function Open() {
  const { data, refusal } = useLive("node");
  if (!data) return html`<h1>Node</h1><${Notice} refusal=${refusal} />`;
  const { beam, edge, engines, machine } = data;
  return html`<h1>Node</h1>
    <${Notice} refusal=${refusal} />
    <${Figures} of=${[
      ["Name", data.node],
      ["Up for", seconds(data.uptime_s)],
      ["Tidepool", data.tidepool],
      ["Elixir, OTP", `${data.elixir}, ${data.otp}`],
      ["Cores, memory", `${count(machine.cores)}, ${bytes(machine.memory)}`],
    ]} />
    <h2>Erlang VM</h2>
    <${Figures} of=${[
      ["Processes", count(beam.processes)],
      ["Run queue", count(beam.run_queue)],
      ...["total", "processes", "binary", "ets", "code", "atom"].map((kind) => [`Memory: ${kind}`, bytes(beam.memory[kind])]),
    ]} />
    <h2>Engines</h2>
    <${Table} label="Engines" head=${["Engine", "Live", "Warm", "Queued", "At most"]} empty="None."
      rows=${Object.entries(engines).map(([name, of]) => ({ key: name, cells: [name, count(of.live), count(of.idle), count(of.queued), count(of.max)] }))} />
    <h2>HTTP edge</h2>
    <${Figures} of=${Object.entries(edge).map(([name, value]) => [name.replaceAll("_", " "), count(value)])} />
    <h2>Settings</h2>
    <${Table} label="Settings" head=${["Setting", "Value", "What it is"]} empty="None."
      rows=${data.settings.map(({ name, value, default: standard, doc }) => ({ key: name, cells: [
        html`<span class="code">${name}</span>`,
        html`<span class="code">${visible(value)}</span>${!standard && html` <span class="faint">(set)</span>`}`,
        doc.replaceAll("`", "")] }))} />`;
}
