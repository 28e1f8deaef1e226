// hello.ts
import { Reply, hostCall, serve } from "./wapc";

export function __guest_call(operationLen: usize, payloadLen: usize): i32 {
  return serve(operationLen, payloadLen, handle);
}

function handle(operation: string, payload: ArrayBuffer): Reply {
  if (operation == "hello") {
    const name = String.UTF8.decode(payload);
    return Reply.ok(utf8("Hello, " + name + "!"));
  }
  if (operation == "price") return hostCall(utf8("shop"), utf8("products"), utf8("price"), payload);
  return Reply.error(utf8("unknown operation: " + operation));
}

function utf8(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}
