//! What a replay came to, as lines for people: in the words of `mix tidepool.replay`.

use serde_json::Value;

use crate::commands::members::{list, number, text};
use crate::failure::Failure;
use crate::output::{Table, escape};

/// Characters of an outcome that a row of the table has.
const SHOWN: usize = 36;

/// What came of a recording that is called so: the node's report, or why there is none.
pub(super) type Replayed = (String, Result<Value, Failure>);

/// Whether it came to what was recorded, as far as that went.
pub(super) fn is_as_recorded(report: &Value) -> bool {
    matches!(report.get("verdict").and_then(Value::as_str), Some("same" | "cut"))
}

/// What was recorded, what came of it now, where they parted, and with `log` what the host was asked.
pub(super) fn lines(report: &Value, log: bool) -> Vec<String> {
    let of = |member| report.get(member).unwrap_or(&Value::Null);
    let mut lines = Vec::new();
    // One line for both, where they are the same.
    if text(report, "verdict") != "same" {
        lines.extend(outcome("recorded", of("recorded")));
    }
    lines.extend(outcome("replayed", of("replayed")));
    lines.extend(last(report));
    lines.extend(parted(of("parted")));
    // Nobody needs to be told of what did not happen.
    if report.get("exact") == Some(&Value::Bool(false)) && text(report, "verdict") != "same" {
        let pinned = report.get("deterministic") == Some(&Value::Bool(true));
        let numbers = if pinned { "" } else { " and numbers that are none" };
        lines.push(format!("the code is not the one that ran: depth of stacks{numbers} may differ"));
    }
    if log {
        lines.extend(list(report, "log").iter().enumerate().map(|(index, entry)| logged(index + 1, entry)));
    }
    lines
}

fn outcome(when: &str, told: &Value) -> Vec<String> {
    if text(told, "reason") == "ok" {
        return vec![format!("{when}: {} bytes, {}", escape(&text(told, "bytes")), quoted(told))];
    }
    let head = format!("{when}: {}: {}", text(told, "reason"), text(told, "message"));
    std::iter::once(escape(&head)).chain(list(told, "backtrace").iter().map(place)).collect()
}

fn place(frame: &Value) -> String {
    let source = frame.get("source").and_then(Value::as_str).map_or_else(String::new, |place| format!(" at {place}"));
    let offset = number(frame, "offset").map_or_else(String::new, |offset| format!(" (offset {offset})"));
    escape(&format!("    in {}{source}{offset}", text(frame, "function")))
}

/// The last that it was told before it was cut.
fn last(report: &Value) -> Option<String> {
    let calls = number(report, "calls").filter(|_calls| text(report, "verdict") == "cut")?;
    let last = report.get("last").filter(|last| last.is_object());
    let told = last.map(|last| format!("entry {}, {}", text(last, "entry"), text(last, "asked")));
    Some(escape(&format!("cut in call {calls}, after {}", told.unwrap_or_else(|| "its beginning".into()))))
}

fn parted(parted: &Value) -> Option<String> {
    let entry = parted.get("entry")?;
    let place = match number(parted, "call") {
        Some(call) => format!("entry {entry} of call {}", call.saturating_add(1)),
        None => format!("entry {entry}, before the first call"),
    };
    let what = |member| parted.get(member).and_then(Value::as_str).unwrap_or("nothing more");
    Some(escape(&format!("parted at {place}: recorded {}, asked {}", what("recorded"), what("asked"))))
}

fn logged(position: usize, entry: &Value) -> String {
    let mut line = format!("{position}. {}", escape(&text(entry, "asked")));
    if let Some(answer) = entry.get("answer").and_then(Value::as_str) {
        line.push_str(&format!(" → {} {}", escape(answer), quoted(entry)));
    }
    if let Some(ns) = number(entry, "ns") {
        line.push_str(&format!(" → {ns} ns"));
    }
    line
}

/// What bytes begin with, in quotes, with all of it visible.
fn quoted(of: &Value) -> String {
    format!("{:?}", of.get("begins").and_then(Value::as_str).unwrap_or_default())
}

/// A row for each recording: what it came to, and what of it is not as it was.
pub(super) fn verdicts(replayed: &[Replayed]) -> String {
    let mut table = Table::new(&["recording", "verdict", "what"]);
    for (title, outcome) in replayed {
        let (verdict, what) = match outcome {
            Ok(report) => (text(report, "verdict"), difference(report)),
            Err(failure) => ("error".to_owned(), failure.to_string()),
        };
        table.whole([title.clone(), verdict, what]);
    }
    table.text()
}

fn difference(report: &Value) -> String {
    let of = |member| report.get(member).unwrap_or(&Value::Null);
    match text(report, "verdict").as_str() {
        "same" | "cut" => short(of("recorded")),
        "asked_more" => format!("asked {}", text(of("parted"), "asked")),
        "asked_less" => format!("did not ask {}", text(of("parted"), "recorded")),
        _ => format!("{} → {}", short(of("recorded")), short(of("replayed"))),
    }
}

fn short(told: &Value) -> String {
    let whole = match text(told, "reason").as_str() {
        "ok" => quoted(told),
        reason => format!("{reason}: {}", text(told, "message")),
    };
    if whole.chars().count() <= SHOWN {
        return whole;
    }
    whole.chars().take(SHOWN - 1).chain(['…']).collect()
}
