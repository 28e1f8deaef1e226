//! What processes pay that may move and don't: the same guests compiled as movable and not, by turns in one run; and what a move takes.
//!
//! Run with `cargo bench -p tidepool_core --bench moving`, followed by `-- WORD` for the subjects with that word in their names. Prints for
//! each subject the medians and 99th percentiles in time of the thread that runs it, and their ratios. Gates nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a bench")]

#[path = "../tests/settings/mod.rs"]
mod settings;
#[path = "support/silent.rs"]
mod silent;
#[path = "support/times.rs"]
mod times;

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Instant;

use tidepool_core::{
    Address, CompileConfig, Function, FunctionConfig, HostRequest, ProcessOptions, ProcessRequest, Runtime, Step, Task,
};

use silent::Silent;
use times::{Times, computed};

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// A process, whether it is to be driven, and from when it is even though nobody wakes it.
struct Driven {
    task: Task,
    woken: Arc<Woken>,
    until: Instant,
}

fn address(id: usize) -> Address {
    Address(NonZeroU64::new(u64::try_from(id).unwrap() + 1).unwrap())
}

fn driven(task: Task) -> Driven {
    Driven { task, woken: Arc::new(Woken(true.into())), until: Instant::now() }
}

/// Drives a program's processes by turns, until the first has ended.
fn run(function: &Arc<Function>) {
    let first = function.start_process(ProcessOptions::default()).unwrap();
    first.set_address(address(0));
    let mut processes = vec![driven(first)];
    loop {
        for at in 0..processes.len() {
            let is_due = processes[at].woken.0.swap(false, Ordering::Acquire) || processes[at].until <= Instant::now();
            if is_due && !turn(at, &mut processes) {
                return;
            }
        }
    }
}

/// Drives a process until it waits; whether the program goes on.
fn turn(at: usize, processes: &mut Vec<Driven>) -> bool {
    loop {
        let Driven { task, woken, until } = &mut processes[at];
        match task.drive(|_| Waker::from(Arc::clone(woken))) {
            Step::Yield => {}
            Step::Wait => {
                *until = Instant::now() + task.remaining();
                return true;
            }
            Step::Host(HostRequest::Process(ProcessRequest::Spawn { id, .. })) => {
                let child = task.other(id).unwrap().begin(address(processes.len())).unwrap();
                processes.push(driven(child));
                processes[at].task.answer(Ok(Vec::new()));
            }
            Step::Done(outcome) => {
                drop(outcome.unwrap());
                return at > 0;
            }
            step => panic!("{step:?}"),
        }
    }
}

const IMPORTS: &str = r#"
    (import "lunatic::message" "create_data" (func $create (param i64 i64)))
    (import "lunatic::message" "send" (func $send (param i64) (result i32)))
    (import "lunatic::message" "receive" (func $receive (param i32 i32 i64) (result i32)))
    (import "lunatic::message" "send_receive_skip_search" (func $ask (param i64 i64 i64) (result i32)))
    (import "lunatic::process" "spawn" (func $spawn (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
    (import "lunatic::process" "sleep_ms" (func $sleep (param i64)))
    (memory (export "memory") 2)
    (data (i32.const 64) "child") (data (i32.const 128) "\7f")
    (func $wait (result i32) (call $receive (i32.const 0) (i32.const 0) (i64.const -1)))"#;

/// A recursion whose leaf may wait.
const RECURSION: &str = r#"
    (func $fib (param i32) (result i32)
        (if (i32.lt_s (local.get 0) (i32.const 2))
            (then (if (i32.lt_s (local.get 0) (i32.const 0)) (then (return (call $wait))))
                (return (local.get 0))))
        (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))
    (func (export "_start") (drop (call $fib (i32.const 27))))"#;

/// A loop that sleeps for no time after some work.
const LOOP: &str = r#"
    (func (export "_start") (local $round i32) (local $left i32) (local $sum i64)
        (loop $rounds
            (local.set $left (i32.const 20000))
            (loop $work
                (local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 5)) (i64.extend_i32_u (local.get $left))))
                (br_if $work (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (call $sleep (i64.const 0))
            (br_if $rounds (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1))) (i32.const 300))))
        (i64.store (i32.const 0) (local.get $sum)))"#;

