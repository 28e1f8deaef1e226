//! Lines at each level.

use extism_pdk::*;

#[link(wasm_import_module = "extism:host/env")]
extern "C" {
    // The crate has these from a later version on.
    fn log_trace(block: u64);
    fn get_log_level() -> i32;
}

#[plugin_fn]
pub fn each(text: String) -> FnResult<()> {
    debug!("at debug: {text}");
    info!("at info: {text}");
    warn!("at warn: {text}");
    error!("at error: {text}");
    unsafe { log_trace(Memory::from_bytes("at trace")?.offset()) };
    Ok(())
}

#[plugin_fn]
pub fn level() -> FnResult<String> {
    Ok(unsafe { get_log_level() }.to_string())
}

/// Prints, and fails.
#[plugin_fn]
pub fn fails(text: String) -> FnResult<()> {
    warn!("it will fail: {text}");
    Err(Error::msg(text).into())
}
