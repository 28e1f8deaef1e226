//! waPC by hand: a guest's imports, made safe to use. The Rust guests here include this file as a
//! module, so `rustc` alone builds them; with cargo, the `wapc-guest` crate does the same work.

#[link(wasm_import_module = "wapc")]
extern "C" {
    fn __guest_request(operation: *mut u8, payload: *mut u8);
    fn __guest_response(reply: *const u8, len: usize);
    fn __guest_error(text: *const u8, len: usize);
    fn __host_call(
        binding: *const u8,
        binding_len: usize,
        namespace: *const u8,
        namespace_len: usize,
        operation: *const u8,
        operation_len: usize,
        payload: *const u8,
        payload_len: usize,
    ) -> i32;
    fn __host_response_len() -> usize;
    fn __host_response(reply: *mut u8);
    fn __host_error_len() -> usize;
    fn __host_error(text: *mut u8);
    fn __console_log(text: *const u8, len: usize);
}

/// Bytes for the caller, or the text of an error.
pub type Reply = Result<Vec<u8>, Vec<u8>>;

/// Answers one `__guest_call`: fetches the request, lets `handle` work on it, hands over the reply.
pub fn serve(operation_len: usize, payload_len: usize, handle: fn(&[u8], Vec<u8>) -> Reply) -> i32 {
    // Not filled with zeros first, which would take as long as the copy of a large payload.
    let mut operation = Vec::with_capacity(operation_len);
    let mut payload = Vec::with_capacity(payload_len);
    // SAFETY: the host writes exactly the two lengths that it passed to `__guest_call`.
    unsafe {
        __guest_request(operation.as_mut_ptr(), payload.as_mut_ptr());
        operation.set_len(operation_len);
        payload.set_len(payload_len);
    }
    match handle(&operation, payload) {
        // SAFETY (both): the host only reads, within the vector, and is done when it returns.
        Ok(reply) => {
            unsafe { __guest_response(reply.as_ptr(), reply.len()) };
            1
        }
        Err(text) => {
            unsafe { __guest_error(text.as_ptr(), text.len()) };
            0
        }
    }
}

/// Calls the host. A refusal is an `Err` with exactly the host's text.
#[allow(dead_code)] // not every guest calls the host
pub fn host_call(binding: &[u8], namespace: &[u8], operation: &[u8], payload: &[u8]) -> Reply {
    // SAFETY: the host reads the four slices during the call, and then writes as many bytes as it
    // has just announced.
    unsafe {
        let accepted = __host_call(
            binding.as_ptr(),
            binding.len(),
            namespace.as_ptr(),
            namespace.len(),
            operation.as_ptr(),
            operation.len(),
            payload.as_ptr(),
            payload.len(),
        );
        if accepted == 1 {
            let len = __host_response_len();
            let mut reply = Vec::with_capacity(len);
            __host_response(reply.as_mut_ptr());
            reply.set_len(len);
            Ok(reply)
        } else {
            let len = __host_error_len();
            let mut text = Vec::with_capacity(len);
            __host_error(text.as_mut_ptr());
            text.set_len(len);
            Err(text)
        }
    }
}

/// From now on a panic says why, in the host's log and in the error of its call. For `wapc_init`.
#[allow(dead_code)] // a guest without `wapc_init` does without
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| console_log(panic.to_string().as_bytes())));
}

/// Writes a line to the host's log.
#[allow(dead_code)] // not every guest logs
pub fn console_log(text: &[u8]) {
    // SAFETY: the host only reads, within the slice.
    unsafe { __console_log(text.as_ptr(), text.len()) }
}
