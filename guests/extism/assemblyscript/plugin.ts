// A plug-in of Extism, by Extism's own package: it counts vowels, and tells of tides what the host knows.
import { Config, Host, Memory, Var } from "@extism/as-pdk";
import { error_set, length } from "@extism/as-pdk/lib/env";

@external("extism:host/user", "tide")
declare function tide(harbour: u64): u64;

// The text of an `abort`, as an error of the plug-in.
export function abort(message: string | null, _file: string | null, _line: u32, _column: u32): void {
  fail(message ? message : "aborted");
}

function fail(text: string): void {
  error_set(Memory.allocateString(text).offset);
}

// The package's own measures a text before it is UTF-8, and cuts what is longer then.
function answer(text: string): void {
  Host.output(Uint8Array.wrap(String.UTF8.encode(text)));
}

export function count_vowels(): i32 {
  const text = Host.inputString();
  const configured = Config.get("vowels");
  const vowels = configured ? configured : "aeiouAEIOU";
  let count = 0;
  for (let place = 0; place < text.length; place++) {
    if (vowels.includes(text.charAt(place))) count++;
  }
  const before = Var.getString("total");
  const total = count + (before ? I32.parseInt(before) : 0);
  Var.set("total", Uint8Array.wrap(String.UTF8.encode(total.toString())));
  answer(`{"count":${count},"total":${total},"vowels":"${vowels}"}`);
  return 0;
}

export function echo(): i32 {
  Host.output(Host.input());
  return 0;
}

// Asks the host.
export function tide_at(): i32 {
  const harbour = Host.inputString();
  const height = tide(Memory.allocateString(harbour).offset);
  answer(`${harbour}: ${new Memory(height, length(height)).toString()}`);
  return 0;
}

export function fails(): i32 {
  fail(`no tide today: ${Host.inputString()}`);
  return 7;
}
