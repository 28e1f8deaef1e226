//! What a namespace has of the compiled code on disk, when there is more than there may be.

use tidepool_core::CompileConfig;

use crate::cache::{Folder, ROOM, Start};
use crate::support::{config, wat};

/// A module with data of so many KiB, told from others by its number.
fn numbered(number: usize, kib: usize) -> Vec<u8> {
    let data = "x".repeat(kib << 10);
    wat(&format!(
        r#"(module (memory (export "memory") 16) (data (i32.const 0) "{number:04}{data}")
             (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
    ))
}

/// Has it been kept? It is from then on.
fn is_kept(start: &Start, namespace: &str, wasm: &[u8]) -> bool {
    let config = CompileConfig { namespace: namespace.into(), ..CompileConfig::default() };
    let module = start.node.runtime.compile(wasm, &config).unwrap();
    module.keep();
    module.from_cache()
}

#[test]
fn a_namespace_with_much_code_on_disk_pushes_out_its_own_and_none_of_another() {
    let folder = Folder::new();
    let theirs: Vec<_> = (0..4).map(|number| numbered(number, 64)).collect();
    let many: Vec<_> = (4..24).map(|number| numbered(number, 128)).collect();
    let start = Start::with(&folder, ROOM, &config());
    assert!(theirs.iter().all(|wasm| !is_kept(&start, "blog", wasm)), "they are the oldest");
    drop(start);
    // As whose it is known after a start, too.
    let start = Start::with(&folder, 2 << 20, &config());
    assert!(many.iter().all(|wasm| !is_kept(&start, "shop", wasm)));
    assert!(folder.files().len() < 24, "some had to go");
    drop(start);
    let start = Start::with(&folder, 2 << 20, &config());
    assert!(theirs.iter().all(|wasm| is_kept(&start, "blog", wasm)));
    assert!(!is_kept(&start, "shop", &many[0]) && is_kept(&start, "shop", &many[19]));
}
