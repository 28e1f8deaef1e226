//! Compiled code on disk: used when it is what this node wrote for this module on this engine, and never otherwise.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tidepool_core::origin::Start as Begin;
use tidepool_core::{CompileConfig, Function, FunctionConfig, Instances, Limits, Module, RuntimeConfig};

use crate::settings;
use crate::support::{self, Node, guest, limits, wat};

pub(crate) const ROOM: u64 = 1 << 30;

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidepool-cache-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    /// What is kept, in the order of its names.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.file_name().unwrap() != "key");
        files.sort();
        files
    }

    fn file(&self) -> PathBuf {
        let [file] = self.files().try_into().unwrap();
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node with a cache, as after a start.
pub(crate) struct Start {
    pub(crate) node: Node,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Start {
    pub(crate) fn new(folder: &Folder) -> Self {
        Self::with(folder, ROOM, &support::config())
    }

    pub(crate) fn with(folder: &Folder, max_bytes: u64, config: &RuntimeConfig) -> Self {
        let node = Node::new(config);
        let complaints: Arc<Mutex<Vec<String>>> = Arc::default();
        let list = Arc::clone(&complaints);
        node.runtime
            .open_cache(&folder.0, max_bytes, Box::new(move |message| list.lock().unwrap().push(message)))
            .unwrap();
        Start { node, complaints }
    }

    fn compile(&self, wasm: &[u8]) -> Arc<Module> {
        self.compile_as(wasm, &CompileConfig::default())
    }

    fn compile_as(&self, wasm: &[u8], config: &CompileConfig) -> Arc<Module> {
        let module = Arc::new(self.node.runtime.compile(wasm, config).unwrap());
        module.keep();
        module
    }

    /// A function of the module, in whatever way it was come by.
    pub(crate) fn function(&self, wasm: &[u8]) -> Arc<Function> {
        let config = FunctionConfig { limits: limits(), ..settings::function_config() };
        Arc::new(self.compile(wasm).function(config).unwrap())
    }

    pub(crate) fn is_cached(&self, wasm: &[u8]) -> bool {
        self.compile(wasm).from_cache()
    }

    pub(crate) fn complaints(&self) -> usize {
        self.complaints.lock().unwrap().len()
    }
}

/// A module that answers with its number.
fn numbered(number: u32) -> Vec<u8> {
    wat(&format!(
        r#"(module (import "wapc" "__guest_response" (func $reply (param i32 i32)))
             (memory (export "memory") 1) (data (i32.const 0) "{number:04}")
             (func (export "__guest_call") (param i32 i32) (result i32)
               (call $reply (i32.const 0) (i32.const 4)) (i32.const 1)))"#
    ))
}

#[test]
fn code_that_a_guest_has_brought_is_not_kept_and_pushes_nothing_out() {
    let (folder, brought) = (Folder::new(), CompileConfig { brought: true, ..CompileConfig::default() });
    let start = Start::new(&folder);
    assert!(!start.compile_as(&guest("rust/hello_world"), &brought).from_cache());
    assert_eq!(folder.files(), Vec::<PathBuf>::new());
    // That of what was deployed may be what a guest brings.
    start.compile(&guest("rust/hello_world"));
    assert!(start.compile_as(&guest("rust/hello_world"), &brought).from_cache());
    assert_eq!(folder.files().len(), 1);
}

#[test]
fn what_was_compiled_before_is_not_compiled_again_and_runs_as_it_did() {
    let folder = Folder::new();
    let guests = ["rust/hello_world", "assemblyscript/hello_world", "zig/hello_world"].map(guest);
    let first = Start::new(&folder);
    assert!(guests.iter().all(|wasm| !first.is_cached(wasm)));
    assert!(guests.iter().all(|wasm| first.is_cached(wasm)), "by the runtime that compiled them");
    drop(first);

    let second = Start::new(&folder);
    for wasm in &guests {
        assert!(second.is_cached(wasm));
        let function = second.function(wasm);
        assert_eq!(support::call(&function, "hello", b"Ada"), Ok(b"Hello, Ada!".to_vec()));
        let failed = support::call(&function, "trap", b"").unwrap_err();
        let uncached = Node::small().function(wasm, Instances::Fresh, limits());
        assert_eq!(failed, support::call(&uncached, "trap", b"").unwrap_err());
    }
    let text = second.node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    assert!(text.contains("tidepool_compiles_total 0\n"), "{text}");
    assert!(text.contains("tidepool_compiles_cached_total 6\n"), "{text}");
    assert_eq!(second.complaints(), 0);
}

#[test]
fn a_snapshot_is_taken_once_and_kept_with_its_code() {
    let folder = Folder::new();
    let with = |initialiser: &str| {
        wat(&format!(
            r#"(module (import "wapc" "__guest_response" (func $reply (param i32 i32)))
                 (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
                 (memory (export "memory") 1)
                 (func (export "wapc_init") (i32.store8 (i32.const 0) (i32.const 65)) {initialiser})
                 (func (export "__guest_call") (param i32 i32) (result i32)
                   (call $reply (i32.const 0) (i32.const 1)) (i32.const 1)))"#
        ))
    };
    let quiet = with("");
    let reading = with("(drop (call $read (i32.const 0) (i32.const 64) (i32.const 0) (i32.const 8)))");
    let go = guest("go/hello_world");
    let config = |limits| CompileConfig { snapshot: Some(limits), ..CompileConfig::default() };
    let compile = |start: &Start, wasm: &[u8], limits: Limits| {
        let module = Arc::new(start.node.runtime.compile(wasm, &config(limits)).unwrap());
        module.keep();
        module
    };
    let first = Start::new(&folder);
    let starts: Vec<_> =
        [&quiet, &reading, &go].map(|wasm| compile(&first, wasm, limits()).start().clone()).into_iter().collect();
    assert!(matches!(starts.as_slice(), [Begin::Snapshot, Begin::Initialiser(_), Begin::Snapshot]), "{starts:?}");
    drop(first);

    let second = Start::new(&folder);
    for ((wasm, operation, reply), start) in
        [(&quiet, "any", "A"), (&reading, "any", "A"), (&go, "hello", "Hello, world!")].into_iter().zip(&starts)
    {
        let module = compile(&second, wasm, limits());
        assert!(module.from_cache());
        assert_eq!(module.start(), start);
        let config = FunctionConfig { limits: limits(), ..settings::function_config() };
        let function = Arc::new(module.function(config).unwrap());
        assert_eq!(support::call(&function, operation, b""), Ok(reply.as_bytes().to_vec()));
    }
    // Asked for in another way, it is another thing.
    assert!(!second.is_cached(&quiet));
    assert!(!compile(&second, &quiet, Limits { cpu_time_ms: 7, ..limits() }).from_cache());
}

#[test]
fn a_module_that_is_refused_leaves_nothing() {
    let folder = Folder::new();
    let start = Start::new(&folder);
    for _ in 0..2 {
        assert!(start.node.runtime.compile(&guest("wat/import_unknown"), &CompileConfig::default()).is_err());
    }
    assert!(folder.files().is_empty());
}

/// Whatever `damage` does to the one file, it is named, removed, and replaced by a good one.
fn assert_mended(folder: &Folder, start: &Start, wasm: &[u8], what: &str, damage: impl FnOnce(&Path)) {
    let before = start.complaints();
    damage(&folder.file());
    assert!(!start.is_cached(wasm), "{what}");
    assert_eq!(start.complaints(), before + 1, "{what}");
    assert!(start.is_cached(wasm), "{what}");
}

#[test]
fn a_file_with_a_flipped_bit_anywhere_is_compiled_anew() {
    let folder = Folder::new();
    let wasm = numbered(1);
    let start = Start::new(&folder);
    start.compile(&wasm);
    let length = fs::metadata(folder.file()).unwrap().len() as usize;
    // The tag, the length of the notes, where the code begins and ends, and strides through all of it.
    for at in (0..48).chain((48..length).step_by(997)).chain([length - 1]) {
        assert_mended(&folder, &start, &wasm, &format!("bit at {at}"), |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes[at] ^= 1 << (at % 8);
            fs::write(file, bytes).unwrap();
        });
    }
}

