//! The fickle guest in Rust. The README one folder up says what each operation does.

#[path = "../../wapc.rs"]
mod wapc;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use wapc::Reply;

const TABLE: [u32; 3] = [10, 20, 30];

/// Of all calls of this instance.
static SUM: AtomicU64 = AtomicU64::new(0);

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn random_get(bytes: *mut u8, len: usize) -> u16;
}

#[no_mangle]
pub extern "C" fn wapc_init() {
    wapc::log_panics();
}

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(operation: &[u8], _payload: Vec<u8>) -> Reply {
    if operation != b"mix" {
        return Err([b"unknown operation: ", operation].concat());
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let random = random();
    let weight = wapc::host_call(b"fickle", b"test", b"weigh", format!("{time} {random}").as_bytes())?;
    let sum = SUM.load(Ordering::Relaxed).wrapping_mul(31).wrapping_add(time).wrapping_add(random);
    let sum = weight.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    SUM.store(sum, Ordering::Relaxed);
    let chosen = TABLE[(sum >> 7) as usize % 4];
    Ok(format!("{time} {random} {} {chosen}", String::from_utf8_lossy(&weight)).into_bytes())
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the host writes that many bytes.
    let error = unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) };
    assert_eq!(error, 0, "no random bytes");
    u64::from_le_bytes(bytes)
}
