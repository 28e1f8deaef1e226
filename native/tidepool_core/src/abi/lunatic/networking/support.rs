//! What the imports of sockets have in common: handles, waits, and outcomes.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use wasmtime::Caller;

use super::data::Socket;
use crate::abi::lunatic::support::{self, OK, failed, handle, no_handle, put};
use crate::abi::memory;
use crate::abi::slots::State;
use crate::net::error::NetError;
use crate::store::resting::{deadline, wait};

/// An import's result when its time was over.
pub(super) const TIMED_OUT: i32 = 9027;
/// Bytes that one call moves at most: what is more is for the guest's next call, as the counts say.
pub(super) const MOST_BYTES: usize = 256 << 10;

/// The socket with a handle.
///
/// # Errors
/// Traps a guest that has none.
pub(super) fn find<T: Socket>(caller: &mut Caller<'_, State>, handle: u64) -> wasmtime::Result<Arc<T>> {
    match T::table(&mut caller.data_mut().abi.lunatic.data().sockets).get(handle) {
        Some(socket) => Ok(Arc::clone(socket)),
        None => Err(no_handle(caller, T::NAME, handle)),
    }
}

/// A handle for a socket.
///
/// # Errors
/// Traps a guest that has too many.
pub(super) fn add<T: Socket>(caller: &mut Caller<'_, State>, socket: Arc<T>) -> wasmtime::Result<u64> {
    handle(caller, |data| T::table(&mut data.sockets), socket)
}

/// Takes the socket with a handle from the guest.
///
/// # Errors
/// Traps a guest that has none.
pub(super) fn take<T: Socket>(caller: &mut Caller<'_, State>, handle: u64) -> wasmtime::Result<Arc<T>> {
    support::take(caller, |data| T::table(&mut data.sockets), T::NAME, handle)
}

/// `drop_…`.
pub(super) fn remove<T: Socket>(mut caller: Caller<'_, State>, handle: u64) -> wasmtime::Result<()> {
    take::<T>(&mut caller, handle).map(drop)
}

/// `clone_…`: another handle for the same socket.
pub(super) fn share<T: Socket>(mut caller: Caller<'_, State>, handle: u64) -> wasmtime::Result<u64> {
    let socket = find::<T>(&mut caller, handle)?;
    add(&mut caller, socket)
}

/// Ends an import whose out value is a new socket's handle, or an error's.
///
/// # Errors
/// Traps the guest when the place isn't within its memory, or when it has too many.
pub(super) fn made<T: Socket>(
    caller: &mut Caller<'_, State>,
    id: i32,
    made: Result<T, NetError>,
) -> wasmtime::Result<i32> {
    match made {
        Ok(socket) => {
            let handle = add(caller, Arc::new(socket))?;
            put(caller, id, handle)?;
            Ok(OK)
        }
        Err(error) => failed(caller, id, error.to_string()),
    }
}

/// Waits for what takes `ms` at most.
///
/// # Errors
/// [`NetError::TimedOut`], and those of what is waited for.
pub(super) async fn within<T>(
    caller: &mut Caller<'_, State>,
    ms: u64,
    what: &'static str,
    work: impl Future<Output = Result<T, NetError>> + Send,
) -> Result<T, NetError> {
    until(caller, deadline(ms), work).await.unwrap_or(Err(NetError::TimedOut { what, ms }))
}

/// Ends an import as [`failed`] does, or with the code for what took too long. Both times the out value is an error's handle,
/// for the guest crate takes it for one.
///
/// # Errors
/// Traps the guest when the place isn't within its memory, or when it has too many errors.
pub(super) fn failed_or_late(caller: &mut Caller<'_, State>, ptr: i32, error: &NetError) -> wasmtime::Result<i32> {
    let code = failed(caller, ptr, error.to_string())?;
    Ok(if matches!(error, NetError::TimedOut { .. }) { TIMED_OUT } else { code })
}

/// Waits for a future until the deadline; `None` when that comes first.
pub(super) async fn until<T>(
    caller: &mut Caller<'_, State>,
    deadline: Option<Instant>,
    future: impl Future<Output = T> + Send,
) -> Option<T> {
    let mut future = pin!(future);
    wait(caller, |cx, wake_at| {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(cx.waker())) {
            return Poll::Ready(Some(outcome));
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Poll::Ready(None);
        }
        *wake_at = deadline;
        Poll::Pending
    })
    .await
}

/// Checks that a range is within the guest's memory; where it begins and how much of it one call uses.
///
/// # Errors
/// Traps the guest when it is not.
pub(super) fn range(caller: &mut Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<(usize, usize)> {
    let range = memory::range(caller, ptr, len)?;
    Ok((range.start, range.len().min(MOST_BYTES)))
}

/// A number for the guest.
pub(super) fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
