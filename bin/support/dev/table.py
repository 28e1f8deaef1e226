"""Which checks belong to which file: a table, in which each file of the tree has its line."""

import re

# What tests the rooms of the core beside the tests in them: modules of native/tidepool_core/tests/core. A room that all others
# stand on has no list: all tests are its own.
ROOMS = {
    "abi": ["components", "extism", "files", "host_calls", "lunatic", "names", "pointers", "sockets", "sockets_tls", "upgrades", "waits", "wasi", "wasi_stderr", "wasi_wait"],
    "call": ["code", "drive", "host_calls", "inline", "last_words", "panics", "processes", "programs", "threads", "time", "upgrades"],
    "compiler": ["compile", "compiler", "deterministic", "tiers"],
    "debugger": ["debugger"],
    "dense": ["dense"],
    "engine": ["differential", "tiers", "traps"],
    "function": ["directory", "owned"],
    "image": ["image_changes", "image_room", "images"],
    "instance": ["admission", "caps", "images", "namespaces", "owned", "trials", "wanted", "warm"],
    "metrics": ["metrics", "recent"],
    "module": ["cache", "cache_shares", "compile", "compile_fuzz", "limits", "tiers"],
    "net": ["sockets", "sockets_tls", "waits"],
    "process": ["files", "names", "processes", "program_bounds", "program_tables", "programs", "upgrades", "waits"],
    "recording": ["recording"],
    "rewrite": ["compile_fuzz", "components", "extism", "moving", "moving_packed", "moving_suite", "moving_waits", "preempt", "traps"],
    "runtime": ["directory", "shutdown", "tiers"],
    "slice": ["inline", "preempt", "run_slots", "time"],
    "snapshot": ["snapshot"],
    "store": ["console", "last_words", "limits", "recent", "traps"],
}

# All tests of a crate.
ALL = "*"

# What uses the NIFs as they are.
NIF_TESTS = ("test/fault/native_arguments_test.exs", "test/fault/task_ownership_test.exs", "test/tidepool/native_test.exs")


def room(path, match):
    """Tests of a room: those in it, and those of the table."""
    name = match[1]
    modules = [name, *ROOMS[name]] if name in ROOMS else [ALL]
    return [("format", path), ("tidy", None), *(("rust", ("core", module)) for module in modules)]


def crate(name):
    """Tests of the core or the edge: all of them, or those of a file of tests."""

    def checks(path, match):
        module = match[1] if match.re.groups else None
        return [*in_order(path), ("rust", (name, ALL if module in (None, "main", "support") else module))]

    return checks


def in_order(path):
    return [("format", path), ("tidy", None)] if path.endswith(".rs") else []


def other(kind):
    return lambda path, _match: [*in_order(path), (kind, None)]


def elixir(path, _match):
    return [("format", path), ("tidy", None), ("elixir", None)]


def also(*checks):
    return lambda path, _match: [(kind, path if argument is None else argument) for kind, argument in checks]


def bench(path, match):
    return [("format", path), ("syntax", path), ("bench", match[1])]


EVERY_CRATE = also(("rust", ("core", ALL)), ("rust", ("http", ALL)), ("nif", None), ("load", None))

