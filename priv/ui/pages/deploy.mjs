// Deploying: a file, or where it is in a registry, and all that the node's schema says of it.
import { html, useEffect, useRef, useState } from "../base.mjs";
import { ask, path } from "../api.mjs";
import { useLive } from "../live.mjs";
import { Notice, useAction } from "../parts.mjs";
import { bytes } from "../format.mjs";

// So many imports that nobody answers are named.
const NAMED = 8;

const named = (imports) => imports.slice(0, NAMED).join(", ") + (imports.length > NAMED ? ` and ${imports.length - NAMED} more` : "");

const steps = ["options", "fetch", "size", "compile", "start", "store", "spread"];

// The schema's field that says where the module is; it stands beside the file, which it takes the place of.
const REFERENCE = "form-ref";

export function Deploy({ closed }) {
  const { data: schema, refusal: unread } = useLive("deploy/options", 0);
  const [file, setFile] = useState(null);
  const [said, setSaid] = useState({});
  const reference = said[REFERENCE]?.trim();
  const [done, setDone] = useState(null);
  const [ended, setEnded] = useState(null);
  const { busy, refusal, act, dismiss } = useAction(async () => {
    setDone(null);
    setEnded("busy");
    try {
      const { form, query } = written(schema, said, file);
      setDone(await ask("POST", `deploy${query}`, { body: form }));
      setEnded("done");
    } catch (refusal) {
      setEnded(refusal.details?.step ?? null);
      throw refusal;
    }
  });
  if (closed) return html`<h1>Deploy</h1><p>A deploy needs the token: <a href="#/sign-in">sign in</a>.</p>`;
  const field = (option, of) => html`<${Field} key=${option.name} option=${option} id=${`${of}-${option.name}`} value=${said[`${of}-${option.name}`]}
    set=${(value) => setSaid((before) => ({ ...before, [`${of}-${option.name}`]: value }))} />`;
  return html`<h1>Deploy</h1>
    <${Notice} refusal=${unread} />
    <form onSubmit=${(event) => (event.preventDefault(), act())}>
      <${Module} file=${file} set=${setFile} />
      ${schema?.form.filter(({ name }) => name === "ref").map((option) => field(option, "form"))}
      <p><button class="main" disabled=${busy || Boolean(file) === Boolean(reference) || !schema}>${busy ? "Deploying…" : "Deploy"}</button></p>
      <${Notice} refusal=${refusal} dismiss=${dismiss} />
      ${ended && ended !== "busy" && html`<${Steps} ended=${ended} fetched=${Boolean(reference)} waited=${Boolean(said["query-wait"])} />`}
      ${done && html`<p role="status" class="good">Deployed <a href=${`#/functions/${path(done.name)}`}>${done.name}</a>, version ${done.version}.</p>`}
      ${done?.instances_reason && html`<p>Each request has an instance of its own: ${done.instances_reason}.</p>`}
      ${done?.unanswered?.length > 0 && html`<p>Nobody answers ${named(done.unanswered)}, or <code>host</code> does not grant it: calls end where they ask for it.</p>`}
      ${schema && html`<h2>Options</h2>
        <p class="faint">What is left empty is as the node has it, as each field shows.</p>
        ${schema.form.filter(({ name }) => name !== "ref").map((option) => field(option, "form"))}
        <h2>In a cluster</h2>
        ${schema.query.map((option) => field(option, "query"))}`}
    </form>`;
}

function Module({ file, set }) {
  const [over, setOver] = useState(false);
  const input = useRef(null);
  useEffect(() => {
    // A file that misses the field must not take the page's place.
    const stay = (event) => event.preventDefault();
    addEventListener("dragover", stay);
    addEventListener("drop", stay);
    return () => {
      removeEventListener("dragover", stay);
      removeEventListener("drop", stay);
    };
  }, []);
  const dropped = (event) => {
    event.preventDefault();
    setOver(false);
    const [first] = event.dataTransfer.files;
    if (first) {
      input.current.files = event.dataTransfer.files;
      set(first);
    }
  };
  return html`<div class=${`drop${over ? " over" : ""}`} onDragOver=${(event) => (event.preventDefault(), setOver(true))}
      onDragLeave=${() => setOver(false)} onDrop=${dropped}>
    <label for="module"><strong>Module</strong></label>
    <p class="faint">A WebAssembly file: choose it, or drop it here.</p>
    <input id="module" type="file" ref=${input} onChange=${(event) => set(event.target.files[0] ?? null)} />
    ${file && html`<p>${file.name}, ${bytes(file.size)}</p>`}
  </div>`;
}

