// Texts as the page shows them, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { visible } from "../../priv/ui/format.mjs";

test("what would turn the direction of writing, or not show, is shown by its number", () => {
  for (const code of [0, 7, 0x1b, 0x7f, 0x9b, 0x61c, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2066, 0x2069]) {
    const shown = visible(`a${String.fromCodePoint(code)}b`);
    assert.equal(shown, `a\\u${code.toString(16).padStart(4, "0")}b`);
  }
  const plain = "Grüße\n\tمرحبا 世界 👩‍👩‍👧";
  assert.equal(visible(plain), plain);
});
