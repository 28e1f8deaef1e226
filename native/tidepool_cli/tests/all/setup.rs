//! Tool chains: fetched whole or not at all, found by builds, and missed by those that fail for want of one. The clients
//! (pip, npm, rustup or apt-get) are the machine's; what they talk to is a server of the test's. test/ship has the rest.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::support::{MODULE, PATIENCE, accept, eventually, project, run, tidepool};

const LANGUAGES: [&str; 7] = ["rust", "assemblyscript", "zig", "go", "c", "javascript", "python"];
/// Nobody listens there.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1/";

/// The tool with tool chains in a folder, and clients that know no index but one.
pub(crate) fn setup(arguments: &[&str], folder: &Path, index: &str) -> Command {
    let mut command = tidepool(&[&["setup"], arguments].concat());
    clients(&mut command, folder, index);
    command
}

fn clients(command: &mut Command, folder: &Path, index: &str) {
    command.env("TIDEPOOL_TOOLCHAINS", folder);
    for (name, value) in [
        ("PIP_INDEX_URL", index),
        ("PIP_EXTRA_INDEX_URL", ""),
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("PIP_FIND_LINKS", ""),
        ("PIP_NO_CACHE_DIR", "1"),
        ("PIP_RETRIES", "0"),
        ("NPM_CONFIG_REGISTRY", index),
        ("NPM_CONFIG_FETCH_RETRIES", "0"),
        ("NPM_CONFIG_CACHE", "cache"),
        ("RUSTUP_DIST_SERVER", index),
        ("RUSTUP_MAX_RETRIES", "0"),
        ("http_proxy", index),
        ("https_proxy", index),
        ("no_proxy", "127.0.0.1"),
    ] {
        command.env(name, value);
    }
}

/// What is in a folder, but for the locks.
fn left(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| !name.ends_with("-lock")).collect()
}

/// Reads the head of a request, and says what is asked for.
fn asked(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.find(|line| line.is_empty());
    first
}

/// An index with the one wheel that is asked for, of which `body` is all that comes.
fn index(wheel: &'static str, length: usize, body: &'static [u8]) -> String {
    accept(move |mut stream| {
        let is_wheel = asked(&stream).contains(".whl");
        let page = format!("<a href=\"/{wheel}\">{wheel}</a>");
        let (kind, length, body) =
            if is_wheel { ("application/zip", length, body) } else { ("text/html", page.len(), page.as_bytes()) };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        // The client may have seen enough.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    })
}

const WHEEL: &str = "ziglang-0.17.0-py3-none-any.whl";

#[test]
fn a_download_that_fails_is_cut_or_has_another_content_leaves_nothing_and_says_what_its_client_said() {
    let cases = [
        ("nobody answers", NOWHERE.to_owned()),
        ("cut", index(WHEEL, 1_000_000, b"PK")),
        ("another content", index(WHEEL, 2, b"PK")),
        ("no such version", index("ziglang-0.1.0-py3-none-any.whl", 2, b"PK")),
    ];
    for (case, index) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (code, out, error) = run(&mut setup(&["zig", "--json"], folder.path(), &index));
        assert_eq!((code, error.as_str()), (4, ""), "{case}: {out}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["error"]["reason"], "not_fetched", "{case}: {out}");
        assert!(answer["error"]["output"].as_str().unwrap().contains("ziglang"), "{case}: {out}");
        assert!(left(folder.path()).is_empty(), "{case}: {:?}", left(folder.path()));
    }
}

#[test]
fn whichever_client_can_not_fetch_leaves_nothing() {
    for language in LANGUAGES {
        let folder = tempfile::tempdir().unwrap();
        let (code, out, error) = run(&mut setup(&[language], folder.path(), NOWHERE));
        assert_eq!((code, out.as_str()), (4, ""), "{language}: {error}");
        assert!(error.contains("could not be fetched"), "{language}: {error}");
        assert!(left(folder.path()).is_empty(), "{language}: {:?}", left(folder.path()));
    }
}

#[test]
fn a_disk_without_room_leaves_nothing_and_is_told_of() {
    static JUNK: [u8; 1 << 20] = [0; 1 << 20];
    let folder = tempfile::tempdir().unwrap();
    let mut tool = setup(&["zig"], folder.path(), &index(WHEEL, JUNK.len(), &JUNK));
    // No file may have more than 64 blocks of 512 bytes.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -f 64; exec \"$0\" setup zig"]).arg(tool.get_program());
    shell.envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let (code, _out, error) = run(&mut shell);
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("File too large"), "{error}");
    assert!(left(folder.path()).is_empty(), "{:?}", left(folder.path()));
    // The same with room gets further.
    let error = run(&mut tool).2;
    assert!(!error.contains("File too large"), "{error}");
}

#[test]
fn without_a_client_it_says_what_there_has_to_be() {
    let empty = tempfile::tempdir().unwrap();
    for language in LANGUAGES {
        let folder = tempfile::tempdir().unwrap();
        let (code, out, _error) = run(setup(&[language, "--json"], folder.path(), NOWHERE).env("PATH", empty.path()));
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &answer["error"]["reason"]), (4, &Value::from("no_client")), "{language}: {out}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("apt-get install"), "{out}");
        assert!(left(folder.path()).is_empty(), "{language}");
    }
}

