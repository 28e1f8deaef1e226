// What a form's fields come to, without a browser: for each type of an interface, by the schema that the node writes for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { argumentsOf, blank, blanks, exportsOf, notation, shape, written } from "../../priv/ui/schema.mjs";

const u32 = { type: "integer", minimum: 0, maximum: 4294967295 };
const text = { type: "string" };
const point = { type: "object", properties: { x: u32, y: u32 }, required: ["x", "y"], additionalProperties: false };
const floats = { anyOf: [{ type: "number" }, { enum: ["NaN", "Infinity", "-Infinity"] }] };
const member = (name, schema) => ({ type: "object", properties: { [name]: schema }, required: [name], additionalProperties: false });
const bytes = { type: "array", items: { type: "integer", minimum: 0, maximum: 255 } };

test("each type of WIT has a field of its own, which begins with something", () => {
  const kinds = [
    [{ type: "boolean" }, "boolean", false],
    [u32, "integer", ""],
    [floats, "number", ""],
    [{ type: "string", minLength: 1, maxLength: 1 }, "character", ""],
    [text, "text", ""],
    [{ enum: ["red", "green"] }, "choice", "red"],
    [bytes, "bytes", { as: "text", text: "" }],
    [{ type: "array", items: text }, "list", []],
    [{ type: "array", items: u32, minItems: 2, maxItems: 2 }, "places", ["", ""]],
    [{ type: "array", items: u32, minItems: 4096, maxItems: 4096 }, "json", ""],
    [{ type: "array", prefixItems: [u32, text], minItems: 2, maxItems: 2 }, "places", ["", ""]],
    [{ type: "array", items: { enum: ["read", "write"] }, uniqueItems: true }, "flags", []],
    [{ type: "array", items: { enum: ["red", "green"] } }, "list", []],
    [point, "members", { x: "", y: "" }],
    [{ oneOf: [{ const: "nothing" }, member("percent", u32)] }, "cases", { name: "nothing", value: null }],
    [{ oneOf: [member("ok", u32), { const: "error" }] }, "cases", { name: "ok", value: "" }],
    [{ anyOf: [u32, { type: "null" }] }, "option", { given: false, value: "" }],
    // What is too deep for the node to describe.
    [true, "json", ""],
  ];
  for (const [schema, kind, beginning] of kinds) {
    assert.equal(shape(schema).kind, kind, JSON.stringify(schema));
    assert.deepEqual(blank(schema), beginning, kind);
  }
  const widths = [[0, 255, "u8"], [-128, 127, "s8"], [0, 2 ** 64, "u64"], [-(2 ** 63), 2 ** 63, "s64"], [0, 4294967295, "u32"]];
  for (const [minimum, maximum, name] of widths) assert.equal(notation({ type: "integer", minimum, maximum }), name);
});

test("fields come to JSON that says what was said, digit by digit", () => {
  const said = [
    [{ type: "boolean" }, true, "true"],
    [u32, " 007 ", "7"],
    // No float holds these.
    [{ type: "integer", minimum: 0, maximum: 2 ** 64 }, "18446744073709551615", "18446744073709551615"],
    [floats, "2.50", "2.50"],
    [floats, ".5", "0.5"],
    [floats, "-Infinity", '"-Infinity"'],
    [{ type: "string", minLength: 1, maxLength: 1 }, "🌊", '"🌊"'],
    [text, 'a "b"\n', '"a \\"b\\"\\n"'],
    [bytes, { as: "text", text: "é" }, "[195,169]"],
    [bytes, { as: "hex", text: "00 ff" }, "[0,255]"],
    [{ type: "array", items: point }, [{ x: "1", y: "2" }], '[{"x":1,"y":2}]'],
    [{ type: "array", items: { enum: ["read", "write"] }, uniqueItems: true }, ["write"], '["write"]'],
    [{ oneOf: [{ const: "nothing" }, member("percent", u32)] }, { name: "nothing", value: null }, '"nothing"'],
    [{ oneOf: [{ const: "nothing" }, member("percent", u32)] }, { name: "percent", value: "5" }, '{"percent":5}'],
    [{ anyOf: [u32, { type: "null" }] }, { given: false, value: "" }, "null"],
    [{ anyOf: [member("some", { anyOf: [u32, { type: "null" }] }), { type: "null" }] }, { given: true, value: { some: { given: false, value: "" } } }, '{"some":null}'],
    [true, ' {"a": 1} ', '{"a": 1}'],
  ];
  for (const [schema, value, json] of said) assert.equal(written(schema, value, "it"), json);
});

test("what can't be written says which field wants what", () => {
  const list = { type: "array", items: point };
  assert.throws(() => written(list, [{ x: "1", y: "2" }, { x: "1", y: "two" }], "points"), { message: "points.1.y wants a whole number" });
  assert.throws(() => written(floats, "", "share"), { message: "share wants a number" });
  assert.throws(() => written(floats, "1e999", "share"), { message: "share wants a number" });
  assert.throws(() => written({ type: "string", minLength: 1, maxLength: 1 }, "ab", "key"), { message: "key wants one character" });
  assert.throws(() => written(bytes, { as: "hex", text: "0" }, "body"), { message: "body wants pairs of hexadecimal digits" });
  assert.throws(() => written(true, "{", "deep"), { message: "deep wants a value as JSON" });
});

test("exports are called by their shortest names, those of a component by an object and those of a module by an array", () => {
  const typed = (name, params = []) => ({ name, interface: name.split("#")[0], function: name.split("#").at(-1), params, result: { type: "u32" } });
  const one = { name: "one", type: "u32", schema: u32 };
  const component = { abi: "typed", interface: { functions: [
    typed("a:b/one@1.0.0#number", [one]), typed("a:b/two@1.0.0#number"), typed("a:b/one@1.0.0#only", [one]), { ...typed("make"), uncallable: "it returns a resource" },
  ] } };
  const found = exportsOf(component);
  assert.deepEqual(found.map(({ operation }) => operation), ["a:b/one@1.0.0#number", "a:b/two@1.0.0#number", "only"]);
  assert.equal(found[2].signature, "only(one: u32) -> u32");
  assert.equal(argumentsOf(found[2], ["7"]), '{"one":7}');
  assert.equal(argumentsOf(found[1], blanks(found[1])), "[]");

  const [add] = exportsOf({ abi: "exports", interface: { functions: [{ name: "add", params: [{ type: "i32" }, { type: "f64" }], results: [{ type: "i32" }] }] } });
  assert.equal(add.signature, "add(i32, f64) -> i32");
  assert.equal(argumentsOf(add, ["-1", "2.5"]), "[-1,2.5]");
  assert.deepEqual(exportsOf({ abi: "extism", interface: { functions: [{ name: "echo" }] } }).map(({ params }) => params), [null]);
  assert.deepEqual(exportsOf({ abi: "wapc", interface: null }), []);

  // The node counts those that can't be called, too.
  const both = [typed("one#make"), { ...typed("two#make"), uncallable: "it is async" }];
  assert.deepEqual(exportsOf({ abi: "typed", interface: { functions: both } }).map(({ operation }) => operation), ["one#make"]);
});

test("exports whose names would lead out of the function's path are none that can be called", () => {
  const names = ["..", ".", "..#..#functions#other#rollback", "a#..", "..a", "a..b#c"];
  const functions = names.map((name) => ({ name, params: [], results: [] }));
  assert.deepEqual(exportsOf({ abi: "exports", interface: { functions } }).map(({ name }) => name), ["..a", "a..b#c"]);
});
