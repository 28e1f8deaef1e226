//! Each function that components may import: what grants it, and what bounds the time of one call of it.
//!
//! Wasmtime's linker does not say what is in it. So it is asked, by a component that imports it, for each function of the WIT that it
//! is made of, those of resources included; and what the host defines by a name of its own has to be in that WIT.

pub(crate) mod guest;
mod sizes;
pub(crate) mod wit;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidepool_core::{CallError, FolderConfig, Function, FunctionConfig, Grants, Instances, Limit, ProcessOptions};

use self::guest::{Filled, Guest};
use self::sizes::Sizes;
use self::wit::{Item, Wit};
use crate::preempt::{Spent, at_best};
use crate::settings;
use crate::support::{Node, Outcome, is_long, is_sampled, limits, tell_of_another_try};

/// Each function, its grant or why it needs none, what bounds the time of a call, and what a tape has of it.
const TABLE: &str = include_str!("linked.tsv");
/// What a deploy may grant; all else has a reason. A function may be granted by several.
const GRANTS: [&str; 5] = ["config", "files", "host", "keyvalue", "net"];
/// What a tape has of a function; all else says the same each time, for a reason.
const TAPED: [&str; 5] = ["clock", "host", "random", "stream", "wait"];
/// Functions with arguments of a guest's size that no program here can call, and why.
const UNCALLED: [(&str, &str); 2] = [
    (
        "wasi:http/types#[static]response-outparam.set",
        "a handler alone has one, once: `Err` has a text of the fuel of a call",
    ),
    ("wasi:keyvalue/atomics@0.2.0-draft2#swap", "its handle is an answer of a store, and there is none here"),
];

/// Functions without arguments of a guest's size whose results are as large as its deploy or its start says.
const TOLD: [&str; 4] = [
    "wasi:cli/environment#get-arguments",
    "wasi:cli/environment#get-environment",
    "wasi:config/runtime#get-all",
    "wasi:config/store#get-all",
];
/// As many texts as these have, and the bytes of each: 64 KiB in all.
const TEXTS: usize = 1_024;
const TEXT_BYTES: usize = 64;

/// Functions that no program here calls a second time, and why.
const STOPPED: [(&str, &str); 1] = [(
    "wasi:sockets/udp#[method]outgoing-datagram-stream.send",
    "`check-send` says before how many there may be: in pieces of 16",
)];

/// What no call should take of its thread, with the slice that it is in. More is tried again: a busy machine takes longer.
const AIM: Duration = Duration::from_millis(5);
/// What a guest may compute: it writes its memory, and calls until then.
const CPU_TIME: Duration = Duration::from_millis(25);

/// What a tape has of a function, as the table has it.
pub(crate) fn taped(path: &str) -> &'static str {
    let row = TABLE.lines().find(|row| row.split('\t').next() == Some(path));
    row.and_then(|row| row.split('\t').nth(3)).unwrap_or_else(|| panic!("{path} has no row"))
}

/// The items that the linker has.
pub(crate) fn linked<'a>(node: &Node, wit: &'a Wit) -> Vec<&'a Item> {
    let has = |items: &[&Item]| {
        let mut guest = Guest::new(wit);
        for item in items {
            guest.import(&item.path());
        }
        node.try_function(&guest.component(""), Instances::Fresh, limits()).is_ok()
    };
    let interfaces: BTreeSet<&str> = wit.items.iter().map(|item| &*item.interface).collect();
    let mut linked = Vec::new();
    for interface in interfaces {
        let items: Vec<&Item> = wit.items.iter().filter(|item| item.interface == interface).collect();
        if has(&items) {
            linked.extend(items);
        } else {
            linked.extend(items.into_iter().filter(|item| has(&[item])));
        }
    }
    linked
}

