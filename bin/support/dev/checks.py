"""The checks: from what belongs to the changed files to commands."""

import csv
import dataclasses
import os
import pathlib
import re
import tomllib

from .table import ALL, NIF_TESTS

ROOT = pathlib.Path(__file__).resolve().parents[3]
SEED = "bin/support/seed.sh"
RUST = ["-p", "tidepool_core", "-p", "tidepool_core_tests", "-p", "tidepool_core_units", "-p", "tidepool_http", "-p", "tidepool_nif"]


@dataclasses.dataclass(frozen=True)
class Check:
    """A command, where it runs, and what its name is in the summary."""

    name: str
    command: tuple
    folder: str = "."
    # A program that is run before.
    before: str | None = None

    def shown(self):
        words = " ".join(word if word and not set(word) & set(" *()'\"") else f"'{word}'" for word in self.command)
        return words if self.folder == "." else f"cd {self.folder} && {words}"


def mix(name, *arguments, folder="."):
    return Check(name, ("env", "MIX_ENV=test", "mix", "test", *arguments), folder)


def cargo_test(name, *arguments):
    """In the folder and with the settings of the inner loop: see native/dev.toml."""
    folder = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "dev")
    command = ("cargo", "--config", "dev.toml", "test", "--target-dir", folder, "--release", "--locked", *arguments)
    return Check(name, command, "native", SEED)


def format_check(paths):
    paths = sorted(path for path in paths if (ROOT / path).exists())
    scripts = [path for path in paths if path.endswith((".ex", ".exs"))]
    sources = [path for path in paths if path.endswith(".rs")]
    if ".formatter.exs" in paths:
        yield Check("format of Elixir", ("mix", "format", "--check-formatted"))
    elif scripts:
        yield Check("format of Elixir", ("mix", "format", "--check-formatted", *scripts))
    if "native/rustfmt.toml" in paths:
        yield Check("format of Rust", ("cargo", "fmt", "--all", "--check"), "native")
    elif sources:
        yield Check("format of Rust", ("rustfmt", "--check", "--edition", "2024", *sources))


def syntax(paths):
    """Reads scripts without running them."""
    languages = {path: language_of(ROOT / path) for path in sorted(paths) if (ROOT / path).is_file()}
    if scripts := [path for path, language in languages.items() if language == "python3"]:
        read = "import ast, sys; [ast.parse(open(path).read(), path) for path in sys.argv[1:]]"
        yield Check("syntax of Python", ("python3", "-c", read, *scripts))
    for path, language in languages.items():
        if language in ("bash", "sh"):
            yield Check(f"syntax of {path}", (language, "-n", path))


def language_of(file):
    """What runs a script, by its ending or its first line."""
    first = file.read_bytes().split(b"\n", 1)[0].decode(errors="replace")
    if file.suffix == ".py" or "python" in first:
        return "python3"
    if file.suffix == ".sh" or "bash" in first:
        return "bash"
    return "sh" if first.startswith("#!/bin/sh") else None


def guests(paths):
    """The languages of the guests that the files belong to; all when a file is the builder's, or several guests'."""
    languages = set()
    for path in paths:
        folders = [folder for folder in (ROOT / path).parents if folder.is_relative_to(ROOT / "guests")]
        described = [folder / "guest.toml" for folder in folders if (folder / "guest.toml").exists()]
        if not described:
            return [Check("guests", ("bin/guests",))]
        languages.add(tomllib.loads(described[0].read_text())["language"])
    return [Check("guests", ("bin/guests", *sorted(languages)))]


def rust(asked):
    """Tests of the core and of the edge by their modules, in one command: neither is built without the other."""
    if {("core", ALL), ("http", ALL)} <= asked:
        return [cargo_test("Rust", *RUST, "--tests")]
    modules = set()
    for crate, module in asked:
        modules |= modules_of(crate) if module == ALL else {module}
    return [cargo_test("Rust", *RUST, "--tests", "--", *(f"{module}::" for module in sorted(modules)))]


def modules_of(crate):
    """The outermost modules of a crate, those of its tests among them."""
    folders = [ROOT / f"native/tidepool_{crate}/src", *(ROOT / f"native/tidepool_{crate}/tests").glob("*/")]
    return {entry.stem for folder in folders for entry in folder.glob("*") if entry.stem not in ("bin", "lib", "main", "mod", "support")}


def benches(names):
    return [Check(f"bench {name}", ("bench/run", name, "--smoke")) for name in sorted(names)]


# In this order, so that what fails fast fails first. Each makes commands of the arguments that the table gives.
KINDS = {
    "syntax": syntax,
    "format": format_check,
    "tidy": lambda _: [Check("tidy", ("python3", "bin/tidy"))],
    "guests": guests,
    "docs": lambda _: [mix("documents", "test/docs")],
    "mix": lambda files: [mix("tests by name", *sorted(files))],
    "nif": lambda _: [mix("NIFs", *NIF_TESTS)],
    "elixir": lambda _: [mix("Elixir", "--stale")],
    "rust": rust,
    "errors": lambda _: [cargo_test("errors", *RUST, "-p", "tidepool_errors", "--lib")],
    "fields": lambda _: [cargo_test("fields", *RUST, "-p", "tidepool_fields", "--lib")],
    "records": lambda _: [
        cargo_test("records", *RUST, "-p", "tidepool_records_tests", "--test", "records", "--", "model::", "shared::", "survives::")
    ],
    "model": lambda _: [cargo_test("model of owners", "-p", "tidepool_model")],
    "cli": lambda _: [cargo_test("command line tool", "-p", "tidepool_cli"), mix("command line tool with a node", "test/cli")],
    "load": lambda _: [cargo_test("load generator", "-p", "tidepool_load")],
    "fuzz": lambda _: [cargo_test("fuzzing", *RUST, "-p", "tidepool_fuzz", "--test", "*")],
    "smith": lambda _: [
        Check("smith", ("cargo", "check", "--release", "--locked", "--manifest-path", "fuzz/smith/Cargo.toml"), "native")
    ],
    "embed": lambda _: [mix("examples/embed", folder="examples/embed")],
    "bench": benches,
}

# What takes many minutes is named, and left.
LEFT = {"ship": "bin/test ship", "browser": "bin/test browser"}


def commands(asked):
    """The checks, in order, of pairs of a kind and an argument."""
    for kind, make in KINDS.items():
        arguments = {argument for each, argument in asked if each == kind}
        if arguments:
            yield from make(arguments)


def left(asked):
    return sorted({LEFT[argument] for kind, argument in asked if kind == "left"})


def slow_tests(paths):
    """Files of tests that each change is spared, of those that belong to these files: themselves, what they test, and what they use."""
    with open(ROOT / "bin/support/slow.tsv", newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    modules = support_modules(paths)
    return [
        row["file"]
        for row in rows
        if any(path == row["file"] or re.match(row["of"], path) for path in paths)
        or modules and modules & words(ROOT / row["file"])
    ]


def support_modules(paths):
    """The last words of the names of modules: those in these files of test/support, and all there that name one of them."""
    files = {str(path.relative_to(ROOT)): path for path in (ROOT / "test/support").rglob("*.ex")}
    changed = set(paths) & set(files)
    modules, added = set(), changed
    while added:
        modules |= {name for path in added for name in re.findall(r"^defmodule (?:\w+\.)*(\w+) do$", files[path].read_text(), re.MULTILINE)}
        added = {path for path in set(files) - changed if modules & words(files[path])}
        changed |= added
    return modules


def words(file):
    return set(re.findall(r"\w+", file.read_text()))
