//! Each module in a component is rewritten, wherever it is, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed one fails the test")]

use wasmparser::{Parser, Payload};

use super::{Checked, MAX_DEPTH, Moves, Refused, rewritten};

/// A section that no module has: what the rewriting here adds.
const ADDED: &[u8] = b"\0\x02\x01x";

/// Adds a custom section to each module, and counts them.
fn mark(wasm: &[u8]) -> (Option<Vec<u8>>, usize) {
    let mut count = 0;
    let marked = rewritten(wasm, &mut |module| {
        count += 1;
        Ok(Some(checked([module, ADDED].concat())))
    });
    (marked.unwrap().map(|marked| marked.wasm), count)
}

fn checked(wasm: Vec<u8>) -> Checked {
    Checked { wasm, moves: Moves::default() }
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// Modules in it, and those of them that have been marked.
fn modules(wasm: &[u8]) -> (usize, usize) {
    let (mut all, mut marked) = (0, 0);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => all += 1,
            Payload::CustomSection(section) if section.name() == "x" => marked += 1,
            _ => {}
        }
    }
    (all, marked)
}

const NESTED: &str = r#"(component
  (core module $a (func (export "f") (result i32) (i32.const 7)))
  (component $b
    (core module (func))
    (component (core module (memory 1)) (core module)))
  (core instance $i (instantiate $a))
  (component)
  (func (export "f") (result u32) (canon lift (core func $i "f")))
  (core module))"#;

#[test]
fn modules_are_rewritten_at_all_depths_and_the_component_is_as_valid_as_it_was() {
    let wasm = wat(NESTED);
    let (marked, count) = mark(&wasm);
    let marked = marked.unwrap();
    assert_eq!(count, 5);
    assert_eq!((modules(&wasm), modules(&marked)), ((5, 0), (5, 5)));
    wasmparser::validate(&wasm).unwrap();
    wasmparser::validate(&marked).unwrap();
}

#[test]
fn what_has_moved_is_found_where_it_stood_at_all_depths_and_what_was_added_nowhere() {
    let wasm = wat(NESTED);
    let before = b"tide".as_slice();
    // A section before all others of a module, of which its own moves tell.
    let marked = rewritten(&wasm, &mut |module| {
        let (head, rest) = module.split_at(8);
        let more = [b"\0\x06\x01x", before].concat();
        let mut moves = Moves::default();
        moves.push_added(8);
        moves.push(8 + more.len(), more.len().cast_signed());
        Ok(Some(Checked { wasm: [head, &more, rest].concat(), moves }))
    });
    let Checked { wasm: marked, moves } = marked.unwrap().unwrap();
    let found: Vec<_> = (0..marked.len()).map(|now| moves.back(now)).collect();
    let mut told = 0;
    for payload in Parser::new(0).parse_all(&marked) {
        let payload = payload.unwrap();
        // What is in them has sections of its own.
        let is_outer = matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. });
        if let Some((_id, range)) = payload.as_section().filter(|_section| !is_outer) {
            let is_added = marked[range.clone()].ends_with(before);
            for now in range {
                let expected = (!is_added).then(|| marked[now]);
                assert_eq!(found[now].map(|before| wasm[before]), expected, "{now}");
                told += 1;
            }
        }
    }
    assert!(told > 50, "{told}");
}

#[test]
fn a_component_whose_modules_need_nothing_is_left_as_it_is() {
    let wasm = wat(NESTED);
    assert!(rewritten(&wasm, &mut |_module| Ok(None)).unwrap().is_none());
    assert_eq!(mark(&wat("(component)")), (None, 0));
    assert_eq!(mark(b"\0asm\x0d\0\x01\0"), (None, 0));
}

#[test]
fn the_first_error_of_a_module_is_the_components() {
    let mut seen = 0;
    let outcome = rewritten(&wat(NESTED), &mut |_module| {
        seen += 1;
        if seen == 3 { Err(Refused::TooMany { what: "third", allowed: 2 }) } else { Ok(None) }
    });
    assert!(matches!(outcome, Err(Refused::TooMany { what: "third", .. })), "{outcome:?}");
    assert_eq!(seen, 3);
}

#[test]
fn what_is_cut_off_anywhere_is_left_to_the_compiler() {
    let wasm = wat(NESTED);
    for length in 0..wasm.len() {
        let (marked, _count) = mark(&wasm[..length]);
        // What is left may end with a whole section.
        let Some(marked) = marked else { continue };
        assert!(modules(&marked).1 > 0, "{length}");
        assert_eq!(wasmparser::validate(&wasm[..length]).is_ok(), wasmparser::validate(&marked).is_ok(), "{length}");
    }
}

#[test]
fn a_length_that_is_longer_than_it_needs_to_be_is_read_as_it_is_meant() {
    let module = wat("(module (func))");
    let length = u8::try_from(module.len()).unwrap();
    for encoded in [vec![length], vec![length | 0x80, 0], vec![length | 0x80, 0x80, 0x80, 0x80, 0]] {
        let wasm = [b"\0asm\x0d\0\x01\0\x01", &encoded[..], &module].concat();
        wasmparser::validate(&wasm).unwrap();
        let (marked, count) = mark(&wasm);
        assert_eq!((count, modules(&marked.unwrap())), (1, (1, 1)));
    }
}

#[test]
fn lengths_that_lie_are_left_to_the_compiler() {
    let header = b"\0asm\x0d\0\x01\0";
    for section in [
        &b"\x01"[..],
        b"\x01\x05",
        b"\x01\xff\xff\xff\xff\x0f",
        b"\x04\xff\xff\xff\xff\xff\xff",
        b"\x01\x80\x80\x80\x80\x80\x00",
        b"\x04\x08\0asm\x0d\0\x01",
        b"\x01\x01\0\x01",
    ] {
        let (marked, _count) = mark(&[header, section].concat());
        assert_eq!(marked, None, "{section:x?}");
    }
}

#[test]
fn sections_that_are_no_module_are_kept_byte_by_byte() {
    let header = b"\0asm\x0d\0\x01\0";
    let module = b"\x01\x08\0asm\x01\0\0\0";
    // Identifiers that no section has, and lengths of more bytes than are needed.
    for other in [&b"\x00\x82\x80\x00ab"[..], b"\x77\x01z", b"\xff\x00", b"\x02\x80\x00"] {
        let (marked, count) = mark(&[header, other, module].concat());
        let marked = marked.unwrap();
        let content = other.iter().rev().take(1).collect::<Vec<_>>();
        assert_eq!(count, 1);
        assert!(marked.ends_with(&[&b"\x01\x0c\0asm\x01\0\0\0"[..], ADDED].concat()), "{marked:x?}");
        assert_eq!(marked[8], other[0]);
        assert!(content.iter().all(|byte| marked.contains(byte)), "{marked:x?}");
    }
}

#[test]
fn a_module_that_is_too_deep_to_be_rewritten_is_refused_and_not_left_as_it_is() {
    let mut wasm = wat("(component (core module))");
    for depth in 1..=MAX_DEPTH + 2 {
        let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
        wasm_encoder::Encode::encode(&wasm[..], &mut outer);
        wasm = outer;
        wasmparser::validate(&wasm).unwrap();
        let outcome = rewritten(&wasm, &mut |module| Ok(Some(checked(module.to_vec()))));
        assert_eq!(outcome.is_ok(), depth <= MAX_DEPTH, "{depth}: {outcome:?}");
    }
}
