//! Actors: instances that are told from their images, and woken with them, as if they had never been gone.

use std::sync::Arc;
use std::time::Instant;

use tidepool_core::{
    CallError, CompileConfig, CompileError, Imaged, Instances, Limit, Limits, OwnedInstance, RuntimeConfig, Tier,
};

use crate::support::puppet::{
    Kept, PUPPET, Step, actor, actors, call, change, image, is_the_one_that_was_there, noisy, payload, wake,
};
use crate::support::{Node, Outcome, PAGE, config, eventually, finish, guest, limits, request, wat};

#[test]
fn an_instance_that_was_woken_with_its_image_is_the_one_that_was_there() {
    for node in [Node::small(), Node::dense(4, 8)] {
        let function = actor(&node, &wat(PUPPET));
        is_the_one_that_was_there(&function, 48, |instance, step| call(instance, "", &payload(step)));
    }
}

#[test]
fn start_functions_run_once_in_an_actors_life_the_start_section_first() {
    let node = Node::small();
    let wasm = PUPPET.replace(
        "(start $first)",
        "(start $first) (func (export \"_initialize\")
        (if (i32.ne (i32.load8_u (i32.const 65600)) (i32.const 1)) (then (unreachable))))",
    );
    let function = actor(&node, &wat(&wasm));
    let mut instance = function.instance().unwrap();
    let counts = |reply: Outcome| reply.unwrap()[64 + 64..64 + 66].to_vec();
    assert_eq!(counts(call(&instance, "", b"")), [1, 1]);
    for _ in 0..3 {
        let bytes = image(&instance);
        instance = wake(&function, &bytes).unwrap();
        let fill = payload(&Step::Fill { at: 150_000, byte: bytes.len() as u8, count: 1 });
        assert_eq!(counts(call(&instance, "", &fill)), [1, 1]);
        let grown = call(&instance, "", &payload(&Step::Grow));
        assert_eq!(counts(grown), [1, 1]);
    }
}

#[test]
fn an_image_of_what_the_last_one_held_is_not_made_again() {
    let node = Node::small();
    let function = actor(&node, &wat(PUPPET));
    let instance = function.instance().unwrap();
    assert_eq!(instance.image(usize::MAX), Ok(Imaged::Unchanged), "nothing has happened to it");
    call(&instance, "", b"").unwrap();
    let first = image(&instance);
    assert_eq!(instance.image(usize::MAX), Ok(Imaged::Unchanged));
    call(&instance, "", b"").unwrap();
    assert_eq!(instance.image(usize::MAX), Ok(Imaged::Unchanged), "the call has left all as it was");
    call(&instance, "", &payload(&Step::Globals(9))).unwrap();
    let second = image(&instance);
    assert_ne!(first, second);
    let woken = wake(&function, &second).unwrap();
    assert_eq!(woken.image(usize::MAX), Ok(Imaged::Unchanged), "it has not been made yet");
    call(&woken, "", b"").unwrap();
    assert_eq!(woken.image(usize::MAX), Ok(Imaged::Unchanged));
    call(&woken, "", &payload(&Step::Globals(10))).unwrap();
    assert_eq!(woken.image(3 * PAGE as usize - 1), Ok(Imaged::Large), "and that is said before anything is done");
    image(&woken);
}

