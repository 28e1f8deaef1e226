//! Recordings on a disk: whatever becomes of their bytes, none of them is another run, and calls go on.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tidepool_core::{CallError, FunctionConfig, How, Instances, RecordConfig, Recording};

use super::studio::{Folder, Studio, all, assert_same, call, failures, function, mode, play};
use super::traps::TRAPPING;
use crate::settings;
use crate::support::alone::alone;
use crate::support::{Node, guest, is_long, limits, wat};

const ECHO: &str = "rust/hello_world";

const WARM: Instances = Instances::Warm { max_idle: 1 };

/// Three calls, of which one file has them all.
fn three(instances: Instances) -> (Studio, Arc<tidepool_core::Function>) {
    let studio = Studio::new();
    let function = studio.function(&wat(TRAPPING), instances);
    for payload in ["first", "second", "third"] {
        call(&function, "add", payload.as_bytes()).unwrap();
    }
    assert_eq!(studio.newest(9).len(), 3);
    (studio, function)
}

#[test]
fn no_byte_of_a_recording_can_change_or_be_missing_without_being_noticed() {
    let (studio, function) = three(WARM);
    let recording = studio.last();
    assert_same(&function, &recording);
    for at in 0..recording.len() {
        for bit in 0..8 {
            let mut other = recording.to_vec();
            other[at] ^= 1 << bit;
            assert!(Recording::read(other.into()).is_err(), "bit {bit} of byte {at}");
        }
        assert!(Recording::read(recording.slice(..at)).is_err(), "the first {at} bytes");
    }
    let longer = [&recording[..], &[0]].concat();
    assert!(Recording::read(longer.into()).is_err());
}

/// What of a file can be read is what was written. How many recordings that is.
fn assert_known(studio: &Studio, known: &[Bytes]) -> usize {
    let keeper = studio.keeper();
    let read = |id: &str| Some(Bytes::from(keeper.written().read(id).ok()??));
    let listed = keeper.written().list(None, 99).unwrap();
    let read = listed.iter().filter_map(|one| read(&one.id)).filter(|read| Recording::read(read.clone()).is_ok());
    read.inspect(|read| assert!(known.contains(read), "{read:?}")).count()
}

/// More than the head of a file here.
const HEAD: usize = 100;

/// Places in a file: all of its head, and of what follows all, or a sample that falls on each place of a number in turn.
fn tried_of(bytes: usize) -> impl Iterator<Item = usize> {
    let head = bytes.min(HEAD);
    (0..head).chain((head..bytes).step_by(if is_long() { 1 } else { 7 }))
}

#[test]
fn a_file_with_a_byte_that_changed_has_the_recordings_that_it_had_or_errors() {
    for instances in [WARM, Instances::Fresh] {
        let (studio, _function) = three(instances);
        let known = studio.newest(9);
        let file = studio.folder.files().remove(0);
        let bytes = fs::read(&file).unwrap();
        let disk = fs::OpenOptions::new().write(true).open(&file).unwrap();
        let (mut found, mut tried) = (0, 0);
        for at in tried_of(bytes.len()) {
            tried += 1;
            disk.write_all_at(&[bytes[at] ^ 0x41], u64::try_from(at).unwrap()).unwrap();
            found += assert_known(&studio, &known);
            disk.write_all_at(&bytes[at..=at], u64::try_from(at).unwrap()).unwrap();
        }
        // A recording of a warm instance needs those before it, and all need the head.
        let behind = tried - HEAD;
        let least = if instances == WARM { behind / 3 } else { behind };
        assert!(found > least, "one that is damaged does not take all others with it: {found}");
        for size in tried_of(bytes.len()) {
            fs::write(&file, &bytes[..size]).unwrap();
            assert_known(&studio, &known);
        }
    }
}

#[test]
fn a_call_of_a_warm_instance_is_written_once_and_each_recording_has_all_before_it() {
    let studio = Studio::new();
    let function = studio.function(&guest(ECHO), WARM);
    let calls = 500_u64;
    let payload = [7; 100];
    for _ in 0..calls {
        assert_eq!(call(&function, "echo", &payload).unwrap(), payload);
    }
    assert_eq!(studio.counts().kept, calls);
    let bytes: u64 = studio.folder.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    // The payload, and what the reply begins with.
    let beside = bytes / calls - 200;
    assert!(beside <= 96, "{beside} bytes beside the payload");
    let newest = studio.newest(1_000);
    for (at, recording) in newest.iter().enumerate().step_by(100) {
        assert_eq!(Recording::read(recording.clone()).unwrap().summary().calls, calls - u64::try_from(at).unwrap());
        assert_same(&function, recording);
    }
}

