//! What a debugger may be told, as lines of text.

use super::error::DebugError;

/// Most bytes of memory that are shown at once.
const MOST_BYTES: usize = 4 << 10;
/// As many are without a length.
const SOME_BYTES: usize = 64;

/// Where a breakpoint is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Where {
    /// A line of a file, whose path may be cut at its beginning.
    Line { file: String, line: u32 },
    /// Where a function begins, by its name or the end of it, or as `#INDEX`.
    Function(String),
    /// An offset in the module.
    Offset(u32),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Break(Where),
    Breakpoints,
    Delete(u32),
    Run,
    Continue,
    Step,
    StepInstructions(u64),
    Back,
    Backtrace,
    Locals(usize),
    Memory { address: u64, length: usize },
    List,
    Help,
    Quit,
}

/// All of them, for who asks.
pub(super) const HELP: [&str; 14] = [
    "break FILE:LINE        stop at a line of the source; the end of the file's path will do",
    "break FUNCTION         stop where a function begins: its name, the end of it, or #INDEX",
    "break @OFFSET          stop at an instruction, by its offset in the module",
    "breakpoints            list breakpoints",
    "delete NUMBER          remove one",
    "run                    begin the call, or begin it anew, and go to the first breakpoint",
    "continue               go to the next breakpoint, to a trap or to the end",
    "step                   go to the next line; without debug data, to the next instruction",
    "stepi [COUNT]          go on by instructions",
    "back                   go back to the line before",
    "backtrace              the functions that are being called, the innermost first",
    "locals [FRAME]         locals and operands of a function in the backtrace, the innermost without a number",
    "memory ADDRESS [BYTES] what is in the guest's memory",
    "list, help, quit       instructions around this one; this; the end",
];

impl std::str::FromStr for Where {
    type Err = DebugError;

    fn from_str(text: &str) -> Result<Self, DebugError> {
        if let Some(offset) = text.strip_prefix('@') {
            let offset = number(offset).and_then(|it| u32::try_from(it).ok());
            return offset.map(Where::Offset).ok_or_else(|| misused("an offset is a number, such as @0x1f4"));
        }
        // Names of functions have colons in them, in pairs.
        if let Some((file, line)) = text.rsplit_once(':').filter(|(file, _)| !file.ends_with(':')) {
            let line = line.parse().ok().filter(|line| *line > 0);
            let line = line.ok_or_else(|| misused("a line is FILE:LINE, with a number from 1 on"))?;
            return Ok(Where::Line { file: file.to_owned(), line });
        }
        Ok(Where::Function(text.to_owned()))
    }
}

impl std::str::FromStr for Command {
    type Err = DebugError;

    fn from_str(line: &str) -> Result<Self, DebugError> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (name, &*words) {
            ("break" | "b", []) => Err(misused("`break` needs FILE:LINE, FUNCTION or @OFFSET")),
            // Names of functions may have spaces in them.
            ("break" | "b", _) => rest.parse().map(Command::Break),
            ("breakpoints", []) => Ok(Command::Breakpoints),
            ("delete", [which]) => {
                which.parse().map(Command::Delete).map_err(|_| misused("`delete` needs the number of a breakpoint"))
            }
            ("run" | "r", []) => Ok(Command::Run),
            ("continue" | "c", []) => Ok(Command::Continue),
            ("step" | "s", []) => Ok(Command::Step),
            ("stepi" | "si", []) => Ok(Command::StepInstructions(1)),
            ("stepi" | "si", [count]) => number(count)
                .filter(|count| *count > 0)
                .map(Command::StepInstructions)
                .ok_or_else(|| misused("`stepi` takes a count from 1 on")),
            ("back", []) => Ok(Command::Back),
            ("backtrace" | "bt", []) => Ok(Command::Backtrace),
            ("locals", []) => Ok(Command::Locals(0)),
            ("locals", [frame]) => {
                frame.parse().map(Command::Locals).map_err(|_| misused("`locals` takes the number of a frame"))
            }
            ("memory" | "x", [address, length @ ..]) if length.len() < 2 => memory(address, length.first().copied()),
            ("memory" | "x", _) => Err(misused("`memory` needs an address, and may have a count of bytes")),
            ("list" | "where" | "l", []) => Ok(Command::List),
            ("help" | "h", []) => Ok(Command::Help),
            ("quit" | "q", []) => Ok(Command::Quit),
            ("delete", _) => Err(misused("`delete` needs the number of a breakpoint")),
            (
                "breakpoints" | "run" | "continue" | "step" | "back" | "backtrace" | "list" | "where" | "help" | "quit"
                | "r" | "c" | "s" | "bt" | "l" | "h" | "q",
                _,
            ) => Err(misused(&format!("`{name}` takes nothing"))),
            ("stepi" | "si", _) => Err(misused("`stepi` takes one count")),
            ("locals", _) => Err(misused("`locals` takes the number of one frame")),
            _ => Err(misused(&format!("there is no command {:?}", shortened(name)))),
        }
    }
}

fn memory(address: &str, length: Option<&str>) -> Result<Command, DebugError> {
    let address = number(address).ok_or_else(|| misused("an address is a number, such as 0x100"))?;
    let length = match length {
        None => SOME_BYTES,
        Some(length) => number(length)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| (1..=MOST_BYTES).contains(length))
            .ok_or_else(|| misused(&format!("from 1 to {MOST_BYTES} bytes are shown at once")))?,
    };
    Ok(Command::Memory { address, length })
}

/// A number, decimal or hexadecimal.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn misused(text: &str) -> DebugError {
    DebugError::Misused(text.to_owned())
}

fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Command> {
        line.parse().ok()
    }

    #[test]
    fn a_line_is_one_command_and_what_it_is_about() {
        let line = Where::Line { file: "src/lib.rs".into(), line: 12 };
        assert_eq!(read("break src/lib.rs:12"), Some(Command::Break(line)));
        let function = "core::fmt::Write for a::B";
        assert_eq!(read(&format!("b {function}")), Some(Command::Break(Where::Function(function.into()))));
        assert_eq!(read(" break @0x10 "), Some(Command::Break(Where::Offset(16))));
        assert_eq!(read("stepi 3"), Some(Command::StepInstructions(3)));
        assert_eq!(read("memory 0x100"), Some(Command::Memory { address: 256, length: 64 }));
        assert_eq!(read("memory 1 4096"), Some(Command::Memory { address: 1, length: 4096 }));
        assert_eq!(read("locals 2"), Some(Command::Locals(2)));
        assert_eq!(read("where"), Some(Command::List));
    }

    #[test]
    fn what_makes_no_sense_is_told_and_no_other_command() {
        let lines = [
            "",
            "brake 1",
            "break",
            "break a.rs:0",
            "break a.rs:x",
            "break @",
            "break @-1",
            "delete",
            "delete x",
            "run 1",
            "stepi 0",
            "stepi -1",
            "stepi 1 2",
            "stepi 99999999999999999999",
            "locals x",
            "locals 1 2",
            "memory",
            "memory x",
            "memory 0 0",
            "memory 0 4097",
            "memory 1 2 3",
            "memory 0x",
            "quit now",
            "\u{0}",
        ];
        for line in lines {
            assert!(matches!(line.parse::<Command>(), Err(DebugError::Misused(_))), "{line:?}");
        }
    }
}
