"""Components in text form: the assembler is that of wasmtime, whose package Python's index has."""

import sys

from . import pip
from .language import Kind, Language
from .tools import TOOLS, once, run

VERSION = "50.0.1"
WASMTIME = TOOLS / f"wasmtime-{VERSION}"
ASSEMBLE = "import pathlib, sys, wasmtime; pathlib.Path(sys.argv[2]).write_bytes(wasmtime.wat2wasm(pathlib.Path(sys.argv[1]).read_text()))"


def wat(guest, name, out):
    once(WASMTIME, f"wasmtime {VERSION}, about 10 MB", lambda folder: pip.download(f"wasmtime=={VERSION}", folder))
    run(sys.executable, "-c", ASSEMBLE, guest.folder / f"{name}.wat", out, env={"PYTHONPATH": WASMTIME})


COMPONENT_GUESTS = Language("component", {"wat": Kind(wat, "{}.wat")})
