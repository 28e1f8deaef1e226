"""AssemblyScript, and WAT: their compilers are packages of npm, which has others' components, too."""

import hashlib
import pathlib
import shutil

from .language import Kind, Language
from .tools import TOOLS, Failure, have, once, run

ASSEMBLE = pathlib.Path(__file__).with_name("assemble.js")


def assemblyscript(guest, name, out):
    """The incremental collector stays: the smaller runtimes never give memory back."""
    compiler = fetch(guest.folder, "AssemblyScript, about 20 MB") / "assemblyscript/bin/asc.js"
    how = ["-Osize", "--runtime", "incremental", "--use", "abort=wapc/abort", "--exportStart", "_start"]
    run("node", compiler, f"{name}.ts", "-o", out, *how, folder=guest.folder)


def extism(guest, name, out):
    """A plug-in, with Extism's package."""
    packages = fetch(guest.folder, "AssemblyScript and Extism's package for it, about 20 MB")
    how = ["-Osize", "--runtime", "incremental", "--use", f"abort={name}/abort", "--path", packages]
    run("node", packages / "assemblyscript/bin/asc.js", f"{name}.ts", "-o", out, *how, folder=guest.folder)


def wat(guest, _name, out):
    """All in one process, into a folder."""
    out.mkdir()
    run("node", ASSEMBLE, fetch(guest.folder, "wabt, the WAT assembler, about 1 MB") / "wabt", guest.folder, out)


def fetch(source, what):
    """The packages of the source's lock file, in a folder named by that, so that another version is another folder."""
    if not have("node", "npm"):
        raise Failure("what packages of npm are for needs Node.js 18 or newer with npm")
    try:
        lock = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    except OSError as error:
        raise Failure(f"the compiler is that of package-lock.json beside the source: {error.strerror}") from error
    packages = TOOLS / f"npm-{lock[:12]}"
    once(packages, what, lambda folder: download(source, folder))
    return packages / "node_modules"


def download(source, folder):
    for file in ("package.json", "package-lock.json"):
        shutil.copyfile(source / file, folder / file)
    run("npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder)


ASSEMBLYSCRIPT_GUESTS = Language("assemblyscript", {"wapc": Kind(assemblyscript, "{}.ts"), "extism": Kind(extism, "{}.ts")})
WAT_GUESTS = Language("wat", {"folder": Kind(wat, "*.wat", of_folder=True)})
