// The faulty guest in AssemblyScript. The README one folder up says what each operation does.

import { Reply, serve } from "./wapc";

const table: StaticArray<u32> = [10, 20, 30];

export function __guest_call(operationLen: usize, payloadLen: usize): i32 {
  return serve(operationLen, payloadLen, handle);
}

function handle(operation: string, payload: ArrayBuffer): Reply {
  if (operation == "index") {
    const n = i32.parse(String.UTF8.decode(payload));
    return Reply.ok(String.UTF8.encode(table[n].toString()));
  }
  return Reply.error(String.UTF8.encode("unknown operation: " + operation));
}
