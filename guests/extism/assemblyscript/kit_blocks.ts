// Blocks, as the plug-in in ../kit has them.
import { Host, Memory } from "@extism/as-pdk";
import { input_length, input_load_u64, input_load_u8, length, output_set } from "@extism/as-pdk/lib/env";
import { answer, fail } from "./kit";

export function abort(message: string | null, _file: string | null, _line: u32, _column: u32): void {
  fail(message ? message : "aborted");
}

// The input as the output, by pieces at places that are no multiples of eight.
export function pieces(): i32 {
  const all = input_length();
  const bytes = new Uint8Array(<i32>all);
  let at: u64 = 0;
  while (at < all) {
    if (all - at >= 8 && at % 3 != 0) {
      store<u64>(bytes.dataStart + <usize>at, input_load_u64(at));
      at += 8;
    } else {
      bytes[<i32>at] = input_load_u8(at);
      at += 1;
    }
  }
  Host.output(bytes);
  return 0;
}

// What it reads behind its input's end.
export function beyond(): i32 {
  const all = input_length();
  answer(`${input_load_u64(all)} ${input_load_u64(all + 1)} ${input_load_u64(all + 1000)} ${input_load_u8(all)}`);
  return 0;
}

// So many bytes as its input says.
export function large(): i32 {
  const bytes = new Uint8Array(I32.parseInt(Host.inputString()));
  for (let place = 0; place < bytes.length; place++) bytes[place] = <u8>(place % 251);
  Host.output(bytes);
  return 0;
}

// The middle of a block alone.
export function middle(): i32 {
  const block = Memory.allocateBytes(Host.input());
  const quarter = block.length / 4;
  output_set(block.offset + quarter, 2 * quarter);
  return 0;
}

// Lengths: of a block, of one that is freed, and at places where none begins.
export function lengths(): i32 {
  const block = Memory.allocate(100);
  const at = block.offset;
  const before = `${length(at)} ${length(0)} ${length(at + 1)} ${length(u64.MAX_VALUE)}`;
  block.free();
  answer(`${before} ${length(at)}`);
  return 0;
}
