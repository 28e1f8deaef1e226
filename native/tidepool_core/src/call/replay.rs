//! A call that was recorded, again: all that its guest is told comes from the recording, and nothing from host or clock.

mod process;
mod stopped;

use std::sync::Arc;

use wasmtime::Store;

use super::target::{Call, CallFuture, Target};
use crate::abi::contract::Abi;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::{Payload, Reply, Request};
use crate::image::reader::Image;
use crate::instance::live::Instance;
use crate::instance::watch::Watch;
use crate::os::drop_thread::{DropThread, is_large};
use crate::recording::entry::Entry;
use crate::recording::outcome::Answered;
use crate::recording::player::{How, Player};
use crate::recording::report::{Came, Replay, report};
use crate::recording::tape::{Place, Tape};
use crate::recording::taped::{Given, Share, Taped, TapedCall, Whence};
use crate::store::host_channel::{GuestCall, HostChannel};
use stopped::{Running, ended_or_stopped};

/// What was read of a recording, and its place in the account: where that is much, it is dropped on the thread for that, behind all else
/// that has it.
struct Held {
    taped: Option<Arc<Taped>>,
    share: Option<Box<dyn Share>>,
    bytes: usize,
    drop_thread: DropThread,
}

impl Drop for Held {
    fn drop(&mut self) {
        let held = (self.taped.take(), self.share.take());
        if is_large(self.bytes, || self.bytes / size_of::<Entry>()) {
            self.drop_thread.drop_there(Box::new(held));
        }
    }
}

/// Replays for functions of this ABI: all calls of the instance, up to the one that was recorded. The reply is a report as JSON.
pub(crate) fn start<A: Abi>(call: Call, replay: Replay, watch: Option<Arc<dyn Watch>>) -> CallFuture {
    Box::pin(replayed::<A>(call, replay, watch))
}

async fn replayed<A: Abi>(
    call: Call,
    Replay { recording, how, questions, bytes, share }: Replay,
    watch: Option<Arc<dyn Watch>>,
) -> Result<Reply, CallError> {
    let abi = &call.target.module.abi;
    let frame = recording.frame;
    let drop_thread = call.target.function.drop_thread.clone();
    // First, and so dropped last.
    let mut held = Held { taped: None, share, bytes, drop_thread };
    let taped = frame.taped.map(Arc::new).ok_or_else(|| CallError::InvalidOption {
        message: "the recording was redacted: it has lengths and digests of what was told, and can't be replayed"
            .into(),
    })?;
    held.taped = Some(Arc::clone(&taped));
    if held.share.is_none() {
        held.share = Some(Box::new(call.target.hold_recording(bytes)?));
    }
    let tape = Arc::new(Tape::playing(Player::new(Arc::clone(&taped), how, questions)));
    let lines = call.target.function.symbols.lines.as_deref().filter(|_lines| how == How::Exactly);
    let told = |came: Came<'_>| Ok(Reply::Bytes(report(how, &frame.outcome, &taped, came, lines)));
    if let Some(why) = taped.calls.iter().find_map(|one| abi.takes.refusal(&payload(one, &tape))) {
        let message = format!("the recording is of a function of another ABI: {why}");
        if how == How::Exactly {
            return Err(CallError::InvalidOption { message });
        }
        // What its callers would be told.
        return told(Came::to(&Err(CallError::Arguments { path: String::new(), message })));
    }
    let running = Running::default();
    let ended = async {
        match taped.whence {
            Whence::Process => Ok((process::replayed(&call, &taped, &tape, watch.as_ref()).await?, None)),
            _ => served::<A>(&call, &taped, (&tape, &watch), &running).await,
        }
    };
    // One that is debugged goes on for as long as who debugs it likes.
    let is_over = || watch.is_none() && frame.outcome.is_cut() && tape.is_through();
    match ended_or_stopped(ended, &call.channel, &running, is_over).await {
        Some(ended) => {
            let (outcome, response) = ended?;
            told(Came { response, unlike: tape.end(), ..Came::to(&outcome) })
        }
        None => {
            let seen = running.with(&call.channel, HostChannel::take_seen).unwrap_or_default();
            told(Came { unlike: tape.unlike(), seen: Some(&seen), ..Came::to(&Err(CallError::Timeout)) })
        }
    }
}

