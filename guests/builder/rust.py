"""Rust: Debian's compiler, fetched without root."""

import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile
import tomllib

from . import encoder
from .language import Kind, Language
from .tools import GUESTS, TOOLS, Failure, have, once, run, say

RUST = TOOLS / "rust"
CRATES = TOOLS / "rust_crate"
TARGETS = ["WASM32_UNKNOWN_UNKNOWN", "WASM32_WASI", "WASM32_WASIP1"]
PACKAGES = ["rustc", "cargo", "libstd-rust-dev", "libstd-rust-dev-wasm32"]
# A waPC guest's stack is 64 KiB instead of 1 MiB: its smallest memory is its stack and its data.
STACK = "link-arg=-zstack-size=65536"
OPTIONS = ["opt-level=s", "panic=abort", "lto", "codegen-units=1", "strip=debuginfo"]


def wapc(guest, name, out):
    rustc("--crate-type", "cdylib", "--target", "wasm32-unknown-unknown", "-C", STACK, "-o", out, guest.folder / f"{name}.rs")


def lines(guest, name, out):
    """The same with its debug data, for the lines of its source. This old compiler calls them 1."""
    kept = ["-C", "strip=none", "-C", "debuginfo=1"]
    rustc("--crate-type", "cdylib", "--target", "wasm32-unknown-unknown", "-C", STACK, *kept, "-o", out, guest.folder / f"{name}.rs")


def wasi(guest, name, out, *options):
    rustc("--target", wasi_target(), *options, "-o", out, guest.folder / f"{name}.rs")


def wasi_target():
    """Newer compilers have renamed it."""
    fetch()
    old = "wasm32-wasi"
    return old if (RUST / "usr/lib/rustlib" / old).is_dir() else "wasm32-wasip1"


def reactor(guest, name, out):
    """A library for waPC that finds WASI's randomness and clocks."""
    wasi(guest, name, out, "--crate-type", "cdylib")


def crate(guest, name, out):
    cargo(guest.folder, "build", "--quiet", "--release", "--locked", "--target", "wasm32-unknown-unknown")
    shutil.copyfile(CRATES / "wasm32-unknown-unknown/release" / f"{name}.wasm", out)


def command(guest, name, out):
    """The same as a component, which is what newer compilers make for `wasm32-wasip2`."""
    wasi(guest, name, out, "-C", "link-arg=--export=cabi_realloc")
    encoder.command(out, out)


def component(guest, name, out):
    """A component by the canonical ABI alone, of the world of its name in the guest's folder `wit`."""
    rustc("--crate-type", "cdylib", "--target", "wasm32-unknown-unknown", "-C", STACK, "-o", out, guest.folder / f"{name}.rs")
    with tempfile.TemporaryDirectory() as folder:
        wit = pathlib.Path(folder) / "wit"
        shutil.copytree(guest.folder / "wit", wit)
        shutil.copytree(encoder.wit() / "deps", wit / "deps", dirs_exist_ok=True)
        encoder.world(out, out, name.replace("_", "-"), wit)


def adapted(guest, name, out):
    """The same of the folder `wit` beside the guest's, with Rust's standard library, whose WASI of preview 1 is adapted."""
    wasi(guest, name, out, "--crate-type", "cdylib", "-C", STACK)
    encoder.world(out, out, name.replace("_", "-"), guest.folder.parent / "wit", adapt=True)


def http(guest, name, out):
    """A handler of HTTP: a crate that has WASI 0.2 by the crate `wasi`, whose version names that of WASI."""
    by_wasi(guest, name, out, "wasi:http/proxy")


def command_crate(guest, name, out):
    """A command that has WASI 0.2 by that crate, and none of preview 1."""
    by_wasi(guest, name, out, "wasi:cli/command")


def by_wasi(guest, name, out, world):
    crate(guest, name, out)
    lock = tomllib.loads((guest.folder / "Cargo.lock").read_text())
    [version] = [package["version"] for package in lock["package"] if package["name"] == "wasi"]
    encoder.world(out, out, f"{world}@{version.rpartition('-')[2]}", sources("wasi", version) / "wit")


