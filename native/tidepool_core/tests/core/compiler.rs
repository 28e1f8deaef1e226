//! Compilers are processes of their own, within bounds, and end when nobody waits for them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidepool_core::{
    CompileBounds, CompileConfig, CompileError, EngineKind, Instances, Published, Runtime, RuntimeConfig, RuntimeError,
};

use crate::settings;
use crate::support::allocations::most_allocated;
use crate::support::{self, Lines, Node, PATIENCE, eventually};

/// Kibibytes that the optimising compiler takes minutes and gigabytes over: loops within loops, in the innermost of which
/// all locals are set. The baseline compiler takes milliseconds.
fn slow() -> Vec<u8> {
    let (loops, locals) = (500, 500);
    let set: String =
        (0..locals).map(|at| format!("(local.set {at} (i32.add (local.get {at}) (i32.const 1)))")).collect();
    module(&format!(
        "(local {}) {} {set} {}",
        "i32 ".repeat(locals),
        "loop ".repeat(loops),
        "(br_if 0 (local.get 0)) end ".repeat(loops),
    ))
}

/// Megabytes of loads, each from where the one before says, each of which the optimising compiler keeps in mind.
fn large() -> Vec<u8> {
    module(&format!("(local i32) (drop {} (local.get 0) {})", "(i32.load ".repeat(400_000), ")".repeat(400_000)))
}

fn module(body: &str) -> Vec<u8> {
    wat::parse_str(format!(r#"(module (memory (export "memory") 1) (func (export "_start")) (func {body}))"#)).unwrap()
}

fn tiny() -> Vec<u8> {
    module("")
}

fn bounded(time: Duration, memory_bytes: u64) -> Node {
    Node::new(&RuntimeConfig { compile_bounds: CompileBounds { time, memory_bytes }, ..support::config() })
}

/// The compiler under another name and in a folder of its own, so that a test finds its own processes.
struct Program(PathBuf);

impl Program {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("compiler-{}-{name}", std::process::id()));
        // Of a process that had this number before.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        // A copy can't be started while a process that another test has just forked still has it open for writing.
        fs::hard_link(env!("CARGO_BIN_EXE_tidepool_compiler_tests"), &path).unwrap();
        Program(path)
    }

    fn node(&self, config: RuntimeConfig) -> Node {
        Node::new(&RuntimeConfig { compiler: Some(self.0.clone()), ..config })
    }

    fn processes(&self) -> Vec<String> {
        let runs = |pid: &String| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.0);
        let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.filter(runs).collect()
    }

    /// Has `wasm` compiled for as long as the flag is true, and waits until its compiler is there.
    fn compiling(
        &self,
        node: &Node,
        wasm: Vec<u8>,
        config: CompileConfig,
    ) -> (JoinHandle<Result<(), CompileError>>, Arc<AtomicBool>) {
        let wanted = Arc::new(AtomicBool::new(true));
        let (runtime, asked) = (Arc::clone(&node.runtime), Arc::clone(&wanted));
        let compiling = std::thread::spawn(move || {
            runtime.compile_while(&wasm, &config, &|| asked.load(Ordering::Relaxed)).map(drop)
        });
        eventually("a compiler", || self.processes().len() == 1);
        (compiling, wanted)
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").arg(signal).args(self.processes()).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[test]
fn a_module_that_compiles_too_long_is_cut_at_its_cpu_time_on_both_engines() {
    let node = bounded(Duration::from_millis(500), 1 << 30);
    for engine in [EngineKind::Fast, EngineKind::Dense] {
        let began = Instant::now();
        let compiled = node.runtime.compile(&slow(), &CompileConfig { engine, ..CompileConfig::default() });
        let Err(CompileError::TooDemanding { message }) = compiled.map(drop) else { panic!("it was compiled") };
        assert!(message.contains("0.5 s of CPU time"), "{message}");
        assert!(began.elapsed() < PATIENCE);
    }
}

#[test]
fn a_module_that_takes_too_much_memory_to_compile_is_refused_and_says_so() {
    let node = bounded(Duration::from_secs(60), 128 << 20);
    let config = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
    let Err(CompileError::TooDemanding { message }) = node.runtime.compile(&large(), &config).map(drop) else {
        panic!("it was compiled")
    };
    assert!(message.contains("MiB of memory"), "{message}");
    node.runtime.compile(&tiny(), &config).unwrap();
}

#[test]
fn a_module_whose_optimised_code_takes_too_long_is_served_by_the_baselines() {
    let node = Node::new(&RuntimeConfig {
        baseline_bytes: 1,
        compile_bounds: CompileBounds { time: Duration::from_millis(500), ..settings::COMPILE_BOUNDS },
        ..support::config()
    });
    let function = node.function(&slow(), Instances::Fresh, support::limits());
    let published = Published { function: Arc::clone(&function), operation: b"".as_slice().into() };
    node.runtime.directory().publish(vec![("slow".into(), published)]);
    let (tell, told) = std::sync::mpsc::channel();
    node.runtime.optimise("slow", move |outcome| tell.send(outcome).unwrap());
    // Half a second of its own, which takes a minute where many want the cores.
    let outcome = told.recv_timeout(PATIENCE * 10).unwrap();
    assert!(matches!(outcome, Err(CompileError::TooDemanding { .. })), "{outcome:?}");
    assert_eq!(support::call(&function, "any", b""), Ok(Vec::new()));
}

#[test]
fn nothing_is_compiled_any_more_from_when_nobody_wants_it() {
    let program = Program::new("unwanted");
    let node = program.node(support::config());
    let (compiling, wanted) = program.compiling(&node, slow(), CompileConfig::default());
    wanted.store(false, Ordering::Relaxed);
    assert_eq!(compiling.join().unwrap(), Err(CompileError::Unwanted));
    assert_eq!(program.processes(), Vec::<String>::new());
}

#[test]
fn small_modules_that_compile_for_long_hold_up_no_other_small_module() {
    let node = Node::new(&RuntimeConfig { compile_threads: 1, ..support::config() });
    let wanted = Arc::new(AtomicBool::new(true));
    let submit = |wasm: Vec<u8>| {
        let (runtime, wanted) = (Arc::clone(&node.runtime), Arc::clone(&wanted));
        let (tell, told) = std::sync::mpsc::channel();
        node.runtime.compile_pool().submit("", wasm.len(), move || {
            let wanted = || wanted.load(Ordering::Relaxed);
            tell.send(runtime.compile_while(&wasm, &CompileConfig::default(), &wanted).map(drop)).unwrap();
        });
        told
    };
    // More than there are threads.
    let slow: Vec<_> = (0..4).map(|_| submit(slow())).collect();
    assert_eq!(submit(tiny()).recv_timeout(PATIENCE), Ok(Ok(())));
    assert!(slow.iter().all(|told| told.try_recv().is_err()), "they are still at it");
    wanted.store(false, Ordering::Relaxed);
    for told in slow {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Err(CompileError::Unwanted)));
    }
}

