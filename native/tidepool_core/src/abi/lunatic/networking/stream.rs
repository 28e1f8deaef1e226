//! Streams of bytes: reading, writing, and how long both may take.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::Interest;
use wasmtime::{AsContextMut, Caller};

use super::data::Socket;
use super::support::{MOST_BYTES, TIMED_OUT, count, find, range, until};
use crate::abi::lunatic::support::{ImportFuture, OK, done, failed, put, refused, trap};
use crate::abi::memory;
use crate::abi::slots::State;
use crate::net::error::NetError;
use crate::net::stream::{Stream, Timeout, Timeouts, Tried};
use crate::store::resting::deadline;

/// Most pieces of a vectored write.
const MAX_PIECES: usize = 1_024;
/// Pieces that are written at once: what is more is for the guest's next call.
const PIECES: usize = 32;
/// What an operation costs beside the bytes that it moves, as so many more of them.
const BASE_BYTES: usize = 1 << 10;

/// Streams that guests have.
pub(super) trait GuestStream: Stream + Socket {}
impl<T: Stream + Socket> GuestStream for T {}

/// How a stream is read: `try_read`, or one that leaves what it reads.
type Try<T> = fn(&T, &mut [u8]) -> Result<Tried<usize>, NetError>;

/// Reads into the guest's memory: at once, or when something has come.
pub(super) fn read<T: GuestStream>(
    mut caller: Caller<'_, State>,
    (stream, ptr, len, out): (u64, i32, i32, i32),
    how: Try<T>,
    timeout: fn(&Timeouts) -> &Timeout,
) -> ImportFuture<'_, i32> {
    let begun = find::<T>(&mut caller, stream)
        .and_then(|stream| Ok((range(&mut caller, ptr, len)?, stream)))
        .and_then(|(place, stream)| Ok((try_read(&mut caller, &*stream, place, out, how)?, place, stream)));
    match begun {
        Ok((Moved::Done, ..)) => done::<OK>(),
        Ok((Moved::Failed(error), ..)) => Box::new(std::future::ready(failed(&mut caller, out, error.to_string()))),
        Ok((Moved::Wait(interest), place, stream)) => Box::new(async move {
            let deadline = deadline(timeout(stream.timeouts()).get());
            let again = |caller: &mut Caller<'_, State>| try_read(caller, &*stream, place, out, how);
            moved_until(&mut caller, &*stream, (deadline, interest), out, again).await
        }),
        Err(error) => refused(error),
    }
}

/// What came of trying to move bytes.
enum Moved {
    Done,
    Failed(NetError),
    Wait(Interest),
}

/// Tries to move bytes again and again, each time that the stream may be ready, until the deadline; the import's result.
async fn moved_until<T: GuestStream>(
    caller: &mut Caller<'_, State>,
    stream: &T,
    (deadline, mut interest): (Option<Instant>, Interest),
    out: i32,
    mut again: impl FnMut(&mut Caller<'_, State>) -> wasmtime::Result<Moved> + Send,
) -> wasmtime::Result<i32> {
    loop {
        match until(caller, deadline, stream.ready(interest)).await {
            None => return Ok(TIMED_OUT),
            Some(Err(error)) => return failed(caller, out, error.to_string()),
            Some(Ok(())) => {}
        }
        match again(caller)? {
            Moved::Done => return Ok(OK),
            Moved::Failed(error) => return failed(caller, out, error.to_string()),
            Moved::Wait(more) => interest = more,
        }
        idle(caller).await;
    }
}

fn try_read<T: GuestStream>(
    caller: &mut Caller<'_, State>,
    stream: &T,
    (start, length): (usize, usize),
    out: i32,
    how: Try<T>,
) -> wasmtime::Result<Moved> {
    let memory = memory::memory(caller)?;
    // It was checked, and memories only grow.
    let bytes = memory.data_mut(&mut *caller).get_mut(start..).and_then(|bytes| bytes.get_mut(..length));
    let tried = match bytes {
        Some(bytes) if length > 0 => how(stream, bytes),
        _ => Ok(Tried::Done(0)),
    };
    moved(caller, tried, out)
}

/// Tells the guest how many bytes were moved, if any were.
fn moved(caller: &mut Caller<'_, State>, tried: Result<Tried<usize>, NetError>, out: i32) -> wasmtime::Result<Moved> {
    match tried {
        Ok(Tried::Done(bytes)) => {
            put(caller, out, count(bytes))?;
            charge(caller, bytes);
            Ok(Moved::Done)
        }
        Ok(Tried::Wait(interest)) => Ok(Moved::Wait(interest)),
        Err(error) => Ok(Moved::Failed(error)),
    }
}

/// Has the guest yield at its next check when it has moved much.
pub(super) fn charge(caller: &mut Caller<'_, State>, bytes: usize) {
    if caller.data_mut().copied(bytes.saturating_add(BASE_BYTES)) {
        caller.as_context_mut().set_epoch_deadline(0);
    }
}

/// Counts a wake that was for nothing: what comes may be nothing for the guest, again and again.
pub(super) async fn idle(caller: &mut Caller<'_, State>) {
    memory::copied(caller, memory::PIECE_BYTES).await;
}

/// Writes pieces of the guest's memory: at once, or when there is room.
pub(super) fn write<T: GuestStream>(
    mut caller: Caller<'_, State>,
    (stream, pieces, pieces_len, out): (u64, i32, i32, i32),
) -> ImportFuture<'_, i32> {
    let begun = find::<T>(&mut caller, stream)
        .and_then(|stream| Ok((ranges(&mut caller, pieces, pieces_len)?, stream)))
        .and_then(|(places, stream)| Ok((try_write(&mut caller, &*stream, &places, out)?, places, stream)));
    match begun {
        Ok((Moved::Done, _places, stream)) => match stream.try_flush() {
            Ok(Tried::Wait(interest)) => Box::new(async move {
                flush_until(&mut caller, &*stream, interest).await;
                Ok(OK)
            }),
            // What fails here fails the next operation.
            _ => done::<OK>(),
        },
        Ok((Moved::Failed(error), ..)) => Box::new(std::future::ready(failed(&mut caller, out, error.to_string()))),
        Ok((Moved::Wait(interest), places, stream)) => Box::new(async move {
            let deadline = deadline(stream.timeouts().write.get());
            let again = |caller: &mut Caller<'_, State>| try_write(caller, &*stream, &places, out);
            let code = moved_until(&mut caller, &*stream, (deadline, interest), out, again).await?;
            if code == OK
                && let Ok(Tried::Wait(interest)) = stream.try_flush()
            {
                flush_until(&mut caller, &*stream, interest).await;
            }
            Ok(code)
        }),
        Err(error) => refused(error),
    }
}

