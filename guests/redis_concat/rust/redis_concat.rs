//! Asks the host for three keys of its Redis and answers with the three values joined.
//! The operation and the payload do not matter.

#[path = "../../wapc.rs"]
mod wapc;

use wapc::Reply;

const KEYS: [&str; 3] = ["some_key1", "some_key2", "some_key3"];

/// Runs once, at the deploy. Instances begin with what it leaves behind: memory that the allocator need not ask for then,
/// which takes system calls.
#[no_mangle]
pub extern "C" fn wapc_init() {
    wapc::log_panics();
    let room = Vec::<u8>::with_capacity(1_024);
    // SAFETY: it reads a local variable; and since that is volatile the compiler has to allocate what it points to.
    unsafe { std::ptr::read_volatile(&room.as_ptr()) };
}

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(_operation: &[u8], _payload: Vec<u8>) -> Reply {
    let mut joined = Vec::new();
    for key in KEYS {
        joined.extend(wapc::host_call(b"host", b"redis", b"GET", key.as_bytes())?);
    }
    Ok(joined)
}
