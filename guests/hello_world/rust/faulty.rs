//! The faulty guest in Rust. The README one folder up says what each operation does.

#[path = "../../wapc.rs"]
mod wapc;

use wapc::Reply;

const TABLE: [u32; 3] = [10, 20, 30];

#[no_mangle]
pub extern "C" fn wapc_init() {
    wapc::log_panics();
}

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(operation: &[u8], payload: Vec<u8>) -> Reply {
    let n: usize = String::from_utf8(payload).unwrap().parse().expect("the payload is a number");
    match operation {
        b"index" => Ok(TABLE[n].to_string().into_bytes()),
        b"deep" => Ok(if deep(n) > 0 { b"deep".to_vec() } else { b"flat".to_vec() }),
        _ => Err([b"unknown operation: ", operation].concat()),
    }
}

/// Each level keeps its room until the one below is done.
fn deep(n: usize) -> usize {
    let room = [n as u8; 256];
    let kept: *const u8 = &room[n % 256];
    let below = if n == 0 { return 0 } else { deep(n - 1) };
    // SAFETY: it reads a local variable; volatile, so that the compiler has to keep it.
    below + usize::from(unsafe { kept.read_volatile() } == n as u8)
}
