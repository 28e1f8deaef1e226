// The export `run`, of a component that is called with values.

/// # Safety
///
/// The host has put a text there for this call.
#[export_name = "run"]
pub unsafe extern "C" fn export_run(at: *const u8, len: usize) -> *mut Slice {
    let script = Slice { at, len }.text();
    let answer = run(&script).into_bytes().into_boxed_slice();
    let answer = Box::leak(answer);
    Box::into_raw(Box::new(Slice::of(answer)))
}

/// # Safety
///
/// What the call before has returned.
#[export_name = "cabi_post_run"]
pub unsafe extern "C" fn post_run(answer: *mut Slice) {
    drop(Box::from_raw(answer).taken());
}
