//! Files of processes: each function of WASI that is about them, by scripts of calls and what they are to answer.

mod each;
mod script;

use std::collections::BTreeSet;
use std::sync::Arc;

use tidepool_core::{
    CallError, CompileConfig, EngineKind, FileOperation, FileRequest, FilesConfig, FolderConfig, Function,
    FunctionConfig, HostReply, ProcessOptions, RuntimeConfig, Step,
};

use self::each::EACH;
use self::script::Script;
use crate::settings;
use crate::support::processes::Processes;
use crate::support::signal::Signal;
use crate::support::{Node, config, limits};

const WASI: &str = "wasi_snapshot_preview1";
/// All rights.
const ALL: &str = "-1 -1";

fn node() -> Node {
    Node::new(&RuntimeConfig { files: FilesConfig { max_program_files: 50, max_program_bytes: 1 << 20 }, ..config() })
}

fn memory(path: &str) -> FolderConfig {
    FolderConfig { path: path.into(), host: None, writable: true }
}

fn host(path: &str, writable: bool) -> FolderConfig {
    FolderConfig { path: path.into(), host: Some("files".into()), writable }
}

/// A program with these folders that does what a script says.
fn program(node: &Node, folders: Vec<FolderConfig>, script: &str) -> Arc<Function> {
    let compiled = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
    let module = Arc::new(node.runtime.compile(&Script::module(node, script), &compiled).unwrap());
    let config = FunctionConfig { limits: limits(), folders, ..settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

/// How a script ends: with nothing, or the line that differs and what was answered there.
fn outcome(
    node: &Node,
    folders: Vec<FolderConfig>,
    files: &[(&str, &str)],
    script: &str,
    host: impl FnMut(FileRequest) -> HostReply<Vec<u8>> + 'static,
) -> Result<(), String> {
    let function = program(node, folders, script);
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.to_string().into())).collect();
    let mut processes = Processes::start(&function, ProcessOptions { files, ..ProcessOptions::default() });
    processes.files = Some(Box::new(host));
    match processes.run() {
        Ok(_) => Ok(()),
        Err(CallError::Guest { exit_code: Some(code), .. }) => {
            let number = node.lines.texts().last().map_or(0, |line| line.chars().count());
            Err(format!("line {number}, {:?}: {code}", script.lines().nth(number.saturating_sub(1)).map(str::trim)))
        }
        Err(other) => Err(other.to_string()),
    }
}

/// A script of a program with these folders passes.
fn passes(folders: Vec<FolderConfig>, files: &[(&str, &str)], script: &str) {
    let nobody = |request: FileRequest| panic!("{request:?}");
    assert_eq!(outcome(&node(), folders, files, &script.replace("ALL", ALL), nobody), Ok(()));
}

/// Functions of preview 1 that are not about files.
const OTHERS: [&str; 14] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

const OPENED: &str = "path_open 3 0 'file' 0 ALL 0 @0 = 0
    u32 @0 4
    path_open 3 0 'sub' 2 ALL 0 @0 = 0
    u32 @0 5\n";