#[test]
fn a_compiler_that_is_killed_costs_its_module_a_deploy_and_no_other_anything() {
    let program = Program::new("killed");
    let node = program.node(support::config());
    let (compiling, _wanted) = program.compiling(&node, slow(), CompileConfig::default());
    program.signal("-9");
    let Err(CompileError::Internal { message }) = compiling.join().unwrap() else { panic!("it was compiled") };
    assert!(message.contains("the compiler was killed"), "{message}");
    node.runtime.compile(&tiny(), &CompileConfig::default()).unwrap();
}

#[test]
fn a_compiler_whose_node_is_gone_ends_in_the_middle_of_its_work() {
    let program = Program::new("orphan");
    let mut compiler = Command::new(&program.0).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = compiler.stdin.take().unwrap();
    let wasm = slow();
    input.write_all(&[0, 0]).unwrap();
    input.write_all(&1_u32.to_le_bytes()).unwrap();
    input.write_all(&(8_u64 << 30).to_le_bytes()).unwrap();
    input.write_all(&(wasm.len() as u64).to_le_bytes()).unwrap();
    input.write_all(&wasm).unwrap();
    let stat = format!("/proc/{}/stat", compiler.id());
    // Fields 14 and 15: what it has computed, in hundredths of a second.
    let computed = || {
        let stat = fs::read_to_string(&stat).unwrap();
        let times = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        times.map(|time| time.parse::<u64>().unwrap()).sum::<u64>()
    };
    eventually("a compiler at work", || computed() > 20);
    drop(input);
    eventually("its end", || compiler.try_wait().unwrap().is_some());
}

#[test]
fn a_compiler_that_was_stopped_holds_no_thread_once_nobody_wants_it() {
    let program = Program::new("stopped");
    let node = program.node(support::config());
    let (compiling, wanted) = program.compiling(&node, slow(), CompileConfig::default());
    program.signal("-STOP");
    wanted.store(false, Ordering::Relaxed);
    assert_eq!(compiling.join().unwrap(), Err(CompileError::Unwanted));
    assert_eq!(program.processes(), Vec::<String>::new());
}

#[test]
fn a_compiler_that_dies_over_start_functions_is_an_error_and_costs_no_module_its_snapshot() {
    let program = Program::new("sandbox");
    let node = program.node(support::config());
    let wasm = support::guest("go/hello_world");
    let config = CompileConfig { snapshot: Some(support::limits()), ..CompileConfig::default() };
    let (compiling, _wanted) = program.compiling(&node, wasm.clone(), config.clone());
    program.signal("-9");
    let outcome = compiling.join().unwrap();
    assert!(matches!(&outcome, Err(CompileError::Internal { .. })), "{outcome:?}");
    assert_eq!(node.runtime.compile(&wasm, &config).unwrap().start(), &tidepool_core::origin::Start::Snapshot);
}

