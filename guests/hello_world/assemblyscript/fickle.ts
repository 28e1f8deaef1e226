// The fickle guest in AssemblyScript. The README one folder up says what each operation does.

import { utf8 } from "./bytes";
import { Reply, hostCall, serve } from "./wapc";

@external("wasi_snapshot_preview1", "clock_time_get")
declare function clockTimeGet(clock: u32, precision: u64, time: ArrayBuffer): u32;
@external("wasi_snapshot_preview1", "random_get")
declare function randomGet(bytes: ArrayBuffer, len: usize): u32;

const REALTIME: u32 = 0;
const table: StaticArray<u32> = [10, 20, 30];

/** Of all calls of this instance. */
let sum: u64 = 0;

export function __guest_call(operationLen: usize, payloadLen: usize): i32 {
  return serve(operationLen, payloadLen, handle);
}

function handle(operation: string, _payload: ArrayBuffer): Reply {
  if (operation != "mix") return Reply.error(utf8("unknown operation: " + operation));
  const told = new ArrayBuffer(8);
  assert(clockTimeGet(REALTIME, 1, told) == 0);
  const time = load<u64>(changetype<usize>(told));
  assert(randomGet(told, 8) == 0);
  const random = load<u64>(changetype<usize>(told));
  const asked = `${time} ${random}`;
  const answer = hostCall(utf8("fickle"), utf8("test"), utf8("weigh"), utf8(asked));
  if (answer.code != 1) return answer;
  sum = sum * 31 + time + random;
  const weight = Uint8Array.wrap(answer.bytes);
  for (let i = 0; i < weight.length; i++) sum = sum * 31 + weight[i];
  const chosen = table[<i32>((sum >> 7) % 4)];
  return Reply.ok(utf8(`${asked} ${String.UTF8.decode(answer.bytes)} ${chosen}`));
}