function Steps({ ended, fetched, waited }) {
  const done = ended === "done";
  const last = steps.indexOf(ended);
  const asked = { fetch: fetched, spread: waited };
  const state = (at) => (done || at < last ? (asked[steps[at]] ?? true ? "done" : "not asked for") : at === last ? "refused" : "not reached");
  return html`<ol class="steps" aria-label="Steps of the deploy">
    ${steps.map((step, at) => html`<li key=${step} class=${state(at) === "done" ? "good" : state(at) === "refused" ? "bad" : "faint"}>${step}: ${state(at)}</li>`)}
  </ol>`;
}

// A field of the schema, whatever it is: one that this does not know is a line of text.
function Field({ option, id, value, set }) {
  const { kind, name, doc, notation } = option;
  if (kind === "members") return html`<${Members} option=${option} id=${id} value=${value} set=${set} />`;
  const hint = `${id}-hint`;
  const shared = { id, name, "aria-describedby": hint, value: value ?? "", onInput: (event) => set(event.target.value) };
  const standard = option.default === null || option.default === "" ? "none" : String(option.default);
  const lines = option.each ? "one a line, " : "";
  const allowed = `Allowed: ${lines}${notation}. Without it: ${name === "name" ? "the file's name, or the reference's" : name === "operation" ? "the name" : standard}.`;
  return html`<div class="field">
    <label for=${id}>${name}</label>
    <p id=${hint}>${`${doc} ${allowed}`.replaceAll("`", "")}</p>
    ${kind === "choice"
      ? html`<select ...${shared}><option value="">${`as the node has it (${standard})`}</option>${option.values.map((choice) => html`<option key=${choice} value=${String(choice)}>${String(choice)}</option>`)}</select>`
      : kind === "integer"
        ? html`<input type="number" min=${option.min} max=${option.max === "infinity" ? undefined : option.max} step="1" placeholder=${standard} ...${shared} />`
        : option.each
          ? html`<textarea rows="2" spellcheck="false" ...${shared}></textarea>`
          : html`<input type="text" autocomplete="off" spellcheck="false" placeholder=${standard === "none" ? "" : standard} ...${shared} />`}
  </div>`;
}

// Members of a JSON object; one that may be left out as a whole has a switch.
function Members({ option, id, value, set }) {
  const { on = !option.optional, ...members } = value ?? {};
  return html`<fieldset><legend>${option.name}</legend>
    <p class="faint">${option.doc}</p>
    ${option.optional && html`<div class="choices"><label><input type="checkbox" checked=${on} onChange=${(event) => set({ ...members, on: event.target.checked })} /> ${option.name}</label></div>`}
    ${on && option.members.map((member) => html`<${Field} key=${member.name} option=${member} id=${`${id}-${member.name}`} value=${members[member.name]}
      set=${(given) => set({ ...members, on, [member.name]: given })} />`)}
  </fieldset>`;
}

// The form as curl would send it. Empty fields are left out.
function written(schema, said, file) {
  const form = new FormData();
  const query = new URLSearchParams();
  const add = (to, of) => (option) => {
    const value = said[`${of}-${option.name}`];
    if (value == null || value === "") return;
    if (option.kind === "members") {
      const { on = !option.optional, ...members } = value;
      const given = option.members.filter(({ name }) => members[name] != null && members[name] !== "")
        .map(({ name, kind }) => [name, kind === "integer" ? Number(members[name]) : members[name]]);
      if (on && (given.length > 0 || option.optional)) to.append(option.name, JSON.stringify(Object.fromEntries(given)));
    } else if (option.each) {
      for (const line of value.split("\n")) if (line.trim()) to.append(option.name, line.trim());
    } else to.append(option.name, value);
  };
  schema.form.forEach(add(form, "form"));
  schema.query.forEach(add(query, "query"));
  if (file) form.append("wasm", file, file.name);
  return { form, query: query.size > 0 ? `?${query}` : "" };
}
