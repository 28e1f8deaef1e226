//! What preview 1 does with paths, from a folder that is open.

use wasmtime::{AsContextMut, Caller};

use super::descriptors::{changed_at, known_flags};
use super::memory_of;
use super::numbers::{self, FILESTAT_BYTES};
use crate::abi::files::paths::{self, Opening};
use crate::abi::files::table;
use crate::abi::slots::State;
use crate::process::files::error::FileError;

pub(super) async fn stat(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
) -> Result<[u8; FILESTAT_BYTES], FileError> {
    let path = memory_of::path(caller, path)?;
    let (stat, device) = paths::stat(&mut caller.as_context_mut(), fd, &path).await?;
    Ok(numbers::filestat(stat, device))
}

pub(super) async fn tell_stat(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
    at: i32,
) -> Result<(), FileError> {
    let stat = stat(caller, fd, path).await?;
    memory_of::write(caller, at, &stat)
}

/// Opens what is at a path; its number goes to `at`.
pub(super) async fn open(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
    (how, flags): (i32, i32),
    (rights, inheriting): (u64, u64),
    at: i32,
) -> Result<(), FileError> {
    let flags = known_flags(flags)?;
    memory_of::check(caller, at, 4)?;
    let path = memory_of::path(caller, path)?;
    let opening = Opening { how, rights, inheriting, flags };
    let number = paths::open(&mut caller.as_context_mut(), fd, &path, opening).await?;
    memory_of::write(caller, at, &number.to_le_bytes())
}

pub(super) async fn create_folder(caller: &mut Caller<'_, State>, fd: i32, path: (i32, i32)) -> Result<(), FileError> {
    let path = memory_of::path(caller, path)?;
    paths::create_folder(&mut caller.as_context_mut(), fd, &path).await
}

/// Removes a file, or an empty folder.
pub(super) async fn remove(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
    is_folder: bool,
) -> Result<(), FileError> {
    let path = memory_of::path(caller, path)?;
    paths::remove(&mut caller.as_context_mut(), fd, &path, is_folder).await
}

pub(super) async fn rename(
    caller: &mut Caller<'_, State>,
    (fd, path): (i32, (i32, i32)),
    (to_fd, to_path): (i32, (i32, i32)),
) -> Result<(), FileError> {
    let (path, to_path) = (memory_of::path(caller, path)?, memory_of::path(caller, to_path)?);
    paths::rename(&mut caller.as_context_mut(), (fd, &path), (to_fd, &to_path)).await
}

pub(super) async fn set_times(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
    modified: u64,
    flags: i32,
) -> Result<(), FileError> {
    let path = memory_of::path(caller, path)?;
    let modified_ns = changed_at(modified, flags)?;
    paths::set_times(&mut caller.as_context_mut(), fd, &path, modified_ns).await
}

/// There are no symbolic links: nothing is one.
pub(super) async fn read_link(caller: &mut Caller<'_, State>, fd: i32, path: (i32, i32)) -> Result<(), FileError> {
    let path = memory_of::path(caller, path)?;
    paths::read_link(&mut caller.as_context_mut(), fd, &path).await
}

/// Nor can links be made, of either kind.
pub(super) fn link(caller: &mut Caller<'_, State>, fds: &[i32]) -> Result<(), FileError> {
    for fd in fds {
        table::folder(caller.data_mut(), *fd, 0)?;
    }
    Err(FileError::NotSupported)
}
