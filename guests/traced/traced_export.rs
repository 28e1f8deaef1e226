//! A library with debug data, which traps where a test knows the line: a test makes it the module of a component.

#[no_mangle]
pub extern "C" fn trap(depth: u32) -> u32 {
    outer(depth as usize)
}

#[inline(never)]
fn outer(depth: usize) -> u32 {
    let inner = inner(depth); // the caller's line
    inner.wrapping_add(1)
}

#[inline(never)]
fn inner(depth: usize) -> u32 {
    let place = (usize::MAX - depth) as *const u8;
    // SAFETY: there is none. No memory is so large, so it traps.
    let byte = unsafe { *place }; // the trap's line
    u32::from(byte ^ 0x55)
}
