//! Projects: made, built, deployed.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use crate::support::{MODULE, PATIENCE, deploys, eventually, project, run, tidepool};

#[test]
fn a_project_is_made_in_a_new_folder_and_never_over_what_is_there() {
    for project in [
        "rust",
        "assemblyscript",
        "zig",
        "go",
        "c",
        "javascript",
        "python",
        "--http rust",
        "--http go",
        "--component rust",
        "--component javascript",
        "--component python",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let project: Vec<&str> = project.split(' ').collect();
        let make = |name: &str| {
            run(tidepool(&[&["new"], &project[..], &[name, "--json"]].concat()).current_dir(folder.path()))
        };
        let (code, out, _error) = make("hello");
        assert_eq!(code, 0, "{out}");
        let made: serde_json::Value = serde_json::from_str(&out).unwrap();
        for file in made["files"].as_array().unwrap() {
            let text = fs::read_to_string(folder.path().join("hello").join(file.as_str().unwrap())).unwrap();
            assert!(!text.contains("{{"), "{file}");
        }
        let before = fs::read(folder.path().join("hello/tidepool.toml")).unwrap();
        assert_eq!(make("hello").0, 2);
        assert_eq!(fs::read(folder.path().join("hello/tidepool.toml")).unwrap(), before);

        fs::write(folder.path().join("file"), "kept").unwrap();
        symlink("/nowhere/at/all", folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("empty")).unwrap();
        for name in ["file", "link", "empty"] {
            assert_eq!(make(name).0, 2, "{name}");
        }
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path().join("empty")).unwrap().count(), 0);
    }
}

