//! What guests print: lines of `__console_log`, stdout and stderr, on their way to the host's log.
//!
//! A guest can print faster than anyone can log, so each function has a budget of lines per second. What is over it is
//! counted, and the count travels with the next line that gets through.

use serde::{Deserialize, Serialize};

/// Longest line that is kept, in bytes; the rest of it is cut off.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// Lines that are kept of each function, the last ones.
pub const LINES: usize = 500;
/// Most bytes of one of them.
pub const KEPT_LINE_BYTES: usize = 2 << 10;

/// Most lines of a call that the error has if its guest is stopped, the last ones.
pub const TAIL_LINES: usize = 32;
/// Most bytes of them together.
pub const TAIL_BYTES: usize = 4 << 10;
/// Most bytes of one of them.
pub const TAIL_LINE_BYTES: usize = 1 << 10;

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// `__console_log` of waPC.
    Console,
    /// A program's or module's standard output.
    Stdout,
    /// A program's or module's standard error.
    Stderr,
}

/// One line that a guest printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Name of the function.
    pub function: String,
    /// The function's version.
    pub version: u64,
    /// Where it was printed.
    pub stream: Stream,
    /// The text, without its line end; anything that is not UTF-8 is replaced.
    pub text: String,
    /// How many lines of the function were dropped since the last one that got through.
    pub dropped: u64,
}

/// A line as it is kept for whoever looks later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLine {
    /// The function's version.
    pub version: u64,
    /// Where it was printed.
    pub stream: Stream,
    /// The text, cut to [`KEPT_LINE_BYTES`].
    pub text: String,
    /// How many lines of the function were dropped since the last one that got through.
    pub dropped: u64,
}

impl Line {
    /// The line as it is kept.
    pub(crate) fn kept(&self) -> KeptLine {
        let text = self.text.get(..self.text.floor_char_boundary(KEPT_LINE_BYTES)).unwrap_or_default().to_owned();
        KeptLine { version: self.version, stream: self.stream, text, dropped: self.dropped }
    }
}

/// Takes the lines of all guests. Called on the thread that runs the guest, so it must not block.
pub trait Console: Send + Sync + 'static {
    /// Takes `line`, or gives it back when there is no room for it.
    ///
    /// # Errors
    /// The line, when it could not be taken; it is then counted as dropped.
    fn print(&self, line: Line) -> Result<(), Line>;
}

/// A console that prints nothing.
#[cfg(test)]
pub(crate) struct Silent;

#[cfg(test)]
impl Console for Silent {
    fn print(&self, _line: Line) -> Result<(), Line> {
        Ok(())
    }
}
