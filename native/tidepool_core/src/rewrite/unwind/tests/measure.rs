//! What it costs that a guest can be left, as tables: `cargo test --release … unwind::tests::measure -- --ignored --nocapture`.

use std::path::Path;
use std::time::{Duration, Instant};

use wasm_encoder::RawSection;
use wasmtime::{Instance, Store};

use super::*;

/// Imports of Lunatic and WASI that wait for as long as it takes, or call what may.
fn lunatic_waits(module: &str, name: &str) -> bool {
    matches!(
        (module, name),
        ("lunatic::message", "receive" | "send_receive_skip_search")
            | ("lunatic::process", "sleep_ms")
            | ("lunatic::trap", "catch")
            | ("wasi_snapshot_preview1", "poll_oneoff")
    )
}

/// The shortest of some times.
fn best<T>(times: usize, mut work: impl FnMut() -> T) -> Duration {
    let mut time = || {
        let began = Instant::now();
        std::hint::black_box(work());
        began.elapsed()
    };
    (0..times).map(|_| time()).min().unwrap()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

#[test]
#[ignore = "measures"]
fn sizes_and_times_of_lunatics_guests() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../../../guests/build/lunatic");
    let only = std::env::var("UNWIND_GUESTS").unwrap_or_default();
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for (tier, engine) in [("optimising", engine(Strategy::Cranelift)), ("baseline", engine(Strategy::Winch))] {
        println!("{tier}: guest | bytes | functions on stacks | size × | pass | compile × | machine code ×");
        for path in &paths {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if !only.is_empty() && !only.split(',').any(|guest| guest == name) {
                continue;
            }
            let wasm = without_names(&std::fs::read(path).unwrap());
            match unwound(&wasm, &lunatic_waits) {
                Err(error) => println!("{name}: {error}"),
                Ok(None) => println!("{name}: waits nowhere"),
                Ok(Some(after)) => {
                    let pass = best(3, || unwound(&wasm, &lunatic_waits).is_ok());
                    let compile = |wasm: &[u8]| best(3, || Module::new(&engine, wasm).unwrap());
                    let code = |wasm: &[u8]| Module::new(&engine, wasm).unwrap().text().len() as f64;
                    println!(
                        "{name} | {} | {} of {} | {:.2} | {pass:.1?} | {:.2} | {:.2}",
                        wasm.len(),
                        after.bodies.len(),
                        functions(&wasm),
                        after.wasm.len() as f64 / wasm.len() as f64,
                        ratio(compile(&after.wasm), compile(&wasm)),
                        code(&after.wasm) / code(&wasm)
                    );
                }
            }
        }
    }
}

fn without_names(wasm: &[u8]) -> Vec<u8> {
    let mut module = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Some((id, range)) = payload.unwrap().as_section().filter(|(id, _range)| *id != 0) {
            module.section(&RawSection { id, data: &wasm[range] });
        }
    }
    module.finish()
}

fn functions(wasm: &[u8]) -> u32 {
    let sections = Parser::new(0).parse_all(wasm).map(Result::unwrap);
    let counts = sections.filter_map(|section| match section {
        Payload::FunctionSection(functions) => Some(functions.count()),
        _ => None,
    });
    counts.sum()
}

/// A recursion whose leaf may wait.
const RECURSION: &str = r#"
    (func $fib (param i32) (result i32)
        (if (i32.lt_s (local.get 0) (i32.const 2))
            (then (if (i32.lt_s (local.get 0) (i32.const 0)) (then (return (call $wait (local.get 0)))))
                (return (local.get 0))))
        (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))
    (func (export "run") (drop (call $fib (i32.const 30))))"#;

/// A loop that waits after some work.
const LOOP: &str = r#"
    (func (export "run") (local $round i32) (local $left i32) (local $sum i64)
        (loop $rounds
            (local.set $left (i32.const 200))
            (loop $work
                (local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 5)) (i64.extend_i32_u (local.get $left))))
                (br_if $work (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (call $wait (local.get $round)))))
            (br_if $rounds (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1))) (i32.const 30000))))
        (i64.store (i32.const 0) (local.get $sum)))"#;

