// What these plug-ins share beside Extism's own package.
import { Host, Memory } from "@extism/as-pdk";
import { error_set } from "@extism/as-pdk/lib/env";

// An error of the plug-in.
export function fail(text: string): void {
  error_set(Memory.allocateString(text).offset);
}

// The package's own measures a text before it is UTF-8, and cuts what is longer then.
export function answer(text: string): void {
  Host.output(bytes(text));
}

export function bytes(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text));
}