/// Serves the calls of the recording, one after the other: what the last one came to, and its response.
async fn served<A: Abi>(
    call: &Call,
    taped: &Taped,
    (tape, watch): (&Arc<Tape>, &Option<Arc<dyn Watch>>),
    running: &Running,
) -> Result<(Result<Reply, CallError>, Option<Answered>), CallError> {
    let mut instance = match taped.whence {
        Whence::Call | Whence::Process => None,
        Whence::Before | Whence::Image(_) => Some(Box::pin(made::<A>(call, taped, (tape, watch), None)).await?),
    };
    let (mut outcome, mut response) = (Err(CallError::InstanceSpent), None);
    for one in &taped.calls {
        let guest = guest(call, one, tape);
        running.set(&guest);
        let served = guest.clone();
        let mut serving = match instance.take() {
            Some(instance) => instance,
            None => match Box::pin(made::<A>(call, taped, (tape, watch), Some(guest.clone()))).await {
                Ok(made) => made,
                Err(error @ (CallError::Overloaded { .. } | CallError::Quota { .. })) => return Err(error),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            },
        };
        if A::REUSABLE {
            serving.begin::<A>(guest);
        }
        outcome = serving.serve::<A>().await;
        response = served.channel.taped().and_then(Place::response);
        instance = serving.rested::<A>();
        if instance.is_none() {
            break;
        }
    }
    Ok((outcome, response))
}

/// A call of the recording as its guest sees it.
fn guest(call: &Call, one: &TapedCall, tape: &Arc<Tape>) -> GuestCall {
    let (operation, payload) = (&one.operation, payload(one, tape));
    let request = Request {
        operation: operation.clone(),
        payload: payload.clone(),
        depth: call.request.depth,
        timeout: call.request.timeout,
    };
    let guest = Call::new(Arc::clone(&call.target), request).for_guest();
    guest.channel.set_taped(tape.begin(operation, &payload));
    guest
}

/// What it is given: of a request its head, and its response is taken.
fn payload(one: &TapedCall, tape: &Arc<Tape>) -> Payload {
    match &one.payload {
        Given::Payload(payload) => payload.clone(),
        Given::Request(head) => Payload::Exchange(head.exchange(tape.taker())),
    }
}

/// The instance, as it began.
async fn made<A: Abi>(
    call: &Call,
    taped: &Taped,
    (tape, watch): (&Arc<Tape>, &Option<Arc<dyn Watch>>),
    guest: Option<GuestCall>,
) -> Result<Instance, CallError> {
    let target: &Target = &call.target;
    let permits = target.admit(false, &call.channel).await?;
    if let Whence::Image(image) = &taped.whence {
        let Some(actor) = &target.module.actor else {
            let message = "the recording begins with an actor's image, and the module is none of actors".into();
            return Err(CallError::Image { message });
        };
        let image = Image::of(image.clone(), &actor.shape.module)?;
        let tape = Some(Arc::clone(tape));
        let mut woken = Instance::woken(&target.module, &target.function, permits, &image, tape).await?;
        if let Some(watch) = watch {
            woken.prepare(|store| watch.begin(store));
        }
        return Ok(woken);
    }
    let prepare = |store: &mut Store<State>| {
        let state = store.data_mut();
        state.set_tape(Some(Arc::clone(tape)));
        if let Some(guest) = guest.filter(|_| !A::REUSABLE) {
            state.begin_call(guest);
            A::begin(state);
        }
        if let Some(watch) = watch {
            watch.begin(store);
        }
    };
    Instance::watched(&target.module, &target.function, permits, prepare).await
}
