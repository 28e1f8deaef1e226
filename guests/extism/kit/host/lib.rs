//! Functions of the application: with one block, several, none, numbers, and of another namespace.

use extism_pdk::*;

#[host_fn]
extern "ExtismHost" {
    fn tide(harbour: String) -> String;
    fn route(from: String, to: String) -> String;
    fn note(text: String);
    fn noon() -> String;
}

mod gauge {
    #[link(wasm_import_module = "gauge")]
    extern "C" {
        pub(crate) fn scaled(steps: i32, step: f64) -> f64;
    }
}

#[plugin_fn]
pub fn tide_at(harbour: String) -> FnResult<String> {
    Ok(unsafe { tide(harbour)? })
}

/// Asks again and again, and says all of it.
#[plugin_fn]
pub fn tides_at(harbours: String) -> FnResult<String> {
    let mut told = Vec::new();
    for harbour in harbours.lines() {
        told.push(unsafe { tide(harbour.to_owned())? });
    }
    Ok(told.join("\n"))
}

#[plugin_fn]
pub fn route_of(text: String) -> FnResult<String> {
    let (from, to) = text.split_once('-').unwrap_or((&text, ""));
    Ok(unsafe { route(from.to_owned(), to.to_owned())? })
}

#[plugin_fn]
pub fn notes(text: String) -> FnResult<String> {
    unsafe { note(text)? };
    Ok("noted".into())
}

#[plugin_fn]
pub fn time() -> FnResult<String> {
    Ok(unsafe { noon()? })
}

#[plugin_fn]
pub fn height(steps: String) -> FnResult<String> {
    Ok(unsafe { gauge::scaled(steps.parse()?, 0.25) }.to_string())
}
