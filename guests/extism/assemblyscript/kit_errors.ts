// How a plug-in fails, as the one in ../kit has it.
import { Host } from "@extism/as-pdk";
import { error_set } from "@extism/as-pdk/lib/env";
import { answer, fail } from "./kit";

export function abort(message: string | null, _file: string | null, _line: u32, _column: u32): void {
  fail(message ? message : "aborted");
}

export function returns(): i32 {
  fail(Host.inputString());
  return -1;
}

// With the text that was set last.
export function twice(): i32 {
  fail("the first error");
  fail("the second error");
  return 1;
}

// An error that is set is one, whatever is returned.
export function succeeds(): i32 {
  answer("an output");
  fail("set beside an output");
  return 0;
}

// An error that is taken back is none.
export function takes_back(): i32 {
  fail("soon gone");
  error_set(0);
  answer("an output");
  return 0;
}

export function says_nothing(): i32 {
  return 42;
}

// The language's own check, which says why before it traps.
export function panics(): i32 {
  const bytes = Host.input();
  return bytes[bytes.length];
}

export function aborts(): i32 {
  throw new Error("it can't go on");
}

export function traps(): i32 {
  unreachable();
  return 0;
}

export function divides(): i32 {
  return 1 / (Host.input().length - 1);
}
