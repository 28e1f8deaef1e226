// What is sent along: a text, bytes as hexadecimal, or a file.
import { html, useState } from "../base.mjs";
import { quoted, unhex } from "../format.mjs";

const kinds = ["text", "hex", "file"];

/** What the user has given so far; `bytes()` is that, or says what is missing. */
export function usePayload() {
  const [kind, setKind] = useState("text");
  const [text, setText] = useState("");
  const [file, setFile] = useState(null);
  const given = kind === "file" ? file : kind === "hex" ? unhex(text) : text;
  const bytes = () => {
    if (given === null) throw new Error(kind === "file" ? "choose a file" : "write pairs of hexadecimal digits");
    return given;
  };
  return { kind, setKind, text, setText, file, setFile, given, bytes, isEmpty: kind !== "file" && text === "" };
}

/** The fields of it, under a name. */
export const Payload = ({ of: { kind, setKind, text, setText, setFile }, name }) => html`<fieldset><legend>${name}</legend>
  <div class="choices">${kinds.map((each) => html`<label key=${each}><input type="radio" name="kind" checked=${kind === each} onChange=${() => setKind(each)} /> ${each}</label>`)}</div>
  ${kind === "file"
    ? html`<input type="file" aria-label=${`${name} file`} onChange=${(event) => setFile(event.target.files[0] ?? null)} />`
    : html`<textarea aria-label=${name} spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}></textarea>`}
</fieldset>`;

/** A line of curl that sends it, with these arguments. */
export function curl({ kind, text, given, file }, ...more) {
  const line = (data) => ["curl -sS", data, ...more].filter(Boolean).join(" ");
  if (kind === "file") return line(`--data-binary ${quoted(`@${file?.name ?? "FILE"}`)}`);
  if (kind === "hex") {
    const escaped = Array.from(given ?? [], (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
    return `printf '${escaped}' | ${line("--data-binary @-")}`;
  }
  // A leading @ would be a file's name.
  if (text.startsWith("@")) return `printf %s ${quoted(text)} | ${line("--data-binary @-")}`;
  return line(`--data-binary ${quoted(text) || "''"}`);
}
