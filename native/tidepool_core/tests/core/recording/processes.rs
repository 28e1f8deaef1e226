//! Processes of programs: each is recorded from its start, and replayed alone, without the others of its program.

use std::sync::Arc;

use tidepool_core::{
    CompileConfig, Counts, EngineKind, Function, FunctionConfig, How, Limits, ProcessOptions, RecordConfig, Recording,
};

use super::damage::{MONOTONIC, Parts, RANDOM, WAITED};
use super::studio::{Studio, all, assert_same, failures, replay, verdict};
use super::traps::places;
use crate::settings;
use crate::support::processes::Processes;
use crate::support::program::program;
use crate::support::{Node, eventually, limits, sample};

/// What is told beside what processes tell each other.
const WASI: &str = r#"
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
"#;

/// Fifty processes, each of which is told its number, draws from random bytes where it goes, and ends. One traps there.
const FIFTY: &str = r#"
    (func (export "_start") (local $number i32) (local $id i64)
        (loop $more
            (local.set $id (call $child (i64.const 0) (i64.const -1)))
            (call $monitor (local.get $id))
            (call $post (local.get $id) (i64.const 1) (local.get $number))
            (call $post (local.get $id) (i64.const 2) (i32.mul (local.get $number) (i32.const 3)))
            (br_if $more (i32.lt_u (local.tee $number (i32.add (local.get $number) (i32.const 1))) (i32.const 50))))
        (loop $more
            (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2)))
            (br_if $more (local.tee $number (i32.sub (local.get $number) (i32.const 1))))))
    (func $a (drop (i32.div_u (i32.const 1) (i32.const 0))))
    (func $b (drop (i32.load (i32.const -8))))
    (func $c (unreachable))
    (func (export "child") (local $sum i32)
        (call $check (i32.eqz (call $next (i64.const 2) (call $forever))))
        (local.set $sum (call $value))
        (call $check (i32.eqz (call $next (i64.const 1) (call $forever))))
        (call $check (i32.eq (local.get $sum) (i32.mul (i32.const 3) (call $value))))
        (call $sleep (i64.const 1))
        (call $check (i32.eq (call $next (i64.const 7) (i64.const 2)) (i32.const 9027)))
        (drop (call $random (i32.const 2000) (i32.const 8)))
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 2008)))
        (if (i32.eq (call $value) (i32.const 0)) (then (return)))
        (if (i32.ne (local.get $sum) (i32.const 99)) (then (return)))
        (block $2 (block $1 (block $0
            (br_table $0 $1 $2 (i32.and (i32.xor (i32.load (i32.const 2000)) (i32.load (i32.const 2008))) (i32.const 3))))
            (call $a)) (call $b)) (call $c))
"#;

/// A function of a program whose processes are recorded.
pub(crate) fn recorded(studio: &Studio, wasm: &[u8], record: RecordConfig) -> Arc<Function> {
    recorded_within(studio, wasm, record, limits())
}

