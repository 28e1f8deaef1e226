// The hello_world guest in AssemblyScript. The README one folder up says what each operation does.

import { Reply, consoleLog, hostCall, serve } from "./wapc";
import { concat, find, number, utf8 } from "./bytes";

export function __guest_call(operationLen: usize, payloadLen: usize): i32 {
  return serve(operationLen, payloadLen, handle);
}

function handle(operation: string, payload: ArrayBuffer): Reply {
  if (operation == "hello_world" || operation == "hello") return Reply.ok(hello(payload));
  if (operation == "echo") return Reply.ok(payload);
  if (operation == "fail") return Reply.error(fail(payload));
  if (operation == "host") return host(payload);
  if (operation == "fib") {
    const n = number(payload);
    if (n < 0) return Reply.error(concat(utf8("not a number: "), payload));
    return Reply.ok(utf8(fib(<u32>n).toString()));
  }
  if (operation == "log") {
    consoleLog(payload);
    return Reply.ok(new ArrayBuffer(0));
  }
  return Reply.error(utf8("unknown operation: " + operation));
}

function hello(name: ArrayBuffer): ArrayBuffer {
  const greeted = name.byteLength == 0 ? utf8("world") : name;
  return concat(concat(utf8("Hello, "), greeted), utf8("!"));
}

function fail(payload: ArrayBuffer): ArrayBuffer {
  return payload.byteLength == 0
    ? utf8("failed as asked")
    : concat(utf8("failed as asked: "), payload);
}

// The payload's first line names the call, binding/namespace/operation; the rest is passed on.
function host(payload: ArrayBuffer): Reply {
  if (payload.byteLength == 0) {
    return hostCall(utf8("host"), utf8("test"), utf8("echo"), payload);
  }
  const size = payload.byteLength;
  let line = find(payload, 0x0a, 0);
  if (line < 0) line = size;
  const target = payload.slice(0, line);
  const first = find(target, 0x2f, 0);
  const second = first < 0 ? -1 : find(target, 0x2f, first + 1);
  if (second < 0) return Reply.error(concat(utf8("not a host call: "), target));
  return hostCall(
    target.slice(0, first),
    target.slice(first + 1, second),
    target.slice(second + 1, line),
    payload.slice(min(line + 1, size), size),
  );
}

// Naive on purpose: the work doubles with every other n.
function fib(n: u32): u64 {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
