//! The hello_world guest in Rust. The README one folder up says what each operation does.

#[path = "../../wapc.rs"]
mod wapc;

use wapc::Reply;

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(operation: &[u8], payload: Vec<u8>) -> Reply {
    match operation {
        b"hello_world" | b"hello" => Ok(hello(&payload)),
        b"echo" => Ok(payload),
        b"fail" => Err(fail(&payload)),
        b"host" => host(&payload),
        b"fib" => match number(&payload) {
            Some(n) => Ok(fib(n).to_string().into_bytes()),
            None => Err([b"not a number: ", &payload[..]].concat()),
        },
        b"log" => {
            wapc::console_log(&payload);
            Ok(Vec::new())
        }
        _ => Err([b"unknown operation: ", operation].concat()),
    }
}

fn hello(name: &[u8]) -> Vec<u8> {
    let name = if name.is_empty() { b"world" } else { name };
    [b"Hello, ", name, b"!"].concat()
}

fn fail(payload: &[u8]) -> Vec<u8> {
    match payload {
        b"" => b"failed as asked".to_vec(),
        _ => [b"failed as asked: ", payload].concat(),
    }
}

/// The payload's first line names the call, `binding/namespace/operation`; the rest is passed on.
fn host(payload: &[u8]) -> Reply {
    if payload.is_empty() {
        return wapc::host_call(b"host", b"test", b"echo", b"");
    }
    let (target, rest) = split(payload, b'\n').unwrap_or((payload, b""));
    let parts = split(target, b'/').and_then(|(b, more)| split(more, b'/').map(|(n, o)| (b, n, o)));
    match parts {
        Some((binding, namespace, operation)) => {
            wapc::host_call(binding, namespace, operation, rest)
        }
        None => Err([b"not a host call: ", target].concat()),
    }
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = bytes.iter().position(|&byte| byte == at)?;
    Some((&bytes[..i], &bytes[i + 1..]))
}

/// Decimal digits only, up to `u32::MAX`: `str::parse` would take a sign as well.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |n, byte| match byte {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u32::from(byte - b'0')),
        _ => None,
    })
}

/// Naive on purpose: the work doubles with every other `n`.
fn fib(n: u32) -> u64 {
    match n {
        0 | 1 => u64::from(n),
        _ => fib(n - 1).wrapping_add(fib(n - 2)),
    }
}