/// The same with limits of its own.
fn recorded_within(studio: &Studio, wasm: &[u8], record: RecordConfig, limits: Limits) -> Arc<Function> {
    let config = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
    let module = Arc::new(studio.node.runtime.compile(wasm, &config).unwrap());
    let config = FunctionConfig { limits, record: Some(record), ..settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

pub(crate) fn studio() -> Studio {
    Studio::of(Node::dense(64, 0))
}

pub(crate) fn run(function: &Arc<Function>) -> Processes {
    let mut processes = Processes::start(function, ProcessOptions::default());
    let _outcome = processes.run();
    processes
}

#[test]
fn one_of_fifty_processes_that_traps_is_replayed_alone_to_the_same_instruction() {
    let studio = studio();
    let function = recorded(&studio, &program(&format!("{WASI} {FIFTY}")), failures());
    let mut seen = std::collections::BTreeSet::new();
    for turn in 1..=10 {
        assert_eq!(run(&function).run(), Ok(Vec::new()));
        assert_eq!(studio.counts(), Counts { kept: turn, dropped: 0 }, "those that end well are not kept");
        let report = replay(&function, &studio.last(), How::Exactly);
        assert_eq!(report["verdict"], "same", "{report:#}");
        assert_eq!(report["recorded"]["reason"], "trap");
        let [recorded, replayed] = places(&report);
        assert_eq!(recorded, replayed);
        assert!(recorded.len() >= 2 && recorded[0].1.is_u64(), "{recorded:?}");
        seen.insert(recorded[0].0.to_string());
    }
    assert!(seen.len() > 1, "where it traps is random: {seen:?}");
}

#[test]
fn each_of_fifty_processes_is_kept_where_all_are_and_replayed_without_the_others() {
    let studio = studio();
    let function = recorded(&studio, &program(&format!("{WASI} {FIFTY}")), all());
    assert_eq!(run(&function).run(), Ok(Vec::new()));
    assert_eq!(studio.counts(), Counts { kept: 51, dropped: 0 });
    for recording in studio.newest(51) {
        assert_same(&function, &recording);
    }
}

/// Is told once in each way, and sends itself all that it was told.
const CURIOUS: &str = r#"
    (func $keep (param $at i32) (param $kind i32)
        (i32.store (local.get $at) (local.get $kind))
        (i64.store offset=8 (local.get $at) (call $get_tag))
        (i64.store offset=16 (local.get $at) (call $get_process_id)))
    (func (export "_start") (local $id i64)
        (call $die_when_link_dies (i32.const 0))
        (local.set $id (call $child (i64.const 5) (i64.const -1)))
        (i64.store (i32.const 3000) (local.get $id))
        (i32.store (i32.const 3008) (call $exists (local.get $id)))
        (call $monitor (local.get $id))
        (call $put (i32.const 80) (i32.const 6) (i64.const 1) (local.get $id))
        (i32.store (i32.const 3012) (call $get (i32.const 80) (i32.const 6) (i32.const 3016) (i32.const 3024)))
        (call $post (local.get $id) (i64.const 0) (i32.const 7))
        (call $keep (i32.const 3032) (call $next (i64.const 5) (call $forever)))
        (call $keep (i32.const 3056) (call $next (i64.const 0) (call $forever)))
        (i32.store (i32.const 3080) (call $next (i64.const 9) (i64.const 1)))
        (call $post (call $me) (i64.const 3) (i32.const 11))
        (call $keep (i32.const 3088) (call $next (i64.const 3) (call $forever)))
        (i32.store (i32.const 3112) (call $value))
        (call $create (i64.const 4) (i64.const 0))
        (i64.store (i32.const 3120) (call $send_after (call $me) (i64.const 100000)))
        (i32.store (i32.const 3128) (call $cancel (i64.load (i32.const 3120))))
        (call $sleep (i64.const 1))
        (drop (call $random (i32.const 3136) (i32.const 8)))
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 3144)))
        (call $create (i64.const 1) (i64.const 0))
        (drop (call $write (i32.const 3000) (i32.const 152)))
        (drop (call $send (call $me))))
    (func (export "child") (drop (call $next (i64.const 0) (call $forever))) (unreachable))
"#;

#[test]
fn what_a_process_was_told_and_is_missing_or_is_another_is_told() {
    let studio = studio();
    let function = recorded(&studio, &program(&format!("{WASI} {CURIOUS}")), all());
    let mut processes = run(&function);
    assert_eq!(processes.run(), Ok(Vec::new()));
    drop(processes);
    let recordings = studio.newest(2);
    let recording = recordings.iter().find(|it| !Parts::of(it).told("lunatic::process.spawn").is_empty()).unwrap();
    assert_same(&function, recording);
    let parts = Parts::of(recording);
    assert_eq!(&parts.written(), recording, "nothing changes by being taken apart");
    // A death by a link, an end, nothing in time, and a message.
    assert_eq!(parts.told("lunatic::message.receive").len(), 4);
    let imports = [
        "lunatic::process.spawn",
        "lunatic::process.exists",
        "lunatic::registry.get",
        "lunatic::message.receive",
        "lunatic::timer.send_after",
        "lunatic::timer.cancel_timer",
    ];
    let kinds = [WAITED, RANDOM, MONOTONIC];
    let told = imports.iter().flat_map(|import| parts.told(import)).chain(kinds.iter().flat_map(|it| parts.find(*it)));
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), imports.len() + 3 + kinds.len());
    for at in told {
        let report = replay(&function, &parts.without(at), How::Exactly);
        assert_eq!(report["verdict"], "diverged", "without {at:?}: {report:#}");
        assert!(report["parted"]["entry"].as_u64().unwrap() >= u64::try_from(at.1).unwrap());
        // What comes of a sleep is nothing.
        if !parts.find(WAITED).contains(&at) {
            assert_ne!(verdict(&function, &parts.otherwise(at), How::Exactly), "same", "another at {at:?}");
        }
    }
    // What it only asks for, too: in another order, or with other arguments, it is another way.
    for import in ["lunatic::process.monitor", "lunatic::registry.put", "lunatic::message.send"] {
        assert_eq!(verdict(&function, &parts.without(parts.told(import)[0]), How::Exactly), "diverged", "{import}");
    }
}

