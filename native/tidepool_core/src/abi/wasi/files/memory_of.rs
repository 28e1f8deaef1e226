//! A guest's memory as WASI's functions for files use it: what is not in it is an error of the guest's, and no trap.

use std::ops::Range;

use wasmtime::Caller;

use crate::abi::files::content::MAX_TRANSFER;
use crate::abi::memory::{self, unsigned};
use crate::abi::slots::State;
use crate::process::files::error::FileError;

/// Buffers that one call uses; a call with more uses only these, as the specification permits.
const MAX_BUFFERS: usize = 1_024;
/// Longest path that is looked at.
const MAX_PATH_BYTES: usize = 4_096;

fn bytes<'a>(caller: &'a mut Caller<'_, State>) -> Result<&'a mut [u8], FileError> {
    let memory = memory::memory(caller).map_err(|_no_memory| FileError::Fault)?;
    Ok(memory.data_mut(caller))
}

fn range(start: i32, length: usize) -> Result<Range<usize>, FileError> {
    let start = unsigned(start);
    start.checked_add(length).map(|end| start..end).ok_or(FileError::Fault)
}

/// Writes to where the guest wants it.
pub(super) fn write(caller: &mut Caller<'_, State>, at: i32, value: &[u8]) -> Result<(), FileError> {
    let place = bytes(caller)?.get_mut(range(at, value.len())?).ok_or(FileError::Fault)?;
    place.copy_from_slice(value);
    Ok(())
}

/// Are there so many bytes for the guest to be told?
pub(super) fn check(caller: &mut Caller<'_, State>, at: i32, length: usize) -> Result<(), FileError> {
    bytes(caller)?.get(range(at, length)?).map(|_there| ()).ok_or(FileError::Fault)
}

/// What is at a place.
pub(super) fn read<'a>(caller: &'a mut Caller<'_, State>, at: i32, length: usize) -> Result<&'a [u8], FileError> {
    bytes(caller)?.get(range(at, length)?).ok_or(FileError::Fault)
}

/// A path that the guest gives.
pub(super) fn path(caller: &mut Caller<'_, State>, (at, length): (i32, i32)) -> Result<Vec<u8>, FileError> {
    let length = unsigned(length);
    check(caller, at, length)?;
    if length > MAX_PATH_BYTES {
        return Err(FileError::NameTooLong);
    }
    read(caller, at, length).map(<[u8]>::to_vec)
}

/// The buffers of a call, as far as it uses them, all of which are in memory.
pub(super) fn buffers(caller: &mut Caller<'_, State>, at: i32, count: i32) -> Result<Vec<Range<usize>>, FileError> {
    let count = unsigned(count).min(MAX_BUFFERS);
    let memory = bytes(caller)?;
    let list = memory.get(range(at, count * 8)?).ok_or(FileError::Fault)?;
    let mut left = MAX_TRANSFER;
    let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |it| u32::from_le_bytes(*it)) as usize;
    let mut buffers = Vec::new();
    for buffer in list.chunks_exact(8) {
        let (start, length) = (number(buffer), buffer.get(4..).map_or(0, number));
        let end = start.checked_add(length).filter(|end| *end <= memory.len()).ok_or(FileError::Fault)?;
        let end = end.min(start + left);
        left -= end - start;
        if end > start {
            buffers.push(start..end);
        }
    }
    Ok(buffers)
}

/// Goes through parts of memory, until one is not filled; how many bytes were in all.
pub(super) fn fill(
    caller: &mut Caller<'_, State>,
    buffers: &[Range<usize>],
    mut fill: impl FnMut(usize, &mut [u8]) -> usize,
) -> Result<usize, FileError> {
    let memory = bytes(caller)?;
    let mut filled = 0;
    for buffer in buffers {
        let length = buffer.len();
        let count = fill(filled, memory.get_mut(buffer.clone()).ok_or(FileError::Fault)?);
        filled += count;
        if count < length {
            break;
        }
    }
    Ok(filled)
}

/// What parts of memory hold.
pub(super) fn gather(caller: &mut Caller<'_, State>, buffers: &[Range<usize>]) -> Result<Vec<u8>, FileError> {
    let memory = bytes(caller)?;
    let mut all = Vec::with_capacity(buffers.iter().map(Range::len).sum());
    for buffer in buffers {
        all.extend_from_slice(memory.get(buffer.clone()).ok_or(FileError::Fault)?);
    }
    Ok(all)
}
