//! A test in a process of its own: it may abort, or needs to be the only one there.

use std::process::Command;

const ALONE: &str = "TIDEPOOL_TEST_ALONE";

/// True in a process that runs the test named `test` and no other. Anywhere else such a process is started, and
/// `false` is returned once the test has passed there.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {errors}", output.status);
    assert!(text.contains("1 passed"), "no such test: {text}");
    false
}
