// The program of guests/upper: upper-cases the ASCII letters of its input, by the streams of WASI.
import { getStderr } from 'wasi:cli/stderr@0.2.10';
import { getStdin } from 'wasi:cli/stdin@0.2.10';
import { getStdout } from 'wasi:cli/stdout@0.2.10';

// As much as a stream takes at once.
const PIECE = 4096;

function all(input) {
  const bytes = [];
  for (;;) {
    try {
      for (const byte of input.blockingRead(65536n)) bytes.push(byte);
    } catch (error) {
      if (error.payload?.tag === 'closed') return Uint8Array.from(bytes);
      throw error;
    }
  }
}

function write(output, bytes) {
  for (let at = 0; at < bytes.length; at += PIECE) output.blockingWriteAndFlush(bytes.slice(at, at + PIECE));
}

export const run = {
  run() {
    const text = all(getStdin());
    if (new TextDecoder().decode(text).trim() === 'fail') {
      write(getStderr(), new TextEncoder().encode('upper: asked to fail\nupper: giving up\n'));
      // A result that is an error, and has no value.
      throw undefined;
    }
    write(getStdout(), text.map((byte) => (byte >= 97 && byte <= 122 ? byte - 32 : byte)));
  },
};
