//! Calls itself through the host, as many levels deep as the payload says.

#[path = "../../wapc.rs"]
mod wapc;

use wapc::Reply;

/// The name under which this guest has to be deployed to find itself.
const SELF: &[u8] = b"recurse";

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(_operation: &[u8], payload: Vec<u8>) -> Reply {
    let levels = std::str::from_utf8(&payload)
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    match levels {
        Some(0) => Ok(b"bottom".to_vec()),
        Some(n) => {
            let below = (n - 1).to_string();
            let reply = wapc::host_call(b"tidepool", b"function", SELF, below.as_bytes())?;
            Ok([&payload[..], b">", &reply].concat())
        }
        None => Err([b"not a number: ", &payload[..]].concat()),
    }
}
