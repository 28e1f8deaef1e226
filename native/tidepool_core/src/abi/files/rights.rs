//! WASI's rights: what may be done with what is open. Bits as in `typenames.witx` of preview 1.

pub(in crate::abi) const FD_DATASYNC: u64 = 1;
pub(in crate::abi) const FD_READ: u64 = 1 << 1;
pub(in crate::abi) const FD_SEEK: u64 = 1 << 2;
pub(in crate::abi) const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
pub(in crate::abi) const FD_SYNC: u64 = 1 << 4;
pub(in crate::abi) const FD_TELL: u64 = 1 << 5;
pub(in crate::abi) const FD_WRITE: u64 = 1 << 6;
pub(in crate::abi) const FD_ADVISE: u64 = 1 << 7;
pub(in crate::abi) const FD_ALLOCATE: u64 = 1 << 8;
pub(in crate::abi) const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
pub(in crate::abi) const PATH_CREATE_FILE: u64 = 1 << 10;
pub(in crate::abi) const PATH_OPEN: u64 = 1 << 13;
pub(in crate::abi) const FD_READDIR: u64 = 1 << 14;
pub(in crate::abi) const PATH_READLINK: u64 = 1 << 15;
pub(in crate::abi) const PATH_RENAME_SOURCE: u64 = 1 << 16;
pub(in crate::abi) const PATH_RENAME_TARGET: u64 = 1 << 17;
pub(in crate::abi) const PATH_FILESTAT_GET: u64 = 1 << 18;
pub(in crate::abi) const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
pub(in crate::abi) const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
pub(in crate::abi) const FD_FILESTAT_GET: u64 = 1 << 21;
pub(in crate::abi) const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
pub(in crate::abi) const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
pub(in crate::abi) const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
pub(in crate::abi) const PATH_UNLINK_FILE: u64 = 1 << 26;
pub(in crate::abi) const POLL_FD_READWRITE: u64 = 1 << 27;

/// What may be done with a file that nobody may change.
const READ_FILE: u64 = FD_READ
    | FD_SEEK
    | FD_FDSTAT_SET_FLAGS
    | FD_SYNC
    | FD_DATASYNC
    | FD_TELL
    | FD_ADVISE
    | FD_FILESTAT_GET
    | POLL_FD_READWRITE;
const WRITE_FILE: u64 = FD_WRITE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE | FD_FILESTAT_SET_TIMES;
const READ_FOLDER: u64 = FD_FDSTAT_SET_FLAGS
    | FD_SYNC
    | FD_DATASYNC
    | FD_ADVISE
    | PATH_OPEN
    | FD_READDIR
    | PATH_READLINK
    | PATH_FILESTAT_GET
    | FD_FILESTAT_GET;
const WRITE_FOLDER: u64 = PATH_CREATE_DIRECTORY
    | PATH_CREATE_FILE
    | PATH_RENAME_SOURCE
    | PATH_RENAME_TARGET
    | PATH_FILESTAT_SET_SIZE
    | PATH_FILESTAT_SET_TIMES
    | FD_FILESTAT_SET_TIMES
    | PATH_REMOVE_DIRECTORY
    | PATH_UNLINK_FILE;

/// All that may be done with a file.
pub(in crate::abi) fn of_file(writable: bool) -> u64 {
    if writable { READ_FILE | WRITE_FILE } else { READ_FILE }
}

/// All that may be done with a folder, and beside that with what is in it.
pub(in crate::abi) fn of_folder(writable: bool) -> u64 {
    if writable { READ_FOLDER | WRITE_FOLDER } else { READ_FOLDER }
}