#[test]
fn each_function_that_is_linked_has_a_grant_or_a_reason_and_a_bound() {
    let (node, wit) = (Node::small(), Wit::read());
    let linked: BTreeSet<String> = linked(&node, &wit).iter().map(|item| item.path()).collect();
    let mut named = BTreeSet::new();
    for row in TABLE.lines().skip(1) {
        let [path, grant, bound, taped] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row:?} has not four fields")
        };
        let why = grant.strip_prefix("none: ").is_some_and(|why| !why.is_empty());
        let granted = grant.split(", ").all(|grant| GRANTS.contains(&grant));
        assert!(why || granted, "{path} has no grant, and no reason why it needs none: {grant:?}");
        assert!(!bound.is_empty(), "{path} has no bound");
        let same = taped.strip_prefix("same: ").is_some_and(|why| !why.is_empty());
        assert!(same || TAPED.contains(&taped), "{path} tells what no tape has, and no reason why not: {taped:?}");
        assert!(named.insert(path.to_owned()), "{path} has two rows");
    }
    assert_eq!(linked.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "have no row");
    assert_eq!(named.difference(&linked).collect::<Vec<_>>(), Vec::<&String>::new(), "are not linked");
}

/// The texts in a source file that stand directly behind one of `openings`, or begin with one of them.
fn literals<'a>(source: &'a str, openings: &[&str], beginnings: &[&str]) -> Vec<&'a str> {
    let pieces: Vec<&str> = source.split('"').collect();
    let texts = pieces.windows(2).step_by(2).filter(|pair| {
        let [before, text] = pair else { return false };
        let opened = openings.iter().any(|opening| before.trim_end().ends_with(opening));
        opened || beginnings.iter().any(|beginning| text.starts_with(beginning))
    });
    texts.map(|pair| pair[1]).collect()
}

/// The options that a source file defines, by `options::none`: to look at, and to set.
fn options(source: &str) -> Vec<String> {
    let calls = source.split("options::none::<").skip(1);
    let texts = calls.map(|call| call.split(']').next().unwrap().split('"').skip(1).step_by(2));
    texts
        .flat_map(|mut texts| {
            let resource = texts.next().unwrap();
            let both = |name: &str| ["", "set-"].map(|set| format!("[method]{resource}.{set}{name}"));
            texts.flat_map(both).collect::<Vec<_>>()
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![std::fs::read_to_string(path).unwrap()] })
        .collect()
}

