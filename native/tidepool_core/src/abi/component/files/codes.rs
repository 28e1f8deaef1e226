//! What `wasi:filesystem` calls things.

use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue, NewTimestamp,
};

use crate::abi::component::define::Fault;
use crate::process::files::error::FileError;
use crate::process::files::memory::Stat;
use crate::process::files::now_ns;

const NS_PER_S: u64 = 1_000_000_000;

/// The code of an error. Those that WASI 0.2 has no name for are the nearest of POSIX's.
pub(super) fn code(error: FileError) -> ErrorCode {
    match error {
        FileError::Access => ErrorCode::Access,
        FileError::Again => ErrorCode::WouldBlock,
        FileError::BadDescriptor => ErrorCode::BadDescriptor,
        FileError::Busy => ErrorCode::Busy,
        FileError::CrossDevice => ErrorCode::CrossDevice,
        FileError::DiskQuota => ErrorCode::Quota,
        FileError::Exists => ErrorCode::Exist,
        FileError::IllegalBytes => ErrorCode::IllegalByteSequence,
        FileError::Interrupted => ErrorCode::Interrupted,
        FileError::Invalid | FileError::Fault => ErrorCode::Invalid,
        FileError::Io => ErrorCode::Io,
        FileError::IsFolder => ErrorCode::IsDirectory,
        FileError::Loop => ErrorCode::Loop,
        FileError::NameTooLong => ErrorCode::NameTooLong,
        FileError::NoEntry => ErrorCode::NoEntry,
        FileError::NoMemory | FileError::TooManyOpen | FileError::TooManyOpenOnHost => ErrorCode::InsufficientMemory,
        FileError::NoSpace => ErrorCode::InsufficientSpace,
        FileError::NotEmpty => ErrorCode::NotEmpty,
        FileError::NotFolder => ErrorCode::NotDirectory,
        FileError::NotPermitted | FileError::NotCapable => ErrorCode::NotPermitted,
        FileError::NotSupported => ErrorCode::Unsupported,
        FileError::ReadOnly => ErrorCode::ReadOnly,
        FileError::TextBusy => ErrorCode::TextFileBusy,
        FileError::TooLarge => ErrorCode::FileTooLarge,
    }
}

impl From<FileError> for Fault<ErrorCode> {
    fn from(error: FileError) -> Self {
        Fault::Code(code(error))
    }
}

pub(super) fn kind(is_folder: bool) -> DescriptorType {
    if is_folder { DescriptorType::Directory } else { DescriptorType::RegularFile }
}

/// What is known of a file. Nobody keeps when it was last read.
pub(super) fn stat(stat: Stat) -> DescriptorStat {
    let time = Some(datetime(stat.modified_ns));
    DescriptorStat {
        type_: kind(stat.is_folder),
        link_count: 1,
        size: stat.size,
        data_access_timestamp: time,
        data_modification_timestamp: time,
        status_change_timestamp: time,
    }
}

/// What tells a file from others, and from what it was before.
pub(super) fn hash((stat, device): (Stat, u64)) -> MetadataHashValue {
    MetadataHashValue {
        lower: stat.number,
        upper: stat.modified_ns.rotate_left(8) ^ stat.size.rotate_left(40) ^ device,
    }
}

/// When something is to have been changed, in ns since 1970; `None` when that is not to be said.
///
/// # Errors
/// [`FileError::Invalid`] when there is no such time.
pub(super) fn modified(time: NewTimestamp) -> Result<Option<u64>, FileError> {
    match time {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(now_ns())),
        NewTimestamp::Timestamp(time) => {
            let ns = time.seconds.checked_mul(NS_PER_S).and_then(|ns| ns.checked_add(time.nanoseconds.into()));
            ns.filter(|_ns| u64::from(time.nanoseconds) < NS_PER_S).map(Some).ok_or(FileError::Invalid)
        }
    }
}

fn datetime(ns: u64) -> Datetime {
    let nanoseconds = u32::try_from(ns % NS_PER_S).unwrap_or(0);
    Datetime { seconds: ns / NS_PER_S, nanoseconds }
}
