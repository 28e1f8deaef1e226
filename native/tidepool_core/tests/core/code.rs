//! The code of functions: what it takes of the node's memory is counted, and bounded.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use bytes::Bytes;
use tidepool_core::{
    CallError, CompileConfig, Function, FunctionConfig, HostGrants, Instances, NamespaceConfig, RecordConfig,
    RuntimeConfig,
};

use crate::directory::publish;
use crate::settings;
use crate::support::{Node, config, eventually, finish, guest, limits, sample, task, wat};

fn held(node: &Node, name: &str) -> f64 {
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    sample(&text, &format!("tidepool_held{{function=\"{name}\",resource=\"code\"}}")).unwrap_or_default()
}

fn hello(node: &Node, name: &str) -> Arc<Function> {
    node.named(name, &guest("rust/hello_world"), Instances::Fresh)
}

/// A node where the code of so many and a half of these functions has room; its namespace `shop` has quotas.
fn node_for(functions: usize) -> Node {
    let node = Node::new(&config());
    let one = hello(&node, "hello");
    let bytes = held(&node, "hello") as usize;
    assert!(bytes > guest("rust/hello_world").len(), "{bytes}");
    drop(one);
    eventually("it is nobody's", || held(&node, "hello") == 0.0);
    let shop = NamespaceConfig { name: "shop".into(), instances: Some(8), ..NamespaceConfig::default() };
    let max_code_bytes = bytes * functions + bytes / 2;
    Node::new(&RuntimeConfig { max_code_bytes, namespaces: vec![shop], ..config() })
}

fn fits(node: &Node, function: &Arc<Function>) -> bool {
    node.runtime.code_fits(function).is_ok()
}

