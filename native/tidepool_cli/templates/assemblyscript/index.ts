// A function of Tidepool: each operation is a branch of `handle`.
import { Reply, serve } from "./wapc";

export function __guest_call(operationLen: usize, payloadLen: usize): i32 {
  return serve(operationLen, payloadLen, handle);
}

function handle(operation: string, payload: ArrayBuffer): Reply {
  if (operation == "hello") {
    const name = String.UTF8.decode(payload);
    return Reply.ok(utf8("Hello, " + name + "!"));
  }
  return Reply.error(utf8("unknown operation: " + operation));
}

function utf8(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}
