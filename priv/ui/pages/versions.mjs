// The versions of a function that are kept, and going back to one.
import { html, useEffect } from "../base.mjs";
import { ask, path } from "../api.mjs";
import { useLive } from "../live.mjs";
import { Notice, Table, useAction } from "../parts.mjs";
import { bytes, count, time } from "../format.mjs";

export function Versions({ name, newest, closed, changed }) {
  const { data, refusal, reload } = useLive(`functions/${path(name)}/versions`, 10_000);
  const { act, busy, refusal: refused, dismiss } = useAction(async (version) => {
    await ask("POST", `functions/${path(name)}/rollback?version=${version}`);
    reload();
    changed();
  });
  useEffect(() => reload(), [newest]);
  const back = (of) => !of.newest && html`<button disabled=${busy} aria-label=${`Roll back to version ${of.version}`} onClick=${() => act(of.version)}>Roll back</button>`;
  return html`<h2>Versions</h2>
    <${Notice} refusal=${refusal} /><${Notice} refusal=${refused} dismiss=${dismiss} />
    ${data && html`<${Table} label="Versions" head=${["Version", "Deployed", "Module", "SHA-256", "Instances", ...(closed ? [] : ["Action"])]} empty="None."
      rows=${data.versions.map((of) => ({ key: of.version, cells: [
        html`${count(of.version)}${of.newest && html` <span class="good">newest</span>`}`,
        time(of.deployed_at),
        `${bytes(of.size)}${of.here ? "" : ", on another node"}`,
        html`<span class="code" title=${of.sha256}>${of.sha256.slice(0, 12)}</span>`,
        of.instances,
        ...(closed ? [] : [back(of)])] }))} />`}`;
}