#[test]
fn a_file_that_was_cut_short_or_has_more_is_compiled_anew() {
    let folder = Folder::new();
    let wasm = numbered(1);
    let start = Start::new(&folder);
    start.compile(&wasm);
    let length = fs::metadata(folder.file()).unwrap().len();
    for length in [0, 1, 31, 32, 33, 36, 37, length / 2, length - 1, length + 1] {
        assert_mended(&folder, &start, &wasm, &format!("{length} bytes"), |file| {
            fs::File::options().write(true).open(file).unwrap().set_len(length).unwrap();
        });
    }
}

#[test]
fn one_modules_code_is_not_taken_for_anothers() {
    let folder = Folder::new();
    let (one, two) = (numbered(1), numbered(2));
    let start = Start::new(&folder);
    start.compile(&one);
    start.compile(&two);
    let [first, second] = folder.files().try_into().unwrap();
    let aside = folder.0.join("aside");
    fs::rename(&first, &aside).unwrap();
    fs::rename(&second, &first).unwrap();
    fs::rename(&aside, &second).unwrap();
    for (wasm, reply) in [(&one, "0001"), (&two, "0002")] {
        assert!(!start.is_cached(wasm));
        let function = start.function(wasm);
        assert_eq!(support::call(&function, "any", b""), Ok(reply.as_bytes().to_vec()));
    }
    assert_eq!(start.complaints(), 2);
}

#[test]
fn code_of_another_node_is_not_run() {
    let wasm = numbered(1);
    let (ours, theirs) = (Folder::new(), Folder::new());
    let start = Start::new(&ours);
    start.compile(&wasm);
    Start::new(&theirs).compile(&wasm);
    assert_eq!(ours.file().file_name(), theirs.file().file_name(), "the key makes the difference");
    assert_mended(&ours, &start, &wasm, "another node's", |file| {
        fs::copy(theirs.file(), file).unwrap();
    });
}

