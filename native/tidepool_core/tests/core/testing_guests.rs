//! The guests that `Tidepool.Testing` hands out, in `priv/testing`: compiled ones, so that nobody needs a compiler for them.

use std::{env, fs, path::Path};

/// Set, it writes the modules instead of comparing them.
const WRITE: &str = "TIDEPOOL_WRITE_GUESTS";

#[test]
fn the_guests_for_tests_are_what_their_sources_say() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../../../priv/testing");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let source = entry.unwrap().path();
        if source.extension().is_some_and(|extension| extension == "wat") {
            let module = source.with_extension("wasm");
            let compiled = wat::parse_file(&source).unwrap();
            if env::var_os(WRITE).is_some() {
                fs::write(&module, &compiled).unwrap();
            }
            assert!(
                fs::read(&module).is_ok_and(|bytes| bytes == compiled),
                "{} is not what its source says: run this test with {WRITE}=1, which writes it anew",
                module.display()
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 5);
}
