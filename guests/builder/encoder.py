"""Components of what compilers make, which is modules: by `encoder/`, a program of our own that the machine's cargo builds."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import threading

from .tools import GUESTS, TOOLS, Failure, once, run

SOURCE = GUESTS / "builder/encoder"
# Languages are built side by side, and the first that needs it builds it for all.
_building = threading.Lock()


def http(module, out, wit=None, version="0.2.12", adapt=False):
    """A handler of HTTP. The WIT is of the encoder's version, unless it is another folder; with `adapt`, imports of WASI preview 1
    become those of WASI 0.2."""
    world(module, out, f"wasi:http/proxy@{version}", wit, adapt)


def world(module, out, name, wit=None, adapt=False):
    """The same for any world of that WIT."""
    place = encoder()
    how = ["adapt"] if adapt else []
    run(place / "encoder", module, out, wit or place / "wit", name, *how)


def command(module, out):
    """A command of WASI 0.2, of a program of WASI preview 1."""
    run(encoder() / "encoder", module, out)


def wit():
    """A folder of WASI's WIT."""
    return encoder() / "wit"


def encoder():
    files = ["Cargo.toml", "Cargo.lock", "main.rs"]
    try:
        stamp = hashlib.sha256(b"".join((SOURCE / file).read_bytes() for file in files)).hexdigest()
    except OSError as error:
        raise Failure(f"the encoder of components is {SOURCE}: {error.strerror}") from error
    place = TOOLS / f"encoder-{stamp[:12]}"
    with _building:
        # Cargo asks again by itself; what does not compile is not compiled again.
        once(place, "30 crates, which make components of modules", build, pauses=())
    return place


def build(folder):
    cargo = shutil.which("cargo") or pathlib.Path.home() / ".cargo/bin/cargo"
    made = folder / "target"
    run(cargo, "build", "--quiet", "--release", "--locked", "--target-dir", made, folder=SOURCE)
    shutil.copy2(made / "release/encoder", folder / "encoder")
    shutil.rmtree(made)
    # Of the packages of other targets as well: one has the WIT, and none of it is compiled.
    how = [cargo, "metadata", "--locked", "--format-version", "1"]
    listed = subprocess.run(how, cwd=SOURCE, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if listed.returncode != 0:
        raise Failure(f"cargo metadata ended with status {listed.returncode}", listed.stderr)
    [package] = [package for package in json.loads(listed.stdout)["packages"] if package["name"] == "wasip2"]
    shutil.copytree(pathlib.Path(package["manifest_path"]).parent / "wit", folder / "wit")
