"""Components: in text form by the assembler of wasmtime, in Python by componentize-py, which both are packages of Python's index,
and in JavaScript by componentize-js, a package of npm."""

import re
import shutil
import sys

from . import encoder, npm, pip
from .language import Kind, Language
from .tools import GUESTS, TOOLS, once, run

VERSION = "50.0.1"
WASMTIME = TOOLS / f"wasmtime-{VERSION}"
PYTHON_VERSION = "0.25.1"
PYTHON = TOOLS / f"componentize-py-{PYTHON_VERSION}"
JAVASCRIPT_WASI = "0.2.10"
INCLUDED = re.compile(r";; include (\S+)\n")
ASSEMBLE = "import pathlib, sys, wasmtime; pathlib.Path(sys.argv[2]).write_bytes(wasmtime.wat2wasm(pathlib.Path(sys.argv[1]).read_text()))"


def wat(guest, name, out):
    assemble(guest.folder / f"{name}.wat", out)


def abi(guest, name, out):
    """A module or a component that has another file in it, or several: each where a comment says `include FILE`."""
    text = (guest.folder / f"{name}.wat").read_text()
    for file in sorted(set(INCLUDED.findall(text))):
        text = text.replace(f";; include {file}\n", (guest.folder / file).read_text())
    source = out.with_suffix(".wat")
    source.write_text(text)
    assemble(source, out)


def abi_http(guest, name, out):
    """A handler of HTTP, made of such a module."""
    abi(guest, name, out)
    encoder.http(out, out)


def abi_command(guest, name, out):
    """A command, made of such a module."""
    abi(guest, name, out)
    encoder.world(out, out, "wasi:cli/command@0.2.12")


def assemble(source, out):
    once(WASMTIME, f"wasmtime {VERSION}, about 10 MB", lambda folder: pip.download(f"wasmtime=={VERSION}", folder))
    run(sys.executable, "-c", ASSEMBLE, source, out, env={"PYTHONPATH": WASMTIME})


def python(guest, name, out):
    """The world in the folder `wit` beside the guest's."""
    componentize_py(guest, "-d", "../wit", "componentize", name, "-o", out)


def python_http(guest, name, out):
    """A handler of HTTP."""
    componentize_py(guest, "-d", encoder.wit(), "-w", "wasi:http/proxy@0.2.12", "componentize", name, "-o", out)


def python_command(guest, name, out):
    """A command."""
    componentize_py(guest, "-d", encoder.wit(), "-w", "wasi:cli/command@0.2.12", "componentize", name, "-o", out)


def componentize_py(guest, *arguments):
    once(PYTHON, f"componentize-py {PYTHON_VERSION}, about 17 MB", lambda folder: pip.download(f"componentize-py=={PYTHON_VERSION}", folder))
    command = ["componentize-py", *map(str, arguments)]
    componentize = f"import sys; sys.argv = {command!r}; from componentize_py import script; script()"
    run(sys.executable, "-c", componentize, folder=guest.folder, env={"PYTHONPATH": PYTHON, "PYTHONDONTWRITEBYTECODE": "1"})


def javascript(guest, name, out):
    """The same, by the packages of one of these guests."""
    componentize_js(guest, GUESTS / "components/javascript", f"{name}.js", "--wit", "../wit", "-o", out)


def javascript_http(guest, name, out):
    """A handler of HTTP."""
    javascript_wasi(guest, name, out, f"include wasi:http/proxy@{JAVASCRIPT_WASI};")


def javascript_command(guest, name, out):
    """A command. componentize-js makes bindings of all that a world imports, and of `wasi:sockets` some that do not link."""
    streams = " ".join(f"import wasi:cli/{stream}@{JAVASCRIPT_WASI};" for stream in ("stdin", "stdout", "stderr"))
    javascript_wasi(guest, name, out, f"{streams} export wasi:cli/run@{JAVASCRIPT_WASI};")


def javascript_wasi(guest, name, out, items):
    """What a world of WASI's items is, by the packages of the other guest in JavaScript. Their engine's WASI is of a version of its own."""
    world = out.parent / "wit"
    shutil.copytree(encoder.wit() / "deps", world / "deps")
    for file in world.glob("deps/*.wit"):
        file.write_text(re.sub(r"\b0\.2\.1[12]\b", JAVASCRIPT_WASI, file.read_text()))
    (world / "world.wit").write_text(f"package tidepool:guest;\nworld guest {{ {items} }}\n")
    componentize_js(guest, GUESTS / "components/javascript", f"{name}.js", "--wit", world, "-n", "guest", "-o", out)


def componentize_js(guest, packages, *arguments):
    packages = npm.fetch(packages, "componentize-js, about 385 MB")
    command = packages / "@bytecodealliance/componentize-js/src/cli.js"
    run("node", command, *arguments, folder=guest.folder, heard=False)


COMPONENT_GUESTS = Language(
    "component",
    {
        "wat": Kind(wat, "{}.wat"),
        "python": Kind(python, "{}.py"),
        "python-http": Kind(python_http, "{}.py"),
        "python-command": Kind(python_command, "{}.py"),
        "javascript": Kind(javascript, "{}.js"),
        "javascript-http": Kind(javascript_http, "{}.js"),
        "javascript-command": Kind(javascript_command, "{}.js"),
    },
)
ABI_GUESTS = Language("abis", {"wat": Kind(abi, "{}.wat"), "http": Kind(abi_http, "{}.wat"), "command": Kind(abi_command, "{}.wat")})