/// Sorts by what compares through a reference, whose type one has that waits.
const SORT: &str = r#"
    (type $compare (func (param i32 i32) (result i32)))
    (table 2 funcref) (elem (i32.const 0) func $less $other)
    (func $less (param i32 i32) (result i32) (i32.lt_u (local.get 0) (local.get 1)))
    (func $other (param i32 i32) (result i32) (call $wait (local.get 0)))
    (func $sort (param $compare i32) (local $i i32) (local $j i32) (local $value i32)
        (local.set $i (i32.const 4))
        (loop $outer
            (local.set $value (i32.load (local.get $i)))
            (local.set $j (local.get $i))
            (block $placed
                (loop $inner
                    (br_if $placed (i32.eqz (local.get $j)))
                    (br_if $placed (i32.eqz (call_indirect (type $compare)
                        (local.get $value) (i32.load (i32.sub (local.get $j) (i32.const 4))) (local.get $compare))))
                    (i32.store (local.get $j) (i32.load (i32.sub (local.get $j) (i32.const 4))))
                    (local.set $j (i32.sub (local.get $j) (i32.const 4)))
                    (br $inner)))
            (i32.store (local.get $j) (local.get $value))
            (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 16000)))))
    (func (export "run") (local $i i32) (local $random i32)
        (loop $fill
            (local.set $random (i32.add (i32.mul (local.get $random) (i32.const 1664525)) (i32.const 1013904223)))
            (i32.store (local.get $i) (local.get $random))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 16000))))
        (call $sort (i32.const 0)))"#;

/// Reads numbers from bytes, each by a call of what waits for more at the end of a buffer.
const PARSER: &str = r#"
    (global $at (mut i32) (i32.const 0))
    (func $next (result i32)
        (if (i32.ge_u (global.get $at) (i32.const 65536))
            (then (drop (call $wait (global.get $at))) (global.set $at (i32.const 0))))
        (i32.load8_u (global.get $at))
        (global.set $at (i32.add (global.get $at) (i32.const 1))))
    (func $number (result i32) (local $byte i32) (local $value i32)
        (loop $digits
            (local.set $byte (i32.sub (call $next) (i32.const 48)))
            (if (i32.lt_u (local.get $byte) (i32.const 10))
                (then
                    (local.set $value (i32.add (i32.mul (local.get $value) (i32.const 10)) (local.get $byte)))
                    (br $digits))))
        (local.get $value))
    (func (export "run") (local $i i32) (local $sum i32)
        (loop $fill
            (i32.store8 (local.get $i) (i32.add (i32.const 40) (i32.rem_u (local.get $i) (i32.const 18))))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 65536))))
        (local.set $i (i32.const 1000000))
        (loop $numbers
            (local.set $sum (i32.add (local.get $sum) (call $number)))
            (br_if $numbers (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
        (i32.store (i32.const 0) (local.get $sum)))"#;

#[test]
#[ignore = "measures"]
fn what_runs_take_that_are_never_moved() {
    for (tier, strategy) in [("optimising", Strategy::Cranelift), ("baseline", Strategy::Winch)] {
        let engine = engine(strategy);
        for (name, code) in [("recursion", RECURSION), ("loop", LOOP), ("sort", SORT), ("parser", PARSER)] {
            let before = module(code);
            let after = unwound(&before, &waits).unwrap().unwrap().wasm;
            let [mut before, mut after] = [before, after].map(|wasm| ready(&Module::new(&engine, wasm).unwrap()));
            let mut best = [Duration::MAX; 2];
            for _turn in 0..60 {
                for (best, run) in best.iter_mut().zip([&mut before, &mut after]) {
                    *best = (*best).min(run());
                }
            }
            println!("{tier}: {name} {:.1?}, rewritten × {:.2}", best[0], ratio(best[1], best[0]));
        }
    }
}

/// What times one run of a module whose waits end at once.
fn ready(module: &Module) -> impl FnMut() -> Duration + use<> {
    let mut linker = wasmtime::Linker::new(module.engine());
    linker.func_wrap("host", "wait", |argument: i32| argument & 1).unwrap();
    linker.func_wrap("host", "wait_nothing", || {}).unwrap();
    let mut store = Store::new(module.engine(), ());
    let instance: Instance = linker.instantiate(&mut store, module).unwrap();
    let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
    move || {
        let began = Instant::now();
        run.call(&mut store, ()).unwrap();
        began.elapsed()
    }
}
