//! All of the command line: a walk over its definition.

use std::fs;

use crate::support::{run, tidepool};

/// Every command that does something, by its words.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    fn walk(command: &clap::Command, words: &[String], found: &mut Vec<(Vec<String>, clap::Command)>) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let words = [words, &[inner.get_name().to_owned()]].concat();
            walk(inner, &words, found);
            if !inner.is_subcommand_required_set() {
                found.push((words, inner.clone()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&tidepool_cli::command(), &[], &mut found);
    assert!(found.len() > 15);
    found
}

#[test]
fn every_command_has_help_and_so_has_each_of_its_options() {
    for (words, command) in commands() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (code, out, error) = run(tidepool(&words).arg("--help"));
        assert_eq!((code, error.as_str()), (0, ""), "{words:?}");
        assert!(out.contains(&command.get_about().unwrap().to_string()), "{words:?}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{words:?} {argument:?}");
        }
    }
}

#[test]
fn every_command_and_every_option_of_its_own_is_documented() {
    let document =
        fs::read_to_string(format!("{}/../../docs/cli.md", std::env::var("CARGO_MANIFEST_DIR").unwrap())).unwrap();
    let global = ["url", "token-file", "ca", "timeout", "json", "help", "version"];
    for option in global {
        assert!(option == "version" || option == "help" || document.contains(&format!("`--{option}")), "{option}");
    }
    for (words, command) in commands() {
        let name = format!("| `{}", words.join(" "));
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}`")));
        let row = row.unwrap_or_else(|| panic!("{words:?} has no row in docs/cli.md"));
        for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(global.contains(&option) || row.contains(&format!("--{option}")), "{words:?} {option}");
        }
    }
}

#[test]
fn whatever_fails_is_json_when_json_is_asked_for() {
    for (words, command) in commands() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let given = command.get_positionals().filter(|positional| positional.is_required_set());
        let given = given.map(|positional| match positional.get_possible_values().first() {
            Some(value) => value.get_name().to_owned(),
            None => "no-such-thing".to_owned(),
        });
        let folder = tempfile::tempdir().unwrap();
        let mut command = tidepool(&words);
        command.args(given).args(["--json", "--url", "http://127.0.0.1:1"]).current_dir(folder.path());
        let (code, out, error) = run(&mut command);
        assert_eq!(error, "", "{words:?}");
        let value: serde_json::Value = serde_json::from_str(out.trim()).unwrap_or_else(|_| panic!("{words:?} {out}"));
        let expected = match words.as_slice() {
            ["new" | "completions" | "keygen"] => 0,
            ["doctor"] => 1,
            ["build" | "deploy" | "watch" | "setup" | "sign" | "push"] | ["token", "create"] => 2,
            _ => 3,
        };
        assert_eq!(code, expected, "{words:?} {value}");
        assert!(expected < 2 || value["error"]["reason"].is_string(), "{words:?} {value}");
        let usage = run(tidepool(&words).args(["--json", "--no-such-option"]));
        assert_eq!(usage.0, 2);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&usage.1).unwrap()["error"]["reason"], "usage");
    }
}

#[test]
fn every_exit_code_is_in_the_help_and_documented() {
    let help = run(&mut tidepool(&["--help"])).1;
    let document =
        fs::read_to_string(format!("{}/../../docs/cli.md", std::env::var("CARGO_MANIFEST_DIR").unwrap())).unwrap();
    for code in ["0", "1", "2", "3", "4", "130"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))), "{code}");
        assert!(document.contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _error) = run(&mut tidepool(&["completions", shell]));
        assert_eq!(code, 0);
        for (words, _command) in commands() {
            assert!(script.contains(words.last().unwrap()), "{shell} {words:?}");
        }
    }
}