#[test]
fn a_kind_of_project_that_a_language_has_no_template_for_is_refused_with_those_that_have_one() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, language, others) in
        [("--http", "zig", "rust, go, javascript, python"), ("--component", "zig", "rust, go, javascript, python")]
    {
        let (code, _out, error) = run(tidepool(&["new", kind, language, "it"]).current_dir(folder.path()));
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(others), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_name_that_no_function_has_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["../up", "a/b", "..", ".hidden", "", "a b", "a\x1b[2J", "\"\ncommand = \"x", &"x".repeat(129)] {
        let (code, _out, error) = run(tidepool(&["new", "c", "--", name]).current_dir(folder.path()));
        assert_eq!(code, 2, "{name:?}");
        assert!(!error.contains("\x1b[2J"), "{error:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn paths_of_a_project_that_lead_out_of_it_are_refused_before_anything_is_run() {
    let folder = tempfile::tempdir().unwrap();
    for wit in ["/etc", "../wit", "."] {
        let text =
            format!("name='it'\n[build]\ncommand='touch ran'\noutput='out.wasm'\nwatch=[]\nworld='it'\nwit='{wit}'\n");
        fs::write(folder.path().join("tidepool.toml"), text).unwrap();
        assert_eq!(run(tidepool(&["build"]).current_dir(folder.path())).0, 2, "{wit}");
        assert!(!folder.path().join("ran").exists());
    }
    let cases = [
        ("/etc/passwd", "*.c"),
        ("../out.wasm", "*.c"),
        (".", "*.c"),
        ("out.wasm", "../*.c"),
        ("out.wasm", "/etc/*"),
        ("out.wasm", "src/../../*.c"),
        ("out.wasm", "[a"),
    ];
    for (output, watch) in cases {
        let text = format!("name='it'\n[build]\ncommand='touch ran'\noutput='{output}'\nwatch=['{watch}']\n");
        fs::write(folder.path().join("tidepool.toml"), text).unwrap();
        let command = if watch == "[a" { "watch" } else { "build" };
        assert_eq!(run(tidepool(&[command]).current_dir(folder.path())).0, 2, "{output} {watch}");
        assert!(!folder.path().join("ran").exists());
    }
}

#[test]
fn a_project_says_nothing_of_nodes_and_nothing_that_nobody_knows() {
    let folder = tempfile::tempdir().unwrap();
    for extra in [
        "url = 'http://127.0.0.1:1'",
        "token = 'x'",
        "[deploy]\nwasm = 'x'",
        "[deploy]\nname = 'x'",
        "[deploy]\n'a\"b' = 1",
    ] {
        let text = "name='it'\n[build]\ncommand='true'\noutput='out.wasm'\nwatch=[]\n";
        let text = if extra.starts_with('[') { format!("{text}{extra}\n") } else { format!("{extra}\n{text}") };
        fs::write(folder.path().join("tidepool.toml"), text).unwrap();
        assert_eq!(run(tidepool(&["build"]).current_dir(folder.path())).0, 2, "{extra}");
    }
}

#[test]
fn a_deploy_builds_first_and_sends_the_fields_of_the_project_and_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), MODULE, "[]");
    let fields =
        "[deploy]\ninstances = 'warm:4'\nlabel = ['team:shop', 'beta']\nsnapshot = false\nlimits = { time = 500 }\n";
    let manifest = folder.path().join("tidepool.toml");
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + fields).unwrap();
    let node = deploys();
    let arguments =
        ["deploy", "--url", &node.url, "--field", "instances=fresh", "--wait", "all", "--wait-timeout", "2s"];
    let (code, out, error) = run(tidepool(&arguments).current_dir(folder.path()).env("TIDEPOOL_TOKEN", " s3cret\n"));
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("it is version 1"), "{out}");
    let request = node.requests.recv().unwrap();
    assert!(request.head.starts_with("post /deploy?wait=all&wait_timeout=2000 "), "{}", request.head);
    assert!(request.head.contains("authorization: bearer s3cret\r\n"));
    let body = String::from_utf8_lossy(&request.body);
    let values = |name: &str| {
        let head = format!("name=\"{name}\"\r\n\r\n");
        body.split(&head).skip(1).map(|rest| rest.split("\r\n").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values("name"), ["it"]);
    assert_eq!(values("instances"), ["fresh"]);
    assert_eq!(values("label"), ["team:shop", "beta"]);
    assert_eq!(values("snapshot"), ["false"]);
    assert_eq!(values("limits"), [r#"{"time":500}"#]);
    assert!(body.contains("filename=\"module.wasm\"\r\n\r\n\0asm\u{1}\0\0\0\r\n--"), "{body}");
}

#[test]
fn a_build_that_fails_or_makes_no_module_deploys_nothing() {
    for command in ["exit 3", "true", "echo text > out.wasm", "mkdir out.wasm", "no-such-program-anywhere"] {
        let folder = tempfile::tempdir().unwrap();
        project(folder.path(), command, "[]");
        let node = deploys();
        let (code, out, _error) = run(tidepool(&["deploy", "--json", "--url", &node.url]).current_dir(folder.path()));
        assert_eq!(code, 4, "{command}");
        assert!(out.contains("build_failed"), "{out}");
        assert!(node.requests.try_recv().is_err());
    }
}

#[test]
fn what_a_build_prints_is_no_part_of_the_json() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), &format!("echo noise; {MODULE}"), "[]");
    let (code, out, error) = run(tidepool(&["build", "--json"]).current_dir(folder.path()));
    assert_eq!(code, 0, "{error}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["size"], 8);
    assert!(error.contains("noise"), "{error}");
}

#[test]
fn ctrl_c_ends_a_build_and_all_that_it_has_started_even_what_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    project(
        folder.path(),
        "trap '' TERM; sleep 1000 & echo $! > pids; echo $$ >> pids; echo > ready; wait; sleep 1000",
        "[]",
    );
    for signal in ["-INT", "-TERM"] {
        let mut child = tidepool(&["build"]).current_dir(folder.path()).spawn().unwrap();
        eventually("the build has begun", || folder.path().join("ready").exists());
        let began = Instant::now();
        let killed = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(began.elapsed() < PATIENCE);
        for pid in fs::read_to_string(folder.path().join("pids")).unwrap().lines() {
            eventually("a child has ended", || is_gone(pid));
        }
        fs::remove_file(folder.path().join("ready")).unwrap();
    }
}

/// Whether a process has ended, be it that nobody has asked for its status yet.
fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
    }
}

#[test]
fn devices_and_pipes_are_no_modules() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for file in ["/dev/zero", "/", pipe.to_str().unwrap(), "/no/such/file"] {
        assert_eq!(run(&mut tidepool(&["deploy", file, "--url", "http://127.0.0.1:1"])).0, 2, "{file}");
    }
}