#[test]
fn a_key_that_is_gone_or_that_others_could_read_is_replaced_and_what_it_tagged_is_not_run() {
    let folder = Folder::new();
    let wasm = numbered(1);
    Start::new(&folder).compile(&wasm);
    let path = folder.0.join("key");
    let key = fs::read(&path).unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let elsewhere = Folder::new();
    fs::create_dir(&elsewhere.0).unwrap();
    let spoil: [&dyn Fn(); 6] = [
        &|| fs::remove_file(&path).unwrap(),
        &|| fs::write(&path, b"short").unwrap(),
        &|| fs::write(&path, [7; 33]).unwrap(),
        &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap(),
        &|| {
            // The very key, but where others may put another one.
            let target = elsewhere.0.join("key");
            fs::copy(&path, &target).unwrap();
            fs::remove_file(&path).unwrap();
            symlink(target, &path).unwrap();
        },
        &|| {
            // Another user's; that may be tried by root alone.
            if chown(&path, Some(1), None).is_err() {
                fs::remove_file(&path).unwrap();
            }
        },
    ];
    for spoil in spoil {
        let before = fs::read(&path).unwrap();
        spoil();
        let start = Start::new(&folder);
        assert_ne!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!start.is_cached(&wasm));
        assert_eq!(start.complaints(), 1);
        assert!(start.is_cached(&wasm));
    }
}

#[test]
fn code_for_another_engine_is_removed_at_the_start_and_so_is_what_was_not_finished() {
    let folder = Folder::new();
    let wasm = numbered(1);
    Start::new(&folder).compile(&wasm);
    let ours = folder.file();
    let name = ours.file_name().unwrap().to_str().unwrap();
    let (engine, module) = name.split_once('-').unwrap();
    let other = if engine.starts_with('0') { "1" } else { "0" };
    fs::copy(&ours, folder.0.join(format!("{other}{}-{module}", &engine[1..]))).unwrap();
    fs::write(ours.with_extension("0.new"), b"begun").unwrap();
    fs::write(folder.0.join("notes-of-an-operator"), b"stay").unwrap();

    let start = Start::new(&folder);
    assert_eq!(folder.files(), [ours, folder.0.join("notes-of-an-operator")]);
    assert!(start.is_cached(&wasm));
    assert_eq!(start.complaints(), 0);
}

#[test]
fn the_files_take_no_more_than_they_may_and_those_used_longest_ago_go_first() {
    let folder = Folder::new();
    let modules: Vec<Vec<u8>> = (0..5).map(numbered).collect();
    let start = Start::new(&folder);
    let mut sizes = Vec::new();
    for (age, wasm) in modules.iter().enumerate() {
        let before = folder.files();
        start.compile(wasm);
        let file = folder.files().into_iter().find(|file| !before.contains(file)).unwrap();
        sizes.push(fs::metadata(&file).unwrap().len());
        // As if it had been compiled long ago, the first one longest.
        let then = SystemTime::now() - Duration::from_secs(10_000 - age as u64 * 1_000);
        fs::File::options().write(true).open(&file).unwrap().set_modified(then).unwrap();
    }
    // Used: now the second one is the oldest.
    assert!(start.is_cached(&modules[0]));
    drop(start);

    let room = sizes.iter().sum::<u64>() - 1;
    let start = Start::with(&folder, room, &support::config());
    assert_eq!(folder.files().len(), 4);
    assert!(start.is_cached(&modules[0]));
    assert!(!start.is_cached(&modules[1]), "it had to go");
    assert_eq!(folder.files().len(), 4, "and the third one for it");
    assert!(!start.is_cached(&modules[2]));

    // What would not fit alone is not kept, and nothing goes for it.
    drop(start);
    let start = Start::with(&folder, sizes[0], &support::config());
    let kept = folder.files();
    assert!(!start.is_cached(&guest("rust/hello_world")));
    assert_eq!(folder.files(), kept);
}

#[test]
fn a_disk_that_fails_is_named_once_and_fails_no_compile() {
    let folder = Folder::new();
    let start = Start::new(&folder);
    fs::remove_dir_all(&folder.0).unwrap();
    for number in 0..3 {
        assert!(!start.is_cached(&numbered(number)));
    }
    assert_eq!(start.complaints(), 1);

    // Where its folder would be is a file.
    fs::write(&folder.0, b"").unwrap();
    assert!(!start.is_cached(&numbered(1)));
    let complain = Box::new(|_| ());
    assert!(Node::small().runtime.open_cache(&folder.0, ROOM, complain).is_err());
    fs::remove_file(&folder.0).unwrap();
}

#[test]
fn what_a_module_is_compiled_to_does_not_depend_on_the_sizes_of_the_node() {
    let folder = Folder::new();
    let wasm = numbered(1);
    Start::new(&folder).compile(&wasm);
    let other =
        RuntimeConfig { max_instances: 16, stack_bytes: 128 << 10, max_memory_bytes: 1 << 20, ..support::config() };
    assert!(Start::with(&folder, ROOM, &other).is_cached(&wasm));
}
