// What the first draft has of its own: cursors that are numbers, and no swaps.

bindings!("wasi:keyvalue/store@0.2.0-draft", "wasi:keyvalue/atomics@0.2.0-draft", "wasi:keyvalue/batch@0.2.0-draft");

mod own {
    use super::{Slice, Written};

    #[link(wasm_import_module = "wasi:keyvalue/store@0.2.0-draft")]
    extern "C" {
        #[link_name = "[method]bucket.list-keys"]
        fn list_keys(bucket: u32, has_cursor: u32, cursor: u64, out: *mut Written);
    }

    pub type Cursor = u64;
    pub type Page = (Slice, Option<Cursor>);

    pub fn list(bucket: u32, cursor: Option<Cursor>) -> Result<Page, String> {
        let mut out = Written::new();
        unsafe { list_keys(bucket, cursor.is_some() as u32, cursor.unwrap_or(0), &mut out) };
        out.checked(2)?;
        Ok((out.slice(2), (out.byte(4) == 1).then(|| out.long(6))))
    }

    pub fn see(_bucket: u32, _key: &str) -> Result<(u32, Option<Vec<u8>>), String> {
        Ok((0, None))
    }

    pub fn swap(_cas: u32, _value: &[u8]) -> Result<Option<(u32, Option<Vec<u8>>)>, String> {
        Ok(Some((0, None)))
    }
}
