//! A stream of events of a node, as server-sent events.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// The longest line that is taken, in bytes; a node's are shorter by far.
const LINE_BYTES: u64 = 1 << 20;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Where the stream is after it, for whoever comes back.
    pub(crate) id: Option<String>,
    /// Its name; empty, when it only says where the stream is.
    pub(crate) name: String,
    /// What it says: JSON, or `null`.
    pub(crate) data: Value,
}

/// The events of a stream, until it ends or breaks off.
pub(crate) struct Events<R>(BufReader<R>);

impl<R: Read> Events<R> {
    /// The events in a body.
    pub(crate) fn new(body: R) -> Self {
        Self(BufReader::new(body))
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event { id: None, name: String::new(), data: Value::Null };
        loop {
            let mut line = Vec::new();
            let read = self.0.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line);
            // What is cut off in the middle of an event comes again.
            if !matches!(read, Ok(1..)) || line.pop() != Some(b'\n') {
                return None;
            }
            let line = String::from_utf8_lossy(&line);
            match line.split_once(": ") {
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data).ok()?,
                None if line.is_empty() && (event.id.is_some() || !event.name.is_empty()) => return Some(event),
                // A comment, when to come back, and what other versions may say.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_whole_and_comments_are_none() {
        let text =
            "retry: 1000\nid: M-1\n\n: ping\n\nid: M-2\nevent: log\ndata: {\"text\":\"a: b\"}\n\nid: M-3\nevent: l";
        let events: Vec<Event> = Events::new(text.as_bytes()).collect();
        let first = Event { id: Some("M-1".into()), name: String::new(), data: Value::Null };
        let second = Event { id: Some("M-2".into()), name: "log".into(), data: json!({ "text": "a: b" }) };
        assert_eq!(events, [first, second]);
    }

    #[test]
    fn a_line_without_an_end_and_what_is_no_event_end_the_stream() {
        assert_eq!(Events::new(std::io::repeat(b'x')).count(), 0);
        assert_eq!(Events::new("event: log\ndata: {\n\n".as_bytes()).count(), 0);
    }
}