#[test]
fn a_damaged_image_is_an_error_and_never_another_state() {
    let node = Node::small();
    let function = actor(&node, &wat(PUPPET));
    let instance = function.instance().unwrap();
    for step in [
        Step::Globals(5),
        Step::Fill { at: 66_000, byte: 3, count: 40_000 },
        Step::Fill { at: 67_000, byte: 0, count: 9 },
        Step::Grow,
    ] {
        call(&instance, "", &payload(&step)).unwrap();
    }
    let right = call(&instance, "", b"").unwrap();
    let whole = image(&instance);
    let refused = |bytes: &[u8]| {
        let refused = wake(&function, bytes).and_then(|instance| {
            let first = call(&instance, "", b"");
            assert!(!instance.is_spent() || first.is_ok(), "it was never made");
            first
        });
        match refused {
            Err(CallError::Image { .. } | CallError::Limit { .. }) => {}
            // The same bytes can be packed in several ways.
            Ok(reply) if reply == right => {}
            other => panic!("{:?}", other.map(|reply| reply == right)),
        }
    };
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(&bytes);
    }
    for length in 0..whole.len() {
        refused(&whole[..length]);
    }
    refused(&[&whole[..], &[0]].concat());
    refused(&[&whole[..], &whole[78..]].concat());
    assert_eq!(call(&wake(&function, &whole).unwrap(), "", b""), Ok(right));

    // So it is with changes; but that the last ones are there is for the store to know. A damaged change may look like pieces of the
    // image, depending on digests and the clock: those are found at the first call.
    let refused = |bytes: &[u8]| {
        let refused = wake(&function, bytes).and_then(|instance| call(&instance, "", b""));
        assert!(matches!(refused, Err(CallError::Image { .. })), "{:?}", refused.map(drop));
    };
    for byte in 1..=16 {
        let (noisy, whole) = noisy(&function, byte);
        let changes = [Step::Globals(6), Step::Grow].map(|step| change(&noisy, &step));
        let right = call(&noisy, "", b"").unwrap();
        let chain = [&whole[..], &changes[0], &changes[1]].concat();
        for bit in whole.len() * 8..chain.len() * 8 {
            let mut bytes = chain.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            refused(&bytes);
        }
        for length in whole.len() + 1..chain.len() {
            if length != whole.len() + changes[0].len() {
                refused(&chain[..length]);
            }
        }
        refused(&[&chain[..], &[0]].concat());
        refused(&[&chain[..], &[1, 0, 0]].concat());
        assert_eq!(call(&wake(&function, &chain).unwrap(), "", b""), Ok(right));
    }
    drop((function, instance));
    node.assert_empty();
}

#[test]
fn an_image_of_another_module_or_of_a_function_that_is_no_actor_is_refused() {
    let node = Node::small();
    let (one, other) = (wat(PUPPET), wat(&PUPPET.replace("and more", "and less")));
    let instance = actor(&node, &one).instance().unwrap();
    call(&instance, "", b"").unwrap();
    let image = image(&instance);
    for foreign in [actor(&node, &other), node.fresh(&one)] {
        assert!(matches!(wake(&foreign, &image), Err(CallError::Image { .. })));
    }
    let plain = node.fresh(&one).instance().unwrap();
    call(&plain, "", b"").unwrap();
    assert!(matches!(plain.image(usize::MAX), Err(CallError::Image { .. })));
    assert!(call(&plain, "", b"").is_ok(), "and nothing has become of it");
}

#[test]
fn an_actor_of_one_engine_is_woken_on_the_other_and_on_other_code() {
    let (fast, dense) = (Node::small(), Node::dense(4, 8));
    let baseline = Node::new(&RuntimeConfig { baseline_bytes: 1, ..config() });
    let wasm = wat(PUPPET);
    let functions = [&fast, &dense, &baseline].map(|node| actor(node, &wasm));
    let mut instance = functions[0].instance().unwrap();
    let mut last = call(&instance, "", &payload(&Step::Globals(77))).unwrap();
    for function in functions.iter().cycle().skip(1).take(5) {
        instance = wake(function, &image(&instance)).unwrap();
        assert_eq!(call(&instance, "", b"").unwrap(), last);
        let fill = Step::Fill { at: 140_000 + u32::from(last[0]), byte: last[0] + 1, count: 3 };
        call(&instance, "", &payload(&Step::Globals(u128::from(last[0]) + 1))).unwrap();
        last = call(&instance, "", &payload(&fill)).unwrap();
    }
    assert_eq!(functions[0].tier(), Tier::Optimised);
}

#[test]
fn the_memory_limit_holds_for_instances_that_are_woken_and_a_refusal_leaves_nothing() {
    let node = Node::small();
    let wasm = wat(PUPPET);
    let roomy = actor(&node, &wasm).instance().unwrap();
    for _ in 0..3 {
        call(&roomy, "", &payload(&Step::Grow)).unwrap();
    }
    let large = image(&roomy);
    drop(roomy);
    let tight = actors(&node, &wasm, Limits { memory_bytes: 4 * PAGE, ..limits() }).unwrap();
    let woken = wake(&tight, &large).unwrap();
    for _ in 0..2 {
        let refused = call(&woken, "", b"");
        assert!(matches!(refused, Err(CallError::Limit { limit: Limit::Memory, .. })), "{refused:?}");
        assert!(!woken.is_spent());
    }
    drop((woken, tight));
    node.assert_empty();
    eventually("its memory is given back", || node.runtime.memory_bytes() == 0);
}

