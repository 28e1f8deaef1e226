//! Texts of strangers, figures and times, as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// A text on one line, with what a terminal would obey written out: control characters, and those that turn the
/// direction of what follows.
pub(crate) fn escape(text: &str) -> String {
    write_out(text, false)
}

/// The same with lines left as they are.
pub(crate) fn plain(text: &str) -> String {
    write_out(text, true)
}

fn write_out(text: &str, lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if (lines && matches!(char, '\n' | '\t')) || !is_obeyed(char) {
            out.push(char);
        } else {
            out.extend(char.escape_default());
        }
    }
    out
}

/// Whether it is for the terminal rather than for whoever reads.
fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON on one line, with nothing in it that a terminal would obey. Outside of strings there is nothing of the kind.
pub(crate) fn json(value: &Value) -> String {
    let mut out = String::new();
    for char in value.to_string().chars() {
        if is_obeyed(char) {
            // All of these are in the plane that one escape reaches.
            out.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            out.push(char);
        }
    }
    out
}

/// A size.
pub(crate) fn bytes(size: u64) -> String {
    match size {
        0..10_000 => format!("{size} B"),
        10_000..10_000_000 => format!("{} kB", size / 1_000),
        _ => format!("{} MB", size / 1_000_000),
    }
}

/// How long ago a time was, in seconds since 1970.
pub(crate) fn age(at: u64) -> String {
    span(now().saturating_sub(at))
}

/// How long it is until a time, in seconds since 1970.
pub(crate) fn time_until(at: u64) -> String {
    span(at.saturating_sub(now()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Months and years are no whole days: two days and more are days.
fn span(seconds: u64) -> String {
    let unit = match seconds {
        0..120 => 1,
        120..7_200 => 60,
        7_200..172_800 => 3_600,
        _ => return format!("{}days", seconds / 86_400),
    };
    humantime::format_duration(Duration::from_secs(seconds - seconds % unit)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn nothing_that_a_terminal_would_obey_is_left_of_a_text() {
        let hostile = "a\x1b]0;title\x07b\u{9b}31mc\u{202e}d\re\nf";
        assert_eq!(super::escape(hostile), r"a\u{1b}]0;title\u{7}b\u{9b}31mc\u{202e}d\re\nf");
        assert_eq!(super::plain("one\ntwo\r\x1b[2J"), "one\ntwo\\r\\u{1b}[2J");
        assert_eq!(super::escape("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn json_without_it_is_the_same_json() {
        let value = json!({ "a\u{9b}": "\u{202e}\x1b\u{7f}é" });
        let text = super::json(&value);
        assert!(text.is_ascii() || !text.contains(['\u{9b}', '\u{202e}', '\x1b', '\u{7f}']));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).ok(), Some(value));
    }

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!([super::bytes(999), super::bytes(13_427), super::bytes(62_000_000)], ["999 B", "13 kB", "62 MB"]);
        assert_eq!(super::age(u64::MAX), "0s");
        assert_eq!(super::time_until(0), "0s");
        assert_eq!([119, 121, 90_000, 89 * 86_400 + 1].map(super::span), ["1m 59s", "2m", "1day 1h", "89days"]);
    }
}
