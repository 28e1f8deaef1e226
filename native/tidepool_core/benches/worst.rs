//! What compiling costs at worst: modules of shapes that compilers are slow at, each compiled by a process of its own, as a
//! node does it.
//!
//! `cargo bench -p tidepool_nif -p tidepool_core --bench worst`, and behind `--` what is to be compiled instead of the
//! default: `SHAPE,N,M` or a file. `ENGINES=fast,baseline,dense` says on what, and with `UNBOUND=1` it may take 1,000 s and
//! 16 GiB instead of what the defaults allow. Prints what the compilers have taken, and what the process around them has:
//! nothing bounds that but its being proportional. Gates nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]

#[path = "../tests/settings/mod.rs"]
mod settings;
#[path = "support/silent.rs"]
mod silent;

use std::fmt::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidepool_core::{CompileBounds, CompileConfig, EngineKind, Runtime, RuntimeConfig};

use silent::Silent;

/// The most that each shape makes of a small upload.
const DEFAULT: [&str; 17] = [
    "br_table,7000,1",
    "br_table,7000,1000",
    "load_chain,100000,1",
    "loads,50000,1",
    "selects,100000,1",
    "blocks,30000,1",
    "ifs,30000,1",
    "locals_ifs,2000,2000",
    "locals_set,3000,3000",
    "locals_loops,500,500",
    "many_locals,500,50000",
    "carries,1000,500",
    "calls,5000,500",
    "exports,50000,1",
    "functions,50000,1",
    "globals,50000,10",
    "mixed,1000,30",
];

/// A module of a shape, of which there are `n` and `m`; or a file's.
fn module(shape: &str, n: usize, m: usize) -> Vec<u8> {
    let body = match shape {
        // A table of `n` branches out of `m` blocks.
        "br_table" => {
            let targets: Vec<String> = (0..n).map(|at| (at % m).to_string()).collect();
            let targets = targets.join(" ");
            function("i32", &format!("{} local.get 0 br_table {targets} 0 {}", "block ".repeat(m), "end ".repeat(m)))
        }
        "load_chain" => function("i32", &format!("local.get 0 {} drop", "i32.load ".repeat(n))),
        "loads" => {
            let loads: String = (0..n).map(|at| format!("local.get 0 i32.load offset={at} ")).collect();
            function("i32", &format!("{loads} {} drop", "i32.add ".repeat(n - 1)))
        }
        "selects" => function("i32 i32", &format!("local.get 0 {} drop", "local.get 1 local.get 0 select ".repeat(n))),
        "blocks" => function("i32", &format!("{} {}", "block local.get 0 br_if 0 ".repeat(n), "end ".repeat(n))),
        "ifs" => function("i32", &format!("{} {}", "local.get 0 if ".repeat(n), "end ".repeat(n))),
        // A value of each of `m` locals wherever `n` ways meet.
        "locals_ifs" => {
            function(&"i32 ".repeat(m), &format!("{} {} {}", set(m, 1), "local.get 0 if end ".repeat(n), set(m, 2)))
        }
        "locals_set" => {
            let sets: String =
                (0..n).map(|at| format!("local.get 0 if local.get 1 local.set {} end ", at % m)).collect();
            function(&"i32 ".repeat(m), &format!("{sets} {}", set(m, 1)))
        }
        // `n` loops, one in the other, in which all of `m` locals are set and read.
        "locals_loops" => function(
            &"i32 ".repeat(m),
            &format!("{} {} {}", "loop ".repeat(n), set(m, 1), "local.get 0 br_if 0 end ".repeat(n)),
        ),
        "many_locals" => function(&"i64 ".repeat(m), "").repeat(n),
        // Branches that carry `m` values each.
        "carries" => {
            let results = "i32 ".repeat(m);
            let (gets, drops) = ("local.get 0 ".repeat(m), "drop ".repeat(m));
            function(
                "i32",
                &format!("block (result {results}) {gets} {} end {drops}", "local.get 0 br_if 0 ".repeat(n)),
            )
        }
        // `n` calls of a function of `m` parameters and results.
        "calls" => {
            let types = "i32 ".repeat(m);
            let gets: String = (0..m).fold(String::new(), |mut gets, at| {
                let _ = write!(gets, "local.get {at} ");
                gets
            });
            format!("(func $f (param {types}) (result {types}) {gets} {})", "call $f ".repeat(n))
        }
        "exports" => (0..n).map(|at| format!("(func (export \"{at}\"))")).collect(),
        "functions" => "(func)".repeat(n),
        "globals" => format!("(global i32 (i32.const 1) {})", "(i32.const 1) i32.add ".repeat(m)).repeat(n),
        // What a program might do, in `n` functions.
        "mixed" => {
            let step = "local.get 0 local.get 1 i32.add i32.load offset=64 local.tee 0 if local.get 1 i32.const 77 i32.mul \
                        local.set 1 end ";
            function("i32 i32", &step.repeat(m)).repeat(n)
        }
        file => return std::fs::read(file).unwrap(),
    };
    wat::parse_str(format!("(module (memory (export \"memory\") 1) {body} (func (export \"_start\")))")).unwrap()
}

