//! What makes a build while a project is watched, and what does not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use crate::support::{MODULE, Watch, deploys, eventually, project, tidepool};

/// Counts its runs in a file that is no source.
fn counting() -> String {
    format!("echo run >> runs.log; {MODULE}")
}

fn runs(folder: &Path) -> usize {
    fs::read_to_string(folder.join("runs.log")).unwrap_or_default().lines().count()
}

fn started(folder: &Path, url: &str) -> Watch {
    let watch = Watch::start(folder, url);
    watch.event("watching");
    watch.event("built");
    watch.event("deployed");
    watch
}

#[test]
fn each_way_in_which_editors_save_makes_one_build() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(root, &counting(), r#"["src/**/*.c"]"#);
    fs::create_dir(root.join("src")).unwrap();
    fs::write(root.join("src/a.c"), "0").unwrap();
    let node = deploys();
    let watch = started(root, &node.url);
    let saves: [&dyn Fn(); 6] = [
        // In place, in two writes.
        &|| {
            fs::write(root.join("src/a.c"), "").unwrap();
            fs::write(root.join("src/a.c"), "1").unwrap();
        },
        // A new file, renamed over the old one.
        &|| {
            fs::write(root.join("src/.a.c.tmp"), "2").unwrap();
            fs::rename(root.join("src/.a.c.tmp"), root.join("src/a.c")).unwrap();
        },
        // The old one is kept beside it.
        &|| {
            fs::write(root.join("src/4913"), "").unwrap();
            fs::remove_file(root.join("src/4913")).unwrap();
            fs::rename(root.join("src/a.c"), root.join("src/a.c~")).unwrap();
            fs::write(root.join("src/a.c"), "3").unwrap();
            fs::remove_file(root.join("src/a.c~")).unwrap();
        },
        // In a folder that was not there.
        &|| {
            fs::create_dir_all(root.join("src/deep/deeper")).unwrap();
            fs::write(root.join("src/deep/deeper/b.c"), "4").unwrap();
        },
        // A folder takes another's place.
        &|| {
            fs::create_dir_all(root.join("other")).unwrap();
            fs::write(root.join("other/a.c"), "5").unwrap();
            fs::remove_dir_all(root.join("src")).unwrap();
            fs::rename(root.join("other"), root.join("src")).unwrap();
        },
        &|| fs::write(root.join("src/a.c"), "6").unwrap(),
    ];
    for (count, save) in saves.iter().enumerate() {
        save();
        watch.event("built");
        assert_eq!(watch.event("deployed")["version"], count + 2);
        assert_eq!(runs(root), count + 2);
    }
}

#[test]
fn outputs_ignored_files_links_and_what_no_glob_names_make_no_build() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(
        root,
        &format!("{}; cp out.wasm copy.c; touch a.c", counting()),
        r#"["*.c", "*.wasm", "made/**", "linked/**"]"#,
    );
    fs::write(root.join(".gitignore"), "ignored.c\nmade/\ncopy.c\n").unwrap();
    fs::write(root.join("a.c"), "0").unwrap();
    fs::create_dir(root.join("made")).unwrap();
    symlink(outside.path(), root.join("linked")).unwrap();
    let node = deploys();
    let watch = started(root, &node.url);
    fs::write(root.join("ignored.c"), "x").unwrap();
    fs::write(root.join("made/b.c"), "x").unwrap();
    fs::write(root.join("notes.txt"), "x").unwrap();
    fs::write(root.join("out.wasm"), "x").unwrap();
    fs::write(outside.path().join("c.c"), "x").unwrap();
    symlink("/dev/zero", root.join("zero.c")).unwrap();
    fs::create_dir(root.join(".git")).unwrap();
    fs::write(root.join(".git/x.c"), "x").unwrap();
    // Saved again as it was.
    fs::write(root.join("a.c"), "0").unwrap();
    // The one that counts comes last: by then all the others have been heard of.
    fs::write(root.join("a.c"), "1").unwrap();
    watch.event("built");
    watch.event("deployed");
    fs::write(root.join("a.c"), "2").unwrap();
    watch.event("built");
    watch.event("deployed");
    assert_eq!(runs(root), 3);
    assert!(watch.is_silent());
}

#[test]
fn it_ends_when_its_reader_is_gone_and_a_build_fails() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "while ! rm go 2>/dev/null; do sleep 0.01; done; false", r#"["*.c"]"#);
    let node = deploys();
    let mut watch = tidepool(&["watch", "--json", "--url", &node.url])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Read, and closed.
    let mut first = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("watching"), "{first}");
    fs::write(folder.path().join("go"), "").unwrap();
    eventually("it ends", || watch.try_wait().unwrap().is_some());
}

#[test]
fn changes_during_a_build_make_one_more_and_a_failed_one_deploys_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    // A build begins by saying so, waits to be let go on, and fails if the source says so.
    let command =
        format!("text=$(cat a.c); {}; while ! rm go 2>/dev/null; do sleep 0.01; done; [ $text != bad ]", counting());
    project(root, &command, r#"["*.c"]"#);
    fs::write(root.join("a.c"), "0").unwrap();
    let go = || fs::write(root.join("go"), "").unwrap();
    let begun = |count| eventually("a build has begun", || runs(root) == count);
    let node = deploys();
    let watch = Watch::start(root, &node.url);
    watch.event("watching");
    begun(1);
    for text in ["1", "2", "bad"] {
        fs::write(root.join("a.c"), text).unwrap();
    }
    go();
    watch.event("built");
    watch.event("deployed");
    begun(2);
    go();
    assert_eq!(watch.event("failed")["error"]["reason"], "build_failed");
    fs::write(root.join("a.c"), "3").unwrap();
    begun(3);
    go();
    watch.event("built");
    assert_eq!(watch.event("deployed")["version"], 2);
    assert_eq!(runs(root), 3);
}

#[test]
fn a_node_that_is_away_is_told_of_and_the_next_change_reaches_the_one_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), &counting(), r#"["*.c"]"#);
    let watch = Watch::start(folder.path(), "http://127.0.0.1:1");
    watch.event("watching");
    watch.event("built");
    assert_eq!(watch.event("failed")["error"]["reason"], "unreachable");
    fs::write(folder.path().join("a.c"), "1").unwrap();
    watch.event("built");
    watch.event("failed");
}

#[test]
fn a_changed_description_is_read_again_and_a_broken_one_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(root, &counting(), r#"["*.c"]"#);
    let node = deploys();
    let watch = started(root, &node.url);
    fs::write(root.join("tidepool.toml"), "name = ").unwrap();
    assert_eq!(watch.event("failed")["error"]["reason"], "invalid_project");
    project(root, &counting(), r#"["*.zig"]"#);
    watch.event("built");
    watch.event("deployed");
    fs::write(root.join("a.zig"), "1").unwrap();
    watch.event("built");
    watch.event("deployed");
}

#[test]
fn ctrl_c_ends_a_watch_and_the_build_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "echo $$ > pid; exec sleep 1000", r#"["*.c"]"#);
    let mut watch = Watch::start(folder.path(), "http://127.0.0.1:1");
    watch.event("watching");
    let pid = folder.path().join("pid");
    eventually("the build has begun", || fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')));
    watch.signal("-INT");
    assert_eq!(watch.child.wait().unwrap().code(), Some(130));
    let process = format!("/proc/{}", fs::read_to_string(&pid).unwrap().trim());
    eventually("the build has ended", || !Path::new(&process).exists());
}
