// A field for each argument of an export, and for each value within.
import { html } from "../base.mjs";
import { blank, notation, shape } from "../schema.mjs";

/** The fields of an export; `set` gets all values anew. */
export const Arguments = ({ of, values, set }) => html`${of.params.length === 0 && html`<p class="faint">It takes none.</p>`}
  ${of.params.map(({ name, type, schema }, at) => html`<${Field} key=${name} id=${`argument-${at}`} name=${name} type=${type} schema=${schema}
    value=${values[at]} set=${(value) => set(values.with(at, value))} />`)}`;

const Title = ({ name, type }) => html`${name} ${type && html`<span class="type">${type}</span>`}`;

function Field({ id, name, type, schema, value, set }) {
  const of = shape(schema);
  const Part = parts[of.kind];
  if (Part) return html`<${Part} id=${id} name=${name} type=${type} of=${of} value=${value} set=${set} />`;
  const title = html`<${Title} name=${name} type=${type ?? notation(schema)} />`;
  return html`<div class="field"><label for=${id}>${title}</label><${Input} id=${id} of=${of} value=${value} set=${set} /></div>`;
}

function Input({ id, of: { kind, names }, value, set }) {
  const onInput = (event) => set(event.target.value);
  switch (kind) {
    case "boolean": return html`<select id=${id} value=${String(value)} onChange=${(event) => set(event.target.value === "true")}>
      <option value="false">false</option><option value="true">true</option></select>`;
    case "choice": return html`<select id=${id} value=${value} onChange=${onInput}>${names.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select>`;
    case "text": case "json": return html`<textarea id=${id} class="short" rows="1" spellcheck="false" value=${value} onInput=${onInput}></textarea>`;
    default: return html`<input id=${id} type="text" autocomplete="off" spellcheck="false" inputmode=${kind === "integer" ? "numeric" : undefined} value=${value} onInput=${onInput} />`;
  }
}

const Group = ({ name, type, children }) => html`<fieldset><legend><${Title} name=${name} type=${type} /></legend>${children}</fieldset>`;

function Members({ id, name, type, of, value, set }) {
  return html`<${Group} name=${name} type=${type}>
    ${of.members.map(([member, schema]) => html`<${Field} key=${member} id=${`${id}-${member}`} name=${member} schema=${schema} value=${value[member]}
      set=${(given) => set({ ...value, [member]: given })} />`)}<//>`;
}

function Places({ id, name, type, of, value, set }) {
  return html`<${Group} name=${name} type=${type}>
    ${of.places.map((schema, at) => html`<${Field} key=${at} id=${`${id}-${at}`} name=${`${at}`} schema=${schema} value=${value[at]}
      set=${(given) => set(value.with(at, given))} />`)}<//>`;
}

function List({ id, name, type, of, value, set }) {
  return html`<${Group} name=${name} type=${type}>
    ${value.map((element, at) => html`<div class="element" key=${at}>
      <${Field} id=${`${id}-${at}`} name=${`${at}`} schema=${of.items} value=${element} set=${(given) => set(value.with(at, given))} />
      <button type="button" aria-label=${`Remove ${at} of ${name}`} onClick=${() => set(value.toSpliced(at, 1))}>Remove</button></div>`)}
    <button type="button" aria-label=${`Add to ${name}`} onClick=${() => set([...value, blank(of.items)])}>Add</button><//>`;
}

function Option({ id, name, type, of, value, set }) {
  return html`<${Group} name=${name} type=${type}>
    <div class="choices"><label><input type="checkbox" checked=${value.given} onChange=${(event) => set({ ...value, given: event.target.checked })} /> given</label></div>
    ${value.given && html`<${Field} id=${`${id}-some`} name="value" schema=${of.within} value=${value.value} set=${(given) => set({ ...value, value: given })} />`}<//>`;
}

function Cases({ id, name, type, of, value, set }) {
  const { within } = of.cases.find((each) => each.name === value.name);
  const choose = (chosen) => {
    const { within } = of.cases.find((each) => each.name === chosen);
    set({ name: chosen, value: within == null ? null : blank(within) });
  };
  return html`<${Group} name=${name} type=${type}>
    <div class="field"><label for=${id}>case</label>
      <select id=${id} value=${value.name} onChange=${(event) => choose(event.target.value)}>${of.cases.map((each) => html`<option key=${each.name} value=${each.name}>${each.name}</option>`)}</select></div>
    ${within != null && html`<${Field} key=${value.name} id=${`${id}-of`} name=${value.name} schema=${within} value=${value.value} set=${(given) => set({ ...value, value: given })} />`}<//>`;
}

function Flags({ name, type, of, value, set }) {
  const choose = (flag, on) => set(of.names.filter((each) => (each === flag ? on : value.includes(each))));
  return html`<${Group} name=${name} type=${type}><div class="choices">
    ${of.names.map((flag) => html`<label key=${flag}><input type="checkbox" checked=${value.includes(flag)} onChange=${(event) => choose(flag, event.target.checked)} /> ${flag}</label>`)}
  </div><//>`;
}

function Bytes({ id, name, type, value, set }) {
  return html`<${Group} name=${name} type=${type ?? "list<u8>"}>
    <div class="choices">${["text", "hex"].map((as) => html`<label key=${as}><input type="radio" name=${`${id}-as`} checked=${value.as === as} onChange=${() => set({ ...value, as })} /> ${as}</label>`)}</div>
    <textarea id=${id} class="short" rows="1" aria-label=${name} spellcheck="false" value=${value.text} onInput=${(event) => set({ ...value, text: event.target.value })}></textarea><//>`;
}

const parts = { members: Members, places: Places, list: List, option: Option, cases: Cases, flags: Flags, bytes: Bytes };
