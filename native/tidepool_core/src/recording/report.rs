//! What a replay is asked for, and what it came to, beside what was recorded.

use bytes::Bytes;
use serde_json::{Value, json};

use super::entry::{Answer, Entry};
use super::exchange::streams::Said;
use super::format::Recording;
use super::outcome::{Answered, Failed, Outcome};
use super::outside::letter::{Letter, RECEIVE};
use super::player::{How, Unlike};
use super::questions::Questions;
use super::taped::{Share, Taped};
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::base::source_lines::SourceLines;
use crate::base::trap::Frame;

/// Bytes of a reply, or of what the host was asked, that a report shows.
const SHOWN: usize = 256;
/// Entries of its last call; how many more there are is said.
const LOGGED: usize = 1_000;

/// A recording, and how it is to be replayed.
pub(crate) struct Replay {
    pub(crate) recording: Recording,
    pub(crate) how: How,
    /// Of a replay that may ask them in whatever order.
    pub(crate) questions: Questions,
    /// What it takes in memory, roughly.
    pub(crate) bytes: usize,
    /// Where it was counted before it was read.
    pub(crate) share: Option<Box<dyn Share>>,
}

impl Replay {
    /// The replay of a recording. What takes long of one with very many entries is done here, and not where the guest goes on.
    pub(crate) fn of(recording: Recording, how: How) -> Self {
        let taped = recording.frame.taped.as_ref();
        let bytes = taped.map_or(0, Taped::size);
        let questions = taped.filter(|_taped| how == How::Against).map(Questions::of).unwrap_or_default();
        Replay { recording, how, questions, bytes, share: None }
    }
}

/// How a replay and its recording compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same outcome, by the same way.
    Same,
    /// The guest came to where it was cut off in production, by time or by its caller's end.
    Cut,
    /// It asked for something else than was recorded.
    Diverged,
    /// It asked the host for what nobody recorded.
    AskedMore,
    /// It did not ask for what was recorded, and came to the same.
    AskedLess,
    /// It was answered, otherwise.
    OtherAnswer,
    /// It failed, and was answered before, or failed otherwise.
    Failed,
    /// It trapped.
    Trapped,
    /// It ran into a limit.
    Limit,
}

impl Verdict {
    /// The name that users see.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Cut => "cut",
            Verdict::Diverged => "diverged",
            Verdict::AskedMore => "asked_more",
            Verdict::AskedLess => "asked_less",
            Verdict::OtherAnswer => "other_answer",
            Verdict::Failed => "failed",
            Verdict::Trapped => "trapped",
            Verdict::Limit => "limit",
        }
    }

    /// That of a replay which came to `found` in place of `recorded`, and parted from the recording at `unlike`.
    pub(crate) fn of(how: How, recorded: &Outcome, found: &Outcome, unlike: Option<&Unlike>, calls: usize) -> Self {
        let is_last = |unlike: &Unlike| unlike.call.map_or(0, |call| call + 1) == calls;
        // Another version may fail by itself where the one before was cut.
        let may_be_cut =
            recorded.is_cut() && (how == How::Exactly || found.is_cut() || matches!(found, Outcome::Reply(_)));
        let may_be_cut_where_they_part = may_be_cut || (how == How::Exactly && recorded.is_too_large());
        match (how, unlike) {
            (_, Some(unlike)) if may_be_cut_where_they_part && is_last(unlike) && unlike.recorded.is_none() => {
                Verdict::Cut
            }
            (How::Exactly, Some(_)) => Verdict::Diverged,
            (How::Against, Some(Unlike { asked: Some(_), .. })) => Verdict::AskedMore,
            (_, None) if may_be_cut && !recorded.means_same(found) => Verdict::Cut,
            (How::Exactly, None) if recorded.is_same(found) => Verdict::Same,
            (How::Against, None) if recorded.means_same(found) => Verdict::Same,
            (How::Against, Some(_)) if recorded.means_same(found) => Verdict::AskedLess,
            _ => Self::other(found),
        }
    }

    fn other(found: &Outcome) -> Self {
        match found {
            Outcome::Reply(_) => Verdict::OtherAnswer,
            Outcome::Failed(Failed { reason, .. }) => match &**reason {
                "trap" => Verdict::Trapped,
                "limit" | "timeout" => Verdict::Limit,
                _ => Verdict::Failed,
            },
        }
    }
}

/// What a replay came to.
pub(crate) struct Came<'a> {
    pub(crate) outcome: &'a Result<Reply, CallError>,
    /// That of one that has responded.
    pub(crate) response: Option<Answered>,
    /// Where it and the recording part.
    pub(crate) unlike: Option<Unlike>,
    /// Where its guest was, if it was stopped there.
    pub(crate) seen: Option<&'a [Frame]>,
}

impl<'a> Came<'a> {
    /// To this, as recorded.
    pub(crate) fn to(outcome: &'a Result<Reply, CallError>) -> Self {
        Came { outcome, response: None, unlike: None, seen: None }
    }
}