/// A server that answers nobody until it is let go, and tells of each request.
fn silent() -> (String, Receiver<()>, std::sync::mpsc::Sender<()>) {
    let (requests, heard) = channel();
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let url = accept(move |stream| {
        asked(&stream);
        // The test may have ended.
        let _ = requests.send(());
        let _ = wait.lock().unwrap().recv();
    });
    (url, heard, go)
}

fn started(folder: &Path, index: &str) -> Child {
    setup(&["zig"], folder, index).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// The processes whose environment names a folder.
fn of_folder(folder: &Path) -> usize {
    let is_meant = |entry: &fs::DirEntry| {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains(folder.to_str().unwrap())
    };
    fs::read_dir("/proc").unwrap().flatten().filter(is_meant).count()
}

#[test]
fn of_two_at_once_one_waits_and_ctrl_c_ends_both_with_what_they_have_started() {
    let folder = tempfile::tempdir().unwrap();
    let (index, heard, _go) = silent();
    let mut first = started(folder.path(), &index);
    heard.recv_timeout(PATIENCE).unwrap();
    let mut second = started(folder.path(), &index);
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("waiting for another setup to end"));
    assert!(heard.try_recv().is_err());
    // Another tool chain is nobody's to wait for.
    let (code, _out, error) = run(&mut setup(&["go"], folder.path(), NOWHERE));
    assert!(code == 4 && !error.contains("waiting"), "{error}");
    signal(&second, "-INT");
    assert_eq!(second.wait().unwrap().code(), Some(130));
    assert!(!left(folder.path()).is_empty());
    signal(&first, "-TERM");
    assert_eq!(first.wait().unwrap().code(), Some(130));
    assert!(left(folder.path()).is_empty(), "{:?}", left(folder.path()));
    eventually("pip has ended", || of_folder(folder.path()) == 0);
}

#[test]
fn whoever_waits_goes_on_when_the_other_is_killed_and_what_that_left_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (index, heard, go) = silent();
    let mut first = started(folder.path(), &index);
    heard.recv_timeout(PATIENCE).unwrap();
    let killed = left(folder.path());
    assert_eq!(killed.len(), 1);
    let mut second = started(folder.path(), NOWHERE);
    let mut said = BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("waiting"), "{line}");
    signal(&first, "-KILL");
    first.wait().unwrap();
    said.read_to_string(&mut line).unwrap();
    assert!(line.contains("could not be fetched"), "{line}");
    assert_eq!(second.wait().unwrap().code(), Some(4));
    assert!(left(folder.path()).is_empty(), "{:?}", left(folder.path()));
    // The client of the one that was killed hears of the end of its server.
    drop(go);
    eventually("pip has ended", || of_folder(folder.path()) == 0);
}

/// A tool chain as setup leaves it, whose compiler is a shell's line.
pub(crate) fn installed(folder: &Path, name: &str, program: &str, line: &str) {
    let bin = folder.join(name).join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join(program), format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755)).unwrap();
}

