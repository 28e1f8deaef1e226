"""Components that others have written: those in published packages of Rust, Python and JavaScript, as they are, or in text form by the
assembler of wasmtime."""

import functools
import hashlib
import json
import pathlib
import shutil
import subprocess

from . import npm, pip
from .component import assemble
from .language import Kind, Language
from .tools import TOOLS, Failure, once


def component(guest, name, out):
    """The file that `sources.txt` has for the name: a line of name, the tool that fetches its package, the package, and path in it."""
    for line in (guest.folder / "sources.txt").read_text().splitlines():
        named, tool, package, path = line.split()
        if named == name:
            source = FETCHED[tool](guest.folder, package) / path
            return shutil.copyfile(source, out) if source.suffix == ".wasm" else assemble(source, out)
    raise Failure(f"sources.txt has no line for {name}")


def of_cargo(folder, package):
    return packages(folder)[package]


def of_pip(folder, _package):
    """The packages of the folder's `requirements.txt`, in a folder named by that. All lie in one, as Python has them."""
    requirements = folder / "requirements.txt"
    place = TOOLS / f"packages-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    once(place, "packages of Python with components, about 60 MB", lambda new: pip.download_locked(requirements, new))
    return place


def of_npm(folder, package):
    return npm.fetch(folder, "packages of JavaScript with components, about 10 MB") / package


FETCHED = {"cargo": of_cargo, "pip": of_pip, "npm": of_npm}


@functools.cache
def packages(folder):
    """Where cargo has the packages of the folder's `Cargo.lock`, by name. None of them is compiled."""
    cargo = shutil.which("cargo") or pathlib.Path.home() / ".cargo/bin/cargo"
    how = [cargo, "metadata", "--locked", "--format-version", "1"]
    listed = subprocess.run(how, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if listed.returncode != 0:
        raise Failure(f"cargo metadata ended with status {listed.returncode}", listed.stderr)
    listed = json.loads(listed.stdout)
    # Of some there are two versions, one of them what another package needs.
    [root] = [node for node in listed["resolve"]["nodes"] if node["id"] == listed["resolve"]["root"]]
    return {it["name"]: pathlib.Path(it["manifest_path"]).parent for it in listed["packages"] if it["id"] in root["dependencies"]}


PACKAGE_GUESTS = Language("packages", {"component": Kind(component, "sources.txt")})
