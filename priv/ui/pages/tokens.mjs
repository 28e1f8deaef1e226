// Tokens beside the node's own: made, listed, revoked.
import { html, useState } from "../base.mjs";
import { ask, path } from "../api.mjs";
import { useLive } from "../live.mjs";
import { Copied, Notice, Table, useAction } from "../parts.mjs";
import { time, visible } from "../format.mjs";

export function Tokens({ closed }) {
  if (closed) return html`<h1>Tokens</h1><p>Tokens are made by the node's own, and by admins of all functions: <a href="#/sign-in">sign in</a> with one of these.</p>`;
  return html`<${Open} />`;
}

function Open() {
  const { data, refusal, reload } = useLive("tokens", 5_000);
  const [made, setMade] = useState(null);
  return html`<h1>Tokens</h1>
    <${Notice} refusal=${refusal} />
    <p>Each is for some scopes, of some functions, until it expires. Whoever has its secret may what it is for.</p>
    <${Make} done=${(token) => (setMade(token), reload())} />
    ${made && html`<section role="status" aria-label="The new token"><h2>${`The secret of ${made.name}`}</h2>
      <p>Take it along now: the node keeps its hash alone, and nobody can show it again.</p>
      <${Copied} text=${made.secret} what=${`Secret of ${made.name}`} label="Copy" />
      <p><button onClick=${() => setMade(null)}>Done</button></p></section>`}
    ${data && html`<${List} tokens=${data.tokens} reload=${reload} />`}`;
}

function List({ tokens, reload }) {
  const [children, setChildren] = useState(false);
  const [last, setLast] = useState(null);
  const { act, busy, refusal, dismiss } = useAction(async (name) => {
    setLast(await ask("DELETE", `tokens/${path(name)}?children=${children}`));
    reload();
  });
  const expires = (at) => (at * 1000 < Date.now() ? html`<span class="bad">expired</span>` : time(at));
  return html`<h2>Those that there are</h2>
    <${Notice} refusal=${refusal} dismiss=${dismiss} />
    <div class="choices"><label><input type="checkbox" checked=${children} onChange=${(event) => setChildren(event.target.checked)} /> Revoke with what a token has made</label></div>
    <p role="status">${last && `${[last.revoked, ...last.also].join(", ")} revoked${last.left.length > 0 ? `; what it has made stays: ${last.left.join(", ")}` : ""}.`}</p>
    <${Table} label="Tokens" empty="There is none beside the node's own."
      head=${["Name", "Scopes", "Functions", "May grant", "Made", "Made by", "Expires", "Action"]}
      rows=${tokens.map((token) => ({ key: token.name, cells: [
        token.name, token.scopes.join(", "), html`<span class="code">${token.functions}</span>`,
        visible(token.grants.join(", ") || "–"), time(token.made_at), visible(token.made_by ?? "–"), expires(token.expires_at),
        html`<button class="danger" disabled=${busy} aria-label=${`Revoke ${token.name}`} onClick=${() => act(token.name)}>Revoke</button>`] }))} />`;
}

const scopes = [["read", "read modules and settings"], ["call", "call functions and actors, and start processes"], ["deploy", "deploy, roll back and remove"], ["admin", "all of this, and tokens"]];

function Make({ done }) {
  const [said, set] = useState({ name: "", functions: "*", days: "90", grants: "", scopes: ["deploy"] });
  const { act, busy, refusal, dismiss } = useAction(async () => {
    const grants = said.grants.split("\n").map((line) => line.trim()).filter(Boolean);
    const body = {
      name: said.name.trim(), scopes: said.scopes, functions: said.functions.trim(), expires_in: Math.round(Number(said.days) * 86_400),
      ...(grants.length > 0 && { grants }),
    };
    done(await ask("POST", "tokens", { body: JSON.stringify(body) }));
    set({ ...said, name: "" });
  });
  const field = (key) => ({ id: `token-${key}`, value: said[key], onInput: (event) => set({ ...said, [key]: event.target.value }) });
  const choose = (scope, on) => set({ ...said, scopes: on ? [...said.scopes, scope] : said.scopes.filter((each) => each !== scope) });
  return html`<form onSubmit=${(event) => (event.preventDefault(), act())}>
    <h2>Make one</h2>
    <${Notice} refusal=${refusal} dismiss=${dismiss} />
    <div class="field"><label for="token-name">Name</label><input type="text" autocomplete="off" required ...${field("name")} /></div>
    <fieldset><legend>Scopes</legend>${scopes.map(([scope, what]) => html`<div class="choices" key=${scope}>
      <label><input type="checkbox" name=${scope} checked=${said.scopes.includes(scope)} onChange=${(event) => choose(scope, event.target.checked)} /> ${`${scope}: ${what}`}</label></div>`)}</fieldset>
    <div class="field"><label for="token-functions">Functions</label><p id="functions-hint">A name, or the beginning of some with * at its end.</p>
      <input type="text" autocomplete="off" required aria-describedby="functions-hint" ...${field("functions")} /></div>
    <div class="field"><label for="token-grants">May grant</label><p id="grants-hint">What functions that it deploys may be granted beside what all have, one a line: host:shop/prices/*, net:dns, files:config.</p>
      <textarea rows="2" spellcheck="false" aria-describedby="grants-hint" ...${field("grants")}></textarea></div>
    <div class="field"><label for="token-days">Expires after days</label><input type="number" min="0.001" max="3650" step="any" required ...${field("days")} /></div>
    <button class="main" disabled=${busy || said.scopes.length === 0}>Make</button>
  </form>`;
}
