//! Files of processes: each function of WASI that is about them, by scripts of calls and what they are to answer.
//!
//! A line of a script is a function, its arguments and its answer: `fd_tell 4 @0 = 0`. A text in quotes is two arguments, `@8` is a
//! place of the guest's memory, and `[@8 100]` a list of one buffer, of which the length is an argument, too. Other lines say what
//! is in a place, `u32 @0 5`, `u64 @0 5`, `u8 @0 5`, `text @8 'abc'`, or put there before all else: `bytes @8 0f00`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use tidepool_core::{
    CallError, CompileConfig, EngineKind, FileOperation, FileRequest, FilesConfig, FolderConfig, FunctionConfig,
    Grants, HostGrants, HostReply, Instances, ProcessOptions, RuntimeConfig,
};

use crate::support::processes::Processes;
use crate::support::{Node, config, limits, wat};

const WASI: &str = "wasi_snapshot_preview1";
/// Where places begin, texts, and lists of buffers.
const PLACES: usize = 4_096;
const TEXTS: usize = 16_384;
const LISTS: usize = 65_536;
/// What a script does where something differs.
const DIFFERS: &str = "(func $differs (param $line i32) (param $found i32)
  (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (local.get $line))
  (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
  (call $proc_exit (i32.rem_u (local.get $found) (i32.const 126))))";
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

fn tokens(line: &str) -> Vec<String> {
    let (mut all, mut quoted) = (vec![String::new()], false);
    for char in line.chars() {
        match char {
            '\'' => quoted = !quoted,
            ' ' if !quoted => all.push(String::new()),
            _ => {}
        }
        if quoted || char != ' ' {
            all.last_mut().unwrap().push(char);
        }
    }
    all.into_iter().filter(|token| !token.is_empty()).collect()
}

/// A guest that does what a script says. Where something differs, it writes as many bytes as the number of that line, and exits with
/// what was answered.
struct Script {
    types: BTreeMap<String, Vec<String>>,
    data: String,
    texts: usize,
    lists: usize,
}

impl Script {
    fn place(token: &str) -> usize {
        PLACES + token.trim_start_matches('@').parse::<usize>().unwrap()
    }

    fn text(&mut self, token: &str) -> (usize, usize) {
        let text = token.trim_matches('\'');
        let at = self.texts;
        self.texts += text.len();
        let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        writeln!(self.data, "(data (i32.const {at}) \"{escaped}\")").unwrap();
        (at, text.len())
    }

    fn arguments(&mut self, given: &[String]) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut given = given.iter();
        while let Some(token) = given.next() {
            if token.starts_with('\'') {
                let (at, length) = self.text(token);
                arguments.extend([at.to_string(), length.to_string()]);
            } else if let Some(place) = token.strip_prefix('[') {
                let length: u32 = given.next().unwrap().trim_end_matches(']').parse().unwrap();
                let at = self.lists;
                self.lists += 8;
                let place = u32::try_from(Self::place(place)).unwrap();
                let bytes: String =
                    [place, length].iter().flat_map(|it| it.to_le_bytes()).map(|it| format!("\\{it:02x}")).collect();
                writeln!(self.data, "(data (i32.const {at}) \"{bytes}\")").unwrap();
                arguments.extend([at.to_string(), "1".into()]);
            } else if token.starts_with('@') {
                arguments.push(Self::place(token).to_string());
            } else {
                arguments.push(token.clone());
            }
        }
        arguments
    }

    fn line(&mut self, number: usize, line: &str) -> String {
        let tokens = tokens(line);
        let (name, rest) = tokens.split_first().unwrap();
        let differs = |found: &str, wanted: &str| {
            format!(
                "(if (i32.ne (local.tee $x {found}) (i32.const {wanted}))
                   (then (call $differs (i32.const {number}) (local.get $x))))\n"
            )
        };
        let at = |place: &str| format!("(i32.const {})", Self::place(place));
        match name.as_str() {
            "u8" => differs(&format!("(i32.load8_u {})", at(&rest[0])), &rest[1]),
            "u32" => differs(&format!("(i32.load {})", at(&rest[0])), &rest[1]),
            "u64" => differs(&format!("(i32.wrap_i64 (i64.load {}))", at(&rest[0])), &rest[1]),
            "bytes" => {
                let hex: Vec<String> =
                    rest[1].as_bytes().chunks(2).map(|it| String::from_utf8_lossy(it).into()).collect();
                writeln!(self.data, "(data (i32.const {}) \"\\{}\")", Self::place(&rest[0]), hex.join("\\")).unwrap();
                String::new()
            }
            "text" => {
                let bytes = rest[1].trim_matches('\'').bytes().enumerate();
                let byte = |(off, byte): (usize, u8)| {
                    differs(&format!("(i32.load8_u offset={off} {})", at(&rest[0])), &byte.to_string())
                };
                bytes.map(byte).collect()
            }
            name => {
                let [given @ .., equals, wanted] = rest else { panic!("{line}") };
                assert_eq!(equals, "=", "{line}");
                let arguments = self.arguments(given);
                let types = self.types.get(name).unwrap_or_else(|| panic!("there is no {name}")).clone();
                assert_eq!(arguments.len(), types.len(), "{line}: {types:?}");
                let arguments: String =
                    arguments.iter().zip(types).map(|(it, ty)| format!("({ty}.const {it})")).collect();
                differs(&format!("(call ${name} {arguments})"), wanted)
            }
        }
    }

    fn module(node: &Node, script: &str) -> Vec<u8> {
        let imports = node.runtime.imports();
        let ours = imports.iter().filter(|it| it.module == WASI && it.abi == "wasi");
        let types = ours.map(|it| (it.name.clone(), it.params.clone())).collect();
        let mut all = Script { types, data: String::new(), texts: TEXTS, lists: LISTS };
        let lines = script.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        let code: String = lines.map(|(number, line)| all.line(number + 1, line)).collect();
        let imported: String = all
            .types
            .iter()
            .map(|(name, params)| {
                let result = if name == "proc_exit" { "" } else { "(result i32)" };
                format!("(import \"{WASI}\" \"{name}\" (func ${name} (param {}) {result}))\n", params.join(" "))
            })
            .collect();
        wat(&format!(
            "(module {imported} (memory (export \"memory\") 8) {} {DIFFERS} (func (export \"_start\") (local $x i32) {code}))",
            all.data
        ))
    }
}

