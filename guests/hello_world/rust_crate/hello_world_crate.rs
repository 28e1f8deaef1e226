//! The hello_world guest in Rust with the `wapc-guest` crate, which owns `__guest_call` and calls
//! the handler registered for the operation. The README one folder up says what each does.

use wapc_guest::{console_log, host_call, register_function, CallResult};

/// The host runs this once in every new instance, before any call.
#[no_mangle]
pub extern "C" fn wapc_init() {
    std::panic::set_hook(Box::new(|panic| console_log(&panic.to_string())));
    register_function("hello_world", hello);
    register_function("hello", hello);
    register_function("echo", |payload| Ok(payload.to_vec()));
    register_function("fail", fail);
    register_function("host", host);
    register_function("fib", |payload| match number(payload) {
        Some(n) => Ok(fib(n).to_string().into_bytes()),
        None => Err(format!("not a number: {}", text(payload)).into()),
    });
    register_function("log", |payload| {
        console_log(&text(payload));
        Ok(Vec::new())
    });
}

fn hello(name: &[u8]) -> CallResult {
    let name = if name.is_empty() { b"world" } else { name };
    Ok([b"Hello, ", name, b"!"].concat())
}

fn fail(payload: &[u8]) -> CallResult {
    match payload {
        b"" => Err("failed as asked".into()),
        _ => Err(format!("failed as asked: {}", text(payload)).into()),
    }
}

/// The payload's first line names the call, `binding/namespace/operation`; the rest is passed on.
fn host(payload: &[u8]) -> CallResult {
    let (target, rest) = match payload.iter().position(|&byte| byte == b'\n') {
        Some(line) => (text(&payload[..line]), &payload[line + 1..]),
        None if payload.is_empty() => ("host/test/echo".into(), payload),
        None => (text(payload), &payload[payload.len()..]),
    };
    let parts: Vec<&str> = target.splitn(3, '/').collect();
    match parts[..] {
        [binding, namespace, operation] => host_call(binding, namespace, operation, rest)
            // The crate puts these words before the host's own text.
            .map_err(|error| error.to_string().replacen("Host error: ", "", 1).into()),
        _ => Err(format!("not a host call: {target}").into()),
    }
}

/// Decimal digits only, up to `u32::MAX`: `str::parse` would take a sign as well.
fn number(digits: &[u8]) -> Option<u32> {
    match digits.iter().all(u8::is_ascii_digit) {
        true => text(digits).parse().ok(),
        false => None,
    }
}

/// Naive on purpose: the work doubles with every other `n`.
fn fib(n: u32) -> u64 {
    match n {
        0 | 1 => u64::from(n),
        _ => fib(n - 1).wrapping_add(fib(n - 2)),
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
