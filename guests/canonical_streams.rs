// Output streams of `wasi:io`, for what includes `canonical.rs`.

#[link(wasm_import_module = "wasi:io/streams@0.2.12")]
extern "C" {
    #[link_name = "[method]output-stream.blocking-write-and-flush"]
    fn write_and_flush(stream: u32, bytes: *const u8, len: usize, out: *mut Written);
    #[link_name = "[resource-drop]output-stream"]
    fn drop_stream(stream: u32);
}

/// Most bytes that `blocking-write-and-flush` takes.
pub const PIECE: usize = 4096;

/// Writes all of it to a stream, and drops that.
///
/// # Safety
///
/// It is a handle of a stream, and nobody else has it.
pub unsafe fn write_last(stream: u32, bytes: &[u8]) {
    for piece in bytes.chunks(PIECE) {
        write_and_flush(stream, piece.as_ptr(), piece.len(), &mut Written::new());
    }
    drop_stream(stream);
}
