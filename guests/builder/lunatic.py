"""Rust with the crate `lunatic`: programs of processes, and that crate's own tests and examples."""

import functools
import shutil
import tomllib

from .language import Kind, Language
from .rust import cargo, sources, wasi_target
from .tools import TOOLS, Failure

# What the suite is made of: a package's folder of sources, and its place beside our manifest.
PARTS = [
    ("lunatic", "src", "src"),
    ("lunatic", "tests", "tests"),
    ("lunatic", "examples", "examples"),
    ("lunatic-test", "tests", "tests"),
]
# It would need a SQLite of the host, and does not compile without that feature of the crate.
LEFT_OUT = ["tests/sqlite.rs"]
TARGET = TOOLS / "lunatic"


def program(guest, name, out):
    """A binary of the crate in the guest's folder."""
    compile_by_cargo(guest.folder, "build", "--bin", name)
    shutil.copyfile(TARGET / wasi_target() / "release" / f"{name}.wasm", out)


def suite(guest, name, out):
    """`test_NAME` and `example_NAME` are the crate's test and example NAME, and its unit tests are named after the guest."""
    made = TARGET / wasi_target() / "release"
    build_suite(guest.folder, made)
    kind, _, name = name.partition("_")
    if kind == "example":
        found = [made / "examples" / f"{name}.wasm"]
    else:
        found = list((made / "deps").glob(f"{name}-*.wasm"))
    if len(found) != 1 or not found[0].is_file():
        raise Failure(f"cargo has made {len(found)} programs of the {kind} {name}")
    shutil.copyfile(found[0], out)


@functools.cache
def build_suite(folder, made):
    """All modules at once, in a folder where the registry's sources lie beside our manifest."""
    crate = TOOLS / folder.name
    shutil.rmtree(crate, ignore_errors=True)
    (crate / "src").mkdir(parents=True)
    for file in ("Cargo.toml", "Cargo.lock"):
        shutil.copyfile(folder / file, crate / file)
    # A library has to be there before Cargo takes the folder for a crate.
    (crate / "src/lib.rs").touch()
    cargo(crate, "fetch", "--quiet", "--locked")
    wanted = tomllib.loads((folder / "Cargo.toml").read_text())["dependencies"]
    for package, part, place in PARTS:
        shutil.copytree(sources(package, version_of(wanted[package])) / part, crate / place, dirs_exist_ok=True)
    for file in LEFT_OUT:
        (crate / file).unlink()
    # What was built of other versions has other names, and would be found as well.
    for program in (made / "deps").glob("*.wasm"):
        program.unlink()
    # What the compiler warns of in them is nobody's here to mend.
    compile_by_cargo(crate, "test", "--no-run", "--lib", "--test", "*", heard=False)
    compile_by_cargo(crate, "build", "--examples", heard=False)


def version_of(wanted):
    version = wanted if isinstance(wanted, str) else wanted["version"]
    return version.removeprefix("=")


def compile_by_cargo(folder, command, *options, heard=True):
    """In one folder for all, so that what runs while compiling is built once."""
    how = [command, "--quiet", "--release", "--locked", "--target", wasi_target(), *options]
    cargo(folder, *how, target=TARGET, flags=f"--remap-path-prefix {folder}={folder.name}", heard=heard)


LUNATIC_GUESTS = Language("lunatic", {"program": Kind(program, "Cargo.toml"), "suite": Kind(suite, "Cargo.toml")})