# The first line that a path matches is its own.
TABLE = [
    (re.compile(pattern), checks)
    for pattern, checks in [
        # Rust
        (r"native/tidepool_errors/.+", also(("errors", None), ("mix", "test/tidepool/error_test.exs"), ("docs", None), ("cli", None))),
        (r"native/tidepool_fields/.+", lambda path, match: [*in_order(path), ("fields", None), *EVERY_CRATE(path, match)]),
        (r"native/tidepool_core/src/([a-z]+)/.+\.rs", room),
        (r"native/tidepool_core/tests/core/(\w+)(?:/.+)?(?:\.rs|\.tsv)", crate("core")),
        (r"native/tidepool_core/.+", crate("core")),
        (r"native/tidepool_http/tests/edge/(\w+)\.rs", crate("http")),
        (r"native/tidepool_http/.+", crate("http")),
        (r"native/tidepool_records/.+", other("records")),
        (r"native/tidepool_nif/.+", other("nif")),
        (r"native/tidepool_model/.+", other("model")),
        (r"native/tidepool_load/.+", other("load")),
        (r"native/tidepool_cli/.+", other("cli")),
        (r"native/fuzz/smith/.+", other("smith")),
        (r"native/fuzz/.+\.md", also(("docs", None))),
        (r"native/fuzz/.+", other("fuzz")),
        (r"native/rustfmt\.toml", also(("format", None))),
        (r"native/(mix_compiler|build|precompiled|progress|reload)\.exs", also(("format", None), ("elixir", None), ("left", "ship"))),
        (r"native/checksums\.tsv", also(("left", "ship"))),
        (r"native/costs\.tsv", also(("mix", "test/tidepool/mix/progress_test.exs"))),
        (r"native/Cargo\.(toml|lock)", lambda path, match: [*EVERY_CRATE(path, match), ("left", "ship")]),
        (r"native/dev\.toml", EVERY_CRATE),
        # Elixir
        (r"test/browser/.+\.exs", also(("format", None), ("left", "browser"))),
        (r"test/browser/.+", also(("left", "browser"))),
        (r"test/ship/ops/.+", also(("left", "ship"))),
        (r"test/ship/.+", also(("format", None), ("left", "ship"))),
        (r"lib/tidepool/release\.ex|config/.+\.exs|mix\.exs", lambda path, match: [*elixir(path, match), ("left", "ship")]),
        (r"(lib|test)/.+\.exs?", elixir),
        (r"test/.+", also(("elixir", None))),
        (r"lib/.+\.md", also(("docs", None))),
        (r"\.formatter\.exs|\.iex\.exs", also(("format", None))),
        (r"priv/ui/.+", also(("mix", "test/tidepool_web/page_test.exs"), ("left", "browser"))),
        (r"priv/testing/.+", also(("rust", ("core", "testing_guests")), ("elixir", None))),
        (r"examples/embed/.+\.exs?", also(("format", None), ("embed", None))),
        (r"examples/.+", also(("docs", None))),
        # Guests
        (r"guests/.+\.md", also(("docs", None))),
        (r"guests/.+\.wasm", also(("mix", "test/docs/guests_test.exs"))),
        (r"guests/builder/.+", also(("syntax", None), ("guests", None))),
        (r"guests/tidepool/src/.+", also(("tidy", None), ("guests", None))),
        (r"guests/.+", also(("guests", None))),
        # Benches
        (r"bench/.+\.md", also(("docs", None))),
        (r"bench/(mutants|sanitize|upgrade|profile|all|smoke)(\.exs)?", also(("syntax", None), ("docs", None))),
        (r"bench/(?:run|support\.exs|support/.+)", lambda path, _match: [("syntax", path), ("bench", "call")]),
        (r"bench/(\w+)(?:\.exs|/.+)", bench),
        # Scripts
        (r"bin/tidy/.+", also(("syntax", None), ("tidy", None), ("mix", "test/docs/tidy_test.exs"))),
        (r"bin/(dev|support/(dev/.+|slow\.tsv))", also(("syntax", None), ("mix", "test/docs/dev_test.exs"))),
        (r"bin/book|bin/support/mdbook\.sh", also(("syntax", None), ("mix", "test/docs/book_test.exs"), ("left", "ship"))),
        (r"bin/support/book/.+", also(("format", None), ("mix", "test/docs/book_test.exs"), ("left", "browser"))),
        (r"bin/(archive|release|setup|start)|bin/support/(cross\.txt|(python|release|tls|wasmtime)\.sh)", also(("syntax", None), ("left", "ship"))),
        (r"bin/test|bin/support/(running|second_tries|target)\.sh", also(("syntax", None), *(("mix", f"test/docs/{name}_test.exs") for name in ("checks", "passing")))),
        (r"bin/support/epmd", also(("syntax", None), ("mix", "test/docs/passing_test.exs"), ("bench", "cluster"), ("left", "browser"))),
        (r"bin/.+", also(("syntax", None), ("left", "ship"))),
        (r"\.ci/run", also(("syntax", None))),
        (r"\.github/.+", also(("left", "ship"))),
        (r"rel/.+", also(("left", "ship"))),
        (r"ops/(archive|deb|entrypoint|image|install\.sh|node|release\.sh|rootfs|sbom|sums)", also(("syntax", None), ("left", "ship"))),
        (r"ops/Dockerfile", also(("mix", "test/docs/ops_test.exs"), ("left", "ship"))),
        (r"ops/.+", also(("left", "ship"))),
        (r"\.(docker|git)ignore", also(("mix", "test/docs/ops_test.exs"))),
        # Documents
        (r"docs/.+|[A-Z]+\.md", also(("docs", None))),
        # What no check reads.
        (r"LICENSE", also()),
    ]
]


def checks_of(path):
    """The kinds of checks that belong to a file, each with an argument; `None` when the table has forgotten the file."""
    for pattern, checks in TABLE:
        if match := pattern.fullmatch(path):
            return checks(path, match)
    return None
