//! A task does nothing but what its driver lets it do, on the driver's thread, and is gone when the driver lets go.

use std::sync::Arc;
use std::time::Duration;

use tidepool_core::{CallError, Cancel, HostReply, HostRequest, Request, Step, Task};

use crate::support::signal::Signal;
use crate::support::{Node, drive, finish, guest, next, request, task};

fn signal() -> Arc<Signal> {
    Arc::new(Signal::default())
}

#[test]
fn nothing_runs_before_the_first_drive() {
    let node = Node::small();
    let function = node.fresh(&guest("wat/start_section_log"));
    let task = task(&function, "any", b"");
    assert_eq!(node.runtime.live_instances(), 0);
    drop(task);
    assert!(node.lines.take().is_empty());
}

#[test]
fn an_endless_loop_yields_at_the_end_of_each_slice() {
    let node = Node::small();
    let mut task = task(&node.fresh(&guest("wat/loop")), "any", b"");
    for _ in 0..50 {
        assert!(matches!(drive(&mut task, &signal()), Step::Yield));
        assert_eq!(node.runtime.live_instances(), 1);
    }
}

#[test]
fn a_guest_that_yields_asks_for_no_waker() {
    let node = Node::small();
    let mut task = task(&node.fresh(&guest("wat/loop")), "any", b"");
    assert!(matches!(task.drive(|_| panic!("nothing to wait for")), Step::Yield));
}

#[test]
fn a_dropped_task_frees_its_instance_at_once() {
    let node = Node::small();
    for name in ["wat/loop", "wat/parked", "wat/init_loop", "wat/start_section_loop", "wat/wasi_loop"] {
        let mut task = task(&node.fresh(&guest(name)), "any", b"");
        assert!(matches!(drive(&mut task, &signal()), Step::Yield | Step::Host(_)));
        assert_eq!(node.runtime.live_instances(), 1, "{name}");
        drop(task);
        assert_eq!(node.runtime.live_instances(), 0, "{name}");
    }
}

#[test]
fn a_cancelled_task_is_gone_when_the_cancellation_returns() {
    let node = Node::small();
    let function = node.fresh(&guest("wat/loop"));
    for why in [Cancel::Timeout, Cancel::Aborted] {
        let mut task = task(&function, "any", b"");
        assert!(matches!(drive(&mut task, &signal()), Step::Yield));
        let error = task.cancel(why);
        assert_eq!(node.runtime.live_instances(), 0);
        match why {
            Cancel::Timeout => assert_eq!(error, CallError::Timeout),
            Cancel::Aborted => assert!(matches!(error, CallError::Internal { .. })),
        }
        assert!(matches!(drive(&mut task, &signal()), Step::Done(Err(CallError::Internal { .. }))));
    }
}

#[test]
fn a_task_that_is_done_stays_done() {
    let node = Node::small();
    let mut task = task(&node.fresh(&guest("rust/hello_world")), "hello", b"Ada");
    assert!(matches!(next(&mut task, &signal()), Step::Done(Ok(reply)) if reply == b"Hello, Ada!"));
    for _ in 0..3 {
        assert!(matches!(drive(&mut task, &signal()), Step::Done(Err(CallError::Internal { .. }))));
    }
}

#[test]
fn a_host_call_brings_its_request_and_takes_the_answer_back() {
    let node = Node::small();
    let function = node.fresh(&guest("wat/parked"));
    let answers: [HostReply<Vec<u8>>; 4] =
        [Ok(b"fine".to_vec()), Err(b"refused".to_vec()), Ok(Vec::new()), Ok(vec![7; 1 << 20])];
    for answer in answers {
        let mut task = task(&function, "any", b"");
        let Step::Host(HostRequest::Wapc(request)) = next(&mut task, &signal()) else { panic!("no host call") };
        assert_eq!(&request.binding[..], b"host");
        assert_eq!(&request.namespace[..], b"test");
        assert_eq!(&request.operation[..], b"park");
        assert_eq!(request.payload, b"");
        task.answer(answer.clone());
        match (next(&mut task, &signal()), answer) {
            (Step::Done(Ok(reply)), Ok(answer)) => assert_eq!(reply, answer),
            (Step::Done(Err(CallError::Guest { message, .. })), Err(text)) => {
                assert_eq!(message.as_bytes(), text);
            }
            (step, answer) => panic!("{step:?} after {answer:?}"),
        }
    }
    node.assert_empty();
}

#[test]
fn a_guest_whose_host_call_is_not_answered_yet_waits() {
    let node = Node::small();
    let mut task = task(&node.fresh(&guest("wat/parked")), "any", b"");
    assert!(matches!(next(&mut task, &signal()), Step::Host(_)));
    for _ in 0..3 {
        assert!(matches!(drive(&mut task, &signal()), Step::Wait));
    }
    task.answer(Ok(b"late".to_vec()));
    assert!(matches!(next(&mut task, &signal()), Step::Done(Ok(reply)) if reply == b"late"));
}