fn function(locals: &str, body: &str) -> String {
    format!("(func (local {locals}) {body})")
}

/// Adds `by` to each of `count` locals.
fn set(count: usize, by: usize) -> String {
    (0..count).map(|at| format!("local.get {at} i32.const {by} i32.add local.set {at} ")).collect()
}

/// What a process, or those that it has started, have taken: the most memory of one in MiB, and CPU time of all in s.
fn taken(who: libc::c_int) -> (f64, f64) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: it is large enough for what is written to it, and zeroes are a value of it.
    let usage = unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| {
        Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_usec).unwrap() * 1_000).as_secs_f64()
    };
    #[allow(clippy::cast_precision_loss, reason = "MiB")]
    let mib = usage.ru_maxrss as f64 / 1024.0;
    (mib, seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

fn measure(spec: &str, engine: &str) {
    let mut parts = spec.split(',');
    let shape = parts.next().unwrap();
    let mut size = || parts.next().map_or(1, |it| it.parse().unwrap());
    let wasm = module(shape, size(), size());
    let bytes = wasm.len();
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let unbound = CompileBounds { time: Duration::from_secs(1_000), memory_bytes: 16 << 30 };
    let config = RuntimeConfig {
        baseline_bytes: usize::from(engine == "baseline"),
        compiler: Some(env!("CARGO_BIN_EXE_tidepool_compiler").into()),
        compile_bounds: if std::env::var_os("UNBOUND").is_some() { unbound } else { settings::COMPILE_BOUNDS },
        ..settings::runtime_config()
    };
    let runtime = Runtime::new(&config, io.handle().clone(), Arc::new(Silent)).unwrap();
    let engine_kind = if engine == "dense" { EngineKind::Dense } else { EngineKind::Fast };
    let config = CompileConfig { engine: engine_kind, ..CompileConfig::default() };
    let (_, own_before) = taken(libc::RUSAGE_SELF);
    let (tell, told) = mpsc::channel();
    let it = Arc::clone(&runtime);
    let began = Instant::now();
    runtime.compile_pool().submit("", bytes, move || tell.send(it.compile(&wasm, &config)).unwrap());
    let outcome = told.recv();
    let took = began.elapsed().as_secs_f64();
    let outcome = match outcome {
        Ok(Ok(_module)) => "compiled".into(),
        Ok(Err(error)) => error.to_string().chars().take(110).collect(),
        Err(_) => "panicked".to_owned(),
    };
    let ((memory, cpu), (_, own)) = (taken(libc::RUSAGE_CHILDREN), taken(libc::RUSAGE_SELF));
    let (kib, own) = (bytes >> 10, own - own_before);
    println!("{spec:24} {engine:8} {kib:>7} KiB {took:>7.2} s {cpu:>7.2} s {memory:>6.0} MiB {own:>6.2} s  {outcome}");
}

fn main() {
    if let (Ok(spec), Ok(engine)) = (std::env::var("WORST"), std::env::var("ENGINE")) {
        return measure(&spec, &engine);
    }
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let specs = if asked.is_empty() { DEFAULT.map(str::to_owned).to_vec() } else { asked };
    let engines = std::env::var("ENGINES").unwrap_or_else(|_| "fast,baseline,dense".into());
    println!("module                   engine         size    took   CPU of the compiler, memory, of the rest");
    for spec in specs {
        for engine in engines.split(',') {
            // So that the most memory is that of one module.
            let me = std::env::current_exe().unwrap();
            let status = Command::new(me).env("WORST", &spec).env("ENGINE", engine).status().unwrap();
            if !status.success() {
                println!("{spec:24} {engine:8} {status}");
            }
        }
    }
}