#[test]
fn what_is_deleted_is_zeros_and_what_goes_on_from_it_says_so() {
    let (studio, function) = three(WARM);
    let keeper = studio.keeper();
    let ids: Vec<String> = keeper.written().list(None, 9).unwrap().into_iter().map(|one| one.id).collect();
    let file = studio.folder.files().remove(0);
    let has = |text: &str| fs::read(&file).unwrap().windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("second"));
    keeper.forget();
    assert!(keeper.written().delete(&ids[1]).unwrap());
    assert!(!has("second") && has("first") && has("third"));
    assert_eq!(keeper.written().read(&ids[1]).unwrap(), None);
    assert!(!keeper.written().delete(&ids[1]).unwrap(), "it is gone already");
    assert_same(&function, &keeper.written().read(&ids[2]).unwrap().unwrap().into());
    assert!(
        keeper.written().read(&ids[0]).unwrap_err().to_string().contains("deleted"),
        "the third call had the second before it"
    );
    // What comes later has nothing of what is gone.
    call(&function, "add", b"fourth").unwrap();
    assert_eq!(keeper.written().list(None, 9).unwrap().len(), 3);
    assert_same(&function, &studio.last());
}

#[test]
fn the_oldest_recordings_go_when_there_is_no_room_of_the_function_or_of_the_node() {
    let studio = Studio { node: Node::small(), folder: Folder::new() };
    let (node_bytes, function_bytes) = (48 << 10, 32 << 10);
    studio.node.runtime.open_recordings(&studio.folder.0, node_bytes, function_bytes).unwrap();
    let module = studio.module(&guest(ECHO), false);
    let named = |name: &str| {
        let config = FunctionConfig { name: name.into(), record: Some(all()), ..settings::function_config() };
        Arc::new(module.function(config).unwrap())
    };
    let (one, other) = (named("one"), named("other"));
    let keeper = studio.keeper();
    let on_disk = || -> u64 {
        drop(keeper.written().list(None, 0));
        studio.folder.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum()
    };
    let payload = |number: u32| [number.to_le_bytes().to_vec(), vec![9; 1_000]].concat();
    for number in 0..100 {
        call(&one, "fib", &payload(number)).unwrap_err();
        assert!(on_disk() <= function_bytes, "{}", on_disk());
    }
    let newest = keeper.written().list(Some("one"), 200).unwrap();
    assert!((8..100).contains(&newest.len()), "{}", newest.len());
    let bytes = keeper.written().read(&newest[0].id).unwrap().unwrap();
    assert!(bytes.windows(4).any(|part| part == 99_u32.to_le_bytes()), "the newest is there");
    for number in 0..100 {
        call(&other, "fib", &payload(number)).unwrap_err();
        assert!(on_disk() <= node_bytes, "{}", on_disk());
    }
    assert!(keeper.written().list(Some("other"), 200).unwrap().len() >= 8);
    assert_eq!(keeper.counts().dropped, 0);
    // One that is larger than a file may be.
    call(&other, "fib", &vec![b'x'; 16 << 10]).unwrap_err();
    assert!(on_disk() <= node_bytes);
    assert_eq!(keeper.counts().dropped, 1);
}

#[test]
fn a_namespace_with_many_recordings_pushes_out_its_own_and_none_of_another() {
    let studio = Studio { node: Node::small(), folder: Folder::new() };
    let (node_bytes, function_bytes) = (128 << 10, 64 << 10);
    studio.node.runtime.open_recordings(&studio.folder.0, node_bytes, function_bytes).unwrap();
    let module = studio.module(&guest(ECHO), false);
    let named = |name: &str| {
        let config = FunctionConfig { name: name.into(), record: Some(all()), ..settings::function_config() };
        Arc::new(module.function(config).unwrap())
    };
    let blog = named("blog/post");
    (0..8).for_each(|_| drop(call(&blog, "fib", &[9; 1_000]).unwrap_err()));
    let keeper = studio.keeper();
    let kept = || keeper.written().list(Some("blog/post"), 99).unwrap().len();
    assert_eq!(kept(), 8);
    let many: Vec<_> = (0..20).map(|number| named(&format!("shop/{number}"))).collect();
    for round in 0..5 {
        for function in &many {
            (0..4).for_each(|_| drop(call(function, "fib", &[9; 1_000]).unwrap_err()));
        }
        assert_eq!(kept(), 8, "in round {round}");
    }
    // Nor does one go for some that are too large to be kept.
    (0..8).for_each(|_| drop(call(&many[0], "fib", &vec![b'x'; 32 << 10]).unwrap_err()));
    assert_eq!(kept(), 8);
    // And what the other has more than its half is what goes for its sake.
    let posts: Vec<_> = (0..20).map(|number| named(&format!("blog/{number}"))).collect();
    for function in posts.iter().cycle().take(100) {
        call(function, "fib", &[9; 1_000]).unwrap_err();
    }
    let listed = keeper.written().list(None, 999).unwrap();
    let [shop, blog] = ["shop/", "blog/"].map(|namespace| {
        listed.iter().filter(|one| one.head.as_ref().is_some_and(|head| head.name.starts_with(namespace))).count()
    });
    assert!(shop <= 2 * blog && blog <= 2 * shop && shop + blog > 20, "{shop} and {blog}");
}

#[test]
fn recordings_are_for_whom_the_node_runs_as_alone() {
    let (studio, _function) = three(WARM);
    assert_eq!(mode(&studio.folder.0), 0o700);
    for file in studio.folder.files() {
        assert_eq!(mode(&file), 0o600);
    }
}