#[test]
fn each_function_of_preview_1_is_here_and_answers_as_it_should() {
    let node = node();
    let named: BTreeSet<String> = EACH.iter().map(|(name, _)| *name).chain(OTHERS).map(Into::into).collect();
    let imports = node.runtime.imports();
    let offered = imports.iter().filter(|it| it.module == WASI && it.abi == "wasi").map(|it| it.name.clone());
    assert_eq!(named, offered.collect());
    let mut wrong = Vec::new();
    for (name, script) in EACH {
        assert!(script.contains(&format!("{name} 99")) || !name.starts_with("fd"), "{name}");
        let files = [("/data/file", "hello"), ("/data/sub/gone", "")];
        let script = format!("{OPENED}{script}").replace("ALL", ALL);
        let nobody = |request: FileRequest| panic!("{request:?}");
        let outcome = outcome(&node, vec![memory("/data")], &files, &script, nobody);
        wrong.extend(outcome.err().map(|differs| format!("{name}: {differs}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_folders_no_path_leads_anywhere() {
    passes(
        vec![],
        &[],
        "fd_prestat_get 3 @0 = 8
         path_open 3 0 'file' 0 ALL 0 @0 = 8
         path_create_directory 3 'x' = 8
         fd_read 3 [@0 1] @0 = 8
         fd_write 1 [@0 1] @0 = 0",
    );
}

#[test]
fn what_is_listed_is_what_there_was_when_the_list_began() {
    passes(
        vec![memory("/data")],
        &[("/data/a", "1"), ("/data/b", "2"), ("/data/c", "3")],
        "fd_readdir 3 @0 76 0 @5000 = 0
         u32 @5000 76
         path_unlink_file 3 'a' = 0
         fd_readdir 3 @0 4096 3 @5000 = 0
         u32 @5000 50
         text @24 'b'
         text @49 'c'
         fd_readdir 3 @0 4096 0 @5000 = 0
         u32 @5000 101
         path_open 3 0 '.' 2 ALL 0 @0 = 0
         fd_readdir 4 @0 4096 4 @5000 = 0
         u32 @5000 0",
    );
}

#[test]
fn a_folder_that_is_only_to_be_read_is_not_changed() {
    let read_only = FolderConfig { writable: false, ..memory("/data") };
    passes(
        vec![read_only],
        &[("/data/file", "hello"), ("/data/sub/in", "")],
        "path_open 3 0 'file' 0 66 0 0 @0 = 69
         path_open 3 0 'file' 8 2 0 0 @0 = 69
         path_open 3 0 'new' 1 2 0 0 @0 = 69
         path_open 3 0 'file' 1 2 0 0 @0 = 0
         fd_write 4 [@0 1] @0 = 8
         fd_filestat_set_size 4 1 = 76
         fd_filestat_set_times 4 0 0 4 = 76
         path_create_directory 3 'new' = 69
         path_unlink_file 3 'file' = 69
         path_remove_directory 3 'sub' = 69
         path_rename 3 'file' 3 'x' = 69
         path_filestat_set_times 3 0 'file' 0 0 4 = 69
         path_open 3 0 'sub' 2 ALL 0 @0 = 0
         path_unlink_file 5 'in' = 69
         fd_fdstat_set_rights 3 -1 -1 = 76",
    );
}

#[test]
fn when_a_file_was_changed_is_said_by_who_only_reads_it_where_its_folder_may_be_changed() {
    passes(
        vec![memory("/data")],
        &[("/data/file", "hello")],
        "path_open 3 0 'file' 0 10485762 0 0 @0 = 0
         fd_filestat_set_times 4 0 777 4 = 0
         fd_filestat_get 4 @0 = 0
         u64 @48 777
         fd_write 4 [@0 1] @0 = 8",
    );
}

#[test]
fn folders_don_t_mix_and_each_has_its_name() {
    passes(
        vec![memory("/one"), memory("/two/deep")],
        &[("/one/file", "1"), ("/two/deep/file", "2")],
        "fd_prestat_dir_name 4 @0 20 = 0
         text @0 '/two/deep'
         fd_prestat_get 5 @0 = 8
         path_rename 3 'file' 4 'other' = 75
         path_open 4 0 'file' 0 2 0 0 @0 = 0
         fd_read 5 [@0 10] @200 = 0
         text @0 '2'
         fd_close 3 = 0
         path_open 4 0 'file' 0 2 0 0 @0 = 0
         u32 @0 3
         fd_prestat_get 3 @0 = 8",
    );
}

#[test]
fn a_program_has_so_many_files_and_bytes_and_a_process_so_much_open() {
    let name = |number: usize| format!("path_open 3 0 'f{number}' 5 66 0 0 @0 = 0\n fd_close 4 = 0\n");
    let fifty: String = (0..50).map(name).collect();
    passes(
        vec![memory("/data")],
        &[],
        &format!("{fifty} path_open 3 0 'x' 1 66 0 0 @0 = 51\n path_create_directory 3 'x' = 51\n"),
    );
    let large = "fd_write 4 [@0 200000] @0 = 0\n".repeat(5);
    let open = "path_open 3 0 'file' 1 66 0 0 @0 = 0\n".to_string();
    passes(
        vec![memory("/data")],
        &[],
        &format!(
            "{open}{large} fd_write 4 [@0 100000] @0 = 22\n fd_write 4 [@0 40000] @0 = 0\n fd_write 4 [@0 8500] @0 = 51\n
             path_unlink_file 3 'file' = 0\n {open} fd_write 5 [@0 200000] @0 = 51\n
             fd_close 4 = 0\n fd_write 5 [@0 200000] @0 = 0\n"
        ),
    );
    passes(vec![memory("/data")], &[], &format!("{} path_open 3 0 'file' 1 66 0 0 @0 = 33\n", open.repeat(1_023)));
}

/// A host with one file of the bytes `answered`, which fails as its names say.
fn answers(request: FileRequest) -> HostReply<Vec<u8>> {
    assert_eq!(request.folder, "files");
    let stat = |kind: u8, size: u64| [vec![kind], size.to_le_bytes().to_vec(), 77_u64.to_le_bytes().to_vec()].concat();
    let entry = |kind: u8, name: &str| [&[kind, u8::try_from(name.len()).unwrap(), 0], name.as_bytes()].concat();
    match (request.path.as_str(), request.operation) {
        ("", FileOperation::Stat) => Ok(stat(1, 0)),
        ("", FileOperation::List) => Ok([entry(0, "file"), entry(1, "sub")].concat()),
        ("bad", FileOperation::List) => Ok(entry(0, "../out")),
        ("cut", FileOperation::List) => Ok(vec![0, 9, 0, b'x']),
        ("bad" | "cut", FileOperation::Stat) => Ok(stat(1, 0)),
        ("file" | "sub/file", FileOperation::Stat) => Ok(stat(0, 8)),
        ("long", FileOperation::Stat) => Ok(stat(0, 8)),
        ("long", FileOperation::Read { length, .. }) => Ok(vec![b'x'; length as usize + 1]),
        ("nonsense", FileOperation::Stat) => Ok(vec![1, 2, 3]),
        ("file", FileOperation::Read { offset, length }) => {
            let all = b"answered".get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            Ok(all[..all.len().min(length as usize)].to_vec())
        }
        ("file", FileOperation::Write { offset, bytes }) => {
            if (offset, bytes.as_slice()) == (None, b"ans") {
                Ok(vec![])
            } else {
                Err(b"enospc".to_vec())
            }
        }
        ("file", FileOperation::Resize { size: 3 } | FileOperation::Remove { folder: false }) => Ok(vec![]),
        ("file", FileOperation::Rename { to }) if to == "sub/new" => Ok(vec![]),
        ("new", FileOperation::Create { folder: true }) => Ok(vec![]),
        ("slow", _) => Err(b"eio".to_vec()),
        ("odd", _) => Err(b"something else".to_vec()),
        ("denied", _) => Err(b"eacces".to_vec()),
        _ => Err(b"enoent".to_vec()),
    }
}

#[test]
fn a_folder_of_the_host_s_is_asked_for_each_step_and_its_errors_are_the_guest_s() {
    let script = "path_open 3 0 'file' 0 ALL 0 @0 = 0
         u32 @0 4
         fd_read 4 [@0 3] @200 = 0
         text @0 'ans'
         fd_read 4 [@20 100] @200 = 0
         u32 @200 5
         text @20 'wered'
         fd_read 4 [@20 100] @200 = 0
         u32 @200 0
         fd_pread 4 [@20 2] 1 @200 = 0
         text @20 'ns'
         fd_seek 4 -1 2 @100 = 0
         u64 @100 7
         fd_filestat_get 4 @100 = 0
         u64 @140 77
         fd_write 4 [@0 3] @200 = 51
         fd_fdstat_set_flags 4 1 = 0
         fd_write 4 [@0 3] @200 = 0
         fd_tell 4 @100 = 0
         u64 @100 8
         fd_filestat_set_size 4 3 = 0
         fd_filestat_set_times 4 0 0 4 = 58
         fd_readdir 3 @1000 4096 0 @200 = 0
         u32 @200 106
         text @1075 'file'
         text @1103 'sub'
         path_create_directory 3 'new' = 0
         path_unlink_file 3 'file' = 0
         path_rename 3 'file' 3 'sub/new' = 0
         path_rename 3 'file' 3 'x' = 44
         path_open 3 0 'none' 0 2 0 0 @0 = 44
         path_open 3 0 'none' 1 2 0 0 @0 = 44
         path_open 3 0 'denied' 0 2 0 0 @0 = 2
         path_open 3 0 'slow' 0 2 0 0 @0 = 29
         path_open 3 0 'odd' 0 2 0 0 @0 = 29
         path_open 3 0 'nonsense' 0 2 0 0 @0 = 29
         path_open 3 0 '../file' 0 2 0 0 @0 = 63
         path_open 3 0 'long' 0 2 0 0 @0 = 0
         fd_read 5 [@0 3] @200 = 29
         path_open 3 0 'bad' 2 ALL 0 @0 = 0
         fd_readdir 6 @1000 4096 0 @200 = 29
         path_open 3 0 'cut' 2 ALL 0 @0 = 0
         fd_readdir 7 @1000 4096 0 @200 = 29"
        .replace("ALL", ALL);
    assert_eq!(outcome(&node(), vec![host("/etc", true)], &[], &script, answers), Ok(()));
    let script = "path_open 3 0 'file' 0 66 0 0 @0 = 69\n path_unlink_file 3 'file' = 69\n";
    let asked = |request: FileRequest| match request.operation {
        FileOperation::Stat => answers(request),
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome(&node(), vec![host("/etc", false)], &[], script, asked), Ok(()));
}

#[test]
fn a_large_folder_of_the_host_s_is_listed_in_pieces() {
    let node = node();
    let function = program(&node, vec![host("/data", true)], "fd_readdir 3 @0 4096 0 @5000 = 0");
    let mut listed = Vec::new();
    for name in (10_000_u32..30_000).map(|number| number.to_string()) {
        listed.extend([0, 5, 0]);
        listed.extend(name.bytes());
    }
    let (mut task, signal) = (function.start_process(ProcessOptions::default()).unwrap(), Arc::new(Signal::default()));
    let (mut pauses, mut is_answered) = (0, false);
    let outcome = loop {
        match task.drive(|_| signal.waker()) {
            Step::Done(outcome) => break outcome,
            Step::Host(_) => {
                is_answered = true;
                task.answer(Ok(listed.clone()));
            }
            Step::Yield => pauses += u32::from(is_answered),
            Step::Wait => {
                signal.wait(task.remaining());
            }
        }
    };
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(pauses > 20, "{pauses} pauses");
}
