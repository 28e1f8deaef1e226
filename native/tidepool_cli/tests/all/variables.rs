//! Names of variables that are slips of those that the tool reads.

use std::fs;

use crate::setup::NOWHERE;
use crate::support::{run, tidepool};

#[test]
fn a_slip_of_a_variable_is_told_with_the_one_that_was_meant_and_nobody_is_asked() {
    let cases = [
        ("TIDEPOOL_ULR", "TIDEPOOL_URL"),
        ("TIDEPOOL_TOKN", "TIDEPOOL_TOKEN"),
        ("TIDEPOOL_TOKENS", "TIDEPOOL_TOKEN"),
        ("TIDEPOOL_TOOLCHAIN", "TIDEPOOL_TOOLCHAINS"),
        ("TIDPOOL_TOKEN", "TIDEPOOL_TOKEN"),
        ("TIDEPOLL_URL", "TIDEPOOL_URL"),
        ("IDEPOOL_URL", "TIDEPOOL_URL"),
        ("tidepool_url", "TIDEPOOL_URL"),
        ("TIDEPOOL_ca", "TIDEPOOL_CA"),
    ];
    for (slip, meant) in cases {
        let said = format!("the variable {slip} is unknown: did you mean {meant}?");
        let (code, out, error) = run(tidepool(&["list", "--url", NOWHERE]).env(slip, "s3cret"));
        assert_eq!((code, out.as_str(), error), (2, "", format!("tidepool: error: {said}\n")));
        let (code, out, error) = run(tidepool(&["list", "--json", "--url", NOWHERE]).env(slip, "s3cret"));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["error"], serde_json::json!({ "reason": "unknown_variable", "message": said }));
        assert_eq!((code, error.as_str()), (2, ""));
    }
}

#[test]
fn all_slips_are_told_at_once() {
    let mut command = tidepool(&["list", "--url", NOWHERE]);
    let (code, _out, error) = run(command.env("TIDEPOOL_TOKN", "").env("TIDEPOOL_ULR", ""));
    assert_eq!(code, 2);
    let both = "TIDEPOOL_TOKN (did you mean TIDEPOOL_TOKEN?), TIDEPOOL_ULR (did you mean TIDEPOOL_URL?)";
    assert_eq!(error, format!("tidepool: error: the variables {both} are unknown\n"));
}

#[test]
fn variables_of_a_node_that_is_started_from_the_same_shell_pass_and_so_do_those_of_others() {
    let elixir = format!("{}/../../lib/tidepool/config/variables.ex", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let elixir = fs::read_to_string(elixir).unwrap();
    let lists = elixir.split("~w(").skip(1).filter_map(|rest| rest.split_once(')'));
    let of_node: Vec<&str> = lists.flat_map(|(names, _rest)| names.split_whitespace()).collect();
    assert!(of_node.contains(&"TIDEPOOL_ACTORS") && of_node.contains(&"TIDEPOOL_KEY"));
    let of_others = "TIDEPOOL TIDEPOOL_URL2 TIDEPOOL2_URL TIDEPOOL_TOKEN_2 RIDEPOOL_URL MY_TIDEPOOL_TOKEN".split(' ');
    let mut command = tidepool(&["completions", "bash"]);
    for name in of_node.into_iter().chain(of_others) {
        command.env(name, "1");
    }
    let (code, _out, error) = run(&mut command);
    assert_eq!((code, error.as_str()), (0, ""));
}
