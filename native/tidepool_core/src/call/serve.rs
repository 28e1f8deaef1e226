//! How a call gets its instance, has it serve the request, and gives it back.

use std::sync::Arc;

use super::held::Held;
use super::target::{Call, CallFuture, Entry};
use crate::abi::contract::{Abi, Form};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::image::reader::Image;
use crate::instance::admission::Permit;
use crate::instance::live::Instance;

/// How calls of this ABI begin.
pub(crate) fn entry<A: Abi>() -> Entry {
    let start: fn(Call) -> CallFuture =
        if A::REUSABLE { |call| Box::pin(lent::<A>(call)) } else { |call| Box::pin(program::<A>(call)) };
    Entry { start, start_held: |call, held| Box::pin(kept::<A>(call, held)) }
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
        None => Box::pin(target.instance(nested, &call.channel)).await?,
    };
    instance.begin::<A>(call.for_guest());
    let outcome = instance.serve::<A>().await;
    if let Some(pool) = &target.pool
        && let Some(instance) = instance.rested::<A>()
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
        None => Box::pin(first(loan.image(), &call)).await?,
    };
    loan.spend();
    instance.begin::<A>(call.for_guest());
    let outcome = instance.serve::<A>().await;
    if let Some(instance) = instance.rested::<A>() {
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
        None => first(loan.image(), &call).await?,
    };
    loan.give_back(instance, place);
    drop(loan);
    call.target.relieve();
    Ok(Reply::Bytes(Vec::new()))
}

/// An instance for its owner to keep, and the permit of its function's cap.
async fn first(image: Option<&Image>, call: &Call) -> Result<(Instance, Option<Permit>), CallError> {
    let target = &*call.target;
    let nested = call.request.depth > 1;
    let place = target.place(nested, &call.channel).await?;
    let instance = match image {
        Some(image) => Box::pin(target.woken(image, nested, &call.channel)).await?,
        None => Box::pin(target.instance(nested, &call.channel)).await?,
    };
    Ok((instance, place))
}

/// Serves with a new instance that lives for this call alone.
async fn program<A: Abi>(call: Call) -> Result<Reply, CallError> {
    let target = &*call.target;
    let nested = call.request.depth > 1;
    let _place = target.place(nested, &call.channel).await?;
    let permits = target.admit(nested, &call.channel).await?;
    let guest = call.for_guest();
    let prepare = move |state: &mut State| {
        state.call = Some(guest);
        A::begin(state);
    };
    let mut instance = Instance::new(&target.module, &target.function, permits, prepare).await?;
    instance.serve::<A>().await
}

/// Makes an instance and drops it again, and prints what its start functions printed when the snapshot was taken.
pub(crate) async fn trial(call: Call) -> Result<Reply, CallError> {
    let target = &call.target;
    drop(target.on_trial(&call.channel).await?);
    if let Form::Module(abi) = target.module.abi.form {
        (abi.print_kept)(&target.module.origin.printed, &target.function);
    }
    Ok(Reply::Bytes(Vec::new()))
}
