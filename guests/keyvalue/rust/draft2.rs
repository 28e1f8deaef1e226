// What the second draft has of its own: cursors that are texts, and swaps.

bindings!("wasi:keyvalue/store@0.2.0-draft2", "wasi:keyvalue/atomics@0.2.0-draft2", "wasi:keyvalue/batch@0.2.0-draft2");

mod own {
    use super::{Slice, Written};

    #[link(wasm_import_module = "wasi:keyvalue/store@0.2.0-draft2")]
    extern "C" {
        #[link_name = "[method]bucket.list-keys"]
        fn list_keys(bucket: u32, has_cursor: u32, cursor: *const u8, cursor_len: usize, out: *mut Written);
    }

    #[link(wasm_import_module = "wasi:keyvalue/atomics@0.2.0-draft2")]
    extern "C" {
        #[link_name = "[static]cas.new"]
        fn new(bucket: u32, key: *const u8, key_len: usize, out: *mut Written);
        #[link_name = "[method]cas.current"]
        fn current(cas: u32, out: *mut Written);
        #[link_name = "swap"]
        fn swap_in(cas: u32, value: *const u8, value_len: usize, out: *mut Written);
    }

    pub type Cursor = String;
    pub type Page = (Slice, Option<Cursor>);

    pub fn list(bucket: u32, cursor: Option<Cursor>) -> Result<Page, String> {
        let mut out = Written::new();
        let given = cursor.as_deref().unwrap_or("");
        unsafe { list_keys(bucket, cursor.is_some() as u32, given.as_ptr(), given.len(), &mut out) };
        out.checked(1)?;
        Ok((out.slice(1), (out.byte(3) == 1).then(|| out.slice(4).text())))
    }

    pub fn see(bucket: u32, key: &str) -> Result<(u32, Option<Vec<u8>>), String> {
        let mut out = Written::new();
        unsafe { new(bucket, key.as_ptr(), key.len(), &mut out) };
        out.checked(1)?;
        seen(out.0[1])
    }

    fn seen(cas: u32) -> Result<(u32, Option<Vec<u8>>), String> {
        let mut out = Written::new();
        unsafe { current(cas, &mut out) };
        out.checked(1)?;
        Ok((cas, (out.byte(1) == 1).then(|| out.slice(2).taken())))
    }

    pub fn swap(cas: u32, value: &[u8]) -> Result<Option<(u32, Option<Vec<u8>>)>, String> {
        let mut out = Written::new();
        unsafe { swap_in(cas, value.as_ptr(), value.len(), &mut out) };
        match (out.byte(0), out.byte(1)) {
            (0, _) => Ok(None),
            (_, 0) => Err(out.error(2)),
            _ => seen(out.0[2]).map(Some),
        }
    }
}
