//! WASI's numbers of errors: `errno` in `typenames.witx` of preview 1.

use crate::process::files::error::FileError;

/// The number of an error.
pub(super) fn number(error: FileError) -> i32 {
    match error {
        FileError::Access => 2,
        FileError::Again => 6,
        FileError::BadDescriptor => 8,
        FileError::Busy => 10,
        FileError::DiskQuota => 19,
        FileError::Exists => 20,
        FileError::Fault => 21,
        FileError::TooLarge => 22,
        FileError::IllegalBytes => 25,
        FileError::Interrupted => 27,
        FileError::Invalid => 28,
        FileError::Io => 29,
        FileError::IsFolder => 31,
        FileError::Loop => 32,
        FileError::TooManyOpen => 33,
        FileError::NameTooLong => 37,
        FileError::TooManyOpenOnHost => 41,
        FileError::NoEntry => 44,
        FileError::NoMemory => 48,
        FileError::NoSpace => 51,
        FileError::NotFolder => 54,
        FileError::NotEmpty => 55,
        FileError::NotSupported => 58,
        FileError::NotPermitted => 63,
        FileError::ReadOnly => 69,
        FileError::TextBusy => 74,
        FileError::CrossDevice => 75,
        FileError::NotCapable => 76,
    }
}

/// What a function of WASI answers.
pub(super) fn code(outcome: Result<(), FileError>) -> i32 {
    outcome.map_or_else(number, |()| 0)
}
