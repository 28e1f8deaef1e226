//! A call that failed, as it is kept for whoever looks later.

use bytes::Bytes;

use crate::base::error::CallError;
use crate::base::trap::Frame;

/// Failures that are kept of each function.
pub const FAILURES: usize = 50;
/// Most bytes of a message that are kept.
const MESSAGE_BYTES: usize = 4 << 10;
/// Most bytes of an operation's name.
const OPERATION_BYTES: usize = 256;
/// Most bytes of a payload, where its function's deploy lets them be kept.
pub const PAYLOAD_BYTES: usize = 256;

/// A call that failed, or a process that was stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The function's version.
    pub version: u64,
    /// What the guest was asked to do, when that was known yet.
    pub operation: Option<String>,
    /// Why it failed; long messages are cut.
    pub error: CallError,
    /// Whether its caller had gone, or given it up.
    pub is_aborted: bool,
    /// The beginning of the payload, if it is kept.
    pub payload: Option<Vec<u8>>,
}

impl Failure {
    pub(crate) fn new(version: u64, error: &CallError) -> Self {
        Failure { version, operation: None, error: shortened(error), is_aborted: false, payload: None }
    }

    /// With what was asked.
    pub(crate) fn of(mut self, operation: &[u8], payload: Option<&Bytes>) -> Self {
        let kept = operation.get(..OPERATION_BYTES).unwrap_or(operation);
        self.operation = Some(String::from_utf8_lossy(kept).into_owned());
        self.payload = payload.map(|payload| payload.get(..PAYLOAD_BYTES).unwrap_or(payload).to_vec());
        self
    }

    /// What its texts take.
    pub(crate) fn bytes(&self) -> usize {
        let (frames, console): (&[Frame], &[String]) = match &self.error {
            CallError::Trap { frames, console, .. } | CallError::Limit { frames, console, .. } => (frames, console),
            CallError::NoExport { exports, .. } | CallError::SharedName { exports, .. } => (&[], exports),
            _ => (&[], &[]),
        };
        let value = if let CallError::Failed { value, .. } = &self.error { value.size() } else { 0 };
        let texts = self.error.text().len().saturating_add(stack(frames)).saturating_add(lines(console));
        let asked = self.operation.as_ref().map_or(0, String::len);
        texts.saturating_add(value).saturating_add(asked).saturating_add(self.payload.as_ref().map_or(0, Vec::len))
    }
}

fn stack(frames: &[Frame]) -> usize {
    all(frames.iter().map(|frame| frame.name.as_ref().map_or(0, String::len).saturating_add(size_of::<Frame>())))
}

fn lines(lines: &[String]) -> usize {
    all(lines.iter().map(|line| line.len().saturating_add(size_of::<String>())))
}

fn all(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(0, usize::saturating_add)
}

/// The same error with a message that is not too long to be kept. Backtraces and what was printed have bounds already.
fn shortened(error: &CallError) -> CallError {
    let short =
        |message: &String| message.get(..message.floor_char_boundary(MESSAGE_BYTES)).unwrap_or_default().to_owned();
    match error {
        CallError::Guest { message, exit_code } => CallError::Guest { message: short(message), exit_code: *exit_code },
        CallError::Trap { kind, message, frames, console } => {
            CallError::Trap { kind: *kind, message: short(message), frames: frames.clone(), console: console.clone() }
        }
        CallError::Failed { value, is_json } if value.size() > MESSAGE_BYTES => {
            CallError::too_large_to_keep(value, *is_json)
        }
        CallError::NoResponse { message } => CallError::NoResponse { message: short(message) },
        CallError::Arguments { path, message } => CallError::Arguments { path: short(path), message: short(message) },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn errors_with_values_and_names_of_any_length_are_kept_short_and_counted() {
        let name = || "x".repeat(90_000);
        let value = Box::new(Value::List(vec![Value::Text("y".repeat(1 << 20).into())]));
        let many = (0..1_000).map(|number| format!("export-{number}"));
        for error in [
            CallError::Failed { value, is_json: true },
            CallError::no_export("f", (0..300).map(|_| name())),
            CallError::shared_name("f", many),
            CallError::Arguments { path: name(), message: name() },
        ] {
            let failure = Failure::new(3, &error);
            assert!(format!("{failure:?}").len() <= 16 << 10, "{error}");
            assert!(failure.bytes() <= 16 << 10);
        }
        let kept = Failure::new(3, &CallError::no_export("f", ["one".to_owned()]));
        assert_eq!(kept.error, CallError::NoExport { name: "f".into(), exports: vec!["one".into()] });
    }

    #[test]
    fn what_a_guest_says_at_length_is_cut() {
        let error = CallError::Guest { message: "é".repeat(1 << 20), exit_code: None };
        let payload = Bytes::from(vec![7; 1 << 20]);
        let failure = Failure::new(3, &error).of(&[b'x'; 1_024], Some(&payload));
        assert!(failure.bytes() <= MESSAGE_BYTES + OPERATION_BYTES + PAYLOAD_BYTES);
        assert_eq!(failure.payload.map(|payload| payload.len()), Some(PAYLOAD_BYTES));
    }
}
