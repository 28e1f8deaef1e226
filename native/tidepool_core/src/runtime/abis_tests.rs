//! A third ABI, with all that one has: an export that serves calls, a start function, an import, and state in the store. Nothing
//! outside of here knows of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use wasmtime::{Caller, Func, Linker, Store, TypedFunc, ValType};

use super::*;
use crate::abi::contract::{Abi, Form};
use crate::abi::exports::{Exports, Surface};
use crate::abi::guest::Guest;
use crate::abi::rehearsal::Rehearsal;
use crate::abi::slots::State;
use crate::base::console::{Console, Line, Silent, Stream};
use crate::base::origin::{Refusal, Start};
use crate::base::printed::Printed;
use crate::base::request::Reply;
use crate::process::message::Message;
use crate::settings;
use crate::store::context::FunctionContext;
use crate::store::failure::call_error;
use crate::{
    CallError, CompileConfig, CompileError, EngineKind, Function, FunctionConfig, Instances, ProcessOptions, Request,
    Runtime, RuntimeConfig, Step, Task,
};

/// A number in, a number out.
enum Tiny {}

#[derive(Default)]
struct Slot {
    entry: Option<TypedFunc<i32, i32>>,
    input: i32,
    /// Calls of the import, all in all.
    ticks: i32,
}

fn slot(state: &mut State) -> &mut Slot {
    state.abi.other.get_or_insert_with(|| Box::new(Slot::default())).downcast_mut().unwrap()
}

impl Abi for Tiny {
    const NAME: &'static str = "tiny";
    const REUSABLE: bool = true;

    fn begin(state: &mut State) {
        let payload = state.call.as_ref().unwrap().request.payload.bytes().clone();
        slot(state).input = String::from_utf8(payload.into()).unwrap().parse().unwrap();
    }

    fn begin_process(state: &mut State, guest: &Guest, _left: Option<Message>) {
        slot(state).ticks = guest.config.world.args.len().try_into().unwrap();
    }

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let slot = slot(store.data_mut());
        let (entry, input) = (slot.entry.clone().unwrap(), slot.input);
        let output = entry.call_async(&mut *store, input).await.map_err(|error| call_error(store, &error))?;
        Ok(output.to_string().into_bytes().into())
    }

    fn end(state: &mut State) {
        slot(state).input = 0;
    }
}

impl ModuleAbi for Tiny {
    const START_FUNCTIONS: &'static [&'static str] = &["tiny_init"];

    fn detect(surface: &Surface<'_>) -> Result<bool, CompileError> {
        Ok(surface.exports("tiny_call"))
    }

    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
        linker.func_wrap("tiny", "tick", |mut caller: Caller<'_, State>| {
            let slot = slot(caller.data_mut());
            slot.ticks += 1;
            slot.ticks
        })?;
        linker.func_wrap("tiny", "base", || 100)?;
        Ok(())
    }

    fn rehearse(linker: &mut Linker<Rehearsal>, _store: &mut Store<Rehearsal>) -> wasmtime::Result<()> {
        linker.func_wrap("tiny", "base", |mut caller: Caller<'_, Rehearsal>| {
            caller.data_mut().printed.push(Stream::Console, b"rehearsed").unwrap();
            200
        })?;
        Ok(())
    }

    fn print_kept(printed: &Printed, function: &Arc<FunctionContext>) {
        for (stream, piece) in printed.pieces() {
            function.print(*stream, &[b"kept: ", &**piece].concat());
        }
    }

    fn exports(module: &wasmtime::Module) -> Result<Exports, CompileError> {
        Exports::of(module, ("tiny_call", &[ValType::I32], &[ValType::I32]), Self::START_FUNCTIONS)
    }

    fn bind(store: &mut Store<State>, entry: Option<Func>, _exports: &Exports) -> wasmtime::Result<()> {
        let entry = entry.map(|entry| entry.typed(&*store)).transpose()?;
        slot(store.data_mut()).entry = entry;
        Ok(())
    }
}

/// Keeps the lines that it is to print.
#[derive(Default)]
struct Printer(Mutex<Vec<String>>);

impl Console for Printer {
    fn print(&self, line: Line) -> Result<(), Line> {
        self.0.lock().unwrap().push(line.text);
        Ok(())
    }
}

/// Adds to its input the ticks so far, and 100 for its start function.
const GUEST: &str = r#"(module (import "tiny" "tick" (func $tick (result i32)))
    (memory (export "memory") 1) (global $base (mut i32) (i32.const 0))
    (func (export "tiny_init") (global.set $base (i32.const 100)))
    (func (export "tiny_call") (param i32) (result i32)
      (if (i32.eq (local.get 0) (i32.const 13)) (then (unreachable)))
      (i32.add (i32.add (local.get 0) (global.get $base)) (call $tick))))"#;

struct Node {
    runtime: Arc<Runtime>,
    // Dropped last: tasks may still hold its handle.
    _io: tokio::runtime::Runtime,
}

impl Node {
    fn new() -> Self {
        Self::printing(Arc::new(Silent))
    }

    fn printing(console: Arc<dyn Console>) -> Self {
        let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let config = RuntimeConfig { max_instances: 4, baseline_bytes: 0, ..settings::runtime_config() };
        let abis = [vec![Kind::module::<Tiny>()], built_in()].concat();
        let runtime = Runtime::with_abis(&config, io.handle().clone(), console, abis).unwrap();
        Node { runtime, _io: io }
    }

    fn compile(&self, wat: &str) -> Result<crate::Module, CompileError> {
        let config = CompileConfig { snapshot: Some(settings::LIMITS), ..CompileConfig::default() };
        self.runtime.compile(&wat::parse_str(wat).unwrap(), &config)
    }

