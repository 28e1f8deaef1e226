//! Many drivers on many threads: every call gets its own answer, and in the end nothing is left.

use std::sync::Arc;

use tidepool_core::{CallError, Function};

use crate::support::{Node, call, finish, guest, task};

const THREADS: usize = 4;
const CALLS: usize = 400;

fn hammer(function: &Arc<Function>, thread: usize) {
    for turn in 0..CALLS {
        let text = format!("{thread}/{turn}");
        match turn % 4 {
            0 => assert_eq!(call(function, "echo", text.as_bytes()).unwrap(), text.as_bytes()),
            1 => assert_eq!(call(function, "fib", b"15").unwrap(), b"610"),
            2 => {
                let payload = format!("a/b/c\n{text}");
                let reply = finish(task(function, "host", payload.as_bytes()), |request| Ok(request.payload));
                assert_eq!(reply.unwrap(), text.as_bytes());
            }
            _ => {
                let error = call(function, "fail", text.as_bytes()).unwrap_err();
                assert!(matches!(error, CallError::Guest { message, .. } if message.ends_with(&text)));
            }
        }
    }
}

#[test]
fn threads_that_share_too_few_fresh_instances_all_get_their_answers() {
    let node = Node::sized(2, THREADS);
    let function = node.fresh(&guest("rust/hello_world"));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let function = &function;
            scope.spawn(move || hammer(function, thread));
        }
    });
    node.assert_empty();
}

#[test]
fn threads_that_share_a_warm_pool_all_get_their_answers() {
    let node = Node::sized(THREADS as u32, 0);
    let function = node.warm(&guest("rust/hello_world"));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let function = &function;
            scope.spawn(move || hammer(function, thread));
        }
    });
    assert_eq!(node.runtime.live_instances(), node.runtime.idle_instances());
    drop(function);
    node.assert_empty();
}

/// Each thread's calls evict the instances that the others left idle.
#[test]
fn threads_that_evict_each_others_instances_all_get_their_answers() {
    let node = Node::sized(3, THREADS * 2);
    let wasm = guest("rust/hello_world");
    let functions: Vec<_> = (0..THREADS).map(|_| node.warm(&wasm)).collect();
    std::thread::scope(|scope| {
        for (thread, function) in functions.iter().enumerate() {
            scope.spawn(move || hammer(function, thread));
        }
    });
    drop(functions);
    node.assert_empty();
}

/// While one thread's call has the only instance, the others wait in line for it.
#[test]
fn threads_that_share_one_warm_instance_all_get_their_answers() {
    let node = Node::sized(1, THREADS);
    let function = node.warm(&guest("rust/hello_world"));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let function = &function;
            scope.spawn(move || hammer(function, thread));
        }
    });
    assert_eq!((node.runtime.live_instances(), node.runtime.queued_calls()), (1, 0));
}

#[test]
fn tasks_dropped_by_other_threads_at_any_point_leave_nothing_behind() {
    let node = Node::sized(3, THREADS * 2);
    let (hello, spinning) = (node.warm(&guest("rust/hello_world")), node.fresh(&guest("wat/loop")));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (hello, spinning) = (&hello, &spinning);
            scope.spawn(move || {
                for turn in 0..CALLS / 4 {
                    let function = if (thread + turn) % 2 == 0 { hello } else { spinning };
                    let mut task = task(function, "host", b"a/b/c");
                    for _ in 0..turn % 3 {
                        let _ = task.drive(|_| std::task::Waker::noop().clone());
                    }
                    scope.spawn(move || drop(task));
                }
            });
        }
    });
    drop(hello);
    node.assert_empty();
}
