//! The engine without Erlang: real guests from `guests/build`, and modules written here where a test needs one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap fails the test"
)]

mod admission;
mod cache;
mod cache_shares;
mod caps;
mod code;
mod compile;
mod compile_fuzz;
mod compiler;
mod components;
mod console;
mod debugger;
mod dense;
mod deterministic;
mod differential;
mod directory;
mod drive;
mod extism;
mod files;
mod host_calls;
mod image_changes;
mod image_room;
mod images;
mod inline;
mod last_words;
mod limits;
mod lunatic;
mod metrics;
mod moving;
mod moving_packed;
mod moving_suite;
mod moving_waits;
mod names;
mod namespaces;
mod owned;
mod panics;
mod pointers;
mod preempt;
mod processes;
mod program_bounds;
mod program_tables;
mod programs;
mod recent;
mod recording;
mod run_slots;
#[path = "../settings/mod.rs"]
mod settings;
mod shutdown;
mod snapshot;
mod sockets;
mod sockets_tls;
mod support;
mod testing_guests;
mod threads;
mod tiers;
mod time;
mod traps;
mod trials;
mod upgrades;
mod waits;
mod wanted;
mod warm;
mod wasi;
mod wasi_stderr;
mod wasi_wait;
