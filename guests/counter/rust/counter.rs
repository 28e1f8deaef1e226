//! Counts its calls in a static: a fresh instance always answers 1, a warm one goes on counting.

#[path = "../../wapc.rs"]
mod wapc;

use std::sync::atomic::{AtomicU64, Ordering};
use wapc::Reply;

static CALLS: AtomicU64 = AtomicU64::new(0);

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(operation: &[u8], _payload: Vec<u8>) -> Reply {
    match operation {
        b"next" => {
            let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(calls.to_string().into_bytes())
        }
        _ => Err([b"unknown operation: ", operation].concat()),
    }
}
