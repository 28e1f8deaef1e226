"""The program of guests/upper: upper-cases the ASCII letters of its input, by Python's own streams."""

import sys

from componentize_py_types import Err
from wit_world import exports


class Run(exports.Run):
    def run(self):
        text = sys.stdin.buffer.read()
        if text.split() == [b"fail"]:
            print("upper: asked to fail\nupper: giving up", file=sys.stderr, flush=True)
            raise Err(None)
        # Python's output has no buffer here: it writes a piece, and says how much that was.
        rest = memoryview(text.upper())
        while rest:
            rest = rest[sys.stdout.buffer.write(rest) :]