/// The name of a language's tool chain.
pub(crate) fn name_of(language: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _error) = run(&mut setup(&["--list", "--json"], folder.path(), NOWHERE));
    assert_eq!(code, 0, "{out}");
    let list: Value = serde_json::from_str(&out).unwrap();
    let chains = list["toolchains"].as_array().unwrap();
    let is_meant = |chain: &&Value| chain["languages"].as_array().unwrap().contains(&language.into());
    let chain = chains.iter().find(is_meant).unwrap();
    assert_eq!(chain["version"], Value::Null);
    chain["toolchain"].as_str().unwrap().to_owned()
}

#[test]
fn builds_find_what_was_set_up_before_what_path_names_and_with_no_path_too() {
    let tools = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let own = tempfile::tempdir().unwrap();
    installed(own.path(), "own", "zig", "echo own >&2; exit 1");
    let path = format!("{}:/usr/bin:/bin", own.path().join("own/bin").display());
    project(folder.path(), "zig", "[]");
    let build = |path: Option<&str>| {
        let mut command = tidepool(&["build"]);
        command.current_dir(folder.path()).env("TIDEPOOL_TOOLCHAINS", tools.path());
        match path {
            Some(path) => command.env("PATH", path),
            None => command.env_remove("PATH"),
        };
        run(&mut command)
    };
    let (code, _out, error) = build(Some(&path));
    assert!(code == 4 && error.contains("own"), "{error}");
    installed(tools.path(), &name_of("zig"), "zig", MODULE);
    for path in [Some(path.as_str()), None] {
        let (code, _out, error) = build(path);
        assert_eq!(code, 0, "{error}");
    }
    // Another version is another tool chain.
    fs::rename(tools.path().join(name_of("zig")), tools.path().join("zig-0.1.0")).unwrap();
    assert_eq!(build(Some(&path)).0, 4);
}

#[test]
fn what_was_set_up_is_removed_of_whichever_version_and_nothing_else_is() {
    let tools = tempfile::tempdir().unwrap();
    for name in [&name_of("zig"), "zig-0.1.0", &name_of("go"), "mine"] {
        installed(tools.path(), name, "zig", "exit 1");
    }
    let remove = || run(&mut setup(&["c", "--remove", "--json"], tools.path(), NOWHERE));
    let (code, out, error) = remove();
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()["removed"].as_bool()), (0, Some(true)), "{error}");
    let mut names = left(tools.path());
    names.sort();
    assert_eq!(names, [name_of("go").as_str(), "mine"]);
    assert_eq!(serde_json::from_str::<Value>(&remove().1).unwrap()["removed"], false);
}

#[test]
fn what_is_there_and_does_not_compile_is_kept_until_its_successor_is_there() {
    let tools = tempfile::tempdir().unwrap();
    installed(tools.path(), &name_of("zig"), "zig", "exit 1");
    assert_eq!(run(&mut setup(&["zig"], tools.path(), NOWHERE)).0, 4);
    assert_eq!(left(tools.path()), [name_of("zig")]);
}

/// A stand-in for cargo that makes a module of nothing. The last of its arguments is the folder for what it builds.
pub(crate) const CARGO: &str = "for out; do :; done; out=$out/wasm32-unknown-unknown/debug
    mkdir -p $out && printf '\\0asm\\1\\0\\0\\0' > $out/line.wasm";

/// A stand-in for rustup, whose cargo is that one.
fn rustup() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let line = "[ $1 = --version ] || { bin=$RUSTUP_HOME/toolchains/1.95.0-it/bin && mkdir -p $bin && cp ${0%/*}/cargo $bin; }";
    installed(folder.path(), "it", "rustup", line);
    installed(folder.path(), "it", "cargo", CARGO);
    folder
}

#[test]
fn a_successor_takes_the_place_of_what_does_not_compile_and_of_all_versions_also_after_a_kill_in_between() {
    let (tools, client) = (tempfile::tempdir().unwrap(), rustup());
    let path = format!("{}:{}", client.path().join("it/bin").display(), std::env::var("PATH").unwrap());
    let name = name_of("rust");
    installed(tools.path(), &name, "cargo", "exit 1");
    // The second time as one leaves it that is killed when the new one is in its place.
    for fetched in [true, false] {
        installed(tools.path(), "rust-0", "cargo", "exit 1");
        let (code, out, error) = run(setup(&["rust", "--json"], tools.path(), NOWHERE).env("PATH", &path));
        assert_eq!(code, 0, "{out} {error}");
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["fetched"], fetched, "{out}");
        assert_eq!(left(tools.path()), [name.as_str()]);
    }
}