#[test]
fn a_process_that_asks_for_something_else_is_told_with_its_place() {
    let studio = studio();
    let code = format!("{WASI} {CURIOUS}");
    let function = recorded(&studio, &program(&code), all());
    assert_eq!(run(&function).run(), Ok(Vec::new()));
    let recordings = studio.newest(2);
    let recording = recordings.iter().find(|it| !Parts::of(it).told("lunatic::process.spawn").is_empty()).unwrap();
    let other = recorded(&studio, &program(&code.replace("(i32.const 11))", "(i32.const 12))")), all());
    let report = replay(&other, recording, How::Exactly);
    assert_eq!(report["verdict"], "diverged", "{report:#}");
    assert_eq!(report["parted"]["recorded"], report["parted"]["asked"], "another payload of the same length");
    assert!(report["parted"]["asked"].as_str().unwrap().starts_with("lunatic::message.send"), "{report:#}");
}

#[test]
fn a_process_that_others_end_has_not_failed_and_is_replayed_to_where_it_was() {
    let code = r#"
        (func (export "_start")
            (drop (call $child (i64.const 0) (i64.const -1)))
            (call $check (i32.eqz (call $next (i64.const 1) (call $forever)))))
        (func (export "child")
            (call $post (i64.const 1) (i64.const 1) (i32.const 5))
            (drop (call $next (i64.const 0) (call $forever)))
            (unreachable))"#;
    for (record, kept) in [(failures(), 0), (all(), 2)] {
        let studio = studio();
        let function = recorded(&studio, &program(code), record);
        let mut processes = run(&function);
        assert_eq!(processes.run(), Ok(Vec::new()));
        drop(processes);
        assert_eq!(studio.counts(), Counts { kept, dropped: 0 });
        if kept > 0 {
            let verdicts = studio.newest(2).iter().map(|it| verdict(&function, it, How::Exactly)).collect::<Vec<_>>();
            assert_eq!(verdicts, ["cut", "same"]);
        }
    }
}

#[test]
fn a_process_that_outgrows_its_tape_goes_on_and_is_counted() {
    let studio = studio();
    // Sends itself 40 messages of a mebibyte.
    let code = r#"
        (func (export "_start") (local $turn i32)
            (drop (memory.grow (i32.const 32)))
            (loop $more
                (call $create (i64.const 1) (i64.const 0))
                (drop (call $write (i32.const 65536) (i32.const 1048576)))
                (drop (call $send (call $me)))
                (call $check (i32.eqz (call $next (i64.const 1) (call $forever))))
                (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 40)))))"#;
    let function = recorded(&studio, &program(code), all());
    assert_eq!(run(&function).run(), Ok(Vec::new()));
    assert_eq!(studio.counts(), Counts { kept: 0, dropped: 1 });
}

#[test]
fn what_a_tape_takes_is_its_functions_memory_on_the_host_and_without_room_for_it_the_process_goes_on() {
    // Draws 3 MiB, and sleeps or ends.
    let code = |last: &str| {
        format!(
            r#"{WASI} (func (export "_start") (local $turn i32)
                 (loop $more
                   (drop (call $random (i32.const 4096) (i32.const 61440)))
                   (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 50))))
                 {last})"#
        )
    };
    let sleeps = program(&code("(drop (call $next (i64.const 1) (call $forever)))"));
    let studio = studio();
    let held = || {
        let text = studio.node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default()
    };
    let mut processes = Processes::start(&recorded(&studio, &sleeps, all()), ProcessOptions::default());
    processes.run_until(|| held() > 3e6);
    drop(processes);
    eventually("it is given back", || held() == 0.0);

    let before = studio.counts();
    let room = Limits { total_memory_bytes: 1 << 20, ..limits() };
    let function = recorded_within(&studio, &program(&code("")), all(), room);
    assert_eq!(run(&function).run(), Ok(Vec::new()));
    assert_eq!(studio.counts(), Counts { dropped: before.dropped + 1, ..before });
}

