//! Reading and writing of files.

use std::ops::Range;

use wasmtime::{AsContextMut, Caller};

use super::memory_of::{self, buffers, fill, gather};
use crate::abi::files::open::Content;
use crate::abi::files::place::{self, ask, done, stat_on_host};
use crate::abi::files::rights::{FD_READ, FD_WRITE};
use crate::abi::files::table;
use crate::abi::memory;
use crate::abi::slots::State;
use crate::base::request::FileOperation;
use crate::process::files::error::FileError;

/// `fdflags`: all that is written goes to the end.
pub(super) const APPEND: u16 = 1;

/// Reads from `at`, or from where the file is, which moves on then; the count goes to `count_at`.
pub(super) async fn read(
    caller: &mut Caller<'_, State>,
    fd: i32,
    (list, length): (i32, i32),
    at: Option<u64>,
    count_at: i32,
) -> Result<(), FileError> {
    let (file, _flags) = table::file(caller.data_mut(), fd, FD_READ).map_err(unreadable)?;
    let (content, offset) = (file.content.clone(), at.unwrap_or(file.offset));
    let buffers = buffers(caller, list, length)?;
    memory_of::check(caller, count_at, 4)?;
    let count = match &content {
        Content::Memory(file) => {
            fill(caller, &buffers, |filled, into| file.read(offset.saturating_add(bytes(filled)), into))?
        }
        Content::Host(folder, path) => {
            let wanted: usize = buffers.iter().map(Range::len).sum();
            let got = place::read(&mut caller.as_context_mut(), folder, path, offset, wanted).await?;
            fill(caller, &buffers, |filled, into| {
                let left = got.get(filled..).unwrap_or_default();
                let count = left.len().min(into.len());
                if let (Some(into), Some(left)) = (into.get_mut(..count), left.get(..count)) {
                    into.copy_from_slice(left);
                }
                count
            })?
        }
    };
    if at.is_none() {
        table::file(caller.data_mut(), fd, 0)?.0.offset = offset.saturating_add(bytes(count));
    }
    told(caller, count, count_at).await
}

/// Writes to `at`, or to where the file is, which moves on then; the count goes to `count_at`.
pub(super) async fn write(
    caller: &mut Caller<'_, State>,
    fd: i32,
    (list, length): (i32, i32),
    at: Option<u64>,
    count_at: i32,
) -> Result<(), FileError> {
    let (file, flags) = table::file(caller.data_mut(), fd, FD_WRITE).map_err(unreadable)?;
    let content = file.content.clone();
    let offset = if flags & APPEND != 0 { None } else { Some(at.unwrap_or(file.offset)) };
    let buffers = buffers(caller, list, length)?;
    memory_of::check(caller, count_at, 4)?;
    let data = gather(caller, &buffers)?;
    let count = data.len();
    let end = match &content {
        _ if data.is_empty() => offset,
        Content::Memory(file) => Some(file.write(offset, &data)?),
        Content::Host(folder, path) => {
            done(ask(&mut caller.as_context_mut(), folder, path, FileOperation::Write { offset, bytes: data }).await)?;
            match offset {
                Some(offset) => Some(offset.saturating_add(bytes(count))),
                None => Some(stat_on_host(&mut caller.as_context_mut(), folder, path).await?.size),
            }
        }
    };
    if let (None, Some(end)) = (at, end) {
        table::file(caller.data_mut(), fd, 0)?.0.offset = end;
    }
    told(caller, count, count_at).await
}

/// POSIX's error for what was opened for something else; a folder has its own.
fn unreadable(error: FileError) -> FileError {
    if error == FileError::NotCapable { FileError::BadDescriptor } else { error }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

async fn told(caller: &mut Caller<'_, State>, count: usize, count_at: i32) -> Result<(), FileError> {
    memory_of::write(caller, count_at, &u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes())?;
    memory::copied(caller, count).await;
    Ok(())
}
