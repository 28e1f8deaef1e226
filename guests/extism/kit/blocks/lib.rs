//! Blocks: inputs that are read in pieces, large outputs, parts of blocks, and blocks that come and go.

use extism_pdk::*;

/// The input as the output, by pieces at places that are no multiples of eight.
#[no_mangle]
pub extern "C" fn pieces() -> i32 {
    let length = unsafe { extism::input_length() };
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < length {
        let left = length - at;
        if left >= 8 && at % 3 != 0 {
            bytes.extend_from_slice(&unsafe { extism::input_load_u64(at) }.to_le_bytes());
            at += 8;
        } else {
            bytes.push(unsafe { extism::input_load_u8(at) });
            at += 1;
        }
    }
    output(bytes).expect("an output");
    0
}

/// What it reads behind its input's end.
#[no_mangle]
pub extern "C" fn beyond() -> i32 {
    let length = unsafe { extism::input_length() };
    let read = [0, 1, 7, 8, 1_000].map(|more| unsafe { extism::input_load_u64(length + more) });
    let byte = unsafe { extism::input_load_u8(length) };
    output(format!("{read:?} {byte}")).expect("an output");
    0
}

/// So many bytes as its input says.
#[plugin_fn]
pub fn large(text: String) -> FnResult<Vec<u8>> {
    let bytes: usize = text.parse()?;
    Ok((0..bytes).map(|place| (place % 251) as u8).collect())
}

/// The middle of a block alone.
#[plugin_fn]
pub fn middle(bytes: Vec<u8>) -> FnResult<()> {
    let block = Memory::from_bytes(&bytes)?;
    let quarter = block.len() as u64 / 4;
    unsafe { extism::output_set(block.offset() + quarter, 2 * quarter) };
    Ok(())
}

/// The input itself as the output: no block of its own.
#[no_mangle]
pub extern "C" fn passes() -> i32 {
    #[link(wasm_import_module = "extism:host/env")]
    extern "C" {
        fn input_offset() -> u64;
    }
    unsafe { extism::output_set(input_offset(), extism::input_length()) };
    0
}

/// Takes and frees blocks in an order that its input gives, and says a sum of what it finds in them.
#[plugin_fn]
pub fn churns(order: Vec<u8>) -> FnResult<String> {
    let mut held: Vec<(Memory, u8)> = Vec::new();
    let mut sum = 0_u64;
    for byte in order {
        if byte % 3 == 0 && !held.is_empty() {
            let (block, filled) = held.swap_remove(usize::from(byte) % held.len());
            sum += block.to_vec().iter().filter(|found| **found == filled).count() as u64;
            block.free();
        } else {
            held.push((Memory::from_bytes(vec![byte; usize::from(byte) * 7 + 1])?, byte));
        }
    }
    for (block, filled) in &held {
        sum += block.to_vec().iter().filter(|found| *found == filled).count() as u64;
    }
    Ok(format!("{sum} bytes, {} blocks held", held.len()))
}

/// Lengths: of a block, of one that is freed, and at places where none begins.
#[no_mangle]
pub extern "C" fn lengths() -> i32 {
    let block = Memory::from_bytes([7_u8; 100]).expect("a block");
    let at = block.offset();
    let of = |offset: u64| unsafe { extism::length(offset) };
    let before = [of(at), of(0), of(at + 1), of(u64::MAX), of(1 << 63)];
    block.free();
    output(format!("{before:?} {}", of(at))).expect("an output");
    0
}

/// Every handle that is not its own.
#[plugin_fn]
pub fn asks_at(offset: String) -> FnResult<()> {
    let offset: i64 = offset.parse()?;
    unsafe { extism::config_get(offset as u64) };
    Ok(())
}