/// Waits until all that was written is the system's. What is not in time goes with the next operation.
async fn flush_until<T: GuestStream>(caller: &mut Caller<'_, State>, stream: &T, mut interest: Interest) {
    let deadline = deadline(stream.timeouts().write.get());
    while let Some(Ok(())) = until(caller, deadline, stream.ready(interest)).await {
        match stream.try_flush() {
            Ok(Tried::Wait(again)) => interest = again,
            _ => return,
        }
        idle(caller).await;
    }
}

/// Where the pieces of a vectored write are.
struct Places {
    places: [(usize, usize); PIECES],
    count: usize,
}

/// The first of the pieces that are described at `ptr`: each by address and length.
fn ranges(caller: &mut Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<Places> {
    let length = memory::unsigned(len);
    if length > MAX_PIECES {
        return Err(trap(caller, format!("the guest writes {length} pieces at once, more than {MAX_PIECES}")));
    }
    let memory = memory::memory(caller)?;
    let start = memory::unsigned(ptr);
    let mut found = Places { places: [(0, 0); PIECES], count: 0 };
    let mut left = MOST_BYTES;
    for piece in 0..length {
        let mut described = [0; 8];
        let at = start.checked_add(piece * 8);
        if at.is_none_or(|at| memory.read(&*caller, at, &mut described).is_err()) {
            return Err(memory::bad_pointer(caller, ptr, length * 8));
        }
        let [a, b, c, d, e, f, g, h] = described;
        let (ptr, len) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]));
        let (start, bytes) = range(caller, ptr, len)?;
        if let (Some(place), true) = (found.places.get_mut(found.count), bytes > 0 && left > 0) {
            *place = (start, bytes.min(left));
            found.count += 1;
            left -= bytes.min(left);
        }
    }
    Ok(found)
}

fn try_write<T: GuestStream>(
    caller: &mut Caller<'_, State>,
    stream: &T,
    places: &Places,
    out: i32,
) -> wasmtime::Result<Moved> {
    let memory = memory::memory(caller)?;
    let bytes = memory.data(&*caller);
    let mut pieces = [IoSlice::new(&[]); PIECES];
    for (piece, (start, length)) in pieces.iter_mut().zip(places.places) {
        let place = bytes.get(start..).and_then(|bytes| bytes.get(..length));
        *piece = IoSlice::new(place.unwrap_or_default());
    }
    let tried = match pieces.get(..places.count) {
        Some(pieces) if !pieces.is_empty() => stream.try_write(pieces),
        _ => Ok(Tried::Done(0)),
    };
    moved(caller, tried, out)
}

/// Waits until all that was written is the system's.
pub(super) async fn flush<T: GuestStream>(
    mut caller: Caller<'_, State>,
    (stream, out): (u64, i32),
) -> wasmtime::Result<i32> {
    let stream: Arc<T> = find(&mut caller, stream)?;
    let deadline = deadline(stream.timeouts().write.get());
    loop {
        match stream.try_flush() {
            Ok(Tried::Done(())) => return Ok(OK),
            Err(error) => return failed(&mut caller, out, error.to_string()),
            Ok(Tried::Wait(interest)) => match until(&mut caller, deadline, stream.ready(interest)).await {
                Some(Ok(())) => idle(&mut caller).await,
                Some(Err(error)) => return failed(&mut caller, out, error.to_string()),
                // For the guest crate, which takes the out value for an error's handle.
                None => return failed(&mut caller, out, "flushing took longer than it may"),
            },
        }
    }
}

/// `set_…_timeout`.
pub(super) fn set_timeout<T: GuestStream>(
    caller: &mut Caller<'_, State>,
    stream: u64,
    ms: u64,
    which: fn(&Timeouts) -> &Timeout,
) -> wasmtime::Result<()> {
    which(find::<T>(caller, stream)?.timeouts()).set(ms);
    Ok(())
}

/// `get_…_timeout`.
pub(super) fn timeout<T: GuestStream>(
    caller: &mut Caller<'_, State>,
    stream: u64,
    which: fn(&Timeouts) -> &Timeout,
) -> wasmtime::Result<u64> {
    Ok(which(find::<T>(caller, stream)?.timeouts()).get())
}
