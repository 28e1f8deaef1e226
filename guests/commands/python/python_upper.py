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
        sys.stdout.buffer.write(text.upper())
        sys.stdout.buffer.flush()
