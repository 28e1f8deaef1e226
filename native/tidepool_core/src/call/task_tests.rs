#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::sync::mpsc::{Sender, channel};
use std::task::Waker;
use std::thread;

use super::*;
use crate::base::console::Silent;
use crate::{CompileConfig, Function, FunctionConfig, Instances, Runtime, RuntimeConfig, Step, settings};

/// A guest of so many pages that answers, traps or asks the host, by the length of its operation.
fn guest(runtime: &Arc<Runtime>, pages: u32, instances: Instances) -> Function {
    let wasm = wat::parse_str(format!(
        r#"(module
             (import "wapc" "__host_call" (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
             (memory (export "memory") {pages})
             (func (export "__guest_call") (param i32 i32) (result i32)
               (if (i32.eq (local.get 0) (i32.const 1)) (then (unreachable)))
               (if (i32.eq (local.get 0) (i32.const 2))
                 (then (drop (call $ask {}))))
               (i32.const 1)))"#,
        "(i32.const 0)".repeat(8)
    ));
    let module = Arc::new(runtime.compile(&wasm.unwrap(), &CompileConfig::default()).unwrap());
    let config = FunctionConfig { instances, ..settings::function_config() };
    module.function(config).unwrap()
}

fn request(operation: &[u8]) -> Request {
    let timeout = Duration::from_secs(60);
    Request { operation: operation.into(), payload: Vec::new().into(), depth: 1, timeout }
}

/// Drives a call until it is over, or asks the host.
fn drive(task: &mut Task) -> Step {
    loop {
        match task.drive(|_| Waker::noop().clone()) {
            Step::Yield | Step::Wait => {}
            step => return step,
        }
    }
}

#[test]
fn no_reference_to_a_call_is_left_outside_of_its_task() {
    // From a few pages on instances are dropped by another thread.
    for pages in [1, 128] {
        let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let config = RuntimeConfig { baseline_bytes: 0, ..settings::runtime_config() };
        let runtime = Runtime::new(&config, io.handle().clone(), Arc::new(Silent)).unwrap();
        for instances in [Instances::Fresh, Instances::Warm { max_idle: 1 }] {
            let function = guest(&runtime, pages, instances);
            let mut owned = function.instance().unwrap();
            for operation in [&b""[..], b"1", b"22"] {
                for mut task in [function.start(request(operation)).unwrap(), owned.call(request(operation)).unwrap()] {
                    let step = drive(&mut task);
                    if let Step::Host(_) = step {
                        assert!(task.call.references() > 1, "the guest has one while it waits");
                        task.cancel(Cancel::Timeout);
                    }
                    assert_eq!(task.call.references(), 1, "{pages} pages, {instances:?}, {operation:?}: {step:?}");
                }
                owned = function.instance().unwrap();
            }
        }
    }
}

/// Tells which thread it is dropped on.
struct Told(Sender<Option<String>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(thread::current().name().map(str::to_owned)).unwrap();
    }
}

#[test]
fn an_instance_that_has_many_things_is_dropped_on_the_drop_thread_however_small_its_memory_is() {
    let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let runtime = Runtime::new(&settings::runtime_config(), io.handle().clone(), Arc::new(Silent)).unwrap();
    let task = guest(&runtime, 1, Instances::Fresh).start(request(b"")).unwrap();
    let own = thread::current().name().map(str::to_owned);
    for (fills, thread) in [(false, own), (true, Some("tidepool-drop".into()))] {
        let (told, dropped) = channel();
        let mut instance = io.block_on(task.call.target.instance(true, &task.call.channel, || None)).unwrap();
        instance.prepare(|store| {
            let abi = &mut store.data_mut().abi;
            if fills {
                abi.fill();
            }
            abi.other = Some(Box::new(Told(told)));
        });
        drop(instance);
        assert_eq!(dropped.recv().unwrap(), thread);
    }
}
