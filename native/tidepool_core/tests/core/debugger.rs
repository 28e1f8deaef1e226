//! A recording is debugged: its guest stops where it is told to, shows what it has, goes back, and comes to what was recorded.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tidepool_core::{
    CompileConfig, DebugError, Debugger, EngineKind, Function, FunctionConfig, Instances, RuntimeConfig,
};

use crate::recording::processes;
use crate::recording::studio::{Studio, all, answered, call, function, play};
use crate::recording::traps::TRAPPING;
use crate::settings;
use crate::support::program::program;
use crate::support::{self, Node, guest, limits, request, wat};

/// Writes the doubles of 0, 1, 2 and 3, and answers with them.
const DOUBLING: &str = r#"(module
    (import "wapc" "__guest_response" (func $response (param i32 i32)))
    (memory (export "memory") 1)
    (func $double (param $number i32) (result i32) (local $twice i32)
        (local.set $twice (i32.add (local.get $number) (local.get $number)))
        (local.get $twice))
    (func (export "__guest_call") (param i32 i32) (result i32) (local $at i32)
        (loop $more
            (i32.store8 (i32.add (local.get $at) (i32.const 64)) (call $double (local.get $at)))
            (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 4))))
        (call $response (i32.const 64) (i32.const 4))
        (i32.const 1)))"#;

