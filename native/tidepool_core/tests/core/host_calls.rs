//! Host calls: what reaches the driver is what the guest asked for, and what it gets back is what was answered.

use std::sync::Arc;

use tidepool_core::{CallError, HostReply, HostRequest, Limit, Limits, Step};

use crate::support::{Node, finish, guest, limits, next, task, wat};

/// Calls the host with names and a payload of the lengths that the payload gives (four little-endian numbers), all from
/// address 65,536 on; replies with what came back, be it a reply or an error, after the byte 1 or 0.
fn caller() -> Vec<u8> {
    wat(r#"(module
      (import "wapc" "__guest_request" (func $request (param i32 i32)))
      (import "wapc" "__guest_response" (func $response (param i32 i32)))
      (import "wapc" "__host_call" (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
      (import "wapc" "__host_response_len" (func $response_len (result i32)))
      (import "wapc" "__host_response" (func $host_response (param i32)))
      (import "wapc" "__host_error_len" (func $error_len (result i32)))
      (import "wapc" "__host_error" (func $host_error (param i32)))
      (memory (export "memory") 64)
      (func (export "__guest_call") (param i32 i32) (result i32)
        (local $at i32)
        (call $request (i32.const 1024) (i32.const 0))
        (local.set $at (i32.const 65536))
        (memory.fill (local.get $at) (i32.const 120) (i32.const 131072))
        (i32.store8 (i32.const 1048576)
          (call $host_call
            (local.get $at) (i32.load (i32.const 0)) (local.get $at) (i32.load (i32.const 4))
            (local.get $at) (i32.load (i32.const 8)) (local.get $at) (i32.load (i32.const 12))))
        (if (i32.load8_u (i32.const 1048576))
          (then
            (call $host_response (i32.const 1048577))
            (call $response (i32.const 1048576) (i32.add (call $response_len) (i32.const 1))))
          (else
            (call $host_error (i32.const 1048577))
            (call $response (i32.const 1048576) (i32.add (call $error_len) (i32.const 1)))))
        (i32.const 1)))"#)
}

fn lengths(lengths: [u32; 4]) -> Vec<u8> {
    lengths.into_iter().flat_map(u32::to_le_bytes).collect()
}

#[test]
fn names_and_payload_arrive_as_the_guest_gave_them() {
    let node = Node::small();
    let function = node.fresh(&caller());
    for given in [[0, 0, 0, 0], [1, 2, 3, 4], [4096, 4096, 4096, 131_072]] {
        let mut task = task(&function, "any", &lengths(given));
        let Step::Host(HostRequest::Wapc(request)) = next(&mut task, &Arc::default()) else { panic!("no host call") };
        let found = [&request.binding[..], &request.namespace, &request.operation, &request.payload];
        for (found, len) in found.into_iter().zip(given) {
            assert_eq!(found, vec![b'x'; len as usize]);
        }
    }
}

/// A target's name that was cut would name another target.
#[test]
fn a_name_that_is_too_long_is_refused_and_never_cut() {
    let node = Node::small();
    let function = node.fresh(&caller());
    for given in [[4097, 1, 1, 0], [1, 4097, 1, 0], [1, 1, 100_000, 0]] {
        let mut task = task(&function, "any", &lengths(given));
        match next(&mut task, &Arc::default()) {
            Step::Done(Ok(reply)) => assert_eq!(reply.into_bytes()[0], 0, "the guest is told"),
            Step::Done(Err(_)) => {}
            Step::Host(HostRequest::Wapc(request)) => {
                let found = [request.binding.len(), request.namespace.len(), request.operation.len()];
                assert_eq!(found, [given[0], given[1], given[2]].map(|len| len as usize));
            }
            step => panic!("{step:?}"),
        }
    }
}

/// What the guest of [`caller`] gets back when it sends `sent` bytes and the host answers `answer`; `None` where the
/// host was not asked.
fn exchange(limits: Limits, sent: u32, answer: HostReply<Vec<u8>>) -> (bool, u8, Vec<u8>) {
    let node = Node::small();
    let function = node.function(&caller(), tidepool_core::Instances::Fresh, limits);
    let mut asked = false;
    let outcome = finish(task(&function, "any", &lengths([1, 1, 1, sent])), |_| {
        asked = true;
        answer.clone()
    });
    let mut reply = outcome.unwrap();
    let code = reply.remove(0);
    (asked, code, reply)
}

#[test]
fn a_payload_as_large_as_the_reply_limit_goes_out_and_one_byte_more_is_refused_to_the_guest() {
    let limits = Limits { reply_bytes: 1_000, ..limits() };
    assert_eq!(exchange(limits.clone(), 1_000, Ok(b"fine".to_vec())), (true, 1, b"fine".to_vec()));
    let (asked, code, _) = exchange(limits, 1_001, Ok(b"fine".to_vec()));
    assert_eq!((asked, code), (false, 0));
}

#[test]
fn a_reply_as_large_as_the_payload_limit_comes_in_and_one_byte_more_is_refused_to_the_guest() {
    let limits = Limits { payload_bytes: 1_000, ..limits() };
    assert_eq!(exchange(limits.clone(), 0, Ok(vec![b'r'; 1_000])), (true, 1, vec![b'r'; 1_000]));
    let (asked, code, text) = exchange(limits, 0, Ok(vec![b'r'; 1_001]));
    assert_eq!((asked, code), (true, 0));
    assert!(text.len() < 1_000, "the guest gets a text, not the reply");
}

#[test]
fn an_error_text_reaches_the_guest_as_it_is() {
    assert_eq!(exchange(limits(), 0, Err(b"\xff no".to_vec())), (true, 0, b"\xff no".to_vec()));
    assert_eq!(exchange(limits(), 0, Err(Vec::new())), (true, 0, Vec::new()));
}

/// The text is as much of the host's making as a reply is, and a guest that makes room for a reply makes it for this.
#[test]
fn an_error_text_over_the_payload_limit_does_not_enter_the_guest_whole() {
    let limits = Limits { payload_bytes: 1_000, ..limits() };
    let (_, code, text) = exchange(limits, 0, Err(vec![b'e'; 100_000]));
    assert_eq!(code, 0);
    assert!(text.len() <= 1_000, "{} bytes came in", text.len());
}

#[test]
fn start_functions_find_no_host() {
    let node = Node::small();
    let outcome = finish(task(&node.fresh(&guest("wat/init_host")), "any", b""), |request| {
        panic!("a start function asked for {request:?}")
    });
    assert_eq!(outcome, Ok(b"refused".to_vec()));
}

/// An answer that nobody waits for must not become that of the next host call.
#[test]
fn an_answer_without_a_question_is_no_answer() {
    let node = Node::small();
    let mut task = task(&node.fresh(&guest("rust/redis_concat")), "any", b"");
    task.answer(Ok(b"unasked".to_vec()));
    for turn in 0..3 {
        let Step::Host(HostRequest::Wapc(request)) = next(&mut task, &Arc::default()) else {
            panic!("no host call {turn}")
        };
        assert_eq!(request.payload, format!("some_key{}", turn + 1).as_bytes());
        task.answer(Ok(b"answer ".to_vec()));
    }
    match next(&mut task, &Arc::default()) {
        Step::Done(Ok(reply)) => assert_eq!(reply, b"answer answer answer "),
        step => panic!("{step:?}"),
    }
}

#[test]
fn of_two_answers_to_one_question_neither_reaches_the_next() {
    let node = Node::small();
    let mut task = task(&node.fresh(&guest("rust/redis_concat")), "any", b"");
    for turn in 0..3 {
        let Step::Host(_) = next(&mut task, &Arc::default()) else { panic!("no host call {turn}") };
        task.answer(Ok(format!("first {turn} ").into_bytes()));
        task.answer(Ok(format!("first {turn} ").into_bytes()));
    }
    match next(&mut task, &Arc::default()) {
        Step::Done(Ok(reply)) => assert_eq!(reply, b"first 0 first 1 first 2 "),
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_guest_that_recurses_without_end_fails_with_the_text_of_the_refusal() {
    let node = Node::small();
    let outcome =
        finish(task(&node.fresh(&guest("wat/recurse_forever")), "any", b""), |_| Err(b"deep enough".to_vec()));
    assert!(matches!(outcome, Err(CallError::Guest { message, .. }) if message == "deep enough"));
}

/// Its memory has what it passes and is passed as well, and has room for neither beside it.
#[test]
fn what_a_guest_passes_and_is_passed_is_its_functions_on_the_host_for_as_long_as_it_is_there() {
    const MIB: u32 = 1 << 20;
    let node = &Node::small();
    let at = |mib: u32| {
        let limits = Limits { total_memory_bytes: u64::from(mib * MIB), ..limits() };
        let function = node.function(&caller(), tidepool_core::Instances::Fresh, limits);
        move |sent: u32, answer: u32| {
            // That of the run before is given back by another thread.
            node.assert_empty();
            let answer = vec![b'r'; answer as usize];
            finish(task(&function, "any", &lengths([1, 1, 1, sent])), |_| Ok(answer.clone()))
        }
    };
    let over = |outcome: Result<Vec<u8>, CallError>, mib: u32| {
        let told = matches!(&outcome, Err(CallError::Limit { limit: Limit::TotalMemory, allowed, .. }) if *allowed == u64::from(mib * MIB));
        assert!(told, "{:?}", outcome.map(|reply| reply.len()));
    };
    let (narrow, wide) = (at(4), at(6));
    assert_eq!(narrow(3 * MIB, 0).unwrap().len(), 1);
    // A copy of what has come, and one of what it replies.
    over(narrow(0, 5 * MIB / 2), 4);
    for _turn in 0..3 {
        assert_eq!(wide(3 * MIB, 5 * MIB / 2).unwrap().len(), 5 * MIB as usize / 2 + 1);
    }
    over(wide(0, 7 * MIB), 6);
    node.assert_empty();
}
