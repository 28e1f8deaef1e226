//! How a call gets its instance, has it serve the request, and gives it back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::held::Held;
use super::replay;
use super::target::{Call, CallFuture, Entry};
use crate::abi::contract::{Abi, Form};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::image::reader::Image;
use crate::instance::admission::Permit;
use crate::instance::live::Instance;
use crate::recording::tape::Tape;
use crate::recording::taped::Whence;

/// How calls of this ABI begin.
pub(crate) fn entry<A: Abi>() -> Entry {
    let start: fn(Call) -> CallFuture =
        if A::REUSABLE { |call| Box::pin(lent::<A>(call)) } else { |call| Box::pin(program::<A>(call)) };
    Entry {
        start,
        probe: A::probe,
        trial: |call| Box::pin(trial::<A>(call)),
        start_held: |call, held| Box::pin(kept::<A>(call, held)),
        replay: replay::start::<A>,
    }
}

/// Serves with an idle instance of the pool, or with a new one; either goes to the pool afterwards.
async fn lent<A: Abi>(call: Call) -> Result<Reply, CallError> {
    let target = &*call.target;
    let nested = call.request.depth > 1;
    // Held until the instance is back in its pool: the next call that is admitted finds it there.
    let _place = target.place(nested, &call.channel).await?;
    let warm = target.pool.as_ref().and_then(|pool| pool.take());
    let mut instance = match warm {
        Some(instance) => instance,
        // Boxed, so that the future of a warm call has no room for making an instance.
        None => Box::pin(target.instance(nested, &call.channel, || begun(&call))).await?,
    };
    instance.begin::<A>(call.for_guest());
    let outcome = instance.serve::<A>().await;
    if let Some(pool) = &target.pool
        && let Some(instance) = instance.rested::<A>()
        && !instance.tape().is_some_and(|tape| tape.is_long())
    {
        pool.give_back(instance);
        target.relieve();
    }
    outcome
}

/// Serves with the instance that is `held`, which is made for the first call.
async fn kept<A: Abi>(call: Call, held: Arc<Held>) -> Result<Reply, CallError> {
    let target = &*call.target;
    let mut loan = held.lend()?;
    let (mut instance, place) = match loan.take() {
        Some(found) => {
            held.note_called();
            found
        }
        None => Box::pin(first(&held, loan.image(), &call, begun)).await?,
    };
    loan.spend();
    instance.begin::<A>(call.for_guest());
    let outcome = instance.serve::<A>().await;
    if let Some(mut instance) = instance.rested::<A>() {
        if instance.tape().is_some_and(|tape| tape.is_worth_an_image()) {
            instance.tape_anew();
        }
        loan.give_back(instance, place);
        drop(loan);
        target.relieve();
    }
    outcome
}

/// Makes the instance that is `held`, unless it is made.
pub(crate) async fn made(call: Call, held: Arc<Held>) -> Result<Reply, CallError> {
    let mut loan = held.lend()?;
    let (instance, place) = match loan.take() {
        Some(found) => found,
        None => first(&held, loan.image(), &call, |call| call.target.tape(|| Whence::Before)).await?,
    };
    loan.give_back(instance, place);
    drop(loan);
    call.target.relieve();
    Ok(Reply::Bytes(Vec::new()))
}

/// The tape of an instance that is made for this call, which is on it from then on: what its start functions are told is, too.
fn begun(call: &Call) -> Option<Arc<Tape>> {
    let tape = call.target.tape(|| Whence::Call)?;
    call.channel.set_taped(tape.begin(&call.request.operation, &call.request.payload));
    Some(tape)
}

/// An instance for its owner to keep, and the permit of its function's cap.
async fn first(
    held: &Held,
    image: Option<&Image>,
    call: &Call,
    tape: impl FnOnce(&Call) -> Option<Arc<Tape>>,
) -> Result<(Instance, Option<Permit>), CallError> {
    let target = &*call.target;
    let nested = call.request.depth > 1;
    let place = target.place(nested, &call.channel).await?;
    let mut instance = match image {
        Some(image) => Box::pin(target.woken(image, nested, &call.channel, || held.note_admitted())).await?,
        None => Box::pin(target.instance(nested, &call.channel, || tape(call))).await?,
    };
    instance.keep();
    Ok((instance, place))
}

/// Serves with a new instance that lives for this call alone.
async fn program<A: Abi>(call: Call) -> Result<Reply, CallError> {
    let target = &*call.target;
    let nested = call.request.depth > 1;
    let _place = target.place(nested, &call.channel).await?;
    let permits = target.admit(nested, &call.channel).await?;
    let guest = call.for_guest();
    let prepare = |state: &mut State| {
        target.sockets.give(state);
        state.set_tape(target.tape(|| Whence::Call));
        state.begin_call(guest);
        A::begin(state);
    };
    let mut instance = Instance::new(&target.module, &target.function, permits, prepare).await?;
    instance.serve::<A>().await
}

/// How long an instance may take for a probe.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// Makes an instance, has it serve a probe twice where a pool is to keep such ones, and drops it again; prints what its start functions
/// printed when the snapshot was taken.
async fn trial<A: Abi>(call: Call) -> Result<Reply, CallError> {
    let target = &call.target;
    let mut instance = target.on_trial(&call.channel).await?;
    if target.pool.is_some() && (target.entry.probe)().is_some() {
        for turn in ["first", "second"] {
            instance.begin::<A>(call.for_guest());
            let served = timeout(PROBE_TIME, instance.serve::<A>()).await;
            let failed = match served {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("it took longer than {} s", PROBE_TIME.as_secs())),
            };
            if let Some(why) = failed {
                return Err(CallError::NotReusable { turn, why });
            }
            instance = instance.rested::<A>().ok_or(CallError::InstanceSpent)?;
        }
    }
    drop(instance);
    if let Form::Module(abi) = target.module.abi.form {
        (abi.print_kept)(&target.module.origin.printed, &target.function);
    }
    Ok(Reply::Bytes(Vec::new()))
}