/// How a script ends: with nothing, or the line that differs and what was answered there.
fn outcome(
    node: &Node,
    folders: Vec<FolderConfig>,
    files: &[(&str, &str)],
    script: &str,
    host: impl FnMut(FileRequest) -> HostReply<Vec<u8>> + 'static,
) -> Result<(), String> {
    let compiled = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
    let module = Arc::new(node.runtime.compile(&Script::module(node, script), &compiled).unwrap());
    let config = FunctionConfig {
        name: "guest".into(),
        version: 1,
        instances: Instances::Fresh,
        limits: limits(),
        host: HostGrants::All,
        grants: Grants::default(),
        folders,
    };
    let function = Arc::new(module.function(config).unwrap());
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

/// Each function: what it answers for a file or a folder that fits it, for a descriptor that nobody has, and what more can be
/// wrong. The descriptor 3 is the folder /data, 4 its file `file` of 5 bytes, 5 the folder `sub` in it.
const EACH: &[(&str, &str)] = &[
    (
        "fd_advise",
        "fd_advise 4 0 5 2 = 0
         fd_advise 4 0 5 6 = 28
         fd_advise 5 0 5 0 = 31
         fd_advise 99 0 5 0 = 8",
    ),
    (
        "fd_allocate",
        "fd_allocate 4 0 10 = 58
         fd_allocate 99 0 10 = 8",
    ),
    (
        "fd_close",
        "fd_close 4 = 0
         fd_close 4 = 8
         fd_close 99 = 8",
    ),
    ("fd_datasync", "fd_datasync 4 = 0\n fd_datasync 99 = 8"),
    (
        "fd_fdstat_get",
        "fd_fdstat_get 4 @0 = 0
         u8 @0 4
         fd_fdstat_get 3 @0 = 0
         u8 @0 3
         fd_fdstat_get 1 @0 = 0
         fd_fdstat_get 4 -8 = 21
         fd_fdstat_get 99 @0 = 8",
    ),
    (
        "fd_fdstat_set_flags",
        "fd_fdstat_set_flags 4 1 = 0
         fd_fdstat_get 4 @0 = 0
         u8 @2 1
         fd_pwrite 4 [@100 2] 0 @0 = 0
         fd_filestat_get 4 @0 = 0
         u64 @32 7
         fd_fdstat_set_flags 4 256 = 28
         fd_fdstat_set_flags 99 1 = 8",
    ),
    (
        "fd_fdstat_set_rights",
        "fd_fdstat_set_rights 4 2 0 = 0
         fd_read 4 [@0 1] @8 = 0
         fd_write 4 [@0 1] @8 = 8
         fd_tell 4 @0 = 76
         fd_fdstat_set_rights 4 66 0 = 76
         fd_fdstat_set_rights 3 8192 2 = 0
         path_open 3 0 'file' 0 2 0 0 @0 = 0
         path_open 3 0 'file' 0 64 0 0 @0 = 76
         path_create_directory 3 'x' = 76
         fd_fdstat_set_rights 99 0 0 = 8",
    ),
    (
        "fd_filestat_get",
        "fd_filestat_get 4 @0 = 0
         u8 @16 4
         u64 @24 1
         u64 @32 5
         fd_filestat_get 3 @0 = 0
         u8 @16 3
         fd_filestat_get 4 -8 = 21
         fd_filestat_get 99 @0 = 8",
    ),
    (
        "fd_filestat_set_size",
        "fd_filestat_set_size 4 2 = 0
         fd_filestat_set_size 4 9 = 0
         fd_read 4 [@0 100] @200 = 0
         u32 @200 9
         text @0 'he'
         u32 @2 0
         fd_filestat_set_size 4 -1 = 22
         fd_filestat_set_size 5 1 = 31
         fd_filestat_set_size 99 1 = 8",
    ),
    (
        "fd_filestat_set_times",
        "fd_filestat_set_times 4 0 777 4 = 0
         fd_filestat_get 4 @0 = 0
         u64 @48 777
         fd_filestat_set_times 4 0 0 12 = 28
         fd_filestat_set_times 5 0 0 8 = 0
         fd_filestat_set_times 99 0 0 4 = 8",
    ),
    (
        "fd_pread",
        "fd_pread 4 [@0 100] 3 @200 = 0
         u32 @200 2
         text @0 'lo'
         fd_tell 4 @0 = 0
         u64 @0 0
         fd_pread 4 [@0 1] -1 @200 = 0
         u32 @200 0
         fd_pread 3 [@0 1] 0 @200 = 31
         fd_pread 99 [@0 1] 0 @200 = 8",
    ),
    (
        "fd_prestat_get",
        "fd_prestat_get 3 @0 = 0
         u32 @0 0
         u32 @4 5
         fd_prestat_get 4 @0 = 8
         fd_prestat_get 5 @0 = 8
         fd_prestat_get 99 @0 = 8",
    ),
    (
        "fd_prestat_dir_name",
        "fd_prestat_dir_name 3 @0 5 = 0
         text @0 '/data'
         fd_prestat_dir_name 3 @0 4 = 37
         fd_prestat_dir_name 3 -3 5 = 21
         fd_prestat_dir_name 5 @0 5 = 8
         fd_prestat_dir_name 99 @0 5 = 8",
    ),
    (
        "fd_pwrite",
        "fd_pread 4 [@100 2] 0 @0 = 0
         fd_pwrite 4 [@100 2] 3 @0 = 0
         u32 @0 2
         fd_pread 4 [@0 100] 0 @200 = 0
         text @0 'helhe'
         fd_pwrite 4 [@100 2] -1 @0 = 22
         fd_pwrite 4 [@100 2] 1048575 @0 = 22
         fd_pwrite 5 [@100 2] 0 @0 = 31
         fd_pwrite 99 [@100 2] 0 @0 = 8",
    ),
    (
        "fd_read",
        "fd_read 4 [@0 3] @200 = 0
         text @0 'hel'
         fd_read 4 [@0 100] @200 = 0
         u32 @200 2
         text @0 'lo'
         fd_read 4 [@0 100] @200 = 0
         u32 @200 0
         fd_read 4 [@0 100] -2 = 21
         fd_read 4 -8 1 @200 = 21
         fd_read 4 -8 0 @200 = 21
         fd_read 5 [@0 100] @200 = 31
         fd_read 99 [@0 100] @200 = 8",
    ),
    (
        "fd_readdir",
        "fd_readdir 3 @0 4096 0 @5000 = 0
         u64 @0 1
         u32 @16 1
         u8 @20 3
         text @24 '.'
         u64 @25 2
         text @49 '..'
         u64 @51 3
         u32 @67 4
         u8 @71 4
         text @75 'file'
         u64 @79 4
         u8 @99 3
         text @103 'sub'
         u32 @5000 106
         fd_readdir 3 @0 4096 3 @5000 = 0
         u32 @5000 27
         fd_readdir 3 @0 30 2 @5000 = 0
         u32 @5000 30
         fd_readdir 3 @0 4096 -1 @5000 = 0
         u32 @5000 0
         fd_readdir 3 -8 4096 0 @5000 = 21
         fd_readdir 4 @0 4096 0 @5000 = 54
         fd_readdir 99 @0 4096 0 @5000 = 8",
    ),
    (
        "fd_renumber",
        "path_open 3 0 'file' 0 ALL 0 @0 = 0
         u32 @0 6
         fd_renumber 6 5 = 0
         fd_tell 6 @0 = 8
         fd_tell 5 @0 = 0
         fd_renumber 5 1 = 0
         fd_write 1 [@100 1] @0 = 0
         fd_filestat_get 1 @0 = 0
         u64 @32 5
         fd_close 1 = 0
         fd_renumber 4 4 = 0
         fd_renumber 4 99 = 8
         fd_renumber 0 4 = 8
         fd_renumber 99 4 = 8
         fd_renumber 98 99 = 8",
    ),
    (
        "fd_seek",
        "fd_seek 4 2 0 @0 = 0
         fd_seek 4 -1 1 @0 = 0
         u64 @0 1
         fd_seek 4 -2 2 @0 = 0
         u64 @0 3
         fd_seek 4 100 2 @0 = 0
         fd_seek 4 -4 0 @0 = 28
         fd_seek 4 0 3 @0 = 28
         fd_tell 4 @0 = 0
         u64 @0 105
         fd_read 4 [@0 100] @200 = 0
         u32 @200 0
         fd_seek 3 0 0 @0 = 8
         fd_seek 99 0 0 @0 = 8",
    ),
    ("fd_sync", "fd_sync 4 = 0\n fd_sync 3 = 0\n fd_sync 99 = 8"),
    ("fd_tell", "fd_tell 4 @0 = 0\n u64 @0 0\n fd_tell 4 -1 = 21\n fd_tell 3 @0 = 8\n fd_tell 99 @0 = 8"),
    (
        "fd_write",
        "fd_pread 4 [@100 2] 0 @0 = 0
         fd_seek 4 4 0 @0 = 0
         fd_write 4 [@100 2] @0 = 0
         u32 @0 2
         fd_tell 4 @0 = 0
         u64 @0 6
         fd_pread 4 [@0 100] 0 @200 = 0
         text @0 'hellhe'
         fd_write 4 [@100 0] @0 = 0
         fd_write 4 -8 1 @0 = 21
         fd_write 4 [@100 2] -1 = 21
         fd_write 3 [@100 2] @0 = 31
         fd_write 99 [@100 2] @0 = 8",
    ),
    (
        "path_create_directory",
        "path_create_directory 3 'new' = 0
         path_create_directory 3 'new' = 20
         path_create_directory 3 'new/in/' = 0
         path_create_directory 3 'none/in' = 44
         path_create_directory 3 'file/in' = 54
         path_create_directory 3 '../out' = 63
         path_create_directory 4 'new' = 54
         path_create_directory 99 'new' = 8",
    ),
    (
        "path_filestat_get",
        "path_filestat_get 3 0 'file' @0 = 0
         u8 @16 4
         u64 @32 5
         path_filestat_get 3 1 'sub/../sub/.' @0 = 0
         u8 @16 3
         path_filestat_get 3 0 'file/' @0 = 54
         path_filestat_get 3 0 'file/x' @0 = 54
         path_filestat_get 3 0 'none' @0 = 44
         path_filestat_get 3 0 '' @0 = 44
         path_filestat_get 3 0 '/data/file' @0 = 63
         path_filestat_get 5 0 '../file' @0 = 63
         path_filestat_get 3 0 -8 16 @0 = 21
         path_filestat_get 3 0 0 5000 @0 = 37
         path_filestat_get 4 0 'x' @0 = 54
         path_filestat_get 99 0 'file' @0 = 8",
    ),
    (
        "path_filestat_set_times",
        "path_filestat_set_times 3 0 'file' 0 777 4 = 0
         path_filestat_get 3 0 'file' @0 = 0
         u64 @48 777
         path_filestat_set_times 3 0 'none' 0 777 4 = 44
         path_filestat_set_times 3 0 'file' 0 777 3 = 28
         path_filestat_set_times 99 0 'file' 0 777 4 = 8",
    ),
    (
        "path_link",
        "path_link 3 0 'file' 3 'other' = 58
         path_link 99 0 'file' 3 'other' = 8
         path_link 3 0 'file' 99 'other' = 8",
    ),
    (
        "path_open",
        "path_open 3 0 'file' 0 2 0 0 @0 = 0
         u32 @0 6
         fd_write 6 [@100 1] @0 = 8
         path_open 3 0 'file' 8 ALL 0 @0 = 0
         u32 @0 7
         fd_filestat_get 7 @0 = 0
         u64 @32 0
         path_open 3 0 'new' 0 2 0 0 @0 = 44
         path_open 3 0 'new' 5 64 0 1 @0 = 0
         fd_read 8 [@100 1] @0 = 8
         path_open 3 0 'new' 5 64 0 1 @0 = 20
         path_open 3 0 'new' 1 64 0 1 @0 = 0
         path_open 3 0 'sub' 0 2 0 0 @0 = 0
         path_open 3 0 'sub' 0 66 0 0 @0 = 31
         path_open 3 0 'sub' 2 ALL 0 @0 = 0
         path_open 3 0 'file' 2 2 0 0 @0 = 54
         path_open 3 0 'file/' 0 2 0 0 @0 = 54
         path_open 3 0 'other/' 1 66 0 0 @0 = 31
         path_open 3 0 'none/other' 1 66 0 0 @0 = 44
         path_open 3 0 'new' 3 66 0 0 @0 = 28
         path_open 3 0 'new' 16 66 0 0 @0 = 28
         path_open 3 0 'new' 0 66 0 32 @0 = 28
         path_open 3 0 '..' 0 2 0 0 @0 = 63
         path_open 3 0 '/etc/passwd' 0 2 0 0 @0 = 63
         path_open 3 0 'file' 0 2 0 0 -2 = 21
         path_open 4 0 'file' 0 2 0 0 @0 = 54
         path_open 99 0 'file' 0 2 0 0 @0 = 8",
    ),
    (
        "path_readlink",
        "path_readlink 3 'file' @0 10 @100 = 28
         path_readlink 3 'none' @0 10 @100 = 44
         path_readlink 99 'file' @0 10 @100 = 8",
    ),
    (
        "path_remove_directory",
        "path_create_directory 3 'sub/in' = 0
         path_unlink_file 5 'gone' = 0
         path_remove_directory 3 'sub' = 55
         path_remove_directory 5 'in' = 0
         path_remove_directory 3 'sub/' = 0
         path_remove_directory 3 'sub' = 44
         path_remove_directory 3 'file' = 54
         path_remove_directory 3 '.' = 10
         path_remove_directory 99 'sub' = 8",
    ),
    (
        "path_rename",
        "path_rename 3 'file' 5 'moved' = 0
         fd_read 4 [@0 100] @200 = 0
         text @0 'hello'
         path_filestat_get 3 0 'sub/moved' @0 = 0
         path_rename 3 'file' 3 'other' = 44
         path_rename 3 'sub' 5 'in' = 28
         path_rename 5 'moved' 3 'sub' = 31
         path_rename 5 'moved' 3 'x/' = 54
         path_rename 3 'sub' 3 'renamed/' = 0
         path_rename 3 'renamed' 99 'x' = 8
         path_rename 99 'renamed' 3 'x' = 8",
    ),
    (
        "path_symlink",
        "path_symlink '/etc/passwd' 3 'link' = 58
         path_symlink 'file' 99 'link' = 8",
    ),
    (
        "path_unlink_file",
        "path_unlink_file 3 'sub' = 31
         path_unlink_file 3 'file/' = 54
         path_unlink_file 3 'file' = 0
         path_unlink_file 3 'file' = 44
         fd_read 4 [@0 100] @200 = 0
         text @0 'hello'
         path_unlink_file 99 'file' = 8",
    ),
    (
        "poll_oneoff",
        // To read the file, and to write to standard output.
        "bytes @1000 07000000000000000100000000000000040000000000000000000000
         bytes @1048 09000000000000000200000000000000010000000000000000000000
         poll_oneoff @1000 @2000 0 @0 = 28
         poll_oneoff @1000 @2000 2 -1 = 21
         poll_oneoff @1000 -1 2 @0 = 21
         poll_oneoff @1048 @2000 1 @0 = 0
         u32 @0 1
         poll_oneoff @1000 @2000 2 @0 = 0
         u32 @0 1
         u64 @2000 7
         u8 @2010 1
         u64 @2016 5",
    ),
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