#[test]
fn a_process_that_catches_traps_and_yields_many_times_is_replayed_to_the_one_that_ended_it() {
    let code = r#"
        (func $busy (local $turn i32)
            (loop $more
                (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 3000000)))))
        ;; Catches as deep as its function says, and is told something in each.
        (func (export "_lunatic_catch_trap") (param $depth i32) (param $argument i32) (result i32)
            (call $check (i32.eq (call $next (i64.const 9) (i64.const 1)) (i32.const 9027)))
            (call $busy)
            (if (local.get $depth) (then
                (call $check (i32.eqz (call $catch (i32.sub (local.get $depth) (i32.const 1)) (i32.const 0))))))
            (if (i32.ne (local.get $argument) (i32.const 7)) (then (unreachable)))
            (i32.const 1))
        (func $trap (drop (i32.div_u (i32.const 1) (i32.const 0))))
        (func (export "_start") (local $turn i32)
            (loop $more
                (drop (call $random (i32.const 2000) (i32.const 8)))
                (call $check (i32.eqz (call $catch (i32.const 3) (i32.const 0))))
                (call $check (i32.eq (i32.const 1) (call $catch (i32.const 0) (i32.const 7))))
                (call $post (call $me) (i64.const 1) (local.get $turn))
                (call $check (i32.eqz (call $next (i64.const 1) (call $forever))))
                (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 20))))
            (call $trap))"#;
    let studio = studio();
    let function = recorded(&studio, &program(&format!("{WASI} {code}")), failures());
    assert!(run(&function).run().is_err());
    let report = replay(&function, &studio.last(), How::Exactly);
    assert_eq!(report["verdict"], "same", "{report:#}");
    let [recorded, replayed] = places(&report);
    assert_eq!(recorded, replayed);
    // Where the replay parts from the recording, the guest does not catch that.
    let parts = Parts::of(&studio.last());
    let received = parts.told("lunatic::message.receive")[3];
    assert_eq!(verdict(&function, &parts.without(received), How::Exactly), "diverged");
}

#[test]
fn a_program_that_was_upgraded_is_replayed_as_each_of_its_versions() {
    let own = r#"
        (import "tidepool" "upgrade" (func $upgrade (param i32) (result i32)))
        (import "tidepool" "inherit" (func $inherit (result i32)))"#;
    // Leaves a random number to the next version, which was sent another one, and traps where they say.
    let first = r#"(func (export "_start")
        (call $post (call $me) (i64.const 9) (i32.const 77))
        (drop (call $random (i32.const 600) (i32.const 4)))
        (call $create (i64.const 5) (i64.const 0))
        (drop (call $write (i32.const 600) (i32.const 4)))
        (drop (call $upgrade (i32.const 0)))
        (unreachable))"#;
    let heir = r#"
        (func $odd (unreachable))
        (func (export "_start") (local $left i32)
            (call $check (call $inherit))
            (local.set $left (call $value))
            (call $check (i32.eqz (call $next (i64.const 9) (call $forever))))
            (call $check (i32.eq (call $value) (i32.const 77)))
            (if (i32.and (local.get $left) (i32.const 1)) (then (call $odd)))
            (drop (i32.div_u (i32.const 1) (i32.const 0))))"#;
    let studio = studio();
    let version = |version, code: &str| {
        let config = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
        let module = Arc::new(studio.node.runtime.compile(&program(&format!("{WASI} {own} {code}")), &config).unwrap());
        let config = FunctionConfig { version, limits: limits(), record: Some(all()), ..settings::function_config() };
        Arc::new(module.function(config).unwrap())
    };
    let (before, after) = (version(1, first), version(2, heir));
    let (mut seen, mut known) = (std::collections::BTreeSet::new(), Vec::new());
    for _turn in 0..20 {
        let mut processes = Processes::start(&before, ProcessOptions::default());
        processes.newest = Some(Arc::clone(&after));
        assert!(processes.run().is_err());
        drop(processes);
        let trapped = |it: &bytes::Bytes| Recording::read(it.clone()).unwrap().summary().reason == "trap";
        // Two turns may take less than a millisecond, and which of their recordings is newer is not known then.
        let new: Vec<_> = studio.newest(99).into_iter().filter(|it| !known.contains(it)).collect();
        known.extend_from_slice(&new);
        let (ended, gone): (Vec<_>, Vec<_>) = new.into_iter().partition(trapped);
        // That of the version before ends where it asked to be upgraded.
        assert_eq!(verdict(&before, &gone[0], How::Exactly), "cut");
        let report = replay(&after, &ended[0], How::Exactly);
        assert_eq!(report["verdict"], "same", "{report:#}");
        let [recorded, replayed] = places(&report);
        assert_eq!(recorded, replayed);
        seen.insert(format!("{:?}", recorded[0]));
    }
    assert_eq!(seen.len(), 2, "where it traps is random: {seen:?}");
}
