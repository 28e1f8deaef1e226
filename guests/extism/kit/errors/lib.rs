//! How a plug-in fails: with errors of its own, with numbers, and by traps.

use extism_pdk::*;

fn set(text: &str) {
    let block = Memory::from_bytes(text).expect("a block");
    unsafe { extism::error_set(block.offset()) };
}

/// With the text of its input.
#[plugin_fn]
pub fn returns(text: String) -> FnResult<()> {
    Err(Error::msg(text).into())
}

/// With the number `N` of `N text`.
#[plugin_fn]
pub fn coded(text: String) -> FnResult<()> {
    let (code, text) = text.split_once(' ').ok_or_else(|| Error::msg("CODE TEXT"))?;
    Err(WithReturnCode::new(Error::msg(text.to_owned()), code.parse()?))
}

/// With a cause behind it.
#[plugin_fn]
pub fn caused(text: String) -> FnResult<()> {
    let number: i32 = text.parse().map_err(|error| Error::from(error).context("no number"))?;
    Err(Error::msg(format!("{number} is one")).into())
}

/// What can't be read as text.
#[plugin_fn]
pub fn reads(text: String) -> FnResult<String> {
    Ok(text)
}

/// With the text that was set last.
#[no_mangle]
pub extern "C" fn twice() -> i32 {
    set("the first error");
    set("the second error");
    1
}

/// An error that is set is one, whatever is returned.
#[no_mangle]
pub extern "C" fn succeeds() -> i32 {
    output("an output").expect("an output");
    set("set beside an output");
    0
}

/// An error that is taken back is none.
#[no_mangle]
pub extern "C" fn takes_back() -> i32 {
    set("soon gone");
    unsafe { extism::error_set(0) };
    output("an output").expect("an output");
    0
}

#[no_mangle]
pub extern "C" fn says_nothing() -> i32 {
    42
}

#[no_mangle]
pub extern "C" fn panics() -> i32 {
    let bytes = input_bytes();
    i32::from(bytes[bytes.len()])
}

/// A text of its own, and a trap after it.
#[no_mangle]
pub extern "C" fn aborts() -> i32 {
    set("it can't go on");
    std::arch::wasm32::unreachable()
}
