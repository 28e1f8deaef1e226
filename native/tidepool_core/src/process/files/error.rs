//! What can be wrong with a file, as POSIX has it.

/// Why something can't be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileError {
    Access,
    Again,
    BadDescriptor,
    Busy,
    CrossDevice,
    DiskQuota,
    Exists,
    Fault,
    IllegalBytes,
    Interrupted,
    Invalid,
    Io,
    IsFolder,
    Loop,
    NameTooLong,
    NoEntry,
    NoMemory,
    NoSpace,
    NotCapable,
    NotEmpty,
    NotFolder,
    NotPermitted,
    NotSupported,
    ReadOnly,
    TextBusy,
    TooLarge,
    TooManyOpen,
    TooManyOpenOnHost,
}

impl FileError {
    /// The error that the host has named; what it should not have is a failed operation.
    pub(crate) fn named(name: &[u8]) -> Self {
        match name {
            b"eacces" => FileError::Access,
            b"eagain" => FileError::Again,
            b"ebusy" => FileError::Busy,
            b"exdev" => FileError::CrossDevice,
            b"edquot" => FileError::DiskQuota,
            b"eexist" => FileError::Exists,
            b"eintr" => FileError::Interrupted,
            b"einval" => FileError::Invalid,
            b"eisdir" => FileError::IsFolder,
            b"eloop" => FileError::Loop,
            b"enametoolong" => FileError::NameTooLong,
            b"enoent" => FileError::NoEntry,
            b"enomem" => FileError::NoMemory,
            b"enospc" => FileError::NoSpace,
            b"enotempty" => FileError::NotEmpty,
            b"enotdir" => FileError::NotFolder,
            b"eperm" => FileError::NotPermitted,
            b"enotsup" => FileError::NotSupported,
            b"erofs" => FileError::ReadOnly,
            b"etxtbsy" => FileError::TextBusy,
            b"efbig" => FileError::TooLarge,
            b"emfile" => FileError::TooManyOpen,
            b"enfile" => FileError::TooManyOpenOnHost,
            _ => FileError::Io,
        }
    }
}