def rustc(*arguments):
    fetch()
    options = [word for option in [*OPTIONS, f"linker={linker()}"] for word in ("-C", option)]
    paths = ["--remap-path-prefix", f"{GUESTS}=guests"]
    run(RUST / "usr/bin/rustc", "--edition", "2021", *options, *paths, *arguments, env={"LD_LIBRARY_PATH": libraries()})


def cargo(folder, *arguments, target=CRATES, flags=f"-C {STACK}", heard=True):
    """Runs cargo, which puts what it makes into the folder `target`, and has rustc take the `flags`."""
    fetch()
    remapped = f"--remap-path-prefix {TOOLS}/cargo=cargo --remap-path-prefix {GUESTS}=guests"
    env = {
        "LD_LIBRARY_PATH": libraries(),
        "RUSTC": RUST / "usr/bin/rustc",
        # Debian 12's cargo has the registry's present protocol behind a flag.
        "RUSTC_BOOTSTRAP": "1",
        "CARGO_HOME": TOOLS / "cargo",
        "CARGO_TARGET_DIR": target,
        **{f"CARGO_TARGET_{name}_LINKER": linker() for name in TARGETS},
        "RUSTFLAGS": f"{remapped} {flags}",
    }
    run(RUST / "usr/bin/cargo", "-Z", "sparse-registry", *arguments, folder=folder, env=env, heard=heard)


def sources(package, version):
    """Those of a crate that cargo has fetched."""
    found = sorted(TOOLS.glob(f"cargo/registry/src/*/{package}-{version}"))
    if not found:
        raise Failure(f"cargo has fetched no {package} {version}")
    return found[0]


def libraries():
    return one("usr/lib/*-linux-gnu")


def linker():
    return one("usr/bin/wasm-ld-*")


def one(pattern):
    found = sorted(RUST.glob(pattern))
    if not found:
        raise Failure(f"there is no {pattern} in {RUST}: remove that folder, and it is fetched again")
    return found[0]


def fetch():
    if not have("apt-get", "dpkg"):
        raise Failure(
            "the Rust guests need apt-get and dpkg: run this in a Debian container, or name the languages to build without rust"
        )
    once(RUST, "Debian's Rust compiler, about 120 MB", download)


def download(folder):
    """apt-get gets a cache of its own, and lists of its own when the machine's are missing or too old."""
    cache = folder / "apt"
    user = pwd.getpwuid(os.getuid()).pw_name
    options = ["-o", "Debug::NoLocking=1", "-o", f"APT::Sandbox::User={user}", "-o", f"Dir::Cache={cache}"]
    for part in ("archives", "lists"):
        (cache / part / "partial").mkdir(parents=True)
    try:
        download_packages(options)
    except Failure:
        say("refreshing the package lists")
        options += ["-o", f"Dir::State::lists={cache}/lists"]
        run("apt-get", "-qq", "-y", *options, "update")
        download_packages(options)
    for package in sorted((cache / "archives").glob("*.deb")):
        run("dpkg", "-x", package, folder)
    shutil.rmtree(cache)


def download_packages(options):
    """What is installed already is fetched again, for compiler and libraries must lie in one tree."""
    depends = subprocess.run(["apt-cache", *options, "depends", "lld"], capture_output=True, text=True)
    found = set(re.findall(r"lld-[0-9]+", depends.stdout))
    if depends.returncode != 0 or not found:
        raise Failure("apt-cache knows of no package lld")
    how = ["install", "--reinstall", "--download-only", "--no-install-recommends"]
    run("apt-get", "-qq", "-y", *options, *how, *PACKAGES, *found)


RUST_GUESTS = Language(
    "rust",
    {
        "wapc": Kind(wapc, "{}.rs"),
        "lines": Kind(lines, "{}.rs"),
        "wasi": Kind(wasi, "{}.rs"),
        "reactor": Kind(reactor, "{}.rs"),
        "crate": Kind(crate, "Cargo.toml"),
        "component": Kind(component, "{}.rs"),
        "adapted": Kind(adapted, "{}.rs"),
        "http": Kind(http, "Cargo.toml"),
        "command": Kind(command, "{}.rs"),
        "command-crate": Kind(command_crate, "Cargo.toml"),
    },
)