/// Drives each task in turn, every time on a thread that has never seen it before.
fn drive_on_new_threads(tasks: &mut [Task], mut stepped: impl FnMut(usize, Step)) {
    for (turn, task) in tasks.iter_mut().enumerate() {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| drive(task, &signal()));
            stepped(turn, thread.join().unwrap());
        });
    }
}

#[test]
fn a_task_is_driven_by_a_different_thread_each_slice() {
    let node = Node::small();
    let (spinning, fib) = (node.fresh(&guest("wat/loop")), node.fresh(&guest("rust/hello_world")));
    let mut endless: Vec<Task> = (0..2).map(|_| task(&spinning, "any", b"")).collect();
    let mut computing: Vec<Task> = (0..2).map(|_| task(&fib, "fib", b"33")).collect();
    for _ in 0..50 {
        drive_on_new_threads(&mut endless, |_, step| assert!(matches!(step, Step::Yield)));
    }
    let mut done = [false; 2];
    while done.contains(&false) {
        drive_on_new_threads(&mut computing, |turn, step| match step {
            Step::Done(_) if done[turn] => {}
            Step::Done(reply) => {
                assert_eq!(reply.unwrap(), b"3524578");
                done[turn] = true;
            }
            step => assert!(matches!(step, Step::Yield), "{step:?}"),
        });
    }
    drop(endless);
    node.assert_empty();
}

#[test]
fn many_tasks_interleave_on_one_thread_and_each_gets_its_own_answer() {
    let node = Node::sized(64, 0);
    let function = node.fresh(&guest("rust/hello_world"));
    let mut tasks: Vec<(usize, Task)> = (0..64)
        .map(|turn| match turn % 3 {
            0 => (turn, task(&function, "fib", b"22")),
            1 => (turn, task(&function, "echo", turn.to_string().as_bytes())),
            _ => (turn, task(&function, "host", format!("a/b/c\n{turn}").as_bytes())),
        })
        .collect();
    let mut asked = Vec::new();
    while !tasks.is_empty() {
        tasks.retain_mut(|(turn, task)| match drive(task, &signal()) {
            Step::Yield => true,
            Step::Host(HostRequest::Wapc(request)) => {
                assert_eq!(request.payload, turn.to_string().as_bytes());
                asked.push(*turn);
                task.answer(Ok(format!("host of {turn}").into_bytes()));
                true
            }
            Step::Done(reply) => {
                let expected = match *turn % 3 {
                    0 => "17711".to_owned(),
                    1 => turn.to_string(),
                    _ => format!("host of {turn}"),
                };
                assert_eq!(reply.unwrap(), expected.as_bytes());
                false
            }
            step => panic!("there is room for all: {step:?}"),
        });
    }
    assert_eq!(asked.len(), 21);
    node.assert_empty();
}

#[test]
fn a_spinning_guest_on_the_same_thread_does_not_keep_others_from_their_answers() {
    let node = Node::small();
    let mut spinning = task(&node.fresh(&guest("wat/loop")), "any", b"");
    let mut short = task(&node.fresh(&guest("rust/hello_world")), "fib", b"25");
    loop {
        assert!(matches!(drive(&mut spinning, &signal()), Step::Yield));
        match drive(&mut short, &signal()) {
            Step::Yield => {}
            Step::Done(reply) => break assert_eq!(reply.unwrap(), b"75025"),
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn a_trial_runs_the_start_functions_and_leaves_nothing_behind() {
    let node = Node::small();
    let no_host = |_| -> HostReply<Vec<u8>> { Err(Vec::new()) };
    assert_eq!(finish(node.warm(&guest("rust/hello_world_crate")).start_trial(), no_host), Ok(Vec::new()));
    let trap = finish(node.fresh(&guest("wat/init_trap")).start_trial(), no_host);
    assert!(matches!(trap, Err(CallError::Trap { .. })), "{trap:?}");
    let exit = finish(node.fresh(&guest("wat/start_exit_7")).start_trial(), no_host);
    assert!(matches!(exit, Err(CallError::Trap { .. })), "{exit:?}");
    assert_eq!(finish(node.fresh(&guest("wat/start_exit_0")).start_trial(), no_host), Ok(Vec::new()));
    assert_eq!(node.runtime.idle_instances(), 0);
    node.assert_empty();
}

#[test]
fn a_timeout_beyond_the_clock_is_no_timeout() {
    let node = Node::small();
    let function = node.fresh(&guest("rust/hello_world"));
    let task = function.start(Request { timeout: Duration::MAX, ..request("hello", b"") }).unwrap();
    assert_eq!(finish(task, |_| Ok(Vec::new())), Ok(b"Hello, world!".to_vec()));
}
