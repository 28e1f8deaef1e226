// waPC by hand: a guest's imports, made safe to use. An ArrayBuffer's address is that of its bytes.

@external("wapc", "__guest_request")
declare function guestRequest(operation: ArrayBuffer, payload: ArrayBuffer): void;
@external("wapc", "__guest_response")
declare function guestResponse(reply: ArrayBuffer, len: usize): void;
@external("wapc", "__guest_error")
declare function guestError(text: ArrayBuffer, len: usize): void;
@external("wapc", "__host_call")
declare function wapcHostCall(
  binding: ArrayBuffer, bindingLen: usize,
  namespace: ArrayBuffer, namespaceLen: usize,
  operation: ArrayBuffer, operationLen: usize,
  payload: ArrayBuffer, payloadLen: usize,
): i32;
@external("wapc", "__host_response_len")
declare function hostResponseLen(): usize;
@external("wapc", "__host_response")
declare function hostResponse(reply: ArrayBuffer): void;
@external("wapc", "__host_error_len")
declare function hostErrorLen(): usize;
@external("wapc", "__host_error")
declare function hostError(text: ArrayBuffer): void;
@external("wapc", "__console_log")
declare function wapcConsoleLog(text: ArrayBuffer, len: usize): void;

/** Bytes for the caller, or the text of an error. */
export class Reply {
  static ok(bytes: ArrayBuffer): Reply { return new Reply(1, bytes); }
  static error(text: ArrayBuffer): Reply { return new Reply(0, text); }
  private constructor(readonly code: i32, readonly bytes: ArrayBuffer) {}
}

/** Answers one `__guest_call`: fetches the request, lets `handle` work on it, hands over the reply. */
export function serve(
  operationLen: usize, payloadLen: usize,
  handle: (operation: string, payload: ArrayBuffer) => Reply,
): i32 {
  const operation = new ArrayBuffer(<i32>operationLen);
  const payload = new ArrayBuffer(<i32>payloadLen);
  guestRequest(operation, payload);
  const reply = handle(String.UTF8.decode(operation), payload);
  const bytes = reply.bytes;
  if (reply.code == 1) guestResponse(bytes, bytes.byteLength);
  else guestError(bytes, bytes.byteLength);
  return reply.code;
}

/** Calls the host. A refusal is an error with exactly the host's text. */
export function hostCall(
  binding: ArrayBuffer, namespace: ArrayBuffer, operation: ArrayBuffer, payload: ArrayBuffer,
): Reply {
  const accepted = wapcHostCall(
    binding, binding.byteLength,
    namespace, namespace.byteLength,
    operation, operation.byteLength,
    payload, payload.byteLength,
  );
  if (accepted == 1) {
    const reply = new ArrayBuffer(<i32>hostResponseLen());
    hostResponse(reply);
    return Reply.ok(reply);
  }
  const text = new ArrayBuffer(<i32>hostErrorLen());
  hostError(text);
  return Reply.error(text);
}

/** Writes a line to the host's log. */
export function consoleLog(text: ArrayBuffer): void {
  wapcConsoleLog(text, text.byteLength);
}

/** Stands in for the `env.abort` import, which a waPC host does not have: log why, then trap. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const reason = message === null ? "aborted" : message;
  const place = file === null ? "" : ` (${file}:${line}:${column})`;
  consoleLog(String.UTF8.encode(reason + place));
  unreachable();
}
