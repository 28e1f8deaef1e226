//! A Rust that compiles waPC guests and no components, as a distribution's may be: `tidepool setup` says so.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::setup::{CARGO, NOWHERE, installed, name_of, setup};
use crate::support::run;

/// Rust as setup leaves it, with stand-ins for its programs, of a version and with the library for some targets.
fn rust(folder: &Path, version: &str, targets: &[&str]) {
    let libraries = folder.join("libraries");
    for target in targets {
        fs::create_dir_all(libraries.join(target)).unwrap();
        fs::write(libraries.join(target).join("libstd-1.rlib"), "").unwrap();
    }
    // The compiler says where a library would be, whether it is there or not.
    let libraries = libraries.display();
    let says = format!("case $1 in --version) echo 'rustc {version} (it)' ;; *) echo {libraries}/$4 ;; esac");
    let name = name_of("rust");
    installed(folder, &name, "rustc", &says);
    installed(folder, &name, "cargo", CARGO);
}

#[test]
fn setup_says_of_a_rust_that_makes_no_components_that_it_does_not_and_what_brings_one() {
    let own: &[&str] = &["wasm32-unknown-unknown"];
    let both: &[&str] = &["wasm32-unknown-unknown", "wasm32-wasip1"];
    for (version, targets, makes) in
        [("1.63.0", own, false), ("1.84.1", both, false), ("1.95.0", own, false), ("1.85.0", both, true)]
    {
        let tools = tempfile::tempdir().unwrap();
        rust(tools.path(), version, targets);
        let told = |more: &[&str]| {
            let mut command = setup(&[&["rust"], more].concat(), tools.path(), NOWHERE);
            let (code, out, error) = run(command.env_remove("RUSTC"));
            assert_eq!(code, 0, "{version}: {out} {error}");
            out
        };
        let answer: Value = serde_json::from_str(&told(&["--json"])).unwrap();
        assert_eq!((&answer["fetched"], &answer["components"]), (&Value::from(false), &Value::from(makes)), "{answer}");
        let text = told(&[]);
        let sentence = format!("\nRust {version} makes no components here");
        assert_eq!(text.contains(&sentence), !makes, "{text}");
    }
}
