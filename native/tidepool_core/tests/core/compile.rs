//! What is refused at deploy, and by which of the checks.

use std::sync::Arc;

use tidepool_core::{CompileConfig, CompileError, FunctionConfig, Instances, Limits, Module, RuntimeConfig};

use crate::settings;
use crate::support::allocations::most_allocated;
use crate::support::{self, Node, guest, limits, wat};

fn compile(wasm: &[u8]) -> Result<Arc<Module>, CompileError> {
    Node::small().runtime.compile(wasm, &CompileConfig::default()).map(Arc::new)
}

fn refusal(wasm: &[u8]) -> CompileError {
    match compile(wasm) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

#[test]
fn what_does_not_start_like_wasm_is_no_module() {
    for bytes in
        [&b""[..], b"\0", b"\0as", b"\0asn\x01\0\0\0", b"\x7fELF\x02\x01\x01\0", b"(module)", b"\xff\xff\xff\xff\xff"]
    {
        assert_eq!(refusal(bytes), CompileError::NotWasm, "{bytes:?}");
    }
}

#[test]
fn a_component_is_told_from_a_module() {
    let empty = refusal(b"\0asm\x0d\0\x01\0");
    assert_eq!(empty, CompileError::NothingToCall { exports: Vec::new() });
    let advice = empty.to_string();
    for of_components in ["functions", "wasi:http/incoming-handler", "wasi:cli/run"] {
        assert!(advice.contains(of_components), "{advice}");
    }
    for of_modules in ["__guest_call", "_start", "lunatic"] {
        assert!(!advice.contains(of_modules), "{advice}");
    }
    assert_eq!(refusal(b"\0asm\x0e\0\x01\0 and more"), CompileError::Component);
}

#[test]
fn a_module_that_is_to_become_a_component_is_told_from_one_unless_its_exports_are_asked_for() {
    let described = |code: &str| {
        wat(&format!(
            r#"(module {code} (@custom "component-type:wit-bindgen:0.41.0:local:sums:sums:encoded world" "\00"))"#
        ))
    };
    let core = described(r#"(func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))"#);
    assert_eq!(refusal(&core), CompileError::CoreOfComponent);
    assert_eq!(Node::small().runtime.suited(&core), None);
    assert_eq!(refusal(&described("")), CompileError::CoreOfComponent);
    let config = CompileConfig { abi: Some("exports".into()), ..CompileConfig::default() };
    assert!(Node::small().runtime.compile(&core, &config).is_ok());
    // What was deployed by a version before goes on.
    let config = CompileConfig { was_deployed: true, ..CompileConfig::default() };
    assert!(Node::small().runtime.compile(&core, &config).is_ok());
    // Bindings of WIT are no reason against a program.
    assert!(compile(&described(r#"(memory (export "memory") 1) (func (export "_start"))"#)).is_ok());
}

#[test]
fn a_malformed_module_is_not_valid() {
    let empty = b"\0asm\x01\0\0\0";
    let cut = &guest("rust/hello_world")[..1_000];
    let unknown_section = [empty.as_slice(), &[99, 0]].concat();
    for bytes in [&b"\0asm"[..], b"\0asm\x01\0\0", b"\0asm\x02\0\0\0", cut, &unknown_section] {
        assert!(matches!(refusal(bytes), CompileError::Invalid { .. }), "{:?}", bytes.get(..12));
    }
    assert!(matches!(refusal(&guest("wat/invalid")), CompileError::Invalid { .. }));
}

#[test]
fn features_that_a_host_function_could_not_be_bounded_with_are_off() {
    let call = r#"(func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1))"#;
    for memory in ["i64 1", "1 1 shared"] {
        let module = wat(&format!(r#"(module (memory (export "memory") {memory}) {call})"#));
        assert!(matches!(refusal(&module), CompileError::Invalid { .. }), "{memory}");
    }
    let two = wat(&format!(r#"(module (memory (export "memory") 1) (memory 1) {call})"#));
    assert!(matches!(refusal(&two), CompileError::Invalid { .. }));
}

#[test]
fn a_module_without_an_entry_speaks_no_abi() {
    assert_eq!(refusal(&wat("(module)")), CompileError::UnknownAbi { exports: Vec::new() });
    for (function, name) in [
        // It runs before calls.
        (r#"(func (export "_initialize"))"#, "_initialize"),
        // Nobody has what it takes.
        (r#"(func (export "vector") (param v128))"#, "vector"),
        (r#"(func (export "reference") (result funcref) (ref.null func))"#, "reference"),
    ] {
        let found = refusal(&wat(&format!(r#"(module (memory (export "memory") 1) {function})"#)));
        assert_eq!(found, CompileError::UnknownAbi { exports: vec!["memory".into(), name.into()] });
    }
    assert!(matches!(refusal(&guest("wat/no_guest_call")), CompileError::UnknownAbi { .. }));
}

#[test]
fn the_abi_of_an_upload_is_told_in_as_much_memory_as_a_valid_one_takes() {
    // A number in five bytes.
    let long =
        |number: u32| [0, 7, 14, 21, 28].map(|place| ((number >> place) as u8 & 0x7f) | (u8::from(place < 28) << 7));
    let node = Node::small();
    let exports = [1, b'e', 2, 0].repeat(8 << 20);
    let bytes = u32::try_from(exports.len()).unwrap();
    let module = [&b"\0asm\x01\0\0\0\x07"[..], &long(bytes + 5), &long(bytes / 4), &exports].concat();
    let (found, most) = most_allocated(|| node.runtime.suited(&module));
    assert!(found.is_none() && most < 32 << 20, "{most} bytes");
    // Components within one another, each of which has 14 bytes beside the next one.
    let header = b"\0asm\x0d\0\x01\0";
    let outer = (0..200_000).rev().flat_map(|inner| [&header[..], &[4], &long(14 * inner + 8)].concat());
    let component: Vec<u8> = outer.chain(*header).collect();
    let (_found, most) = most_allocated(|| node.runtime.suited(&component));
    assert!(most < 1 << 20, "{most} bytes");
}

#[test]
fn a_module_that_does_not_speak_the_abi_that_it_is_to_speak_is_told_so() {
    let node = Node::small();
    for (wasm, wanted, export) in [
        (guest("component/calc"), "http", "price"),
        (guest("rust/http"), "typed", "wasi:http/incoming-handler@0.2.0#handle"),
        (guest("rust/calc"), "extism", "add"),
    ] {
        let config = CompileConfig { abi: Some(wanted.into()), ..CompileConfig::default() };
        let Err(refused) = node.runtime.compile(&wasm, &config) else { panic!("it speaks {wanted}") };
        assert!(refused.to_string().contains(&format!("the ABI `{wanted}`")), "{refused}");
        let CompileError::OtherAbi { exports, .. } = refused else { panic!("{refused}") };
        assert!(exports.iter().any(|name| name == export), "{exports:?}");
    }
}

#[test]
fn a_component_that_can_not_be_called_says_why_and_nothing_of_other_interfaces_than_its_own() {
    let node = Node::small();
    let refused = |wasm: &[u8]| {
        // As it is deployed: by the ABI that its names tell.
        let abi = node.runtime.suited(wasm).map(|(abi, _engine)| abi.to_owned());
        let compiled = node.runtime.compile(wasm, &CompileConfig { abi, ..CompileConfig::default() });
        let Err(error) = compiled else { panic!("it was compiled") };
        let said = error.to_string();
        for of_modules in ["__guest_call", "_start", "the option `abi`"] {
            assert!(!said.contains(of_modules), "{said}");
        }
        (error, said)
    };
    let exporting = |interface: &str, ty: &str, lift: &str| {
        wat(&format!(
            r#"(component
                 (import "wasi:http/types@0.3.0" (instance $types (export "request" (type (sub resource)))))
                 (alias export $types "request" (type $request))
                 (core module $m (func (export "handle") (param i32) (result i32) unreachable)
                   (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
                 (core instance $i (instantiate $m))
                 (func $handle {ty} (canon lift (core func $i "handle") {lift}))
                 (instance $handler (export "handle" (func $handle)))
                 (export "{interface}" (instance $handler)))"#
        ))
    };
    let plain = r#"(param "request" (own $request)) (result u32)"#;
    let awaited = r#"async (param "request" (own $request))"#;
    let callback = r#"async (callback (core func $i "callback"))"#;
    for (wasm, interface) in [
        (exporting("wasi:http/handler@0.3.0", plain, ""), "wasi:http/handler@0.3.0"),
        (exporting("wasi:http/handler@0.3.0", awaited, callback), "wasi:http/handler@0.3.0"),
        (exporting("wasi:cli/run@0.3.0", awaited, callback), "wasi:cli/run@0.3.0"),
    ] {
        let (error, said) = refused(&wasm);
        assert!(matches!(&error, CompileError::NotServed { interface: it, .. } if it == interface), "{error:?}");
        assert!(said.contains(&format!("exports `{interface}`, which this host does not call")), "{said}");
        assert!(said.contains("experimental in wasmtime, and without security fixes there"), "{said}");
    }
    let (error, said) = refused(&exporting("docs:a/handler@1.0.0", plain, ""));
    assert!(matches!(&error, CompileError::Uncallable { .. }), "{error:?}");
    assert!(
        said.contains("`docs:a/handler@1.0.0#handle` takes or returns a resource that the component imports"),
        "{said}"
    );
}

#[test]
fn what_a_module_asks_of_handlers_is_known_by_targets_and_what_the_host_has_is_not_among_it() {
    let asks = |wasm: &[u8]| compile(wasm).unwrap().asks().iter().map(|target| target.join(" ")).collect::<Vec<_>>();
    assert_eq!(asks(&guest("component/calc")), ["wit docs:shop/prices@1.0.0 price"]);
    let component = r#"(component
        (import "wasi:cli/environment@0.2.0" (instance (export "get-arguments" (func (result (list string))))))
        (import "wasi:http/client@0.3.0" (instance (export "send" (func))))
        (import "ask" (func))
        (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    assert_eq!(asks(&wat(component)), ["wit wasi:http/client@0.3.0 send", "wit  ask"]);
    let plain = r#"(module (import "env" "ask" (func (result i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))) (func (export "f")))"#;
    assert_eq!(asks(&wat(plain)), ["import env ask"]);
    assert_eq!(asks(&guest("rust/hello_world")), [""; 0]);
}

#[test]
fn a_plain_module_may_ask_its_host_for_functions_of_numbers_and_for_those_of_wasi_that_there_are() {
    let importing = |import: &str| wat(&format!(r#"(module (import {import}) (func (export "run")))"#));
    for import in [r#""env" "f" (func (param i32 i64 f32 f64) (result i32 f64))"#, r#""wapc" "f" (func)"#] {
        let accepted = compile(&importing(import));
        assert!(accepted.is_ok() != import.contains("wapc"), "{import}");
    }
    for import in [
        r#""env" "f" (func (param v128))"#,
        r#""env" "f" (func (result funcref))"#,
        r#""env" "f" (global i32)"#,
        r#""env" "f" (memory 1)"#,
        r#""env" "f" (table 1 funcref)"#,
        r#""wasi_snapshot_preview1" "f" (func)"#,
        r#""wasi_unstable" "f" (func)"#,
    ] {
        let found = refusal(&importing(import));
        assert!(matches!(&found, CompileError::MissingImport { name, .. } if name == "f"), "{import}: {found:?}");
    }
}

fn missing(name: &str, wasm: &[u8]) {
    match refusal(wasm) {
        CompileError::MissingExport { name: found, .. } => assert_eq!(found, name),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_export_that_the_abi_needs_is_missed_by_name() {
    missing("memory", &guest("wat/no_memory"));
    missing("memory", &guest("wat/wasi_no_memory"));
    missing("memory", &wat(r#"(module (func (export "_start")))"#));
    let half = r#"(module (import "wapc" "__guest_response" (func (param i32 i32))) (memory (export "memory") 1)
                   (func (export "_start")))"#;
    missing("__guest_call", &wat(half));
}

#[test]
fn an_export_of_another_type_is_told_with_both_types() {
    let of = |name: &str, wasm: &[u8]| match refusal(wasm) {
        CompileError::ExportType { name: found, expected, found: is } => {
            assert_eq!(found, name);
            assert_ne!(expected, is);
        }
        other => panic!("{other:?}"),
    };
    of("memory", &guest("wat/memory_not_memory"));
    of("__guest_call", &guest("wat/guest_call_signature"));
    of("__guest_call", &guest("wat/guest_call_not_function"));
    of("wapc_init", &guest("wat/init_signature"));
    of("_start", &wat(r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#));
    of("_start", &wat(r#"(module (memory (export "memory") 1) (func (export "_start") (result i32) (i32.const 0)))"#));
}

#[test]
fn an_import_that_nobody_offers_is_told_by_both_of_its_names() {
    let abort = wat(r#"(module
      (import "env" "abort" (func (param i32 i32 i32 i32)))
      (memory (export "memory") 1)
      (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#);
    let of = |module: &str, name: &str, wasm: &[u8]| {
        assert_eq!(refusal(wasm), CompileError::MissingImport { module: module.into(), name: name.into() });
    };
    of("env", "mystery", &guest("wat/import_unknown"));
    of("env", "abort", &abort);
    assert!(refusal(&abort).to_string().contains("--use abort="));
    assert!(!refusal(&guest("wat/import_unknown")).to_string().contains("--use"));
    of("wapc", "__mystery", &guest("wat/import_unknown_wapc"));
    of("env", "memory", &guest("wat/memory_imported"));
    of("wasi_snapshot_preview1", "mystery", &guest("wat/wasi_unknown"));
}

#[test]
fn an_import_of_another_type_is_told_with_both_types() {
    let of = |wasm: &[u8]| match refusal(wasm) {
        CompileError::ImportType { module, name, expected, found } => {
            assert_eq!((module.as_str(), name.as_str()), ("wapc", "__guest_response"));
            assert_ne!(expected, found);
        }
        other => panic!("{other:?}"),
    };
    of(&guest("wat/import_signature"));
    let import = |import: &str| {
        wat(&format!(
            r#"(module (import "wapc" "__guest_response" {import}) (memory (export "memory") 1)
                 (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
        ))
    };
    of(&import("(global i32)"));
    of(&import("(func (param i32))"));
    of(&import("(func (param i32 i32) (result i32))"));
    of(&import("(table 1 funcref)"));
}

#[test]
fn a_module_that_no_instance_could_hold_demands_too_much() {
    for name in ["wat/memory_huge", "wat/table_huge"] {
        let node = Node::small();
        let refused = node.try_function(&guest(name), Instances::Fresh, limits());
        let error = refused.map(|_| ()).unwrap_err();
        assert!(matches!(error, CompileError::TooDemanding { .. }), "{name}: {error:?}");
    }
}

#[test]
fn a_memory_over_the_functions_limit_demands_too_much() {
    let node = Node::small();
    let limits = Limits { memory_bytes: 0, ..limits() };
    let refused = node.try_function(&guest("wat/loop"), Instances::Fresh, limits);
    assert!(matches!(refused.map(|_| ()), Err(CompileError::TooDemanding { .. })));
}

#[test]
fn a_configuration_that_does_not_suit_the_module_or_the_node_is_refused() {
    let node = Node::new(&RuntimeConfig { max_memory_bytes: 1 << 20, ..support::config() });
    let warm_program = node.try_function(
        &guest("wat/wasi_loop"),
        Instances::Warm { max_idle: 1 },
        Limits { memory_bytes: 1 << 20, ..limits() },
    );
    assert!(matches!(warm_program.map(|_| ()), Err(CompileError::Config { .. })));
    let too_large = node.try_function(&guest("wat/loop"), Instances::Fresh, limits());
    assert!(matches!(too_large.map(|_| ()), Err(CompileError::Config { .. })));
}

#[test]
fn an_import_that_is_not_offered_is_told_with_its_module_if_that_has_a_name() {
    for (module, told) in [("elsewhere", "`elsewhere.tide`"), ("", "`tide`")] {
        let import = format!(r#"(import "{module}" "tide" (func))"#);
        let call =
            r#"(memory (export "memory") 1) (func (export "__guest_call") (param i32 i32) (result i32) unreachable)"#;
        let refused = refusal(&wat(&format!("(module {import} {call})"))).to_string();
        assert!(refused.starts_with(&format!("the module imports {told}, which this host")), "{refused}");
    }
}

#[test]
fn a_module_tells_its_abi_and_its_imports() {
    let node = Node::small();
    let of = |name: &str| node.runtime.compile(&guest(name), &CompileConfig::default()).unwrap();
    assert_eq!(of("rust/hello_world").abi(), "wapc");
    assert_eq!(of("go/hello_world").abi(), "wapc");
    assert_eq!(of("rust/upper").abi(), "wasi");
    assert_eq!(of("wat/start_exit_0").abi(), "wapc", "a start function does not make it a program");
    let imports = of("wat/parked").imports().to_vec();
    assert_eq!(imports.len(), 7);
    assert!(imports.contains(&("wapc".into(), "__host_call".into())));
    assert!(of("wat/loop").imports().is_empty());
    assert!(!of("rust/hello_world").compile_time().is_zero());
}

#[test]
fn a_refused_module_leaves_the_runtime_as_it_was() {
    let node = Node::small();
    assert!(node.runtime.compile(b"nonsense", &CompileConfig::default()).is_err());
    assert!(node.runtime.compile(&guest("wat/invalid"), &CompileConfig::default()).is_err());
    assert!(node.runtime.compile(&guest("wat/import_unknown"), &CompileConfig::default()).is_err());
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    assert!(text.contains("tidepool_compiles_total 0"), "{text}");
    assert!(support::call(&node.fresh(&guest("rust/hello_world")), "hello", b"").is_ok());
    node.assert_empty();
}

#[test]
fn one_module_serves_functions_of_different_limits() {
    let node = Node::small();
    let module = Arc::new(node.runtime.compile(&guest("wat/memory_hold"), &CompileConfig::default()).unwrap());
    for pages in [2_u64, 7] {
        let limits = Limits { memory_bytes: pages * support::PAGE, ..limits() };
        let config = FunctionConfig { limits, ..settings::function_config() };
        let function = Arc::new(module.function(config).unwrap());
        assert_eq!(support::call(&function, "any", b""), Ok(pages.to_string().into_bytes()));
    }
}

#[test]
fn a_module_that_exports_more_than_can_be_told_has_no_interface_and_what_is_called_is_found() {
    let exports: String = (0..80_000).map(|at| format!(r#"(export "{at}" (func $f))"#)).collect();
    let module = compile(&wat(&format!(
        r#"(module {exports} (export "add" (func $add)) (func $f)
             (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#
    )));
    let module = module.unwrap();
    assert_eq!(module.interface(), None);
    let config = FunctionConfig { limits: limits(), ..settings::function_config() };
    let function = Arc::new(module.function(config).unwrap());
    assert_eq!(support::call(&function, "add", b"[19,23]").unwrap(), b"42");
}
