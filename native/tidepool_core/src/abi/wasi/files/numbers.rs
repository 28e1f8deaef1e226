//! What WASI writes into a guest's memory, byte by byte: `typenames.witx` of preview 1.

use crate::process::files::memory::Stat;

/// Bytes of what is known of a file.
pub(in crate::abi::wasi) const FILESTAT_BYTES: usize = 64;
/// Bytes of what is known of what is open.
pub(super) const FDSTAT_BYTES: usize = 24;
/// Bytes of an entry of a folder, before its name.
pub(super) const DIRENT_BYTES: usize = 24;
/// Kinds of files.
const DIRECTORY: u8 = 3;
const REGULAR_FILE: u8 = 4;

pub(super) fn kind(is_folder: bool) -> u8 {
    if is_folder { DIRECTORY } else { REGULAR_FILE }
}

/// `filestat`.
pub(super) fn filestat(stat: Stat, device: u64) -> [u8; FILESTAT_BYTES] {
    let mut bytes = [0; FILESTAT_BYTES];
    put(&mut bytes, 0, &device.to_le_bytes());
    put(&mut bytes, 8, &stat.number.to_le_bytes());
    put(&mut bytes, 16, &[kind(stat.is_folder)]);
    put(&mut bytes, 24, &1_u64.to_le_bytes());
    put(&mut bytes, 32, &stat.size.to_le_bytes());
    for time in [40, 48, 56] {
        put(&mut bytes, time, &stat.modified_ns.to_le_bytes());
    }
    bytes
}

/// `fdstat`.
pub(super) fn fdstat(is_folder: bool, flags: u16, rights: u64, inheriting: u64) -> [u8; FDSTAT_BYTES] {
    let mut bytes = [0; FDSTAT_BYTES];
    put(&mut bytes, 0, &[kind(is_folder)]);
    put(&mut bytes, 2, &flags.to_le_bytes());
    put(&mut bytes, 8, &rights.to_le_bytes());
    put(&mut bytes, 16, &inheriting.to_le_bytes());
    bytes
}

/// `dirent`; `next` is the cookie of what follows.
pub(super) fn dirent(next: u64, number: u64, name: &str, is_folder: bool) -> [u8; DIRENT_BYTES] {
    let mut bytes = [0; DIRENT_BYTES];
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    put(&mut bytes, 0, &next.to_le_bytes());
    put(&mut bytes, 8, &number.to_le_bytes());
    put(&mut bytes, 16, &length.to_le_bytes());
    put(&mut bytes, 20, &[kind(is_folder)]);
    bytes
}

/// Writes what has a place of its own; all places here have.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
