// What is sent along: a text, bytes as hexadecimal, or a file; or the JSON that a form comes to, which can be written by hand as well.
import { html, useState } from "../base.mjs";
import { quoted, unhex } from "../format.mjs";

const kinds = ["text", "hex", "file"];
const kindsOfForm = ["form", "JSON", "file"];

/**
 * What the user has given so far; `bytes()` is that, or says what is missing, as `problem` does. A `form` gives the text that its fields
 * come to, or throws what they lack.
 */
export function usePayload(form = null) {
  const choices = form ? kindsOfForm : kinds;
  const [chosen, setChosen] = useState(null);
  const [text, setText] = useState("");
  const [file, setFile] = useState(null);
  const kind = choices.includes(chosen) ? chosen : choices[0];
  const filled = form && attempt(form);
  // What was filled in is there to be changed by hand.
  const setKind = (next) => {
    if (next === "JSON" && filled.problem === null) setText(filled.given);
    setChosen(next);
  };
  const { given, problem } = read(kind, { filled, text, file });
  const bytes = () => {
    if (problem !== null) throw new Error(problem);
    return given;
  };
  return { choices, kind, setKind, text, setText, file, setFile, given, problem, bytes, isEmpty: given === "" };
}

function attempt(form) {
  try {
    return { given: form(), problem: null };
  } catch ({ message }) {
    return { given: null, problem: message };
  }
}

function read(kind, { filled, text, file }) {
  switch (kind) {
    case "form": return filled;
    case "file": return { given: file, problem: file ? null : "choose a file" };
    case "hex": {
      const given = text === "" ? "" : unhex(text);
      return { given, problem: given === null ? "write pairs of hexadecimal digits" : null };
    }
    default: return { given: text, problem: null };
  }
}

/** The fields of it, under a name; those of its form stand in their place. */
export const Payload = ({ of: { choices, kind, setKind, text, setText, setFile }, name, children }) => html`<fieldset><legend>${name}</legend>
  <div class="choices">${choices.map((each) => html`<label key=${each}><input type="radio" name="kind" checked=${kind === each} onChange=${() => setKind(each)} /> ${each}</label>`)}</div>
  ${kind === "form"
    ? children
    : kind === "file"
      ? html`<input type="file" aria-label=${`${name} file`} onChange=${(event) => setFile(event.target.files[0] ?? null)} />`
      : html`<textarea aria-label=${name} spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}></textarea>`}
</fieldset>`;

/** What a line of curl has beside it on a node whose calls take a token. */
export const bearer = (guarded) => (guarded ? '-H "authorization: Bearer $TIDEPOOL_TOKEN"' : "");

/** A line of curl that sends it, with these arguments. */
export function curl({ kind, given, file }, ...more) {
  const line = (data) => ["curl -sS", data, ...more].filter(Boolean).join(" ");
  if (kind === "file") return line(`--data-binary ${quoted(`@${file?.name ?? "FILE"}`)}`);
  if (kind === "hex") {
    const escaped = Array.from(given ?? [], (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
    return `printf '${escaped}' | ${line("--data-binary @-")}`;
  }
  // A leading @ would be a file's name.
  if (given?.startsWith("@")) return `printf %s ${quoted(given)} | ${line("--data-binary @-")}`;
  return line(`--data-binary ${quoted(given ?? "")}`);
}
