//! What goes first when a node is taken apart: tasks keep alive what they need, and the last one out turns off the light.

use std::sync::{Arc, Weak};

use tidepool_core::console::{Console, Line};
use tidepool_core::{CallError, Runtime, Step};

use crate::support::alone::alone;
use crate::support::{self, PATIENCE, drive, eventually, finish, function, guest, limits, next, task};

struct Silent;

impl Console for Silent {
    fn print(&self, _line: Line) -> Result<(), Line> {
        Ok(())
    }
}

/// A runtime, its I/O threads, and its console, which goes when the last of the runtime does.
fn start() -> (Arc<Runtime>, tokio::runtime::Runtime, Weak<Silent>) {
    let console = Arc::new(Silent);
    let (runtime, io) = support::start(&support::config(), Arc::clone(&console) as Arc<dyn Console>);
    (runtime, io, Arc::downgrade(&console))
}

#[test]
fn tasks_go_on_after_everybody_else_has_let_go_of_the_runtime() {
    let (runtime, _io, console) = start();
    let fresh = |name| function(&runtime, &guest(name), tidepool_core::Instances::Fresh, limits()).unwrap();
    let mut spinning = task(&fresh("wat/loop"), "any", b"");
    let mut parked = task(&fresh("wat/parked"), "any", b"");
    let untouched = task(&fresh("rust/hello_world"), "hello", b"");
    assert!(matches!(next(&mut parked, &Arc::default()), Step::Host(_)));
    drop(runtime);
    for _ in 0..10 {
        assert!(matches!(drive(&mut spinning, &Arc::default()), Step::Yield), "the epoch still ticks");
    }
    parked.answer(Ok(b"alive".to_vec()));
    assert_eq!(finish(parked, |_| Ok(Vec::new())), Ok(b"alive".to_vec()));
    drop(spinning);
    assert!(console.upgrade().is_some(), "one task is left");
    assert_eq!(finish(untouched, |_| Ok(Vec::new())), Ok(b"Hello, world!".to_vec()));
    assert!(console.upgrade().is_none(), "the last task took the runtime along");
}

#[test]
fn a_runtime_with_warm_instances_goes_when_its_functions_do() {
    let (runtime, _io, console) = start();
    let instances = tidepool_core::Instances::Warm { max_idle: 4 };
    let warm = function(&runtime, &guest("rust/counter"), instances, limits()).unwrap();
    assert!(support::call(&warm, "next", b"").is_ok());
    drop(runtime);
    assert!(support::call(&warm, "next", b"").is_ok());
    drop(warm);
    assert!(console.upgrade().is_none());
}

#[test]
fn a_task_asleep_when_the_io_threads_end_fails_and_is_gone() {
    let (runtime, io, _console) = start();
    let sleeping = function(&runtime, &guest("wat/wasi_sleep"), tidepool_core::Instances::Fresh, limits()).unwrap();
    let (mut task, signal) = (task(&sleeping, "any", b""), Arc::default());
    assert!(matches!(next(&mut task, &signal), Step::Wait));
    io.shutdown_timeout(PATIENCE);
    let step = drive(&mut task, &signal);
    assert!(matches!(step, Step::Done(Err(CallError::Internal { .. }))), "{step:?}");
    assert_eq!(runtime.live_instances(), 0);
}

#[test]
fn a_runtimes_threads_end_with_it() {
    // Alone, so that there are no threads but its own.
    if !alone("shutdown::a_runtimes_threads_end_with_it") {
        return;
    }
    let threads = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|thread| {
            // A thread may end between the two looks.
            std::fs::read_to_string(thread.unwrap().path().join("comm")).ok()
        });
        names.filter(|name| name.starts_with("tidepool")).count()
    };
    let many: Vec<_> = (0..5).map(|_| start()).collect();
    eventually("an epoch, a drop thread, a trimmer and three that compile for each", || threads() == 30);
    drop(many);
    eventually("all to end", || threads() == 0);
}
