// What the page has of its packages is what they have.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { packaged, vendored } from "./vendor.mjs";

test("priv/ui/vendor is what vendor.mjs makes of the locked packages, licences included", () => {
  assert.deepEqual(vendored(), packaged());
});

test("the lock names no registry", () => {
  assert.doesNotMatch(readFileSync(new URL("package-lock.json", import.meta.url), "utf8"), /resolved|https?:.*(tgz|registry)/);
});
