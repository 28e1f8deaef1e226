//! A waPC guest with debug data, which traps where a test knows the line.

#[path = "../wapc.rs"]
mod wapc;

use wapc::Reply;

#[no_mangle]
pub extern "C" fn wapc_init() {}

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(operation: &[u8], payload: Vec<u8>) -> Reply {
    match operation {
        b"trap" => Ok(vec![outer(payload.len())]),
        _ => Ok(payload),
    }
}

#[inline(never)]
fn outer(depth: usize) -> u8 {
    let inner = inner(depth); // the caller's line
    inner.wrapping_add(1)
}

#[inline(never)]
fn inner(depth: usize) -> u8 {
    let place = (usize::MAX - depth) as *const u8;
    // SAFETY: there is none. No memory is so large, so it traps.
    let byte = unsafe { *place }; // the trap's line
    byte ^ 0x55
}
