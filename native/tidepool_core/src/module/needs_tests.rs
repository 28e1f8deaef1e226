//! Memories, tables and instances are counted as often as they are instantiated, however they are named.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use super::Needs;
use crate::base::error::CompileError;

fn of(text: &str) -> Needs {
    Needs::of(&wat::parse_str(text).unwrap())
}

/// A module with so many pages, and a table.
fn module(pages: u64) -> String {
    format!(r#"(core module $m (memory {pages}) (table 1 funcref))"#)
}

#[test]
fn what_is_instantiated_counts_each_time_and_what_is_not_never() {
    let module = module(3);
    let twice = "(core instance (instantiate $m)) (core instance (instantiate $m))";
    let needs = |modules: u64| Needs { modules, memories: modules, tables: modules, pages: 3 * modules };
    for (text, modules) in [
        (format!("(component {module})"), 0),
        (format!("(component {module} {twice})"), 2),
        (format!("(component (component $c {module} {twice}))"), 0),
        (format!("(component (component $c {module} {twice}) (instance (instantiate $c)) (instance (instantiate $c)))"), 4),
        // One that is of the component around it, once and twice removed.
        (format!("(component {module} (component $c {twice}) (instance (instantiate $c)))"), 2),
        (
            format!(
                "(component {module} (component $d (component $c {twice}) (instance (instantiate $c)) (instance (instantiate $c)))
                   (instance (instantiate $d)))"
            ),
            4,
        ),
        // Names that come before it.
        (
            format!(
                r#"(component (core module $other (memory 1)) (export $e "e" (core module $other)) {module} {twice})"#
            ),
            2,
        ),
    ] {
        assert_eq!(of(&text), needs(modules), "{text}");
    }
}

#[test]
fn components_that_double_within_one_another_are_counted_and_none_of_them_made() {
    let mut text = format!("(component $c0 {} (core instance (instantiate $m)))", module(1));
    for depth in 1..90 {
        let inner = depth - 1;
        text = format!(
            "(component $c{depth} {text} (instance (instantiate $c{inner})) (instance (instantiate $c{inner})))"
        );
    }
    let needs = of(&format!("(component {text} (instance (instantiate $c89)))"));
    assert_eq!((needs.memories, needs.pages), (u64::MAX, u64::MAX));
    let refused = needs.fit();
    assert!(
        matches!(&refused, Err(CompileError::TooDemanding { message }) if message.contains("memories")),
        "{refused:?}"
    );
}

#[test]
fn what_is_cut_off_anywhere_counts_no_more_than_the_whole() {
    let wasm = wat::parse_str(format!("(component {} (core instance (instantiate $m)))", module(2))).unwrap();
    let whole = Needs::of(&wasm);
    for length in 0..wasm.len() {
        let cut = Needs::of(wasm.get(..length).unwrap());
        assert!(cut == whole || cut == Needs::default(), "{length}: {cut:?}");
    }
}