#[test]
fn apt_fetches_for_root_as_its_own_user_who_gets_to_its_folder_and_for_others_as_them() {
    let (tools, client) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // A stand-in that says what it is given, and whether anybody may enter the folders of its cache.
    let says = "for given; do echo \"given $given\"; case $given in Dir::Cache=*) cache=${given#*=} ;; esac; done
        while [ ${cache:-/} != / ]; do stat -c 'mode %A' $cache; cache=${cache%/*}; done; exit 1";
    installed(client.path(), "it", "apt-cache", says);
    for program in ["apt-get", "dpkg"] {
        installed(client.path(), "it", program, "[ \"$1\" = --version ] || apt-cache \"$@\"");
    }
    for program in ["stat", "sh"] {
        symlink(Path::new("/bin").join(program), client.path().join("it/bin").join(program)).unwrap();
    }
    let mut command = setup(&["rust", "--json"], tools.path(), NOWHERE);
    let (code, out, _error) = run(command.env("PATH", client.path().join("it/bin")));
    let answer: Value = serde_json::from_str(&out).unwrap();
    let said = answer["error"]["output"].as_str().unwrap();
    assert_eq!((code, &answer["error"]["reason"]), (4, &Value::from("not_fetched")), "{out}");
    assert!(said.contains("given Dir::Cache="), "{said}");
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    assert_eq!(said.contains("given APT::Sandbox::User=root"), !is_root, "{said}");
    let modes: Vec<&str> = said.lines().filter(|line| line.starts_with("mode ")).collect();
    assert!(!modes.is_empty() && (!is_root || modes.iter().all(|mode| mode.ends_with(['x', 't']))), "{said}");
    assert!(left(tools.path()).is_empty(), "{:?}", left(tools.path()));
}

#[test]
fn a_folder_that_can_not_be_written_or_named_in_path_and_none_at_all_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "kept").unwrap();
    for path in [folder.path().join("file"), folder.path().join("file/deeper"), folder.path().join("a:b")] {
        let (code, out, _error) = run(&mut setup(&["zig", "--json"], &path, NOWHERE));
        assert_eq!(code, 4, "{out}");
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["error"]["reason"], "no_folder", "{path:?}");
    }
    assert_eq!(left(folder.path()), ["file"]);
    let mut command = setup(&["zig", "--json"], folder.path(), NOWHERE);
    let (code, out, _error) =
        run(command.env_remove("TIDEPOOL_TOOLCHAINS").env_remove("HOME").env("XDG_DATA_HOME", "relative"));
    assert_eq!(code, 4, "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["error"]["reason"], "no_folder");
}

/// A folder of the programs that builds need beside compilers.
fn programs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in ["mkdir", "mv"] {
        symlink(Path::new("/bin").join(program), folder.path().join(program)).unwrap();
    }
    folder
}

/// Cargo, without the library for WebAssembly, as rustup and distributions install it.
fn without_library(command: &mut Command, folder: &Path) {
    command.env("RUSTFLAGS", format!("--sysroot {}", folder.display())).env_remove("CARGO_ENCODED_RUSTFLAGS");
}

#[test]
fn a_build_that_fails_for_want_of_a_compiler_names_the_command_that_brings_it() {
    let bare = programs();
    for language in LANGUAGES {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(tidepool(&["new", language, "it"]).current_dir(folder.path())).0, 0);
        let mut build = tidepool(&["build", "--json"]);
        build.current_dir(folder.path().join("it")).env("PATH", bare.path()).env_remove("ZIG");
        build.env("TIDEPOOL_TOOLCHAINS", folder.path().join("none"));
        let (code, out, error) = run(&mut build);
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &answer["error"]["reason"]), (4, &Value::from("no_compiler")), "{language}: {out} {error}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(&format!("tidepool setup {language}")), "{out}");
    }
}

#[test]
fn a_compiler_without_its_library_is_none_and_one_with_sources_that_are_wrong_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    assert_eq!(run(tidepool(&["new", "rust", "it"]).current_dir(folder.path())).0, 0);
    let reason = |command: &mut Command| {
        command.current_dir(folder.path().join("it")).env("TIDEPOOL_TOOLCHAINS", &none);
        let (code, out, _error) = run(command);
        assert_eq!(code, 4, "{out}");
        serde_json::from_str::<Value>(&out).unwrap()["error"]["reason"].as_str().unwrap().to_owned()
    };
    let mut build = tidepool(&["build", "--json"]);
    without_library(&mut build, folder.path());
    assert_eq!(reason(&mut build), "no_compiler");
    // A stand-in for the compiler, for this machine may have none: sources that are wrong are what it says of them.
    let tools = tempfile::tempdir().unwrap();
    let compiler = "case $* in *line.zig*) printf '\\0asm\\1\\0\\0\\0' > line.wasm ;; *) echo 'main.zig:1: wrong' >&2; exit 1 ;; esac";
    installed(tools.path(), &name_of("zig"), "zig", compiler);
    project(&folder.path().join("it"), "zig build-exe main.zig", "[]");
    let mut build = tidepool(&["build", "--json"]);
    let (code, out, error) =
        run(build.current_dir(folder.path().join("it")).env("TIDEPOOL_TOOLCHAINS", tools.path()).env_remove("ZIG"));
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("build_failed") && error.contains("main.zig:1: wrong"), "{out} {error}");
}

#[test]
fn doctor_compiles_a_line_in_each_language_and_names_the_command_for_those_that_do_not() {
    let bare = programs();
    let tools = tempfile::tempdir().unwrap();
    let checks = |change: &dyn Fn(&mut Command)| {
        let mut command = tidepool(&["doctor", "--json", "--url", NOWHERE]);
        command.env("TIDEPOOL_TOOLCHAINS", tools.path()).env("PATH", bare.path()).env_remove("ZIG");
        change(&mut command);
        let (_code, out, _error) = run(command.current_dir(bare.path()));
        let answer: Value = serde_json::from_str(&out).unwrap();
        move |language: &str| {
            let checks = answer["checks"].as_array().unwrap();
            checks.iter().find(|check| check["check"] == language).unwrap().clone()
        }
    };
    let none = checks(&|_command| {});
    for language in LANGUAGES {
        assert_eq!(none(language)["outcome"], "warning");
        assert_eq!(none(language)["setup"], format!("tidepool setup {language}"));
    }
    // Programs of the right name that compile nothing.
    for program in ["asc", "zig", "go", "npm", "node"] {
        installed(tools.path(), "named", program, "exit 0");
    }
    let named = checks(&|command| {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", tools.path().join("named/bin").display()));
        without_library(command, bare.path());
    });
    for language in LANGUAGES {
        assert_eq!(named(language)["outcome"], "warning", "{}", named(language));
    }
    assert!(named("rust")["message"].as_str().unwrap().contains("std"), "{}", named("rust"));
    installed(tools.path(), &name_of("zig"), "zig", "printf '\\0asm\\1\\0\\0\\0' > line.wasm");
    let zig = checks(&|_command| {})("zig");
    assert_eq!(zig["outcome"], "ok", "{zig}");
    assert!(zig["message"].as_str().unwrap().contains(&name_of("zig")), "{zig}");
    // Nothing of the lines stays.
    assert_eq!(left(bare.path()).len(), 2);
}

#[test]
fn what_others_have_put_into_the_folder_for_temporary_files_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let (wrapper, ran) = (folder.path().join("wrapper"), folder.path().join("ran"));
    fs::write(&wrapper, format!("#!/bin/sh\necho ran >{}\nexec \"$@\"\n", ran.display())).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.path().join(".cargo")).unwrap();
    let config = format!("[build]\nrustc-wrapper = \"{}\"\n", wrapper.display());
    fs::write(folder.path().join(".cargo/config.toml"), config).unwrap();
    let command = &mut tidepool(&["doctor", "--url", NOWHERE]);
    command.env("TMPDIR", folder.path()).env("TIDEPOOL_TOOLCHAINS", folder.path());
    let (_status, out, _errors) = run(command);
    assert!(out.lines().any(|line| line.split_whitespace().nth(1) == Some("rust")), "{out}");
    assert!(!ran.exists());
}