/// Sorts by what compares through a reference, whose type one has that waits.
const SORT: &str = r#"
    (type $compare (func (param i32 i32) (result i32)))
    (table 2 funcref) (elem (i32.const 0) func $less $other)
    (func $less (param i32 i32) (result i32) (i32.lt_u (local.get 0) (local.get 1)))
    (func $other (param i32 i32) (result i32) (call $wait))
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
            (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 8000)))))
    (func (export "_start") (local $i i32) (local $random i32)
        (loop $fill
            (local.set $random (i32.add (i32.mul (local.get $random) (i32.const 1664525)) (i32.const 1013904223)))
            (i32.store (local.get $i) (local.get $random))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 8000))))
        (call $sort (i32.const 0)))"#;

/// Reads numbers from bytes, each by a call of what would wait for more at the end of a buffer.
const PARSER: &str = r#"
    (global $at (mut i32) (i32.const 0))
    (func $next (result i32)
        (if (i32.ge_u (global.get $at) (i32.const 65536)) (then (call $sleep (i64.const 0)) (global.set $at (i32.const 0))))
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
    (func (export "_start") (local $i i32) (local $sum i32)
        (loop $fill
            (i32.store8 (local.get $i) (i32.add (i32.const 40) (i32.rem_u (local.get $i) (i32.const 18))))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 65536))))
        (local.set $i (i32.const 500000))
        (loop $numbers
            (local.set $sum (i32.add (local.get $sum) (call $number)))
            (br_if $numbers (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
        (i32.store (i32.const 0) (local.get $sum)))"#;

/// Two processes that answer each other 2,000 times.
const PING_PONG: &str = r#"
    (func (export "_start") (local $to i64) (local $left i32)
        (drop (call $spawn (i64.const 0) (i64.const -1) (i64.const -1)
            (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 0) (i32.const 8)))
        (local.set $to (i64.load (i32.const 8)))
        (local.set $left (i32.const 2000))
        (loop $more
            (call $create (i64.const 1) (i64.const 0))
            (drop (call $ask (local.get $to) (i64.const 7) (i64.const -1)))
            (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
    (func (export "child")
        (loop $forever
            (drop (call $wait))
            (call $create (i64.const 7) (i64.const 0))
            (drop (call $send (i64.const 1)))
            (br $forever)))"#;

/// Rounds of each subject: these go by turns, so that whatever else the machine does, it does to both.
const ROUNDS: usize = 101;

/// Compiles the same module as movable and not, by turns: both functions, and the medians of what that took in ms.
fn compiled(runtime: &Arc<Runtime>, wasm: &[u8], rounds: usize) -> ([Arc<Function>; 2], [f64; 2]) {
    let mut times = [const { Vec::new() }; 2].map(Times);
    let mut functions = Vec::new();
    for _ in 0..rounds {
        functions = [false, true]
            .map(|movable| CompileConfig { optimised: true, movable, ..CompileConfig::default() })
            .to_vec()
            .into_iter()
            .zip(&mut times)
            .map(|(config, times)| {
                let module = runtime.compile(wasm, &config).unwrap();
                times.0.push(module.compile_time().as_secs_f64() * 1e3);
                let limits = tidepool_core::Limits { time_ms: 600_000, cpu_time_ms: 600_000, ..settings::LIMITS };
                let config = FunctionConfig { limits, ..settings::function_config() };
                Arc::new(Arc::new(module).function(config).unwrap())
            })
            .collect();
    }
    (functions.try_into().unwrap_or_else(|_| panic!("two")), times.each_mut().map(|times| times.at(0.5)))
}

/// Drives a process until it waits or asks for something.
fn rest(task: &mut Task) -> Option<HostRequest> {
    loop {
        match task.drive(|_| Waker::noop().clone()) {
            Step::Yield => {}
            Step::Wait => return None,
            Step::Host(request) => return Some(request),
            step => panic!("{step:?}"),
        }
    }
}

/// Moves a process that waits to other instances of its module, in the same node, and goes on with it from bytes: what each part takes.
fn moves(runtime: &Arc<Runtime>, name: &str, wasm: &[u8]) {
    let ([_, function], _) = compiled(runtime, wasm, 1);
    let mut task = function.start_process(ProcessOptions::default()).unwrap();
    task.set_address(address(0));
    let mut children = Vec::new();
    while let Some(HostRequest::Process(ProcessRequest::Spawn { id, .. })) = rest(&mut task) {
        children.push(task.other(id).unwrap().begin(address(1 + children.len())).unwrap());
        task.answer(Ok(Vec::new()));
    }
    let parts = ["leaves its stack", "enters it", "is written", "goes on from bytes"];
    let (mut times, mut size) = ([const { Vec::new() }; 4].map(Times), 0);
    let mut time = |part: usize, work: &mut dyn FnMut()| {
        let began = computed();
        work();
        times[part].0.push((computed() - began).as_secs_f64() * 1e6);
    };
    for _ in 0..1_001 {
        task.pack();
        time(0, &mut || {
            assert!(matches!(rest(&mut task), Some(HostRequest::Process(ProcessRequest::Frozen))));
        });
        let mut packed = bytes::Bytes::new();
        time(2, &mut || packed = task.packed().unwrap().unwrap());
        size = packed.len();
        time(3, &mut || {
            let mut thawed = function.thaw(packed.clone(), ProcessOptions::default()).unwrap();
            assert!(rest(&mut thawed).is_none());
        });
        time(1, &mut || {
            task.answer(Ok(Vec::new()));
            assert!(rest(&mut task).is_none());
        });
    }
    let parts = parts.iter().zip(&mut times).map(|(part, times)| {
        let [median, late] = [0.5, 0.99].map(|share| times.at(share));
        format!("{part} in {median:.0} µs, p99 {late:.0} µs")
    });
    println!("{name}, {size} bytes: {}", parts.collect::<Vec<_>>().join("; "));
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtime = Arc::new(Runtime::new(&settings::runtime_config(), io.handle().clone(), Arc::new(Silent)).unwrap());
    let subjects = [
        ("loop", LOOP),
        ("sort by pointer", SORT),
        ("recursion", RECURSION),
        ("parser", PARSER),
        ("ping-pong", PING_PONG),
    ];
    for (name, code) in subjects.into_iter().filter(|(name, _code)| is_wanted(name)) {
        let wasm = wat::parse_str(format!("(module {IMPORTS} {code})")).unwrap();
        let (functions, _) = compiled(&runtime, &wasm, 1);
        let mut times = [const { Vec::new() }; 2].map(Times);
        for number in 0..ROUNDS {
            // Not always one behind the other.
            for which in [number % 2, 1 - number % 2] {
                let began = computed();
                run(&functions[which]);
                times[which].0.push((computed() - began).as_secs_f64() * 1e3);
            }
        }
        let [[fixed, late], [movable, late_movable]] =
            times.each_mut().map(|times| [0.5, 0.99].map(|share| times.at(share)));
        println!(
            "{name:16} fixed {fixed:>7.2} ms, p99 {late:>7.2}; movable {:.3}, p99 {:.3}",
            movable / fixed,
            late_movable / late
        );
    }
    let guest = |name: &str| {
        let path =
            Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../guests/build/lunatic").join(name);
        std::fs::read(path.with_extension("wasm")).unwrap()
    };
    for name in ["sum", "hub", "chat", "bench", "test_lunatic_suite"].into_iter().filter(|name| is_wanted(name)) {
        let rounds = if name.starts_with("test") { 3 } else { 9 };
        let (_, [fixed, movable]) = compiled(&runtime, &guest(name), rounds);
        println!("{name:18} compiles in {fixed:>7.1} ms, movable {:.2}", movable / fixed);
    }
    if is_wanted("moves") {
        moves(&runtime, "moves of sum", &guest("sum"));
    }
}
