//! Fills a hash map before the first call; its keys come from the host's randomness.

#[path = "../../wapc.rs"]
mod wapc;

use std::cell::RefCell;
use std::collections::HashMap;
use wapc::Reply;

thread_local! {
    static NAMES: RefCell<HashMap<usize, &'static str>> = RefCell::default();
}

#[no_mangle]
pub extern "C" fn wapc_init() {
    let names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    NAMES.with(|map| map.borrow_mut().extend(names.into_iter().enumerate()));
}

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

/// The names, in the order in which the map holds them.
fn handle(_operation: &[u8], _payload: Vec<u8>) -> Reply {
    let names: Vec<_> = NAMES.with(|map| map.borrow().values().copied().collect());
    Ok(names.join(" ").into_bytes())
}
