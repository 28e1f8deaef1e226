// Values of the types of an interface, as its JSON Schemas describe them: what a form begins with, and the JSON that it comes to.
import { unhex } from "./format.mjs";

// A list of a fixed length has a field for each element up to this many.
const elements = 16;

const integers = new Map([["-128 127", "s8"], ["0 255", "u8"], ["-32768 32767", "s16"], ["0 65535", "u16"], ["-2147483648 2147483647", "s32"], ["0 4294967295", "u32"]]);

/** What a schema is of: the `kind` of its field, and what that has within. */
export function shape(schema) {
  if (typeof schema !== "object" || schema === null) return { kind: "json" };
  const { type, anyOf, oneOf, items, prefixItems, properties, minItems, maxItems } = schema;
  if (schema.enum) return { kind: "choice", names: schema.enum };
  if (oneOf) return { kind: "cases", cases: oneOf.map(caseOf) };
  if (anyOf) return anyOf.at(-1).type === "null" ? { kind: "option", within: anyOf[0] } : { kind: "number" };
  if (type === "object" && properties) return { kind: "members", members: Object.entries(properties) };
  if (prefixItems) return { kind: "places", places: prefixItems };
  if (type === "array" && items?.enum && schema.uniqueItems) return { kind: "flags", names: items.enum };
  if (type === "array" && minItems != null) return minItems === maxItems && minItems <= elements ? { kind: "places", places: new Array(minItems).fill(items) } : { kind: "json" };
  if (type === "array") return notation(items) === "u8" ? { kind: "bytes" } : { kind: "list", items };
  if (type === "string") return { kind: schema.maxLength === 1 ? "character" : "text" };
  return { kind: ["boolean", "integer"].includes(type) ? type : "json" };
}

function caseOf(schema) {
  if (schema.const != null) return { name: schema.const, within: null };
  const [[name, within]] = Object.entries(schema.properties);
  return { name, within };
}

/** The type of a field that has no other fields in it, as WIT has it. */
export function notation(schema) {
  const { kind } = shape(schema);
  if (kind === "integer") return integers.get(`${schema.minimum} ${schema.maximum}`) ?? (schema.minimum < 0 ? "s64" : "u64");
  return { boolean: "bool", number: "float", character: "char", text: "string", bytes: "list<u8>", json: "JSON" }[kind] ?? "";
}

/** What a field has before anything is said. */
export function blank(schema) {
  const of = shape(schema);
  switch (of.kind) {
    case "boolean": return false;
    case "choice": return of.names[0];
    case "cases": return { name: of.cases[0].name, value: of.cases[0].within && blank(of.cases[0].within) };
    case "option": return { given: false, value: blank(of.within) };
    case "bytes": return { as: "text", text: "" };
    case "members": return Object.fromEntries(of.members.map(([name, within]) => [name, blank(within)]));
    case "places": return of.places.map(blank);
    case "list": case "flags": return [];
    default: return "";
  }
}

/** The JSON of what was said, or an error that says of which field something else is wanted. */
export function written(schema, value, path) {
  const of = shape(schema);
  const within = (schema, value, name) => written(schema, value, `${path}.${name}`);
  switch (of.kind) {
    case "boolean": case "choice": case "text": case "flags": return JSON.stringify(value);
    case "character": return [...value].length === 1 ? JSON.stringify(value) : wants(path, "one character");
    case "integer": return /^\s*-?\d+\s*$/.test(value) ? String(BigInt(value)) : wants(path, "a whole number");
    case "number": return number(value.trim(), path);
    case "bytes": return bytes(value, path);
    case "option": return value.given ? written(of.within, value.value, path) : "null";
    case "members": return object(of.members.map(([name, schema]) => [name, within(schema, value[name], name)]));
    case "places": return `[${of.places.map((schema, at) => within(schema, value[at], at)).join(",")}]`;
    case "list": return `[${value.map((element, at) => within(of.items, element, at)).join(",")}]`;
    case "cases": {
      const { name, within: schema } = of.cases.find(({ name }) => name === value.name);
      return schema == null ? JSON.stringify(name) : object([[name, within(schema, value.value, name)]]);
    }
    default: return json(value.trim(), path);
  }
}

const object = (members) => `{${members.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(",")}}`;

function wants(path, what) {
  throw new Error(`${path} wants ${what}`);
}

function number(text, path) {
  if (["NaN", "Infinity", "-Infinity"].includes(text)) return JSON.stringify(text);
  if (text === "" || !Number.isFinite(Number(text))) wants(path, "a number");
  return /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i.test(text) ? text : String(Number(text));
}

function bytes({ as, text }, path) {
  const given = as === "hex" ? unhex(text) : new TextEncoder().encode(text);
  return given ? `[${given.join(",")}]` : wants(path, "pairs of hexadecimal digits");
}

function json(text, path) {
  try {
    JSON.parse(text);
    return text;
  } catch {
    return wants(path, "a value as JSON");
  }
}

// Numbers of a plain module, as the node takes them.
const floats = { anyOf: [{ type: "number" }, { enum: ["NaN", "Infinity", "-Infinity"] }] };
const integer = { type: "integer", minimum: -1 };

// Modules name their exports as they like. A browser takes such a segment of a path for the way to another one.
const leads = (name) => name.split("#").some((segment) => [".", ".."].includes(segment));

/**
 * The exports of a function that can be called by name: `operation` is the shortest name that means each alone, and of those whose
 * arguments are values `params` are their names, types and schemas.
 */
export function exportsOf({ abi, interface: described }) {
  const all = described?.functions ?? [];
  const own = (of) => of.function ?? of.name;
  // Of all of them, as the node does.
  const counts = new Map();
  for (const of of all) counts.set(own(of), (counts.get(own(of)) ?? 0) + 1);
  return all.filter(({ uncallable, name }) => !uncallable && !leads(name)).map((of) => ({
    name: of.name,
    operation: counts.get(own(of)) === 1 ? own(of) : of.name,
    docs: of.docs,
    signature: signature(abi, of),
    params: abi === "extism" ? null : of.params.map(({ name, type, schema }, at) => ({
      name: name ?? `argument ${at + 1}`, type, schema: schema ?? (type.startsWith("i") ? integer : floats),
    })),
    named: abi === "typed",
  }));
}

/** An export as its language writes it; nothing where bytes are all that it takes. */
function signature(abi, { params, result, results, error, ...of }) {
  if (abi === "extism") return "";
  const takes = params.map(({ name, type }) => (name ? `${name}: ${type}` : type)).join(", ");
  const returns = results ? results.map(({ type }) => type).join(", ") : error === undefined ? result?.type : fallible(result, error);
  return `${of.function ?? of.name}(${takes})${returns ? ` -> ${returns}` : ""}`;
}

const fallible = (result, error) => `result<${result?.type ?? "_"}, ${error?.type ?? "_"}>`;

/** What the fields of an export begin with. */
export const blanks = ({ params }) => params.map(({ schema }) => blank(schema));

/** The body of a call of an export: an object by the names of its parameters, or an array of numbers. */
export function argumentsOf({ params, named }, values) {
  const texts = params.map(({ name, schema }, at) => [name, written(schema, values[at], name)]);
  return named && texts.length > 0 ? object(texts) : `[${texts.map(([, text]) => text).join(",")}]`;
}