#[test]
fn a_module_that_was_deployed_before_may_take_some_times_what_a_new_one_may() {
    let node = bounded(Duration::from_millis(100), 1 << 30);
    let refused = |was_deployed| {
        let config = CompileConfig { was_deployed, ..CompileConfig::default() };
        match node.runtime.compile(&slow(), &config).map(drop) {
            Err(CompileError::TooDemanding { message }) => message,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(false).contains("0.1 s of CPU time"));
    assert!(refused(true).contains("0.4 s of CPU time"));
}

#[test]
fn a_runtime_does_not_start_with_a_compiler_that_is_not_there_or_is_another_program() {
    let text = std::env::temp_dir().join(format!("tidepool-compiler-{}.txt", std::process::id()));
    fs::write(&text, "not a program").unwrap();
    for program in [Path::new("/nowhere/tidepool_compiler"), Path::new("/bin/false"), &text] {
        let config = RuntimeConfig { compiler: Some(program.into()), ..support::config() };
        let io = tokio::runtime::Runtime::new().unwrap();
        let Err(error) = Runtime::new(&config, io.handle().clone(), Arc::new(Lines::default())) else {
            panic!("it started with {}", program.display())
        };
        assert!(matches!(error, RuntimeError::Compiler(_)), "{error}");
    }
    fs::remove_file(text).unwrap();
}

#[test]
fn a_compiler_knows_nothing_of_the_nodes_environment_and_files_and_goes_before_the_node_does() {
    let program = Program::new("bare");
    let node = program.node(support::config());
    let wanted = Arc::new(AtomicBool::new(true));
    let (runtime, asked) = (Arc::clone(&node.runtime), Arc::clone(&wanted));
    let compiling = std::thread::spawn(move || {
        let wanted = || asked.load(Ordering::Relaxed);
        runtime.compile_while(&slow(), &CompileConfig::default(), &wanted).map(drop)
    });
    let score = |pid: &String| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
    eventually("a compiler at work", || program.processes().iter().any(|pid| score(pid).trim() == "1000"));
    let pid = &program.processes()[0];
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    // It writes its score to a file, which may be open still.
    eventually("three pipes and no more", || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() == 3);
    wanted.store(false, Ordering::Relaxed);
    assert_eq!(compiling.join().unwrap(), Err(CompileError::Unwanted));
}

/// `tiny` with so many bytes beside it.
fn padded(bytes: usize) -> Vec<u8> {
    let mut wasm = tiny();
    wasm.extend([0, 0x80 | u8::try_from(bytes & 0x7f).unwrap(), u8::try_from(bytes >> 7).unwrap(), 1, b'p']);
    wasm.resize(wasm.len() + bytes - 2, 0);
    wasm
}

#[test]
fn the_compiler_of_tests_answers_with_code_that_it_has_kept_and_keeps_none_of_what_is_small() {
    let program = Program::new("keeping");
    let kept = || -> Vec<PathBuf> {
        let folders = fs::read_dir(program.0.with_file_name("kept")).into_iter().flatten().flatten();
        folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path())).collect()
    };
    let compile = |wasm: &[u8]| {
        let node = program.node(RuntimeConfig { baseline_bytes: 0, ..support::config() });
        node.runtime.compile(wasm, &CompileConfig::default()).map(drop)
    };
    assert_eq!(compile(&padded(16_000)), Ok(()));
    assert_eq!(kept(), Vec::<PathBuf>::new());
    for _each in 0..2 {
        assert_eq!(compile(&padded(16_383)), Ok(()));
        assert_eq!(kept().len(), 1);
    }
    // Nothing else would come of what is none.
    fs::write(&kept()[0], [0; 17]).unwrap();
    assert!(compile(&padded(16_383)).is_err(), "it was compiled");
}

/// Some bytes of which 15 MiB of data are made: what is between the first and the last.
fn sparse() -> Vec<u8> {
    let text = r#"(module (memory (export "memory") 256) (data (i32.const 0) "x") (data (i32.const 15728639) "y")
                    (func (export "_start")))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn code_that_comes_back_from_a_compiler_is_in_memory_once_while_it_comes() {
    let node = Node::small();
    let (module, most) = most_allocated(|| node.runtime.compile(&sparse(), &CompileConfig::default()));
    assert!(module.is_ok(), "{:?}", module.err());
    assert!(most < 2 << 20, "{most} bytes beside the file that it is mapped from");
}

#[test]
fn more_code_than_all_functions_may_have_is_not_taken_from_a_compiler_unless_it_was_deployed_before() {
    let node = Node::new(&RuntimeConfig { max_code_bytes: 8 << 20, ..support::config() });
    let compile = |was_deployed| {
        node.runtime.compile(&sparse(), &CompileConfig { was_deployed, ..CompileConfig::default() }).map(drop)
    };
    let refused = compile(false);
    assert!(
        matches!(&refused, Err(CompileError::TooDemanding { message }) if message.contains("max_code")),
        "{refused:?}"
    );
    assert_eq!(compile(true), Ok(()));
}
