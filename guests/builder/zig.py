"""Zig, and C, which Zig compiles with the WASI library."""

from . import encoder, pip
from .language import Kind, Language
from .tools import TOOLS, once, run

VERSION = "0.17.0"
ZIG = TOOLS / f"zig-{VERSION}"
CACHE = TOOLS / "zig-cache"
C_OPTIONS = ["-Os", "-s", "-Wall", "-Wextra", "-Wl,-z,stack-size=65536"]


def wapc(guest, name, out):
    """With Zig's checks: without, an index past the end is an answer."""
    target = ["-target", "wasm32-freestanding", "-O", "ReleaseSafe", "-fno-entry", "--export=__guest_call"]
    zig("build-exe", guest.folder / f"{name}.zig", *target, "-fstrip", "--stack", "65536", f"-femit-bin={out}")


def c_wapc(guest, name, out):
    """A library for waPC: `_initialize` instead of `main`."""
    c_wasi(guest, name, out, "-mexec-model=reactor")


def c_wasi(guest, name, out, *options):
    zig("cc", "-target", "wasm32-wasi", *options, *C_OPTIONS, "-o", out, guest.folder / f"{name}.c")


def c_command(guest, name, out):
    """The same as a component."""
    c_wasi(guest, name, out)
    encoder.command(out, out)


def c_http(guest, name, out):
    """A handler of HTTP, with no library and no WASI preview 1."""
    target = ["-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry"]
    zig("cc", *target, *C_OPTIONS, "-o", out, guest.folder / f"{name}.c")
    encoder.http(out, out)


def zig(*arguments):
    once(ZIG, f"Zig {VERSION}, about 100 MB", lambda folder: pip.download(f"ziglang=={VERSION}", folder))
    run(ZIG / "ziglang/zig", *arguments, env={"ZIG_GLOBAL_CACHE_DIR": CACHE, "ZIG_LOCAL_CACHE_DIR": CACHE})


ZIG_GUESTS = Language("zig", {"wapc": Kind(wapc, "{}.zig")})
C_GUESTS = Language("c", {"wapc": Kind(c_wapc, "{}.c"), "wasi": Kind(c_wasi, "{}.c"), "command": Kind(c_command, "{}.c"), "http": Kind(c_http, "{}.c")})
