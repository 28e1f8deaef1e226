//! `tidepool_smith SEED [COUNT]`: writes valid modules to stdout, one after another for as long as they are taken, each behind
//! its length in four bytes, the lowest first. All follow from the seed.
//!
//! With COUNT it writes so many, and each has a `__guest_call` of its own, so that a node can serve it; without, whoever
//! reads them adds one.
//!
//! They end: what loops and calls may take is counted in a global. They are deterministic: NaNs are of one kind.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use arbitrary::Unstructured;
use fastrand::Rng;
use wasm_smith::{Config, Module};

/// Bytes that a module is made of.
const MOST_BYTES: usize = 8 << 10;

fn main() -> ExitCode {
    let Some((seed, count)) = arguments() else {
        eprintln!("tidepool_smith SEED [COUNT]");
        return ExitCode::from(2);
    };
    let mut rng = Rng::with_seed(seed);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(wasm) = module(&mut rng, count.is_some()) else { continue };
        let Ok(len) = u32::try_from(wasm.len()) else { continue };
        // Nobody takes more.
        if out.write_all(&len.to_le_bytes()).and_then(|()| out.write_all(&wasm)).is_err() {
            return ExitCode::SUCCESS;
        }
        left -= 1;
    }
    if out.flush().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seed, and how many modules there are to be.
fn arguments() -> Option<(u64, Option<u64>)> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next()?.parse().ok()?;
    match arguments.next() {
        Some(count) => Some((seed, Some(count.parse().ok()?))),
        None => Some((seed, None)),
    }
}

fn module(rng: &mut Rng, callable: bool) -> Option<Vec<u8>> {
    let len = 1 + rng.usize(..MOST_BYTES);
    let bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
    let mut module = Module::new(config(rng, callable), &mut Unstructured::new(&bytes)).ok()?;
    module.ensure_termination(rng.u32(1..400)).ok()?;
    Some(module.to_bytes())
}

/// What a module imports and exports. Most import of the host only what a reply takes and what needs no pointers: wild
/// pointers end calls early.
fn shape(rng: &mut Rng, callable: bool) -> Vec<u8> {
    let all = rng.u8(..5) == 0;
    let pointers = if all {
        r#"(import "wapc" "__guest_request" (func (param i32 i32)))
           (import "wapc" "__guest_error" (func (param i32 i32)))
           (import "wapc" "__host_call" (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
           (import "wapc" "__host_response" (func (param i32)))
           (import "wapc" "__host_error" (func (param i32)))
           (import "wapc" "__console_log" (func (param i32 i32)))"#
    } else {
        ""
    };
    let start = if rng.bool() { r#"(func (export "_initialize"))"# } else { "" };
    let call = if callable { r#"(func (export "__guest_call") (param i32 i32) (result i32) i32.const 1)"# } else { "" };
    let least = [0, 1, 1, 2, 3][rng.usize(..5)];
    let most = least + rng.u32(..8);
    let text = format!(
        r#"(module
             (import "wapc" "__guest_response" (func (param i32 i32)))
             (import "wapc" "__host_response_len" (func (result i32)))
             (import "wapc" "__host_error_len" (func (result i32)))
             {pointers} (memory (export "memory") {least} {most}) {start} {call})"#
    );
    wat::parse_str(text).expect("it is written here")
}

fn config(rng: &mut Rng, callable: bool) -> Config {
    // Winch knows neither tail calls nor all of SIMD: without them it has more to compile.
    let plain = rng.bool();
    Config {
        module_shape: Some(shape(rng, callable)),
        canonicalize_nans: true,
        disallow_traps: rng.bool(),
        allow_start_export: rng.u8(..4) == 0,
        simd_enabled: !plain,
        tail_call_enabled: !plain && rng.bool(),
        // Half of these have `externref`, which the engines refuse.
        reference_types_enabled: rng.u8(..8) == 0,
        bulk_memory_enabled: true,
        multi_value_enabled: rng.bool(),
        max_instructions: rng.usize(10..400),
        max_funcs: rng.usize(2..24),
        min_funcs: 1,
        max_tables: rng.usize(..4),
        max_table_elements: 1_000,
        table_max_size_required: true,
        memory_max_size_required: true,
        max_types: 24,
        max_globals: rng.usize(..16),
        max_data_segments: rng.usize(..12),
        max_element_segments: rng.usize(..12),
        // What the engines refuse.
        custom_page_sizes_enabled: false,
        compact_imports_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    }
}
