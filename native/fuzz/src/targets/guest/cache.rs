//! Files of the compile cache that were damaged on the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tidepool_core::Instances;

use super::node::{Guest, Way, compile, open_cache};
use super::settings;
use crate::behaviour::seen;

/// A guest that replies with a text.
static GUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = r#"(module
        (import "wapc" "__guest_response" (func $reply (param i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 8) "the reply")
        (func (export "__guest_call") (param i32 i32) (result i32)
          (call $reply (i32.const 8) (i32.const 9))
          (i32.const 1)))"#;
    wat::parse_str(text).expect("it is written here")
});

/// Bytes of a change: what, where, how.
const CHANGE_BYTES: usize = 4;

/// Keeps a module's code, changes the files as `data` say, and compiles the module again: it is taken from the cache if
/// nothing has changed, compiled anew if anything has, and does what it did.
///
/// # Panics
/// When that does not hold.
pub fn cache(data: &[u8]) {
    let folder = Folder::new();
    open_cache(&folder.0);
    let fresh = compile(Way::Fast, &GUEST, None).expect("the guest is valid");
    assert!(!fresh.from_cache());
    fresh.keep();
    let code = files(&folder.0).into_iter().find(|path| !path.ends_with("key")).expect("its code is kept");
    let changed = [damage(&code, data, false), damage(&folder.0.join("key"), data, true)];
    open_cache(&folder.0);
    let module = compile(Way::Fast, &GUEST, None).expect("the guest is still valid");
    assert_eq!(module.from_cache(), changed == [false, false], "changed code and key: {changed:?}");
    let guest = Guest::new(&module, Instances::Fresh, settings::LIMITS).expect("it fits");
    let reply = guest.call(b"hello", b"", |_| Err(Vec::new()));
    assert_eq!(reply, Ok(b"the reply".to_vec()));
    seen(&changed);
}

/// Makes the changes to one of the files; true when it is another then.
fn damage(path: &Path, data: &[u8], key: bool) -> bool {
    let before = fs::read(path).expect("it is there");
    let mut bytes = before.clone();
    for change in data.chunks_exact(CHANGE_BYTES) {
        let [what, high, low, how] = *change else { continue };
        // One in eight is the key's.
        if (what >= 224) != key {
            continue;
        }
        let at = usize::from(u16::from_be_bytes([high, low])) * bytes.len() / (1 << 16);
        let rest = bytes.len() - at;
        match what % 8 {
            0..=2 if rest > 0 => bytes[at] ^= how,
            3 if rest > 0 => bytes[at] = how,
            4 => bytes.truncate(at),
            5 => bytes.extend(std::iter::repeat_n(how, at % 100)),
            6 => drop(bytes.drain(at..at + usize::from(how).min(rest))),
            _ => bytes.insert(at, how),
        }
    }
    if bytes != before {
        fs::write(path, &bytes).expect("it can be written");
    }
    bytes != before
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect()
}

/// A folder that is gone afterwards, in memory where there is a place for that: files are flushed.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let shared = PathBuf::from("/dev/shm");
        let parent = if shared.is_dir() { shared } else { std::env::temp_dir() };
        let folder = parent.join(format!("tidepool-fuzz-cache-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("a folder of our own");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
