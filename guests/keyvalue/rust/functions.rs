// The functions of `wasi:keyvalue`, and what their results have in common. `bindings!` has those of a draft; what the drafts differ
// in is a module `own`.

impl Written {
    /// What is not the value at this word is an error there.
    pub fn checked(&self, word: usize) -> Result<(), String> {
        if self.byte(0) == 0 {
            return Ok(());
        }
        Err(self.error(word))
    }

    /// The error at this word.
    pub fn error(&self, word: usize) -> String {
        match self.byte(word) {
            0 => "no-such-store".to_string(),
            1 => "access-denied".to_string(),
            _ => format!("other {}", self.slice(word + 1).text()),
        }
    }
}

macro_rules! bindings {
    ($store:tt, $atomics:tt, $batch:tt) => {
        mod host {
            use super::Written;

            #[link(wasm_import_module = $store)]
            extern "C" {
                #[link_name = "open"]
                pub fn open(name: *const u8, name_len: usize, out: *mut Written);
                #[link_name = "[method]bucket.get"]
                pub fn get(bucket: u32, key: *const u8, key_len: usize, out: *mut Written);
                #[link_name = "[method]bucket.set"]
                pub fn set(bucket: u32, key: *const u8, key_len: usize, value: *const u8, value_len: usize, out: *mut Written);
                #[link_name = "[method]bucket.delete"]
                pub fn delete(bucket: u32, key: *const u8, key_len: usize, out: *mut Written);
                #[link_name = "[method]bucket.exists"]
                pub fn exists(bucket: u32, key: *const u8, key_len: usize, out: *mut Written);
                #[link_name = "[resource-drop]bucket"]
                pub fn drop(bucket: u32);
            }

            #[link(wasm_import_module = $atomics)]
            extern "C" {
                #[link_name = "increment"]
                pub fn increment(bucket: u32, key: *const u8, key_len: usize, delta: i64, out: *mut Written);
            }

            #[link(wasm_import_module = $batch)]
            extern "C" {
                #[link_name = "get-many"]
                pub fn get_many(bucket: u32, keys: *const u8, keys_len: usize, out: *mut Written);
                #[link_name = "set-many"]
                pub fn set_many(bucket: u32, pairs: *const u8, pairs_len: usize, out: *mut Written);
                #[link_name = "delete-many"]
                pub fn delete_many(bucket: u32, keys: *const u8, keys_len: usize, out: *mut Written);
            }
        }
    };
}