#[test]
fn what_the_host_defines_is_in_the_wit_that_the_linker_is_asked_for() {
    let wit = Wit::read();
    let interfaces: BTreeSet<&str> = wit.items.iter().filter_map(|item| item.interface.split('@').next()).collect();
    let names: BTreeSet<&str> = wit.items.iter().map(|item| &*item.name).collect();
    let sources = sources(&Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../src/abi/component"));
    let mut found = 0;
    for source in &sources {
        let defining = ["func_wrap(", "func_wrap_async(", "function(linker,", "waiting_function!(linker,"];
        for name in literals(source, &defining, &["[method]", "[static]", "[constructor]"]) {
            // Those with a place in them are named where they are used.
            if !name.contains('{') && name != "[method]descriptor." {
                assert!(names.contains(name), "{name} is defined, and in no WIT here: add it to `wit.rs`");
                found += 1;
            }
        }
        let methods = literals(source, &["method!(types,"], &[]);
        for name in methods.iter().map(|name| format!("[method]descriptor.{name}")).chain(options(source)) {
            assert!(names.contains(&*name), "{name} is defined, and in no WIT here: add it to `wit.rs`");
            found += 1;
        }
        for interface in
            literals(source, &[], &["wasi:"]).iter().filter(|name| name.contains('/') && !name.ends_with('/'))
        {
            let interface = interface.split(['@', '#']).next().unwrap();
            assert!(interfaces.contains(interface), "{interface} is in no WIT here: add it to `wit.rs`");
        }
    }
    assert!(found > 70, "the sources are elsewhere: {found}");
}

#[test]
fn each_draft_of_keyvalue_that_is_linked_is_in_that_wit() {
    let wit = Wit::read();
    let known: BTreeSet<&str> = wit.items.iter().map(|item| &*item.interface).collect();
    // They are named there without their package.
    let source = include_str!("../../../../src/abi/component/keyvalue/linked.rs");
    let names: Vec<&str> = literals(source, &[], &[""]).into_iter().filter(|name| name.contains('@')).collect();
    assert!(names.len() >= 6, "the names are elsewhere: {names:?}");
    for name in names {
        let interface = format!("wasi:keyvalue/{name}");
        assert!(known.contains(&*interface), "{interface} is linked, and in no WIT here: add it to `wit.rs`");
    }
}

fn function(node: &Node, wasm: &[u8]) -> Arc<Function> {
    let module = Arc::new(node.runtime.compile(wasm, &Default::default()).unwrap());
    let folders = vec![FolderConfig { path: "/data".into(), host: None, writable: true }];
    let config = FunctionConfig {
        limits: limits(),
        folders,
        grants: Grants::all(),
        keyvalue: vec!["f".into()],
        ..settings::function_config()
    };
    Arc::new(module.function(config).unwrap())
}

fn spent(node: &Node, wasm: &[u8]) -> Spent {
    let function = function(node, wasm);
    let options = || ProcessOptions { cpu_time: Some(CPU_TIME), ..Default::default() };
    let run = || at_best(|| function.start_process(options()).unwrap());
    let mut spent = run();
    for _again in 0..3 {
        if spent.longest > AIM {
            // What is within the slice has passed, and is tried again for the figures alone.
            if !spent.in_slices() {
                tell_of_another_try(&format!("its thread was held for {:?}", spent.longest));
            }
            let again = run();
            spent = if again.longest < spent.longest { again } else { spent };
        }
    }
    // What does hold its thread does so each time.
    for _again in 0..10 {
        if spent.in_slices() {
            break;
        }
        tell_of_another_try(&format!("its thread was held for {:?}", spent.longest));
        spent = run();
    }
    node.lines.take();
    spent
}

/// Has a guest called its function again and again, until it had used up its time?
fn goes_on(outcome: &Outcome) -> bool {
    matches!(outcome, Err(CallError::Limit { limit: Limit::CpuTime, .. }))
}

/// How a guest ends that calls a function again and again.
fn ends(path: &str, size: usize, filled: Filled) -> Outcome {
    let (node, wit) = (Node::small(), Wit::read());
    let wasm = Guest::new(&wit).calling(wit.item(path), size, filled, "").unwrap();
    spent(&node, &wasm).outcome
}

#[test]
fn a_guest_waits_for_as_many_pollables_at_once_as_one_of_preview_1() {
    let waits_for = |count: usize| ends("wasi:io/poll#poll", 4 * count, Filled::Ones);
    let most = waits_for(1_024);
    assert!(goes_on(&most), "{most:?}");
    let more = format!("{:?}", waits_for(1_026));
    assert!(more.contains("waits for 1026 pollables at once"), "{more}");
}

#[test]
fn a_text_that_no_function_of_wasi_could_use_ends_its_guest_before_it_is_decoded() {
    for name in ["fields.has", "fields.get", "fields.delete", "outgoing-request.set-path-with-query"] {
        let ends_with = |size: usize| ends(&format!("wasi:http/types#[method]{name}"), size, Filled::Letters);
        let longest = ends_with(64 << 10);
        assert!(goes_on(&longest), "{name}: {longest:?}");
        let longer = format!("{:?}", ends_with((64 << 10) + 1));
        assert!(longer.contains("the guest gave a text with a length of 65537"), "{name}: {longer}");
    }
}

#[test]
fn keys_of_one_request_are_counted_before_they_are_looked_at() {
    for name in ["get-many", "set-many", "delete-many"] {
        // Letters are no places in its memory: who looked there would stop it.
        let outcome = ends(&format!("wasi:keyvalue/batch@0.2.0-draft2#{name}"), 64 << 10, Filled::Letters);
        assert!(goes_on(&outcome), "{name}: {outcome:?}");
    }
}

#[test]
fn a_guest_that_has_no_room_for_one_more_handle_is_told_so_when_it_lists_a_folder() {
    let outcome = ends("wasi:filesystem/types#[method]descriptor.read-directory", 8, Filled::Zeros);
    assert!(goes_on(&outcome), "{outcome:?}");
}

#[test]
fn a_file_takes_a_quarter_of_a_mib_of_what_is_written_at_once() {
    let (node, wit) = (Node::small(), Wit::read());
    let write = wit.item("wasi:filesystem/types#[method]descriptor.write");
    // As many bytes as lie before them, with which they fit into what a program's files may have.
    let wasm = Guest::new(&wit).expecting(write, 512 << 10, Filled::Letters, (24, 256 << 10)).unwrap();
    let outcome = spent(&node, &wasm).outcome;
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn no_function_holds_its_thread_however_much_its_deploy_or_its_start_has_it_tell() {
    let (node, wit) = (Node::small(), Wit::read());
    let texts = || (0..TEXTS).map(|number| format!("{number:0TEXT_BYTES$}"));
    for path in TOLD {
        let wasm = Guest::new(&wit).calling(wit.item(path), 8, Filled::Zeros, "").unwrap();
        let module = Arc::new(node.runtime.compile(&wasm, &Default::default()).unwrap());
        let config = texts().map(|text| (text.into_boxed_str(), Box::from(""))).collect();
        let config = FunctionConfig { config, limits: limits(), ..settings::function_config() };
        let function = Arc::new(module.function(config).unwrap());
        let options = || ProcessOptions {
            cpu_time: Some(CPU_TIME),
            args: texts().collect(),
            env: texts().map(|text| (text, String::new())).collect(),
            ..Default::default()
        };
        let spent = at_best(|| function.start_process(options()).unwrap());
        println!("{path}: {:?}", spent.longest);
        assert!(spent.in_slices(), "{path}: {:?}", spent.longest);
        // It was called again and again.
        assert!(goes_on(&spent.outcome), "{path}: {:?}", spent.outcome);
    }
}

#[test]
fn no_function_holds_its_thread_however_large_its_arguments_are() {
    let (node, wit) = (Node::small(), Wit::read());
    let (mut longest, mut held, mut uncalled, mut stopped) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let tried = linked(&node, &wit).into_iter().enumerate().filter(|(nth, _item)| is_sampled(*nth, 3));
    for (_nth, item) in tried {
        let params = item.function.iter().flat_map(|function| &function.params);
        let sizes = params.fold(Sizes::default(), |sizes, param| sizes.with(&wit, &param.ty));
        let (mut took, mut is_called_on) = (None, false);
        for (way, size, filled) in sizes.all(item) {
            let Some(wasm) = Guest::new(&wit).calling(item, size, filled, way) else { continue };
            let spent = spent(&node, &wasm);
            let with = format!("{} ({way}) with {size} bytes of {filled:?}: {:?}", item.path(), spent.longest);
            if !spent.in_slices() {
                held.push(with.clone());
            }
            if goes_on(&spent.outcome) {
                is_called_on = true;
            } else {
                println!("{with}: {:?}", spent.outcome);
            }
            took = took.max(Some((spent.longest, with)));
        }
        match took {
            Some(took) => {
                longest.push(took);
                if !is_called_on {
                    stopped.push(item.path());
                }
            }
            None if sizes.any() => uncalled.push(item.path()),
            None => {}
        }
    }
    longest.sort();
    for (_took, with) in &longest {
        println!("{with}");
    }
    assert!(longest.len() > if is_long() { 40 } else { 10 }, "{} were called", longest.len());
    let known = UNCALLED.map(|(path, _why)| path.to_owned());
    assert!(
        if is_long() { uncalled == known } else { uncalled.iter().all(|path| known.contains(path)) },
        "{uncalled:?}"
    );
    // A guest whose time is over before its first call, on a busy machine, is not stopped by that.
    stopped.retain(|path| STOPPED.iter().all(|(known, _why)| known != path));
    assert!(stopped.is_empty(), "are called once at most: {}", stopped.join("\n"));
    assert!(held.is_empty(), "{}", held.join("\n"));
}