#[test]
fn what_an_image_would_not_hold_is_refused_with_what_it_is() {
    let module = |more: &str, body: &str| {
        wat(&format!(
            r#"(module (memory (export "memory") 1) (table $t 2 funcref) {more}
                 (func $f) (elem $e func $f) (data $d "x")
                 (func (export "__guest_call") (param i32 i32) (result i32) {body} (i32.const 1)))"#
        ))
    };
    let node = Node::small();
    let refused = |wasm: &[u8]| match actors(&node, wasm, limits()) {
        Err(CompileError::NoActor { message }) => message,
        other => panic!("{:?}", other.map(drop)),
    };
    for (name, body) in [
        ("table.set", "(table.set $t (i32.const 0) (ref.func $f))"),
        ("table.grow", "(drop (table.grow $t (ref.func $f) (i32.const 1)))"),
        ("table.fill", "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))"),
        ("table.copy", "(table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 1))"),
        ("table.init", "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))"),
        ("elem.drop", "(elem.drop $e)"),
        ("data.drop", "(data.drop $d)"),
    ] {
        let message = refused(&module("", body));
        assert!(message.contains(name) && message.contains("function 1"), "{message}");
        assert!(node.try_function(&module("", body), Instances::Fresh, limits()).is_ok(), "others may: {name}");
    }
    let many = (0..1_001).map(|_| "(global (mut i32) (i32.const 0))").collect::<String>();
    for (what, more) in [
        ("holds a reference", "(global (mut funcref) (ref.null func))"),
        ("imports a mutable global", ""),
        ("imports its memory", ""),
        ("imports a table", ""),
        ("mutable globals", &many),
        ("begin with tidepool:", "(global (mut i32) (i32.const 0)) (func (export \"tidepool:global_0\"))"),
    ] {
        let imported = |import: &str| {
            wat(&format!(
                r#"(module (import "a" "b" {import}) (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
            ))
        };
        let wasm = match what {
            "imports a mutable global" => imported("(global (mut i32))"),
            "imports its memory" => imported("(memory 1)"),
            "imports a table" => imported("(table 1 funcref)"),
            _ => module(more, ""),
        };
        let message = refused(&wasm);
        assert!(message.contains(what), "{message}");
    }
    for (what, memory) in [("64 bits", "i64 1"), ("shared", "1 1 shared"), ("0 memories", "")] {
        let memory = if memory.is_empty() { String::new() } else { format!("(memory (export \"memory\") {memory})") };
        let call = r#"(func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1))"#;
        let message = refused(&wat(&format!("(module {memory} {call})")));
        assert!(message.contains(what), "{message}");
    }
    assert!(refused(&guest("rust/upper")).contains("wasi"), "a program has no calls");
    assert!(matches!(actors(&node, &guest("wat/invalid"), limits()), Err(CompileError::Invalid { .. })));
    assert!(actors(&node, &module("(global (mut i32) (i32.const 0))", ""), limits()).is_ok());
}

