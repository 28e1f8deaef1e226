//! Components with accessors are valid, and what an image would lack is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed one fails the test")]

use std::path::{Path, PathBuf};

use super::super::actor::Refused;
use super::{Number, expose, outline};

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn valid(wasm: &[u8]) -> Result<(), String> {
    wasmparser::validate(wasm).map(drop).map_err(|error| error.to_string())
}

/// Why there is no accessor for a component.
fn refused(text: &str) -> String {
    match outline(&wat(text)) {
        Err(Refused::Unheld(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn exposed(wasm: &[u8]) -> Vec<u8> {
    let exposed = expose(&outline(wasm).unwrap(), wasm).unwrap().wasm;
    valid(&exposed).unwrap();
    exposed
}

const STREAMS: &str = r#"
  (import "wasi:io/error@0.2.12" (instance $e (export "error" (type (sub resource)))))
  (alias export $e "error" (type $error))
  (import "wasi:io/streams@0.2.12" (instance $streams
    (export "input-stream" (type (sub resource))) (export "output-stream" (type (sub resource)))))
  (alias export $streams "input-stream" (type $in))
  (alias export $streams "output-stream" (type $out))
  (import "wasi:cli/stdin@0.2.12" (instance $stdin
    (alias outer 1 $in (type $t)) (export "input-stream" (type (eq $t)))
    (export "get-stdin" (func (result (own 1))))))
  (import "wasi:cli/stdout@0.2.12" (instance $stdout
    (alias outer 1 $out (type $t)) (export "output-stream" (type (eq $t)))
    (export "get-stdout" (func (result (own 1))))))"#;

#[test]
fn a_component_with_an_accessor_is_valid_and_has_what_the_host_calls_beside_its_own() {
    let wasm = wat(&format!(
        r#"(component {STREAMS}
          (core module $a
            (memory (export "memory") 1)
            (global $x (export "x") (mut i32) (i32.const 5)) (global (mut i64) (i64.const 5)) (global i32 (i32.const 16))
            (func $f) (start $f))
          (core instance $a (instantiate $a))
          (core func $get (canon lower (func $stdout "get-stdout")))
          (core func $drop (canon resource.drop $out))
          (core func $drop-in (canon resource.drop $in))
          (core module $b
            (import "a" "memory" (memory 1)) (import "a" "x" (global (mut i32)))
            (import "host" "get" (func (result i32))) (import "host" "drop" (func (param i32)))
            (import "host" "drop-in" (func (param i32)))
            (global (mut f64) (f64.const 0)) (global (mut f32) (f32.const 0))
            (func $g) (start $g) (func (export "run") (call 1 (call 0))))
          (core instance $b (instantiate $b (with "a" (instance $a)) (with "host" (instance
            (export "get" (func $get)) (export "drop" (func $drop)) (export "drop-in" (func $drop-in))))))
          (func $run (canon lift (core func $b "run")))
          (component $c (import "run" (func $run)) (export "run" (func $run)))
          (instance $c (instantiate $c (with "run" (func $run))))
          (export "docs:a/b" (instance $c)))"#
    ));
    valid(&wasm).unwrap();
    let read = outline(&wasm).unwrap();
    assert_eq!(read.numbers(), [Number::I32, Number::I64, Number::F64, Number::F32]);
    assert_eq!((read.memory, &read.starts[..]), (0, &[0, 2][..]), "between them is what the second is given");
    assert_eq!(read.streams.len(), 1, "what is not asked for is not got");
    let exposed = exposed(&wasm);
    let text = String::from_utf8_lossy(&exposed).into_owned();
    for name in ["tidepool:image/state", "tidepool:image/access", "docs:a/b"] {
        assert!(text.contains(name), "{name}");
    }
    // It is not rewritten twice.
    assert!(matches!(outline(&exposed), Err(Refused::Unheld(_))));
}

#[test]
fn data_lie_where_globals_of_other_instances_say() {
    let wasm = wat(r#"(component
      (core module $env (memory (export "memory") 1) (global (export "base") i32 (i32.const 1000)))
      (core instance $env (instantiate $env))
      (alias core export $env "base" (core global $base))
      (core instance $more (export "far" (global $base)))
      (core module $a
        (import "env" "memory" (memory 1)) (import "more" "far" (global i32))
        (data (global.get 0) "ab") (data (i32.add (global.get 0) (i32.const 24)) "c") (data (i32.const 3) "d")
        (data "passive"))
      (core instance (instantiate $a (with "env" (instance $env)) (with "more" (instance $more)))))"#);
    let data = outline(&wasm).unwrap().data;
    assert_eq!(data, [(1_000, b"ab".to_vec()), (1_024, b"c".to_vec()), (3, b"d".to_vec())]);
    exposed(&wasm);
}

#[test]
fn segments_of_data_count_as_often_as_they_are_instantiated_and_those_without_bytes_are_none() {
    let component = |data: &str| {
        let instances = r#"(core instance (instantiate $m (with "e" (instance $e))))"#.repeat(1_000);
        let module = format!(r#"(core module $m (import "e" "m" (memory 1)) {})"#, data.repeat(1_100));
        format!(
            r#"(component (core module $e (memory (export "m") 1)) (core instance $e (instantiate $e)) {module} {instances})"#
        )
    };
    assert!(outline(&wat(&component("(data (i32.const 0) \"\")"))).unwrap().data.is_empty());
    let refused = refused(&component("(data (i32.const 0) \"a\")"));
    assert!(refused.contains("more than 64 MiB of data"), "{refused}");
}

#[test]
fn what_a_component_is_read_with_has_bounds_whether_or_not_anything_instantiates_it() {
    let component =
        |more: &str| format!("(component (core module $m (memory 1)) (core instance (instantiate $m)) {more})");
    let versions = |count: usize| -> String {
        let stream = |version: usize| {
            format!(
                r#"(import "wasi:cli/stdin@0.2.{version}" (instance $i{version} (export "get-stdin" (func (result u32)))))
                   (core func (canon lower (func $i{version} "get-stdin")))"#
            )
        };
        (0..count).map(stream).collect()
    };
    let module = |items: &str, count: usize| format!("(core module {})", items.repeat(count));
    let (mutable, other) = ("(global (mut i32) (i32.const 0))", "(global i32 (i32.const 0))");
    for within in [versions(16), module(mutable, 4_000), module(other, 199_999)] {
        assert!(outline(&wat(&component(&within))).is_ok());
    }
    let sum = format!("{}(i32.const 0){}", "(i32.add (i32.const 0) ".repeat(40), ")".repeat(40));
    for (beyond, why) in [
        (component(&versions(17)), "more than 16 standard streams"),
        (component(&module(mutable, 4_001)), "more than 4000 mutable globals"),
        // With the memory.
        (component(&module(other, 200_000)), "more than 200000 globals"),
        (
            format!("(component (core module $m (memory 1) (data {sum} \"a\")) (core instance (instantiate $m)))"),
            "where its data lie is computed",
        ),
    ] {
        let refused = refused(&beyond);
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn what_an_image_would_lack_is_refused_by_a_sentence_that_names_it() {
    let module = |items: &str| format!("(component (core module $m {items}) (core instance (instantiate $m)))");
    for (component, why) in [
        (module(""), "it has 0 memories"),
        (module("(memory 1) (table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))"), "table.set"),
        (module("(memory 1) (data $d \"a\") (func (data.drop $d))"), "data.drop"),
        (module("(memory 1) (global (mut funcref) (ref.null func))"), "is no number of 64 bits and can be changed"),
        (module("(memory 1) (global (mut v128) (v128.const i64x2 0 0))"), "is no number of 64 bits and can be changed"),
        (module("(memory (export \"tidepool:memory\") 1)"), "exports tidepool:memory"),
        (
            module("(memory 1) (data (i32.mul (i32.const 2) (i32.const 3)) \"a\")"),
            "where its data lie is computed when it starts",
        ),
        (
            "(component (core module $m (memory 1)) (core instance (instantiate $m)) (core instance (instantiate $m)))"
                .into(),
            "it has 2 memories",
        ),
        (
            "(component (core module $m (memory 1)) (core instance (instantiate $m))
               (component $c (core module $n) (core instance (instantiate $n))) (instance (instantiate $c)))"
                .into(),
            "it is composed of components",
        ),
        (
            "(component (core module $m (memory 1)) (core instance (instantiate $m))
               (type $r (resource (rep i32))) (core func (canon resource.new $r)))"
                .into(),
            "it has resources of its own",
        ),
        (
            "(component (import \"tidepool:image/state\" (instance)) (core module $m (memory 1))
               (core instance (instantiate $m)))"
                .into(),
            "it imports or exports tidepool:image/state",
        ),
        (
            "(component (core module $m (memory 1)) (core instance (instantiate $m)) (type (resource (rep i32))))".into(),
            "it has resources of its own",
        ),
        (
            "(component (core module $m (memory 1)) (core instance (instantiate $m))
               (component $c (type $r (resource (rep i32))) (export \"r\" (type $r))) (instance (instantiate $c)))"
                .into(),
            "it has resources of its own",
        ),
        (
            "(component (import \"m\" (core module)) (core module $m (memory 1)) (core instance (instantiate $m)))".into(),
            "modules or components are handed on in it",
        ),
        (
            "(component (core module $m (memory 1)) (core instance (instantiate $m))
               (instance (export \"m\" (core module $m))))"
                .into(),
            "modules or components are handed on in it",
        ),
        (
            "(component (core module $a (memory (export \"m\") 1) (func $f) (start $f)) (core instance $a (instantiate $a))
               (core module $b (import \"a\" \"m\" (memory 1)) (data (i32.const 0) \"a\"))
               (core instance (instantiate $b (with \"a\" (instance $a)))))"
                .into(),
            "a start function that runs before another one's data are there",
        ),
    ] {
        valid(&wat(&component)).unwrap_or_else(|error| panic!("{component}: {error}"));
        let refused = refused(&component);
        assert!(refused.contains(why), "{component}: {refused}");
        assert!(refused.contains("an image of a component holds one memory and the mutable numbers"), "{refused}");
    }
    // Where data lie is not known before.
    let wasm =
        wat(r#"(component (core module $e (memory (export "m") 1) (global (export "g") (mut i32) (i32.const 0)))
        (core instance $e (instantiate $e)))"#);
    assert!(outline(&wasm).is_ok());
}

#[test]
fn what_is_cut_off_anywhere_is_unreadable_or_refused_and_no_panic() {
    let wasm = wat(&format!(
        r#"(component {STREAMS}
          (core module $a (memory 1) (global (mut i32) (i32.const 5)) (func $f) (start $f) (data (i32.const 1) "a"))
          (core instance $a (instantiate $a))
          (core func $get (canon lower (func $stdout "get-stdout")))
          (core func $drop (canon resource.drop $out)))"#
    ));
    let whole = outline(&wasm).unwrap();
    for length in 0..wasm.len() {
        let cut = &wasm[..length];
        if let Ok(outline) = outline(cut) {
            drop(expose(&outline, cut));
        }
        drop(expose(&whole, cut));
    }
    // What is imported by the name of a function that WASI has is of its type, or is not linked.
    let modules = wasm.windows(4).rposition(|bytes| bytes == b"\0asm").unwrap();
    for at in modules..wasm.len() {
        for bit in 0..8 {
            let mut bytes = wasm.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(outline) = outline(&bytes)
                && let Ok(exposed) = expose(&outline, &bytes)
            {
                assert_eq!(valid(&bytes).is_ok(), valid(&exposed.wasm).is_ok(), "bit {bit} at {at}");
            }
        }
    }
}

/// Components among the guests that were built, by their files.
fn guests() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../../../guests/build");
    let Ok(languages) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = languages.flatten().filter_map(|it| std::fs::read_dir(it.path()).ok()).flatten().flatten();
    let wasm = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|it| it == "wasm"));
    let read = wasm.filter_map(|path| std::fs::read(&path).ok().map(|wasm| (path, wasm)));
    read.filter(|(_path, wasm)| wasm[4..8] == [0x0d, 0, 1, 0]).collect()
}

#[test]
fn every_guest_that_is_a_component_has_a_valid_one_with_an_accessor_or_is_refused() {
    let mut accepted = 0;
    for (path, wasm) in guests() {
        let name = path.display();
        match outline(&wasm) {
            Ok(outline) => {
                let exposed = expose(&outline, &wasm).unwrap();
                // Those of WASI 0.3 may be no valid ones here.
                if valid(&wasm).is_ok() {
                    assert_eq!(valid(&exposed.wasm), Ok(()), "{name}");
                }
                println!("{name}: {} globals, {} streams", outline.globals.len(), outline.streams.len());
                accepted += 1;
            }
            Err(Refused::Unheld(why)) => println!("{name}: {why}"),
            Err(Refused::Unreadable(error)) => println!("{name}: {error}"),
        }
    }
    assert!(accepted > 0 || guests().is_empty());
}
