// A program's arguments and its standard output, for what includes `canonical.rs` and `canonical_streams.rs`.

#[link(wasm_import_module = "wasi:cli/environment@0.2.12")]
extern "C" {
    #[link_name = "get-arguments"]
    fn get_arguments(out: *mut Written);
}

#[link(wasm_import_module = "wasi:cli/stdout@0.2.12")]
extern "C" {
    #[link_name = "get-stdout"]
    fn get_stdout() -> u32;
}

pub fn arguments() -> Vec<String> {
    let mut out = Written::new();
    unsafe {
        get_arguments(&mut out);
        let list = out.slice(0);
        (0..list.len).map(|at| (*(list.at as *const Slice).add(at)).text()).collect()
    }
}

pub fn print(text: &[u8]) {
    unsafe { write_last(get_stdout(), text) }
}
