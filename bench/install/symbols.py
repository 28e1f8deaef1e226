"""What each part of the native library adds to its size: its symbols, summed by the crates that they are of."""

import collections
import pathlib
import re
import subprocess

# Parts of the library, and the crates that they are, as patterns of whole names; the first that fits is a crate's own. What fits
# none, and constants without a name, are a part of their own.
PARTS = [
    ("Tidepool's own", r"tidepool_\w+|rustler\w*"),
    ("compilers of guests: Cranelift and Winch", r"cranelift\w*|regalloc2|winch_codegen|wasmtime_internal_(cranelift|winch)|pulley_interpreter"),
    ("snapshots of guests: Wizer, encoders", r"wasmtime_wizer|wasm_encoder|wasmprinter"),
    ("WASI: wasmtime-wasi, wiggle", r"wasmtime_wasi\w*|wiggle\w*|cap_\w+|system_interface|io_extras|io_lifetimes|fs_set_times"),
    ("Wasmtime itself, its parser and backtraces", r"wasmtime\w*|wasmparser|addr2line|gimli|object|cpp_demangle|rustc_demangle|fxprof_\w+"),
    ("TLS: rustls, ring", r"rustls\w*|ring|webpki\w*|tokio_rustls|untrusted"),
    ("HTTP: hyper, h2, axum", r"hyper\w*|h2|http\w*|axum\w*|tower\w*|multer|matchit|httparse|mime"),
    ("records in SQLite", r"libsqlite3_sys|rusqlite|hashlink"),
    ("records in PostgreSQL", r"tokio_postgres\w*|postgres_\w+"),
    ("tokio", r"tokio\w*|mio"),
    ("Rust's library, and generic code of it", r"std|core|alloc|hashbrown|compiler_builtins|std_detect|panic_unwind|miniz_oxide"),
]
# Of these `drop_in_place<tokio::…>` is: it is there for what is dropped.
DROP = re.compile(r"^core::ptr::drop_in_place<(.*)>$")
FIRST = re.compile(r"([A-Za-z_]\w*)::")


def nm(*arguments):
    return subprocess.run(["nm", *map(str, arguments)], check=True, capture_output=True, text=True).stdout.splitlines()


def of_c(build):
    """Crates of functions that are C's, by the libraries that crates' build scripts have made in cargo's folder `build`."""
    found = {}
    for library in pathlib.Path(build).glob("*/out/**/*.a"):
        crate = library.relative_to(build).parts[0].rsplit("-", 1)[0].replace("-", "_")
        for line in nm("--defined-only", library):
            if len(words := line.split()) == 3:
                found[words[2]] = crate
    return found


def crate_of(name, c):
    if dropped := DROP.match(name):
        name = dropped[1]
    if found := FIRST.search(name):
        return found[1]
    if name in c:
        return c[name]
    return "core" if "<" in name else name


def sizes(library, build):
    """Bytes of code and data by part, the largest first. What has no symbol (tables for unwinding, relocations) is in none."""
    c = of_c(build)
    by_part = collections.Counter()
    for line in nm("-S", "-C", "--defined-only", library):
        if found := re.match(r"[0-9a-f]+ ([0-9a-f]+) \w (.*)", line):
            by_part[part_of(crate_of(found[2], c))] += int(found[1], 16)
    return by_part.most_common()


def part_of(crate):
    return next((part for part, pattern in PARTS if re.fullmatch(pattern, crate)), "other crates, and constants")