fn refusal(node: &Node, function: &Arc<Function>) -> String {
    match node.runtime.code_fits(function) {
        Err(CallError::Overloaded { message }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn code_of_functions_is_counted_and_a_version_beyond_it_is_refused_and_one_that_goes_makes_room() {
    let node = node_for(2);
    let [first, second] = ["first", "second"].map(|name| hello(&node, name));
    assert!(fits(&node, &first) && fits(&node, &second));
    let third = hello(&node, "third");
    let message = refusal(&node, &third);
    assert!(message.contains("max_code") && message.contains("remove functions"), "{message}");
    let served = finish(task(&third, "hello", b""), |_| Ok(Vec::new()));
    assert!(served.is_ok(), "what other nodes serve is served: {served:?}");
    // A call that is under way has the code.
    let call = task(&first, "hello", b"");
    drop((first, third));
    assert!(held(&node, "first") > 0.0);
    assert!(!fits(&node, &hello(&node, "third")));
    drop(call);
    assert!(fits(&node, &hello(&node, "third")));
}

#[test]
fn a_version_takes_the_place_of_the_one_that_is_served_however_little_room_there_is() {
    let node = node_for(1);
    let first = hello(&node, "hello");
    publish(&node, "hello", &first, "hello");
    let other = hello(&node, "other");
    assert!(fits(&node, &hello(&node, "hello")), "although there is more than there may be");
    let call = task(&first, "hello", b"");
    let second = hello(&node, "hello");
    publish(&node, "hello", &second, "hello");
    drop(first);
    assert!(!fits(&node, &hello(&node, "hello")), "a call has one that is older yet");
    drop(call);
    assert!(fits(&node, &hello(&node, "hello")));
    node.runtime.directory().unpublish("hello");
    drop((second, other));
}

#[test]
fn a_namespace_has_no_more_code_than_it_leaves_to_others() {
    let node = node_for(4);
    let [cart, till] = ["shop/cart", "shop/till"].map(|name| hello(&node, name));
    assert!(fits(&node, &cart) && fits(&node, &till));
    let third = hello(&node, "shop/third");
    let message = refusal(&node, &third);
    assert!(message.contains("of its namespace"), "{message}");
    assert_eq!(held(&node, "shop/third"), 0.0, "it counts no more, whoever still has it");
    let others = ["blog/post", "hello"].map(|name| hello(&node, name));
    assert!(others.iter().all(|function| fits(&node, function)), "there is as much for others, whatever it has");
    drop((third, cart, others));
    assert!(fits(&node, &hello(&node, "shop/third")));
    drop(till);
}

#[test]
fn versions_that_calls_hold_count_and_take_nothing_from_others() {
    let node = node_for(4);
    let cart = || hello(&node, "shop/cart");
    let held: Vec<_> = (0..2).map(|_version| task(&cart(), "hello", b"")).collect();
    assert!(!fits(&node, &cart()) && !fits(&node, &hello(&node, "shop/till")));
    let more: Vec<_> = (0..3).map(|_version| task(&cart(), "hello", b"")).collect();
    assert!(fits(&node, &hello(&node, "blog/post")), "although there is more than there may be");
    drop(more);
    drop(held);
    assert!(fits(&node, &cart()));
}

/// A function of a small module with these options.
fn with_texts(node: &Node, options: FunctionConfig) -> Arc<Function> {
    let module = node.runtime.compile(&guest("rust/hello_world"), &CompileConfig::default()).unwrap();
    Arc::new(module.function(FunctionConfig { limits: limits(), ..options }).unwrap())
}

fn options(name: &str) -> FunctionConfig {
    FunctionConfig { name: name.into(), ..settings::function_config() }
}

/// A small module under many names, each with 64 texts of four KiB, took five times what was counted.
#[test]
fn texts_of_options_count_with_the_code_wherever_they_are_kept() {
    const TEXTS: usize = 64 * (256 + 3_800);
    let node = Node::new(&config());
    let text = |number: usize| (format!("{number:0256}").into(), "x".repeat(3_800).into());
    let texts: HashMap<Box<str>, Box<str>> = (0..64).map(text).collect();
    let about = Bytes::from(vec![b' '; 300_000]);
    let grants: Vec<String> = (0..64).map(|number| format!("{number:0100}/{number:0100}/{number:096}")).collect();
    let all = [
        options("plain"),
        FunctionConfig { config: texts.clone(), ..options("config") },
        FunctionConfig { config: texts, kept_bytes: TEXTS, ..options("kept") },
        FunctionConfig {
            record: Some(RecordConfig { per_million: 0, redact: false, about: about.clone() }),
            ..options("recorded")
        },
        FunctionConfig { keyvalue: vec!["b".repeat(64).into(); 32], ..options("keyvalue") },
        FunctionConfig { host: HostGrants::parse(grants.iter().map(String::as_str)).unwrap(), ..options("host") },
    ];
    let names = all.clone().map(|options| options.name);
    let _functions = all.map(|options| with_texts(&node, options));
    let [plain, config, kept, recorded, keyvalue, host] = names.map(|name| held(&node, &name) as usize);
    assert_eq!([config, kept, recorded].map(|bytes| bytes - plain), [TEXTS, 2 * TEXTS, about.len()]);
    assert_eq!(keyvalue - plain, 64 * 32);
    let names = 64 * 296;
    assert!((names..2 * names).contains(&(host - plain)), "{host}, {plain}");
}

#[test]
fn versions_with_long_texts_count_each_for_itself_however_alike_these_are() {
    let node = Node::new(&config());
    let module = node.runtime.compile(&guest("rust/hello_world"), &CompileConfig::default()).unwrap();
    let version = |name: &str, text: &str, bytes: usize| {
        let config = HashMap::from([("text".into(), text.repeat(bytes).into())]);
        module.function(FunctionConfig { limits: limits(), config, ..options(name) }).unwrap()
    };
    let first = version("short", "a", 1_000);
    let one = held(&node, "short");
    let second = version("short", "b", 1_000);
    assert_eq!(held(&node, "short"), one);
    drop((first, second));
    let long = version("long", "a", 100_000);
    let before = held(&node, "long");
    let others = [version("long", "b", 100_000), version("long", "b", 100_000)];
    assert!(held(&node, "long") - before >= 200_000.0);
    drop((long, others));
    eventually("they are nobody's", || held(&node, "long") == 0.0);
}

#[test]
fn a_function_whose_texts_have_no_room_is_refused_however_small_its_module_is() {
    let node = node_for(2);
    assert!(fits(&node, &with_texts(&node, options("plain"))));
    let many = with_texts(&node, FunctionConfig { kept_bytes: 1 << 30, ..options("many") });
    let message = refusal(&node, &many);
    assert!(message.contains("texts of its options") && message.contains("max_code"), "{message}");
    assert_eq!(held(&node, "many"), 0.0);
}

/// Bytes of the files in memory, of so many and more each, that code and what instances begin with are in.
fn in_files(at_least: u64) -> u64 {
    let files = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
    let of_code =
        files.filter(|file| fs::read_link(file).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:wasm")));
    of_code.filter_map(|file| fs::metadata(file).ok()).map(|file| file.size()).filter(|bytes| *bytes >= at_least).sum()
}

#[test]
fn data_of_a_module_is_in_memory_once_with_its_code_however_few_bytes_say_it() {
    const DATA: u64 = 15 << 20;
    // What is between the first and the last of its bytes is in the image that its memories begin with.
    let sparse = format!(
        r#"(module (memory (export "memory") 256) (data (i32.const 0) "x") (data (i32.const {}) "y")
             (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#,
        DATA - 1
    );
    let node = Node::new(&config());
    let function = node.named("sparse", &wat(&sparse), Instances::Fresh);
    let counted = held(&node, "sparse") as u64;
    assert!((DATA..DATA + (1 << 20)).contains(&counted), "{counted}");
    assert!(finish(task(&function, "any", b""), |_| Ok(Vec::new())).is_ok());
    let there = in_files(DATA);
    assert!((DATA..=counted).contains(&there), "{there} bytes in files, {counted} are counted");
}
