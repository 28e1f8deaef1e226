// What a function's page makes of failures and latencies, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { gathered } from "../../priv/ui/pages/failures.mjs";
import { scale } from "../../priv/ui/pages/latencies.mjs";
import { moment } from "../../priv/ui/format.mjs";

const failure = (at_ms, more = {}) => ({ at_ms, position: at_ms, version: 1, operation: "pay", reason: "trap", trap: "unreachable", message: "m", ...more });

test("failures that are the same are one, with how many there were and since when, and the last one first", () => {
  const first = gathered([], [failure(1), failure(2, { operation: "look" }), failure(3, { payload_base64: "QQ==", console: ["a"] })]);
  assert.deepEqual(first.map(({ times, since_ms, last }) => [last.operation, times, since_ms, last.at_ms]), [["pay", 2, 1, 3], ["look", 1, 2, 2]]);
  // An open one stays open, by its key.
  const second = gathered(first, [failure(4, { operation: "look" })]);
  assert.deepEqual(second.map(({ key, times }) => [key, times]), [[first[1].key, 2], [first[0].key, 2]]);
  // Another version, message or place in the code is another failure.
  for (const more of [{ version: 2 }, { message: "n" }, { backtrace: [{ function: "f", index: 1, offset: 2 }] }]) {
    assert.equal(gathered(first, [failure(5, more)]).length, 3);
  }
  assert.equal(gathered([], Array.from({ length: 80 }, (_, at) => failure(at, { message: `${at}` }))).length, 50);
});

test("the axis of latencies has its ends, and labels between them that don't touch", () => {
  const bounds = Array.from({ length: 200 }, (_, at) => 0.1 * 2 ** (at / 8));
  for (const [least, most] of [[0, 7], [60, 67], [40, 160], [0, 200]]) {
    const labels = scale(least, most, bounds);
    const places = labels.map(([, at]) => at).sort((a, b) => a - b);
    assert.deepEqual([places[0], places.at(-1)], [0, 100]);
    assert(places.every((at, index) => index === 0 || at - places[index - 1] >= 14), places.join(" "));
    assert.equal(new Set(labels.map(([label]) => label)).size, labels.length);
  }
});

test("a moment of another day says which", () => {
  const noon = new Date(2026, 10, 27, 12, 0, 0, 5).getTime();
  assert.equal(moment(noon, noon), "12:00:00.005");
  assert.equal(moment(noon, noon + 86_400_000), "27 Nov, 12:00:00.005");
});
