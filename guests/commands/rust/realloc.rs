// Memory for the adapter of WASI preview 1, which is a part of the component. Without, it would grow the memory itself, and this
// compiler's library takes all that lies behind its own data for its heap.

#[no_mangle]
pub extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    let layout = |size| std::alloc::Layout::from_size_align(size, align).expect("a size and an alignment");
    match (old_size, size) {
        (0, 0) => align as *mut u8,
        (0, _) => unsafe { std::alloc::alloc(layout(size)) },
        _ => unsafe { std::alloc::realloc(old, layout(old_size), size) },
    }
}