    fn function(&self, instances: Instances) -> Function {
        self.function_of(GUEST, instances)
    }

    fn function_of(&self, wat: &str, instances: Instances) -> Function {
        let config = FunctionConfig { name: "tiny".into(), instances, ..settings::function_config() };
        self.compile(wat).unwrap().function(config).unwrap()
    }
}

fn request(number: i32) -> Request {
    let payload = number.to_string().into_bytes().into();
    Request { operation: Vec::new().into(), payload, depth: 1, timeout: Duration::from_secs(60) }
}

fn finish(task: Result<Task, CallError>) -> Result<String, CallError> {
    let mut task = task?;
    loop {
        match task.drive(|_| Waker::noop().clone()) {
            Step::Done(outcome) => return outcome.map(|reply| String::from_utf8(reply.into_bytes()).unwrap()),
            Step::Yield => {}
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn guests_of_a_third_abi_are_called_fresh_warm_and_owned_and_keep_its_state() {
    let node = Node::new();
    assert_eq!(node.compile(GUEST).unwrap().abi(), "tiny");
    let fresh = node.function(Instances::Fresh);
    let warm = node.function(Instances::Warm { max_idle: 1 });
    let owned = warm.instance().unwrap();
    for calls in 1..=3 {
        assert_eq!(finish(fresh.start(request(5))), Ok("106".into()));
        assert_eq!(finish(warm.start(request(5))), Ok((105 + calls).to_string()));
        assert_eq!(finish(owned.call(request(7))), Ok((107 + calls).to_string()));
    }
    assert!(matches!(finish(warm.start(request(13))), Err(CallError::Trap { .. })));
    assert_eq!(finish(warm.start(request(5))), Ok("106".into()), "the one that trapped is gone");
    drop((fresh, warm, owned));
    assert_eq!(node.runtime.live_instances(), 0);
}

#[test]
fn start_functions_of_a_third_abi_run_once_with_what_it_answers_then_and_print_as_it_says() {
    let printer = Arc::new(Printer::default());
    let node = Node::printing(Arc::clone(&printer) as Arc<dyn Console>);
    let asks = GUEST.replace("(i32.const 100)", "(call $base)");
    let asks = asks.replace("(memory", r#"(import "tiny" "base" (func $base (result i32))) (memory"#);
    assert_eq!(*node.compile(&asks).unwrap().start(), Start::Snapshot);
    let fresh = node.function_of(&asks, Instances::Fresh);
    assert_eq!(finish(Ok(fresh.start_trial())), Ok(String::new()));
    assert_eq!(*printer.0.lock().unwrap(), ["kept: rehearsed"]);
    assert_eq!(finish(fresh.start(request(5))), Ok("206".into()));
    // What is not answered then is asked in each instance.
    let ticks = GUEST.replace("(i32.const 100)", "(call $tick)");
    assert!(matches!(node.compile(&ticks).unwrap().start(), Start::Initialiser(Refusal::Host { .. })));
    assert_eq!(finish(node.function_of(&ticks, Instances::Fresh).start(request(5))), Ok("8".into()));
}

#[test]
fn processes_of_a_third_abi_begin_with_what_it_makes_of_their_program() {
    let node = Node::new();
    let counts = GUEST.replace(
        "(func (export \"tiny_init\")",
        "(func (export \"count\") (if (i32.ne (call $tick) (i32.const 4)) (then (unreachable))))
         (func (export \"tiny_init\")",
    );
    let program = node.function_of(&counts, Instances::Fresh);
    let start = |args: &[&str]| {
        let args = args.iter().map(|&arg| arg.into()).collect();
        finish(program.start_process(ProcessOptions { entry: "count".into(), args, ..ProcessOptions::default() }))
    };
    assert_eq!(start(&["a", "b", "c"]), Ok(String::new()));
    assert!(matches!(start(&["a"]), Err(CallError::Trap { .. })));
}

#[test]
fn guests_find_what_their_own_abi_offers_and_nothing_else() {
    let node = Node::new();
    let stranger = GUEST.replace("\"tiny\" \"tick\"", "\"wasi_snapshot_preview1\" \"sched_yield\"");
    assert!(matches!(node.compile(&stranger).map(drop), Err(CompileError::MissingImport { .. })));
    let wapc = r#"(module (import "tiny" "tick" (func (result i32))) (memory (export "memory") 1)
        (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#;
    assert!(matches!(node.compile(wapc).map(drop), Err(CompileError::MissingImport { .. })));
    let program = r#"(module (import "tiny" "tick" (func (result i32))) (memory (export "memory") 1)
        (func (export "_start")))"#;
    assert!(matches!(node.compile(program).map(drop), Err(CompileError::MissingImport { .. })));
}

#[test]
fn what_a_runtime_says_that_guests_may_import_has_every_import_of_every_abi() {
    let node = Node::new();
    let imports = node.runtime.imports();
    let engine = &node.runtime.toolchain.engines.get(EngineKind::Fast).optimising.wasmtime;
    for abi in [vec![Kind::module::<Tiny>()], built_in()].concat() {
        let Form::Module(module) = abi.spec.form else { continue };
        let mut linker = Linker::new(engine);
        (module.link)(&mut linker).unwrap();
        let context = Arc::new(FunctionContext::detached());
        let mut store = Store::new(engine, State::new(context));
        let offered: Vec<_> = linker.iter(&mut store).map(|(module, name, _)| (module, name)).collect();
        assert!(!offered.is_empty());
        for (module, name) in offered {
            let found = imports.iter().any(|it| (it.abi, &*it.module, &*it.name) == (abi.spec.name, module, name));
            assert!(found, "{module}.{name} of {}", abi.spec.name);
        }
    }
}
