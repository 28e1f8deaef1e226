// What the hello_world guest needs to do with bytes.

export function utf8(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

export function concat(head: ArrayBuffer, tail: ArrayBuffer): ArrayBuffer {
  const both = new ArrayBuffer(head.byteLength + tail.byteLength);
  const at = changetype<usize>(both);
  memory.copy(at, changetype<usize>(head), head.byteLength);
  memory.copy(at + head.byteLength, changetype<usize>(tail), tail.byteLength);
  return both;
}

/** Where `byte` is, at `from` or later; -1 when it isn't there. */
export function find(bytes: ArrayBuffer, byte: u8, from: i32): i32 {
  return Uint8Array.wrap(bytes).indexOf(byte, from);
}

/** Decimal digits only, up to the largest u32; -1 for anything else. */
export function number(digits: ArrayBuffer): i64 {
  const view = Uint8Array.wrap(digits);
  if (view.length == 0) return -1;
  let n: i64 = 0;
  for (let i = 0; i < view.length; i++) {
    const digit = <i64>view[i] - 0x30;
    if (digit < 0 || digit > 9) return -1;
    n = n * 10 + digit;
    if (n > <i64>u32.MAX_VALUE) return -1;
  }
  return n;
}
