//! A process that was recorded, again: alone in a program of its own, in which all others are what they said on the tape.

use std::sync::Arc;

use wasmtime::Store;

use crate::abi::begun::message;
use crate::abi::guest::{Guest, param_values};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::call::process::lives;
use crate::call::process::prepare::{bounds, new_program, set_up};
use crate::call::target::Call;
use crate::instance::live::Instance;
use crate::instance::watch::Watch;
use crate::process::config::Config;
use crate::process::message::Message;
use crate::process::place::Place;
use crate::recording::outside::begun::Begun;
use crate::recording::tape::Tape;
use crate::recording::taped::{Given, Taped};

/// What the process comes to now.
///
/// # Errors
/// When there is no room for it, or the recording is none of a process.
pub(super) async fn replayed(
    call: &Call,
    taped: &Taped,
    tape: &Arc<Tape>,
    watch: Option<&Arc<dyn Watch>>,
) -> Result<Result<Reply, CallError>, CallError> {
    let target = &*call.target;
    if !target.module.abi.runs || target.module.as_module().is_none() {
        return Ok(Err(CallError::NoProgram { abi: target.module.abi.name }));
    }
    let Some(one) = taped.calls.first() else { return Err(unreadable("no process")) };
    let entry = String::from_utf8(one.operation.to_vec()).map_err(|_| unreadable("a process without an entry"))?;
    let Given::Payload(payload) = &one.payload else { return Err(unreadable("a request of HTTP")) };
    let begun = Begun::read(payload.bytes().clone()).map_err(|damaged| unreadable(&damaged.to_string()))?;
    let params = param_values(&begun.with.params).ok_or_else(|| unreadable("a process with other parameters"))?;
    let _place = tape.begin(&one.operation, payload);
    let (guest, left) = guest(call, entry, begun)?;
    let permits = target.admit(false, &call.channel).await?;
    let set_up = set_up(call, guest, left, Some(Arc::clone(tape)));
    let prepare = |store: &mut Store<State>| {
        set_up(store.data_mut());
        if let Some(watch) = watch {
            watch.begin(store);
        }
    };
    Ok(match Box::pin(Instance::watched(&target.module, &target.function, permits, prepare)).await {
        Ok(instance) => lives::run(instance, (call, &target.function), &params).await,
        Err(error @ (CallError::Overloaded { .. } | CallError::Quota { .. })) => return Err(error),
        Err(error) => Err(error),
    })
}

/// The process, which has its number in a program without others, and what it was left.
fn guest(call: &Call, entry: String, begun: Begun) -> Result<(Arc<Guest>, Option<Message>), CallError> {
    let target = &*call.target;
    let Begun { id, program: number, origin, module, is_foreign, mailbox_bytes, with, left } = begun;
    let place = Place::part(with.node, origin, module, id, &Arc::default());
    let program = new_program(target, bounds(target), place, None);
    let program = Arc::new(program.recorded(number, usize::try_from(mailbox_bytes).unwrap_or(usize::MAX)));
    let config = Config::arrived(with).map_err(|why| unreadable(&format!("a process that there can't be: {why}")))?;
    let refused = |message| CallError::Overloaded { message };
    let process = program.add_guest(entry, config.text_bytes()).map_err(refused)?;
    if process.id != id {
        return Err(unreadable("a process with another number"));
    }
    let guest = Guest { program, process, config: Arc::new(config), is_foreign, brought: None };
    Ok((Arc::new(guest), message(left)))
}

fn unreadable(what: &str) -> CallError {
    CallError::InvalidOption { message: format!("the recording has no process that could be replayed: {what}") }
}