#[test]
fn a_name_leads_to_a_recording_of_the_folder_or_nowhere() {
    let (studio, _function) = three(WARM);
    let (keeper, id) = (studio.keeper(), studio.keeper().written().list(None, 1).unwrap().remove(0).id);
    let (stem, at) = id.rsplit_once('-').unwrap();
    let outside = studio.folder.0.with_extension("rec");
    fs::copy(studio.folder.files().remove(0), &outside).unwrap();
    let name = outside.file_stem().unwrap().to_str().unwrap();
    for id in [
        format!("../{name}-{at}"),
        format!("{}-{at}", outside.with_extension("").display()),
        format!("{stem}.rec-{at}"),
        format!("{stem}\0-{at}"),
        format!("{stem}-{at}0"),
        format!("{stem}--{at}"),
        format!("{stem}-+{at}"),
        format!("{stem}-0"),
        format!("{stem}-{}", usize::MAX),
        format!("{stem}-{}", u128::MAX),
        format!("0{stem}-{at}"),
        stem.to_owned(),
        "-".into(),
        String::new(),
    ] {
        assert_eq!(keeper.written().read(&id).unwrap(), None, "{id:?}");
        assert!(!keeper.written().delete(&id).unwrap(), "{id:?}");
    }
    fs::remove_file(outside).unwrap();
    assert!(keeper.written().read(&id).unwrap().is_some());
}

#[test]
fn functions_that_are_called_at_once_have_their_own_recordings() {
    let studio = Studio::new();
    let module = studio.module(&guest(ECHO), false);
    std::thread::scope(|scope| {
        for name in ["one", "other"] {
            let config = FunctionConfig {
                name: name.into(),
                instances: Instances::Warm { max_idle: 4 },
                record: Some(all()),
                ..settings::function_config()
            };
            let function = Arc::new(module.function(config).unwrap());
            for _thread in 0..2 {
                let function = Arc::clone(&function);
                scope.spawn(move || (0..100).for_each(|_| drop(call(&function, "echo", name.as_bytes()).unwrap())));
            }
        }
    });
    let keeper = studio.keeper();
    for name in ["one", "other"] {
        let listed = keeper.written().list(Some(name), 1_000).unwrap();
        assert_eq!(listed.len(), 200);
        for one in listed {
            let recording = Recording::read(keeper.written().read(&one.id).unwrap().unwrap().into()).unwrap();
            assert_eq!(recording.head.name, name);
            assert_eq!(recording.summary().payload_bytes, u64::try_from(name.len()).unwrap());
        }
    }
    assert_eq!(studio.counts().dropped, 0);
}

#[test]
fn of_a_call_that_is_redacted_nothing_is_written_that_users_wrote() {
    let studio = Studio::new();
    let record = RecordConfig { redact: true, ..all() };
    let function = function(&studio.module(&guest(ECHO), false), WARM, limits(), Some(record));
    assert_eq!(call(&function, "echo", b"a secret").unwrap(), b"a secret");
    call(&function, "fail", b"a secret").unwrap_err();
    for recording in studio.newest(2) {
        assert!(!recording.windows(6).any(|part| part == b"secret"));
        let recording = Recording::read(recording).unwrap();
        assert_eq!((recording.summary().payload_bytes, recording.summary().redacted), (8, true));
        let failed = play(function.replay(recording, How::Exactly), |_task, request| panic!("asks for {request:?}"));
        assert!(matches!(failed, Err(CallError::InvalidOption { .. })), "{failed:?}");
    }
}

#[test]
fn calls_that_succeed_are_not_kept_where_failures_are() {
    let studio = Studio::new();
    let function = function(&studio.module(&guest(ECHO), false), WARM, limits(), Some(failures()));
    call(&function, "echo", b"x").unwrap();
    assert_eq!(studio.counts().kept, 0);
    call(&function, "fail", b"x").unwrap_err();
    assert_eq!(studio.counts().kept, 1);
    assert_same(&function, &studio.last());
}

/// Files of this process have so many bytes at most, from now on.
fn limit_files(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: both take what they are to take, and the process is the test's own.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

#[test]
fn a_disk_that_takes_no_more_drops_recordings_and_no_calls() {
    if alone("recording::keeper::a_disk_that_takes_no_more_drops_recordings_and_no_calls") {
        let studio = Studio::of(Node::new(&settings::small()));
        let function = studio.function(&guest(ECHO), Instances::Fresh);
        let echo =
            |calls: u32| (0..calls).for_each(|_| assert_eq!(call(&function, "echo", &[5; 900]).unwrap(), [5; 900]));
        echo(2);
        limit_files(8 << 10);
        echo(40);
        let some = studio.counts();
        assert!(some.kept > 20 && some.dropped > 0, "{some:?}");
        for recording in studio.newest(99) {
            assert_same(&function, &recording);
        }
        limit_files(1);
        echo(40);
        let none = studio.counts();
        assert!(none.dropped >= some.dropped + 39, "{none:?}");
        limit_files(u64::MAX >> 1);
        echo(1);
        assert_eq!(studio.counts().kept, none.kept + 1);
        assert_same(&function, &studio.last());
    }
}
