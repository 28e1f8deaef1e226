//! Paths of a node's routes, percent-encoded.

use std::fmt::Write;

/// A path and its parameters, of texts that may have anything in them.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    text: String,
    parameters: usize,
}

impl Path {
    /// The path of these segments.
    pub(crate) fn of(segments: &[&str]) -> Self {
        let text = segments.iter().fold(String::new(), |mut text, segment| {
            text.push('/');
            encode(segment, &mut text);
            text
        });
        Self { text, parameters: 0 }
    }

    /// The same with one more parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.parameters == 0 { '?' } else { '&' });
        encode(name, &mut self.text);
        self.text.push('=');
        encode(value, &mut self.text);
        self.parameters += 1;
        self
    }

    /// As it goes into a URL.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// A segment of dots alone would be a way up: its dots are encoded, too.
fn encode(text: &str, out: &mut String) {
    let dots = !text.is_empty() && text.bytes().all(|byte| byte == b'.');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && !dots) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn whatever_a_name_has_in_it_stays_one_segment() {
        assert_eq!(Path::of(&["call", "a/b?c#d", "é"]).as_str(), "/call/a%2Fb%3Fc%23d/%C3%A9");
        assert_eq!(Path::of(&["actors", "..", "."]).as_str(), "/actors/%2E%2E/%2E");
        assert_eq!(
            Path::of(&["functions"]).with("label", "a:b&c").with("x", "").as_str(),
            "/functions?label=a%3Ab%26c&x="
        );
    }
}
