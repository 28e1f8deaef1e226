//! How a process runs, from its entry to its end, in as many instances as that takes.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use wasmtime::Val;

use crate::abi::process::Ran;
use crate::base::error::CallError;
use crate::base::request::{HostRequest, ProcessRequest, Reply};
use crate::call::target::Call;
use crate::instance::live::{Instance, Thawed};
use crate::store::context::FunctionContext;
use crate::store::frames::Stack;
use crate::store::host_channel::HostChannel;

/// After how long a guest looks for room again for which there was none, at first and at last.
const AGAIN: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(64)];

/// Runs the process that the instance was made for to its end.
///
/// # Errors
/// [`CallError::Guest`] when the guest says that it failed, anything else when it was stopped.
pub(in crate::call) async fn run(
    mut instance: Instance,
    (call, function): (&Call, &Arc<FunctionContext>),
    params: &[Val],
) -> Result<Reply, CallError> {
    match instance.run(params).await? {
        Ran::Ended(reply) => Ok(reply),
        // Few processes ever leave their stack, and none needs room for that before.
        Ran::Left => Box::pin(go_on(instance, call, function)).await,
    }
}

/// Runs a process that enters this stack in its instance, to its end.
///
/// # Errors
/// As of [`run`].
pub(super) async fn enter(
    mut instance: Instance,
    stack: Stack,
    (call, function): (&Call, &Arc<FunctionContext>),
) -> Result<Reply, CallError> {
    match instance.go_on(stack).await? {
        Ran::Ended(reply) => Ok(reply),
        Ran::Left => go_on(instance, call, function).await,
    }
}

/// Has the driver say when a guest goes on that has left its stack, and then goes on with it, in another instance. Where others have the
/// memory now that it had, it waits for that: what it has of its own has not been touched.
async fn go_on(mut instance: Instance, call: &Call, function: &Arc<FunctionContext>) -> Result<Reply, CallError> {
    loop {
        let mut frozen = instance.freeze()?;
        call.channel.pack(|| frozen.0.packed());
        // There is nothing that it could be told.
        let _ = call.channel.ask(HostRequest::Process(ProcessRequest::Frozen)).await;
        call.channel.unpack();
        let [mut again, longest] = AGAIN;
        let stack = loop {
            match Instance::thawed(&call.target.module, function, frozen).await? {
                Thawed::Whole(whole, stack) => {
                    instance = whole;
                    break stack;
                }
                Thawed::NoRoom(left) => frozen = *left,
            }
            if !call.target.node.make_room(frozen.0.memory) {
                call.target.node.ask_owner();
            }
            pause(&call.channel, again).await;
            again = (again * 2).min(longest);
        };
        if let Ran::Ended(reply) = instance.go_on(stack).await? {
            return Ok(reply);
        }
    }
}

/// Has the driver come back after a while.
async fn pause(channel: &HostChannel, lasts: Duration) {
    let until = Instant::now().checked_add(lasts);
    poll_fn(|_cx| {
        let over = until.is_none_or(|until| until <= Instant::now());
        channel.set_wake_at(until.filter(|_until| !over));
        if over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