#[test]
fn code_of_actors_and_other_code_of_the_same_module_are_kept_apart() {
    let folder = std::env::temp_dir().join(format!("tidepool-images-{}", std::process::id()));
    let wasm = wat(PUPPET);
    for cached in [false, true] {
        let node = Node::small();
        node.runtime.open_cache(&folder, 1 << 30, Box::new(|complaint| panic!("{complaint}"))).unwrap();
        for actor in [true, false] {
            let config = CompileConfig { actor, ..CompileConfig::default() };
            let module = node.runtime.compile(&wasm, &config).unwrap();
            assert_eq!(module.from_cache(), cached);
            module.keep();
        }
        let function = actor(&node, &wasm);
        let instance = function.instance().unwrap();
        let reply = call(&instance, "", &payload(&Step::Globals(4))).unwrap();
        assert_eq!(call(&wake(&function, &image(&instance)).unwrap(), "", b""), Ok(reply));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_monotonic_clock_of_an_actor_that_was_woken_never_goes_back() {
    let wasm = wat(r#"(module
      (import "wapc" "__guest_response" (func $response (param i32 i32)))
      (import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "__guest_call") (param i32 i32) (result i32)
        (drop (call $now (i32.const 1) (i64.const 1) (i32.const 8)))
        (call $response (i32.const 8) (i32.const 8))
        (i32.const 1)))"#);
    let now = |instance: &OwnedInstance| u64::from_le_bytes(call(instance, "", b"").unwrap().try_into().unwrap());
    let node = Node::small();
    let function = actor(&node, &wasm);
    let mut instance = function.instance().unwrap();
    let began = Instant::now();
    let first = now(&instance);
    let mut last = first;
    for _ in 0..20 {
        instance = wake(&function, &image(&instance)).unwrap();
        let next = now(&instance);
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    assert!(u128::from(last - first) <= began.elapsed().as_nanos(), "time in which it was gone is not added");
}

#[test]
fn guests_of_all_languages_go_on_where_they_stopped() {
    for node in [Node::small(), Node::dense(4, 8)] {
        for name in ["rust/hello", "c/hello", "zig/hello", "assemblyscript/hello", "go/hello"] {
            let function = actor(&node, &guest(name));
            let (stays, mut changes) = (function.instance().unwrap(), function.instance().unwrap());
            let mut kept = Kept::default();
            for round in 0..4 {
                let payload = vec![b'a' + round; 1_000 * usize::from(round)];
                let replies = [&stays, &changes].map(|instance| call(instance, "hello", &payload));
                assert!(replies[0].is_ok() && replies[0] == replies[1], "{name}: {replies:?}");
                if kept.keep(&changes) != Imaged::Unchanged && round != 1 {
                    changes = wake(&function, &kept.image).unwrap();
                }
            }
        }
    }
}

#[test]
fn an_image_is_made_between_calls_alone() {
    let node = Node::small();
    let function = actor(&node, &guest("wat/parked"));
    let instance = function.instance().unwrap();
    let mut task = instance.call(request("", b"")).unwrap();
    let signal = Arc::default();
    assert!(matches!(crate::support::next(&mut task, &signal), tidepool_core::Step::Host(_)));
    assert_eq!(instance.image(usize::MAX), Err(CallError::InstanceBusy));
    task.answer(Ok(b"go on".to_vec()));
    assert!(finish(task, |_| Ok(Vec::new())).is_ok());
    image(&instance);
    let trapping = actor(&node, &guest("wat/trap_unreachable")).instance().unwrap();
    assert!(call(&trapping, "", b"").is_err());
    assert_eq!(trapping.image(usize::MAX), Err(CallError::InstanceSpent));
}

/// Not a test: prints what it takes. `cargo test … --test core -- --ignored --nocapture images::timing`.
#[test]
#[ignore = "measures"]
fn timing() {
    let median = |mut times: Vec<u128>| {
        times.sort_unstable();
        times[times.len() / 2] as f64 / 1_000.0
    };
    for node in [Node::small(), Node::dense(4, 8)] {
        for name in ["rust/hello", "zig/hello", "assemblyscript/hello", "go/hello"] {
            let function = actor(&node, &guest(name));
            let instance = function.instance().unwrap();
            let (mut freeze, mut same, mut woken, mut cold, mut bytes) = (vec![], vec![], vec![], vec![], 0);
            let (mut memory, mut warm, mut changes) = (0, vec![], vec![0]);
            for round in 0..300_u32 {
                let payload = round.to_le_bytes();
                let began = Instant::now();
                call(&instance, "hello", &payload).unwrap();
                warm.push(began.elapsed().as_nanos());
                let began = Instant::now();
                let image = instance.image(usize::MAX).unwrap();
                freeze.push(began.elapsed().as_nanos());
                let began = Instant::now();
                assert_eq!(instance.image(usize::MAX), Ok(Imaged::Unchanged));
                same.push(began.elapsed().as_nanos());
                let image = match image {
                    Imaged::New(image) => {
                        bytes = image.len();
                        image
                    }
                    Imaged::Next(change) => {
                        changes.push(change.len() as u128 * 1_000);
                        instance.copy().unwrap().unwrap()
                    }
                    Imaged::Unchanged | Imaged::Large => continue,
                };
                let began = Instant::now();
                let again = wake(&function, &image).unwrap();
                call(&again, "hello", b"x").unwrap();
                woken.push(began.elapsed().as_nanos());
                memory = node.runtime.memory_bytes() / 2;
                drop(again);
                let began = Instant::now();
                let new = function.instance().unwrap();
                call(&new, "hello", b"x").unwrap();
                cold.push(began.elapsed().as_nanos());
            }
            println!(
                "{:?} {name}: memory {} KiB, image {bytes} bytes, change {} bytes; µs: call {:.1}, freeze {:.1}, unchanged {:.1}, wake and call {:.1}, new and call {:.1}",
                node.engine,
                memory >> 10,
                median(changes),
                median(warm),
                median(freeze),
                median(same),
                median(woken),
                median(cold)
            );
        }
    }
}
