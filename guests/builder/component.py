"""Components: in text form by the assembler of wasmtime, in Python by componentize-py, which both are packages of Python's index,
and in JavaScript by componentize-js, a package of npm."""

import sys

from . import npm, pip
from .language import Kind, Language
from .tools import TOOLS, once, run

VERSION = "50.0.1"
WASMTIME = TOOLS / f"wasmtime-{VERSION}"
PYTHON_VERSION = "0.25.1"
PYTHON = TOOLS / f"componentize-py-{PYTHON_VERSION}"
ASSEMBLE = "import pathlib, sys, wasmtime; pathlib.Path(sys.argv[2]).write_bytes(wasmtime.wat2wasm(pathlib.Path(sys.argv[1]).read_text()))"


def wat(guest, name, out):
    once(WASMTIME, f"wasmtime {VERSION}, about 10 MB", lambda folder: pip.download(f"wasmtime=={VERSION}", folder))
    run(sys.executable, "-c", ASSEMBLE, guest.folder / f"{name}.wat", out, env={"PYTHONPATH": WASMTIME})


def python(guest, name, out):
    """The world in `components/wit`."""
    once(PYTHON, f"componentize-py {PYTHON_VERSION}, about 17 MB", lambda folder: pip.download(f"componentize-py=={PYTHON_VERSION}", folder))
    command = ["componentize-py", "-d", "../wit", "componentize", name, "-o", str(out)]
    componentize = f"import sys; sys.argv = {command!r}; from componentize_py import script; script()"
    run(sys.executable, "-c", componentize, folder=guest.folder, env={"PYTHONPATH": PYTHON, "PYTHONDONTWRITEBYTECODE": "1"})


def javascript(guest, name, out):
    """The same."""
    packages = npm.fetch(guest.folder, "componentize-js, about 385 MB")
    command = packages / "@bytecodealliance/componentize-js/src/cli.js"
    run("node", command, f"{name}.js", "--wit", "../wit", "-o", out, folder=guest.folder, heard=False)


COMPONENT_GUESTS = Language("component", {"wat": Kind(wat, "{}.wat"), "python": Kind(python, "{}.py"), "javascript": Kind(javascript, "{}.js")})
