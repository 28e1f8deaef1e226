//! Waits of guests in imports, on their own stacks: short ones, and those that last, in which a guest may be ended or leave its stack.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::{AsContextMut, Caller};

use crate::base::error::CallError;
use crate::slice::epoch::FIRST_SLICE_TICKS;
use crate::store::data::State;
use crate::store::failure::stack;
use crate::store::frames::{Wait, Waiting};
use crate::store::leaving::leave;

/// Waits for what `poll` polls, which is looked at again at the time that it gives, without anybody who wakes.
pub(crate) async fn wait<A: 'static, T>(
    caller: &mut Caller<'_, State<A>>,
    mut poll: impl FnMut(&Context<'_>, &mut Option<Instant>) -> Poll<T>,
) -> T {
    let call = caller.data().call.clone();
    wait_here(caller, |_caller, cx, wake_at| {
        let polled = poll(cx, wake_at);
        if let Some(call) = call.as_ref().filter(|_call| polled.is_pending()) {
            call.channel.stay_here();
        }
        polled
    })
    .await
}

/// The same, where who polls may do something with the guest.
async fn wait_here<A: 'static, T>(
    caller: &mut Caller<'_, State<A>>,
    mut poll: impl FnMut(&mut Caller<'_, State<A>>, &Context<'_>, &mut Option<Instant>) -> Poll<T>,
) -> T {
    caller.data().note_memory();
    let call = caller.data().call.clone();
    let mut waited = false;
    let here = &mut *caller;
    let outcome = std::future::poll_fn(|cx| {
        let mut wake_at = None;
        let polled = poll(&mut *here, cx, &mut wake_at);
        if let Some(call) = &call {
            call.channel.show(|| stack(&mut *here));
            call.channel.set_wake_at(wake_at);
        }
        waited |= polled.is_pending();
        polled
    })
    .await;
    if waited {
        begin_slice(caller);
    }
    outcome
}

/// Begins a slice for a guest that has not run for a while: ticks that passed meanwhile don't count.
pub(crate) fn begin_slice<A: 'static>(mut store: impl AsContextMut<Data = State<A>>) {
    let mut context = store.as_context_mut();
    let call = context.data().call.as_ref();
    let ticks = call.map_or(FIRST_SLICE_TICKS, |call| call.channel.slice_ticks());
    context.set_epoch_deadline(ticks);
}

/// Waits until a time, and for others to have their turn in any case. `None` is for ever.
pub(crate) async fn pause<A: 'static>(caller: &mut Caller<'_, State<A>>, until: Option<Instant>) {
    wait(caller, paused(until)).await;
}

/// What a pause polls.
pub(crate) fn paused(until: Option<Instant>) -> impl FnMut(&Context<'_>, &mut Option<Instant>) -> Poll<()> {
    let mut paused = false;
    move |_cx, wake_at| {
        if std::mem::replace(&mut paused, true) && until.is_some_and(|until| until <= Instant::now()) {
            return Poll::Ready(());
        }
        *wake_at = until;
        Poll::Pending
    }
}

/// How a wait has ended that lasts.
pub(crate) enum Rested<T> {
    /// With what was waited for.
    Over(T),
    /// The guest leaves its stack. The import is to return at once, whatever it returns: it is called again.
    Left,
}

/// Like [`wait`], for waits that last, until a time at most: a guest that is ended meanwhile is unwound by an error, and one that is to
/// leave its stack does that. It waits in `import`.
///
/// # Errors
/// That one.
pub(crate) async fn rest<A: 'static, T>(
    caller: &mut Caller<'_, State<A>>,
    import: Waiting,
    until: Option<Instant>,
    mut poll: impl FnMut(&Context<'_>, &mut Option<Instant>) -> Poll<T>,
) -> wasmtime::Result<Rested<T>> {
    let call = caller.data().call.clone();
    let outcome = wait_here(caller, |caller, cx, wake_at| {
        let Some(call) = &call else { return poll(cx, wake_at).map(|told| Ok(Rested::Over(told))) };
        if let Some(error) = call.channel.take_end() {
            return Poll::Ready(Err(error));
        }
        let mut polled = poll(cx, wake_at).map(|told| Ok(Rested::Over(told)));
        if polled.is_pending() && call.channel.is_to_leave() {
            let left = leave(&mut *caller, Wait { import, until });
            if left.is_ok() {
                polled = Poll::Ready(Ok(Rested::Left));
            }
            call.channel.left(left);
        }
        call.channel.set_rests(polled.is_pending());
        polled
    })
    .await;
    if outcome.is_err() {
        // Of the host's making: the guest does not catch it.
        caller.data_mut().failure = Some(CallError::Internal { message: "the process was ended".into() });
    }
    outcome
}

/// When a wait of so many ms is over, or that is which goes on.
pub(crate) fn until(again: Option<Wait>, ms: u64) -> Option<Instant> {
    again.map_or_else(|| deadline(ms), |wait| wait.until)
}

/// When a wait of so many ms is over; `None` is never.
pub(crate) fn deadline(timeout_ms: u64) -> Option<Instant> {
    if timeout_ms == u64::MAX {
        return None;
    }
    Instant::now().checked_add(Duration::from_millis(timeout_ms))
}
