//! Preview 0, `wasi_unstable`, which guests of older compilers import: preview 1 under another name, but for four
//! functions whose arguments lie otherwise.
//!
//! Source of both layouts: `typenames.witx` of each, in wasmtime-wasi.

use std::ops::Range;

use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as library;
use wiggle::GuestMemory;

use super::bounded::{BADF, FAULT, INVAL, MAX_SUBSCRIPTIONS, SUBSCRIPTION_BYTES, SUCCESS, WASI_MODULE, at_most, world};
use super::files::{self, FILESTAT_BYTES};
use super::poll;
use crate::abi::memory;
use crate::abi::slots::State;

/// Its import module.
pub(super) const PREVIEW_0: &str = "wasi_unstable";
/// Sizes in bytes: a subscription of each, an event of both, what is known of a file.
const SUBSCRIPTION_0: usize = 56;
const SUBSCRIPTION_1: usize = 48;
const EVENT: usize = 32;
const FILESTAT_0: usize = 56;
/// Preview 1's numbers of what `fd_seek` counts from, by preview 0's: where it is, the end, the start.
const WHENCE: [i32; 3] = [1, 2, 0];

/// Offers it; the linker has preview 1 already.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.alias_module(WASI_MODULE, PREVIEW_0)?;
    linker.func_wrap_async(PREVIEW_0, "fd_seek", |caller, args| Box::new(fd_seek(caller, args)))?;
    linker.func_wrap_async(PREVIEW_0, "fd_filestat_get", |caller, args| Box::new(fd_filestat_get(caller, args)))?;
    linker.func_wrap_async(PREVIEW_0, "path_filestat_get", |caller, args| Box::new(path_filestat_get(caller, args)))?;
    linker.func_wrap_async(PREVIEW_0, "poll_oneoff", |caller, args| Box::new(poll_oneoff(caller, args)))?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn fd_seek(mut caller: Caller<'_, State>, args: (i32, i64, i32, i32)) -> wasmtime::Result<i32> {
    let (fd, offset, whence, position) = args;
    let Some(whence) = usize::try_from(whence).ok().and_then(|at| WHENCE.get(at)) else { return Ok(INVAL) };
    if let Some(errno) = files::seek(&mut caller, fd, offset, *whence, position).await {
        return Ok(errno);
    }
    let (mut memory, context) = world(&mut caller)?;
    library::fd_seek(context, &mut memory, fd, offset, *whence, position).await
}

async fn fd_filestat_get(mut caller: Caller<'_, State>, (fd, at): (i32, i32)) -> wasmtime::Result<i32> {
    let stat = match files::stat_of_descriptor(&mut caller, fd).await {
        Some(own) => own,
        None => {
            let mut stat = [0; FILESTAT_BYTES];
            let (_, context) = world(&mut caller)?;
            let errno = library::fd_filestat_get(context, &mut GuestMemory::Unshared(&mut stat), fd, 0).await?;
            if errno == SUCCESS { Ok(stat) } else { Err(errno) }
        }
    };
    tell_stat(&mut caller, stat, at)
}

async fn path_filestat_get(
    mut caller: Caller<'_, State>,
    (fd, _lookup, path, length, at): (i32, i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let stat = files::stat_of_path(&mut caller, fd, (path, length)).await.unwrap_or(Err(BADF));
    tell_stat(&mut caller, stat, at)
}

/// Writes what is known of a file.
fn tell_stat(
    caller: &mut Caller<'_, State>,
    stat: Result<[u8; FILESTAT_BYTES], i32>,
    at: i32,
) -> wasmtime::Result<i32> {
    let stat = match stat {
        Ok(stat) => stat,
        Err(errno) => return Ok(errno),
    };
    // The number of links has four bytes less, and takes the place that four bytes of nothing had before it.
    let mut older = [0; FILESTAT_0];
    copy(&stat, 0..20, &mut older, 0);
    copy(&stat, 24..28, &mut older, 20);
    copy(&stat, 32..64, &mut older, 24);
    let memory = memory::memory(caller)?;
    Ok(if memory.write(caller, memory::unsigned(at), &older).is_ok() { SUCCESS } else { FAULT })
}

/// Has preview 1's serve a copy of the subscriptions. Nothing is written but the events.
async fn poll_oneoff(mut caller: Caller<'_, State>, args: (i32, i32, i32, i32)) -> wasmtime::Result<i32> {
    let (subscriptions, events, count, size) = args;
    if at_most(count, MAX_SUBSCRIPTIONS.into()) != count {
        return Ok(INVAL);
    }
    let all = usize::try_from(count).unwrap_or(0);
    let memory = memory::memory(&mut caller)?;
    let start = memory::unsigned(subscriptions);
    let asked = start.checked_add(all * SUBSCRIPTION_0).and_then(|end| memory.data(&caller).get(start..end));
    let Some(asked) = asked else { return Ok(FAULT) };
    let events_at = all * SUBSCRIPTION_1;
    let size_at = events_at + all * EVENT;
    let mut copied = vec![0; size_at + 4];
    for (older, newer) in asked.chunks_exact(SUBSCRIPTION_0).zip(copied.chunks_exact_mut(SUBSCRIPTION_1)) {
        // Both begin with the guest's data and a tag. A clock has a number of its own then, which preview 1 left out.
        copy(older, 0..16, newer, 0);
        let is_clock = older.get(8) == Some(&0);
        if is_clock { copy(older, 24..56, newer, 16) } else { copy(older, 16..48, newer, 16) }
    }
    let number = |at: usize| i32::try_from(at).unwrap_or(i32::MAX);
    let args = (0, number(events_at), count, number(size_at));
    let outcome = poll::wait(&mut caller, Some(&mut copied), args).await;
    memory::copied(&mut caller, all * SUBSCRIPTION_BYTES).await;
    let errno = outcome?;
    if errno != SUCCESS {
        return Ok(errno);
    }
    let happened = copied.get(size_at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |it| u32::from_le_bytes(*it));
    let end = events_at + usize::try_from(happened).unwrap_or(0).min(all) * EVENT;
    let (events, size) = (memory::unsigned(events), memory::unsigned(size));
    let written = memory
        .write(&mut caller, events, copied.get(events_at..end).unwrap_or_default())
        .and_then(|()| memory.write(&mut caller, size, &happened.to_le_bytes()));
    Ok(if written.is_ok() { SUCCESS } else { FAULT })
}

/// Copies a part of `from` to where `at` is in `to`; nothing, when one of them has no such part.
fn copy(from: &[u8], part: Range<usize>, to: &mut [u8], at: usize) {
    if let (Some(from), Some(to)) = (from.get(part.clone()), to.get_mut(at..at + part.len())) {
        to.copy_from_slice(from);
    }
}
