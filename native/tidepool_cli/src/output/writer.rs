//! Where it goes: what was asked for to standard output, all else to standard error.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::text::{escape, json, plain};

/// Who is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// For programs, with `json`, or for people.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads it.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Says what came out: a line of JSON, or a text, which may have lines.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub(crate) fn say(self, value: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let line = if self.json { json(value) } else { plain(&text()) };
        let mut out = io::stdout().lock();
        if !line.is_empty() {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// Writes what somebody made: as it is into a file or a pipe, and as a text to a terminal.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            writeln!(out, "{}", plain(&String::from_utf8_lossy(bytes)))?;
        } else {
            out.write_all(bytes)?;
        }
        out.flush()
    }

    /// The same of what comes in pieces.
    pub(crate) fn pieces(self) -> Pieces {
        Pieces { is_terminal: io::stdout().is_terminal(), begun: Vec::new() }
    }

    /// Says something beside what was asked for, to people alone.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            complain(text);
        }
    }

    /// Says why a command failed.
    ///
    /// # Errors
    ///
    /// When nobody reads what is for programs.
    pub(crate) fn failed(self, value: &Value, message: &str, hint: Option<&str>) -> io::Result<()> {
        if self.json {
            return self.say(value, String::new);
        }
        complain(&format!("error: {message}"));
        if let Some(hint) = hint {
            complain(&format!("  {hint}"));
        }
        Ok(())
    }
}

/// What somebody makes, written as it comes.
#[derive(Debug)]
pub(crate) struct Pieces {
    is_terminal: bool,
    /// The first bytes of a character whose others are in the next piece.
    begun: Vec<u8>,
}

impl Pieces {
    /// Writes the next piece.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_terminal {
            out.write_all(self.text(bytes).as_bytes())?;
        } else {
            out.write_all(bytes)?;
        }
        out.flush()
    }

    /// The text that is whole now.
    fn text(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let rest = self.begun.split_off(self.begun.len().saturating_sub(unfinished(&self.begun)));
        plain(&String::from_utf8_lossy(&std::mem::replace(&mut self.begun, rest)))
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub(crate) fn end(self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_terminal {
            writeln!(out, "{}", plain(&String::from_utf8_lossy(&self.begun)))?;
        }
        out.flush()
    }
}

/// How many bytes at the end are of a character that is not whole.
fn unfinished(bytes: &[u8]) -> usize {
    for (behind, byte) in bytes.iter().rev().take(3).enumerate() {
        let (there, length) = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => (behind + 1, 2),
            0xe0..=0xef => (behind + 1, 3),
            0xf0..=0xf4 => (behind + 1, 4),
            _ => return 0,
        };
        return if there < length { there } else { 0 };
    }
    0
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "tidepool: {}", escape(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_cut_anywhere_reads_as_it_does_whole_and_nothing_of_it_is_obeyed() {
        let said = "a\u{1b}[2J é 世 🌊 \u{202e}".as_bytes();
        let whole = plain(&String::from_utf8_lossy(&[said, b"\xff\xe4\xb8"].concat()));
        for cut in 1..=3 {
            let mut pieces = Pieces { is_terminal: true, begun: Vec::new() };
            let mut text: String =
                [said, b"\xff\xe4\xb8"].concat().chunks(cut).map(|piece| pieces.text(piece)).collect();
            text.push_str(&plain(&String::from_utf8_lossy(&pieces.begun)));
            assert_eq!(text, whole, "{cut}");
        }
    }
}
