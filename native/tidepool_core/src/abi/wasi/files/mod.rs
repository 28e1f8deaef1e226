//! Files of processes: preview 1's functions for what lies in the folders of a program, on [`abi::files`](crate::abi::files).
//!
//! A guest with folders has a table of what it has open in them; all other descriptors, standard input and output, are the
//! library's.

mod descriptors;
mod errno;
mod linked;
mod memory_of;
mod numbers;
mod paths;
mod poll;
mod transfer;

use wasmtime::{AsContextMut, Caller};

use crate::abi::files::{open, table};
use crate::abi::slots::State;
use crate::process::files::folder::Preopen;

pub(super) use linked::link;
pub(super) use numbers::FILESTAT_BYTES;
pub(super) use poll::ready;

/// Is it there for a process to have?
pub(crate) async fn is_folder(caller: &mut Caller<'_, State>, folder: &Preopen) -> bool {
    let place = open::Place { source: folder.source.clone(), path: folder.path.clone() };
    place.stat(&mut caller.as_context_mut()).await.is_ok_and(|stat| stat.is_folder)
}

/// What is known of what a guest has open, as WASI writes it; `None` when the descriptor is the library's.
pub(super) async fn stat_of_descriptor(
    caller: &mut Caller<'_, State>,
    fd: i32,
) -> Option<Result<[u8; FILESTAT_BYTES], i32>> {
    if !table::has(caller.data(), fd) {
        return None;
    }
    Some(descriptors::stat(caller, fd).await.map_err(errno::number))
}

/// What is known of what is at a path, as WASI writes it; `None` when the guest has no folders.
pub(super) async fn stat_of_path(
    caller: &mut Caller<'_, State>,
    fd: i32,
    path: (i32, i32),
) -> Option<Result<[u8; FILESTAT_BYTES], i32>> {
    if !table::exists(caller.data()) {
        return None;
    }
    Some(paths::stat(caller, fd, path).await.map_err(errno::number))
}

/// Moves the position of an open file; `None` when the descriptor is the library's.
pub(super) async fn seek(caller: &mut Caller<'_, State>, fd: i32, by: i64, whence: i32, at: i32) -> Option<i32> {
    if !table::has(caller.data(), fd) {
        return None;
    }
    Some(errno::code(descriptors::seek(caller, fd, by, whence, at).await))
}
