// hello.rs
use wapc_guest::{console_log, host_call, register_function, CallResult};

/// The host runs this once in every new instance, before any call.
#[no_mangle]
pub extern "C" fn wapc_init() {
    // So that the error of a call that panics says why.
    std::panic::set_hook(Box::new(|panic| console_log(&panic.to_string())));
    register_function("hello", hello);
    register_function("price", price);
}

fn hello(name: &[u8]) -> CallResult {
    Ok([b"Hello, ", name, b"!"].concat())
}

/// What an item costs, in cents. The host knows.
fn price(item: &[u8]) -> CallResult {
    let reply = host_call("shop", "products", "price", item)?;
    let cents: u32 = String::from_utf8(reply)?.parse().expect("the host's price is a number");
    Ok(cents.to_string().into_bytes())
}