/// A function of the same module, compiled to be debugged, as the recorded one was deployed.
fn debugged(node: &Node, wasm: &[u8], engine: EngineKind, actor: bool) -> Arc<Function> {
    let snapshot = (!actor).then(limits);
    let config = CompileConfig { engine, snapshot, actor, debugged: true, ..CompileConfig::default() };
    let module = Arc::new(node.runtime.compile(wasm, &config).unwrap());
    let config = FunctionConfig { limits: limits(), ..settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

/// A session with the newest recording, on a node that knows nothing of it.
fn session(recording: Bytes, wasm: &[u8], engine: EngineKind) -> (Node, Debugger) {
    let node = Node::small();
    let function = debugged(&node, wasm, engine, false);
    let debugger = Debugger::new(function, recording, wasm).unwrap();
    (node, debugger)
}

/// What a command says.
fn says(debugger: &mut Debugger, command: &str) -> Vec<String> {
    let told = debugger.command(command).unwrap_or_else(|error| panic!("{command}: {error}"));
    assert_eq!((&told.report, told.quits), (&None, false), "{command}: {:?}", told.lines);
    told.lines
}

/// The report that a command leads to.
fn ends(debugger: &mut Debugger, command: &str) -> Value {
    debugger.command(command).unwrap().report.expect("the end of the call")
}

fn refused(debugger: &mut Debugger, command: &str) -> DebugError {
    debugger.command(command).expect_err(command)
}

/// A call of a module that was recorded, and the module.
fn recorded(wasm: &[u8], operation: &str) -> Bytes {
    let studio = Studio::new();
    let function = studio.function(wasm, Instances::Fresh);
    let _outcome = call(&function, operation, b"");
    studio.last()
}

#[test]
fn a_guest_stops_at_breakpoints_and_shows_its_locals_and_its_memory_and_comes_to_what_was_recorded() {
    let wasm = wat(DOUBLING);
    for engine in [EngineKind::Fast, EngineKind::Dense] {
        let (_node, mut debugger) = session(recorded(&wasm, "any"), &wasm, engine);
        assert_eq!(refused(&mut debugger, "locals"), DebugError::NotRunning);
        let set = says(&mut debugger, "break double");
        assert!(set[0].starts_with("breakpoint 1: double (offset "), "{set:?}");
        let stopped = says(&mut debugger, "run");
        assert!(stopped[0].starts_with("breakpoint 1: in double (offset "), "{stopped:?}");
        for number in 1..=2 {
            assert_eq!(says(&mut debugger, "continue"), stopped);
            assert_eq!(
                says(&mut debugger, "locals")[..2],
                [format!("local 0: i32 {number} ({number:#x})"), "local 1: i32 0 (0x0)".into()]
            );
        }
        let caller = says(&mut debugger, "locals 1");
        assert_eq!(caller[2], "local 2: i32 2 (0x2)");
        let frames = says(&mut debugger, "backtrace");
        assert!(
            frames.len() == 2 && frames[0].starts_with("0: double") && frames[1].starts_with("1: __guest_call"),
            "{frames:?}"
        );
        assert_eq!(says(&mut debugger, "memory 0x40 4"), [format!("{:#010x}  00 02 00 00{}....", 64, " ".repeat(38))]);
        let list = says(&mut debugger, "list");
        assert!(
            list.iter().any(|line| line.starts_with('→') && line.contains("LocalGet { local_index: 0 }")),
            "{list:?}"
        );
        says(&mut debugger, "delete 1");
        let report = ends(&mut debugger, "continue");
        assert_eq!(report["verdict"], "same", "{report:#}");
        assert_eq!(report["replayed"]["digest"], report["recorded"]["digest"]);
        assert_eq!(refused(&mut debugger, "continue"), DebugError::Over);
        assert!(debugger.command("quit").unwrap().quits);
    }
}

#[test]
fn a_step_back_is_the_step_before_with_all_that_there_was() {
    let wasm = wat(DOUBLING);
    let (_node, mut debugger) = session(recorded(&wasm, "any"), &wasm, EngineKind::Fast);
    assert_eq!(refused(&mut debugger, "back"), DebugError::AtBeginning);
    let look =
        |debugger: &mut Debugger| ["list", "locals", "backtrace", "memory 64 4"].map(|command| says(debugger, command));
    // Each place from the first instruction on, and what there was.
    let mut passed = Vec::new();
    for _ in 0..40 {
        says(&mut debugger, "step");
        passed.push(look(&mut debugger));
    }
    assert!(passed.windows(2).all(|two| two[0][0] != two[1][0]));
    for before in passed.iter().rev().skip(1) {
        says(&mut debugger, "back");
        assert_eq!(look(&mut debugger), *before);
    }
    says(&mut debugger, "back");
    assert_eq!(refused(&mut debugger, "list"), DebugError::NotRunning);
    // From a breakpoint, and from the end.
    says(&mut debugger, "stepi 20");
    assert_eq!(look(&mut debugger), passed[19]);
    says(&mut debugger, "back");
    assert_eq!(look(&mut debugger), passed[18]);
    assert_eq!(ends(&mut debugger, "continue")["verdict"], "same");
    says(&mut debugger, "back");
    let last = look(&mut debugger);
    assert!(last[3][0].starts_with("0x00000040  00 02 04 06"), "{last:?}");
    says(&mut debugger, "back");
    says(&mut debugger, "step");
    assert_eq!(look(&mut debugger), last);
    assert_eq!(ends(&mut debugger, "run")["verdict"], "same");
}

#[test]
fn a_trap_is_seen_before_the_guest_ends_and_is_where_it_was_recorded() {
    for engine in [EngineKind::Fast, EngineKind::Dense] {
        let studio = match engine {
            EngineKind::Fast => Studio::new(),
            EngineKind::Dense => Studio::of(Node::dense(4, 8)),
        };
        let wasm = wat(TRAPPING);
        let module = studio.module(&wasm, false);
        let recorded = function(&module, Instances::Warm { max_idle: 1 }, limits(), Some(all()));
        for operation in ["add", "add", "trap"] {
            let _outcome = call(&recorded, operation, b"");
        }
        let (_node, mut debugger) = session(studio.last(), &wasm, engine);
        let trapped = says(&mut debugger, "run");
        assert!(trapped[0].starts_with("about to fail in "), "{trapped:?}");
        let frames = says(&mut debugger, "backtrace");
        assert!(frames.len() >= 2 && frames.last().unwrap().contains("__guest_call"), "{frames:?}");
        let offsets =
            frames.iter().map(|frame| frame.split("(offset ").nth(1).unwrap().trim_end_matches(')').to_owned());
        let offsets: Vec<String> = offsets.collect();
        says(&mut debugger, "back");
        assert_eq!(says(&mut debugger, "continue"), trapped);
        let report = ends(&mut debugger, "continue");
        assert_eq!((&report["verdict"], &report["calls"]), (&"same".into(), &3.into()), "{report:#}");
        let [was, is] = crate::recording::traps::places(&report);
        assert_eq!(was, is);
        assert_eq!(is.iter().map(|(_, offset)| offset.to_string()).collect::<Vec<_>>(), offsets);
    }
}

#[test]
fn lines_of_the_source_are_stopped_at_and_stepped_through() {
    let wasm = guest("rust/traced");
    let (_node, mut debugger) = session(recorded(&wasm, "trap"), &wasm, EngineKind::Fast);
    let set = says(&mut debugger, "break traced.rs:25");
    assert!(set[0].ends_with("traced.rs:25"), "{set:?}");
    assert!(says(&mut debugger, "run")[0].contains("traced.rs:25"));
    let mut lines = Vec::new();
    // Into the function that this line calls.
    while lines.last() != Some(&33) && lines.len() < 20 {
        let stopped = says(&mut debugger, "step");
        let line = stopped[0].split("traced.rs:").nth(1).and_then(|rest| rest.split(' ').next());
        lines.extend(line.and_then(|line| line.parse::<u32>().ok()));
    }
    assert_eq!(lines.last(), Some(&33), "{lines:?}");
    let frames = says(&mut debugger, "backtrace");
    assert!(
        frames[0].contains("inner at ") && frames[1].contains("outer at ") && frames[1].contains(":25"),
        "{frames:?}"
    );
    says(&mut debugger, "back");
    assert!(says(&mut debugger, "step")[0].contains("traced.rs:33"));
    assert!(says(&mut debugger, "continue")[0].starts_with("about to fail in "));
    let report = ends(&mut debugger, "continue");
    assert_eq!((&report["verdict"], &report["replayed"]["kind"]), (&"same".into(), &"memory_out_of_bounds".into()));
    // The function that is meant is named by the end of its name.
    assert!(says(&mut debugger, "break inner")[0].contains("inner at "));
    assert!(matches!(refused(&mut debugger, "break traced.rs:4000"), DebugError::NoPlace(_)));
    assert!(matches!(refused(&mut debugger, "break other.rs:1"), DebugError::NoPlace(_)));
}

#[test]
fn an_actor_begins_with_the_image_that_it_had_and_is_stopped_in_each_of_its_calls_since() {
    let studio = Studio::new();
    let wasm = wat(TRAPPING);
    let actors = function(&studio.module(&wasm, true), Instances::Fresh, limits(), Some(all()));
    let instance = actors.instance().unwrap();
    for _ in 0..70 {
        play(instance.call(request("add", b"")).unwrap(), |_task, request| panic!("asks for {request:?}")).unwrap();
    }
    let node = Node::small();
    let function = debugged(&node, &wasm, EngineKind::Fast, true);
    let mut debugger = Debugger::new(function, studio.last(), &wasm).unwrap();
    says(&mut debugger, "break __guest_call");
    let stopped = says(&mut debugger, "run");
    for _ in 1..6 {
        assert_eq!(says(&mut debugger, "continue"), stopped);
    }
    let report = ends(&mut debugger, "continue");
    assert_eq!((&report["verdict"], &report["calls"]), (&"same".into(), &6.into()), "{report:#}");
}

#[test]
fn what_the_host_answered_comes_from_the_recording() {
    let studio = Studio::new();
    let wasm = guest("rust/hello_world");
    let hello = studio.function(&wasm, Instances::Fresh);
    let reply = answered(&hello, "host", b"a/b/c\nquestion", |_asked| Ok(b"answer".to_vec())).unwrap();
    assert_eq!(reply, b"answer");
    let (_node, mut debugger) = session(studio.last(), &wasm, EngineKind::Fast);
    assert_eq!(ends(&mut debugger, "run")["verdict"], "same");
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    let wasm = wat(DOUBLING);
    let recording = recorded(&wasm, "any");
    let (node, mut debugger) = session(recording.clone(), &wasm, EngineKind::Fast);
    says(&mut debugger, "break double");
    let stopped = says(&mut debugger, "run");
    for line in
        ["", "brake", "break nobody", "break a.rs:1", "break @1", "break #0", "break #77", "delete 2", "locals 9"]
    {
        refused(&mut debugger, line);
    }
    for line in ["memory 65535 2", "memory 0xffffffffffffffff 4096", "memory 0x100000000"] {
        assert!(matches!(refused(&mut debugger, line), DebugError::OutOfMemory { size: 65_536, .. }), "{line}");
    }
    assert_eq!(says(&mut debugger, "breakpoints").len(), 1);
    assert_eq!(says(&mut debugger, "locals")[0], "local 0: i32 0 (0x0)");
    assert_eq!(says(&mut debugger, "continue"), stopped);
    // Code that serves calls has nothing in it for a debugger, on each engine and tier.
    let baseline = Node::new(&RuntimeConfig { baseline_bytes: 1, ..support::config() });
    for node in [Node::small(), Node::dense(4, 8), baseline] {
        let refused = Debugger::new(node.fresh(&wasm), recording.clone(), &wasm);
        assert!(matches!(refused, Err(DebugError::Unsuited(_))));
    }
    let function = debugged(&node, &wasm, EngineKind::Fast, false);
    assert!(matches!(Debugger::new(function, Bytes::from_static(b"none"), &wasm), Err(DebugError::Unsuited(_))));
}

#[test]
fn a_process_that_was_recorded_stops_at_breakpoints_as_calls_do() {
    let wasm = program(
        r#"(func $double (param $number i32) (result i32) (i32.add (local.get $number) (local.get $number)))
           (func (export "_start") (drop (call $double (i32.const 21))))"#,
    );
    let studio = processes::studio();
    let _ended = processes::run(&processes::recorded(&studio, &wasm, all()));
    let (_node, mut debugger) = session(studio.last(), &wasm, EngineKind::Dense);
    says(&mut debugger, "break double");
    let stopped = says(&mut debugger, "run");
    assert!(stopped[0].starts_with("breakpoint 1: in double (offset "), "{stopped:?}");
    assert_eq!(says(&mut debugger, "locals")[0], "local 0: i32 21 (0x15)");
    let report = ends(&mut debugger, "continue");
    assert_eq!(report["verdict"], "same", "{report:#}");
}