/// The report, as JSON; `lines` are those of the module that was called.
pub(crate) fn report(
    how: How,
    recorded: &Outcome,
    taped: &Taped,
    came: Came<'_>,
    lines: Option<&SourceLines>,
) -> Vec<u8> {
    let Came { outcome, response, unlike, seen } = came;
    let found = Outcome::of(outcome.as_ref(), response, &[]);
    let verdict = match seen {
        // Both were cut, and nobody knows whether at the same instruction.
        Some(_) if unlike.is_none() && recorded.is_cut() => Verdict::Cut,
        _ => Verdict::of(how, recorded, &found, unlike.as_ref(), taped.calls.len()),
    };
    let mut replayed = told(&found, None);
    let frames = match outcome {
        Err(CallError::Trap { frames, .. } | CallError::Limit { frames, .. }) => Some(&frames[..]),
        _ => seen,
    };
    if let (Some(frames), Some(told)) = (frames, replayed.as_object_mut()) {
        told.insert("backtrace".into(), frames.iter().map(place).collect());
    }
    let report = json!({
        "verdict": verdict.name(),
        "recorded": told(recorded, lines),
        "replayed": replayed,
        "parted": unlike.map(|unlike| json!({
            "call": unlike.call,
            "entry": unlike.entry,
            "recorded": unlike.recorded,
            "asked": unlike.asked,
        })),
        "last": if verdict == Verdict::Cut { last(taped) } else { Value::Null },
        "calls": taped.calls.len(),
        "log": log(taped),
    });
    report.to_string().into_bytes()
}

/// The last entry of the last call.
fn last(taped: &Taped) -> Value {
    let entries = taped.calls.last().map_or(&[][..], |call| &call.entries);
    let last = entries.iter().enumerate().next_back();
    last.map_or(Value::Null, |(entry, last)| json!({"entry": entry, "asked": last.describe()}))
}

fn told(outcome: &Outcome, lines: Option<&SourceLines>) -> Value {
    match outcome {
        Outcome::Reply(reply) => json!({
            "reason": "ok",
            "bytes": reply.size,
            "begins": text(&reply.head),
            "digest": hex(&reply.digest),
        }),
        Outcome::Failed(failed) => json!({
            "reason": failed.reason,
            "kind": failed.kind,
            "message": failed.message,
            "backtrace": failed.places.iter().map(|place| json!({
                "function": place.text,
                "index": place.index,
                "offset": place.offset,
                "source": place.offset.and_then(|offset| source(lines?, offset.try_into().ok()?)),
            })).collect::<Vec<_>>(),
        }),
    }
}

fn place(frame: &Frame) -> Value {
    let source = frame.lines.as_ref().zip(frame.offset).and_then(|(lines, offset)| source(lines, offset));
    json!({
        "function": frame.name.clone().unwrap_or_else(|| format!("function {}", frame.index)),
        "index": frame.index,
        "offset": frame.offset,
        "source": source,
    })
}

/// The line of the source that is at an offset.
fn source(lines: &SourceLines, offset: usize) -> Option<String> {
    lines.find(offset).map(|line| format!("{}:{}", line.file, line.line))
}

/// What the guest was told in its last call, an element each.
fn log(taped: &Taped) -> Vec<Value> {
    let entries = taped.calls.last().map_or(&[][..], |call| &call.entries);
    let told = |entry: &Entry| match entry {
        Entry::Time { ns, .. } => json!({"asked": entry.describe(), "ns": ns}),
        Entry::Answered { asked, answer } => {
            let (outcome, bytes) = match answer {
                Answer::Bytes(Ok(bytes)) if asked.target == RECEIVE => ("ok", received(bytes)),
                Answer::Bytes(Ok(bytes)) => ("ok", text(bytes)),
                Answer::Bytes(Err(bytes)) => ("error", text(bytes)),
                Answer::Value(value) if value.size() > SHOWN << 4 => {
                    ("ok", format!("{} of {} bytes", value.kind(), value.size()))
                }
                Answer::Value(value) => ("ok", text(format!("{value:?}").as_bytes())),
            };
            json!({"asked": entry.describe(), "answer": outcome, "begins": bytes})
        }
        Entry::Said(_stream, Said::Bytes(bytes)) => {
            json!({"asked": entry.describe(), "answer": "ok", "begins": text(bytes)})
        }
        _ => json!({"asked": entry.describe()}),
    };
    let left_out = entries.len().saturating_sub(LOGGED);
    let more = (left_out > 0).then(|| json!({"asked": format!("{left_out} more")}));
    entries.iter().take(LOGGED).map(told).chain(more).collect()
}

/// What a process received.
fn received(bytes: &Bytes) -> String {
    Letter::read(bytes.clone()).map_or_else(|damaged| damaged.to_string(), |letter| letter.describe())
}

/// What bytes begin with, as a text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes)).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
