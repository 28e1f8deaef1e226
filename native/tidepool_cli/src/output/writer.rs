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

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "tidepool: {}", escape(text));
}
