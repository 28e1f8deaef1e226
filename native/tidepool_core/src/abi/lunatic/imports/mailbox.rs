//! Of `lunatic::message`: sending the scratch, and receiving another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{Caller, Linker};

use super::message::{self, MODULE, take_data};
use crate::abi::guest::Guest;
use crate::abi::lunatic::OWN;
use crate::abi::lunatic::letters;
use crate::abi::lunatic::support::{ImportFuture, ask, done, guest, peer, refused, trap};
use crate::abi::lunatic::taped::{Question, keep, keep_reply};
use crate::abi::lunatic::waits::{RECEIVE, SEND_RECEIVE};
use crate::abi::memory;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::{Peer, ProcessRequest};
use crate::process::delivery::Sent;
use crate::process::delivery::sending::SendingPlace;
use crate::process::handle::Process;
use crate::process::message::{Data, Message};
use crate::recording::entry::Asked;
use crate::store::frames::{Wait, Waiting};
use crate::store::leaving::again;
use crate::store::resting::{Rested, rest, until, wait};

/// What `receive` says of what has come.
const DATA: i32 = 0;
const LINK_DIED: i32 = 1;
const PROCESS_DIED: i32 = 2;
/// What it says when nothing has come in time.
pub(super) const TIMED_OUT: i32 = 9027;
/// What `try_send` says.
const SENT: i32 = 0;
const FULL: i32 = 1;
/// How long a sender waits for memory before it looks again: twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// Most tags to choose by.
const MAX_TAGS: usize = 4_096;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "send", |caller, (id,): (u64,)| send(caller, id))?;
    linker.func_wrap_async(OWN, "try_send", |caller, (id,): (u64,)| Box::new(send_at_once(caller, id)))?;
    linker.func_wrap_async(RECEIVE.module, RECEIVE.name, receive)?;
    linker.func_wrap_async(
        SEND_RECEIVE.module,
        SEND_RECEIVE.name,
        |mut caller: Caller<'_, State>, (id, tag, timeout): (u64, i64, u64)| match again(&mut caller, SEND_RECEIVE) {
            Ok(again) => send_receive(caller, (id, tag), (SEND_RECEIVE, timeout, again)),
            Err(error) => refused(error),
        },
    )?;
    Ok(())
}

/// A message on its way.
enum Sending {
    Done,
    /// Its receiver has no room for it.
    Full(Arc<Process>, Message),
    /// Its receiver is no guest, or on another node.
    Outside(Peer, Data),
}

/// The message that was taken is counted no more: it is where it was sent to.
pub(super) fn sent(caller: &mut Caller<'_, State>) {
    caller.data_mut().abi.lunatic.data().count();
}

/// Stops a guest that sends resources to where they mean nothing.
pub(super) fn bytes_alone(caller: &mut Caller<'_, State>) -> wasmtime::Error {
    trap(caller, "a process that is no guest, or on another node, gets bytes, and no sockets or modules")
}

/// Sends the scratch, as far as that can be done at once.
fn try_send(caller: &mut Caller<'_, State>, guest: &Guest, id: u64) -> wasmtime::Result<Sending> {
    within_cpu_time(caller, guest)?;
    let data = take_data(caller)?;
    let to = peer(guest, id);
    if to.is_away || !to.is_guest {
        if data.has_resources() {
            return Err(bytes_alone(caller));
        }
        return Ok(Sending::Outside(to, data));
    }
    let Some(process) = guest.program.process(id) else {
        sent(caller);
        return Ok(Sending::Done);
    };
    match process.send(Message::Data(data), &guest.process, guest.program.mailbox_bytes) {
        Sent::Done => {
            sent(caller);
            Ok(Sending::Done)
        }
        Sent::Full { .. } if id == guest.process.id => Err(trap(
            caller,
            "the guest sends itself more than its mailbox or its program has room for, and receives nothing",
        )),
        Sent::Full { message, .. } => Ok(Sending::Full(process, message)),
    }
}

/// Goes on with a message that was not sent at once; `false` when its node is not there.
async fn finish(caller: &mut Caller<'_, State>, guest: &Guest, sending: Sending) -> bool {
    let reached = match sending {
        Sending::Done => true,
        Sending::Full(process, message) => {
            let mut message = Some(message);
            let mut place = SendingPlace::new(process, guest.program.mailbox_bytes);
            let mut pause = FIRST_PAUSE;
            wait(caller, |cx, wake_at| {
                let Some(left) = message.take() else { return std::task::Poll::Ready(()) };
                match place.send(left, &guest.process, cx.waker()) {
                    Sent::Done => std::task::Poll::Ready(()),
                    Sent::Full { message: left, for_memory } => {
                        message = Some(left);
                        // The receiver tells of room in its mailbox, and nobody of memory that others give back.
                        if for_memory {
                            *wake_at = Instant::now().checked_add(pause);
                            pause = (pause * 2).min(LONGEST_PAUSE);
                        }
                        std::task::Poll::Pending
                    }
                }
            })
            .await;
            true
        }
        // Sent to the dead, it is dropped. What is under way to another node counts until there is room for it.
        Sending::Outside(to, data) => {
            ask(caller, ProcessRequest::Send { to, tag: data.tag, bytes: data.bytes }).await.is_ok()
        }
    };
    sent(caller);
    reached
}

/// Sends the scratch to a process, waiting for room.
fn send(caller: Caller<'_, State>, id: u64) -> ImportFuture<'_, i32> {
    send_or::<0>(caller, id)
}

/// The same; the result is `NOWHERE` when the process's node is not there.
pub(super) fn send_or<const NOWHERE: i32>(mut caller: Caller<'_, State>, id: u64) -> ImportFuture<'_, i32> {
    let begun =
        guest(&mut caller).and_then(|guest| Ok((begin(&mut caller, &guest, "lunatic::message.send", id)?, guest)));
    match begun {
        Ok((Begun::Over(0), _guest)) => done::<0>(),
        Ok((Begun::Over(_away), _guest)) => done::<NOWHERE>(),
        Ok((Begun::Goes(sending, asked), guest)) => Box::new(async move {
            let code = if finish(&mut caller, &guest, sending).await { 0 } else { NOWHERE };
            keep(&mut caller, asked, Ok(code))
        }),
        Err(error) => refused(error),
    }
}

/// How a message is sent.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once, and most messages are on their way")]
enum Begun {
    /// It was, or can't be: what the guest is told.
    Over(i32),
    /// It is on its way.
    Goes(Sending, Option<Asked>),
}

/// Begins to send the scratch.
fn begin(caller: &mut Caller<'_, State>, guest: &Guest, what: &'static str, id: u64) -> wasmtime::Result<Begun> {
    let asked = match letters::sends::<i32>(caller, what, id)? {
        Question::Told(code) => {
            drop(take_data(caller)?);
            sent(caller);
            return Ok(Begun::Over(code));
        }
        Question::Open(asked) => asked,
    };
    match try_send(caller, guest, id) {
        Ok(Sending::Done) => keep(caller, asked, Ok(0)).map(Begun::Over),
        Ok(sending) => Ok(Begun::Goes(sending, asked)),
        Err(error) => keep(caller, asked, Err(error)).map(Begun::Over),
    }
}

/// `try_send` of `tidepool`: sends the scratch, or says that its receiver has no room; then it stays the scratch.
async fn send_at_once(mut caller: Caller<'_, State>, id: u64) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let asked = match letters::sends::<i32>(&mut caller, "tidepool.try_send", id)? {
        Question::Told(FULL) => {
            message::data(&mut caller)?.position = 0;
            return Ok(FULL);
        }
        Question::Told(code) => {
            drop(take_data(&mut caller)?);
            sent(&mut caller);
            return Ok(code);
        }
        Question::Open(asked) => asked,
    };
    let outcome = sent_at_once(&mut caller, &guest, id).await;
    keep(&mut caller, asked, outcome)
}

async fn sent_at_once(caller: &mut Caller<'_, State>, guest: &Guest, id: u64) -> wasmtime::Result<i32> {
    within_cpu_time(caller, guest)?;
    let process = guest.program.process(id).filter(|process| process.is_guest());
    let Some(process) = process else {
        let sending = try_send(caller, guest, id)?;
        finish(caller, guest, sending).await;
        return Ok(SENT);
    };
    let data = Message::Data(take_data(caller)?);
    let (code, left) = match process.send(data, &guest.process, guest.program.mailbox_bytes) {
        Sent::Done => (SENT, None),
        Sent::Full { message, .. } => (FULL, Some(message)),
    };
    caller.data_mut().abi.lunatic.data().scratch = left;
    sent(caller);
    Ok(code)
}

/// Stops a guest that has used up its CPU time and has yet to be stopped for that: what it computed is for nobody.
fn within_cpu_time(caller: &mut Caller<'_, State>, guest: &Guest) -> wasmtime::Result<()> {
    let Some(left) = guest.cpu().left(guest.process.usage().0) else { return Ok(()) };
    let spent = caller.data().call.as_ref().is_some_and(|call| call.channel.cpu_is_spent());
    if spent { Err(memory::fail(caller, CallError::limit(left.limit, left.allowed_ms()))) } else { Ok(()) }
}

/// Tags to choose by. Few are kept in place.
enum Tags {
    Few([i64; 4], usize),
    Many(Vec<i64>),
}

impl Tags {
    fn get(&self) -> &[i64] {
        match self {
            Tags::Few(tags, count) => tags.get(..*count).unwrap_or_default(),
            Tags::Many(tags) => tags,
        }
    }

    fn read(caller: &mut Caller<'_, State>, ptr: i32, count: i32) -> wasmtime::Result<Self> {
        let (start, count) = (memory::unsigned(ptr), memory::unsigned(count));
        if count == 0 {
            return Ok(Tags::Few([0; 4], 0));
        }
        if count > MAX_TAGS {
            return Err(trap(caller, format!("the guest chooses by more than {MAX_TAGS} tags")));
        }
        let memory = memory::memory(caller)?;
        let bytes = start.checked_add(count * 8).and_then(|end| memory.data(&*caller).get(start..end));
        let Some(bytes) = bytes else { return Err(memory::bad_pointer(caller, ptr, count * 8)) };
        let numbers = bytes.chunks_exact(8).filter_map(|chunk| chunk.first_chunk()).map(|it| i64::from_le_bytes(*it));
        if count > 4 {
            return Ok(Tags::Many(numbers.collect()));
        }
        let mut few = [0; 4];
        few.iter_mut().zip(numbers).for_each(|(place, tag)| *place = tag);
        Ok(Tags::Few(few, count))
    }
}

/// Makes what has come the scratch; what `receive` says of it.
fn received(caller: &mut Caller<'_, State>, message: Option<Message>) -> i32 {
    let code = match &message {
        Some(Message::Data(_)) => DATA,
        Some(Message::LinkDied { .. }) => LINK_DIED,
        Some(Message::ProcessDied { .. }) => PROCESS_DIED,
        None => return TIMED_OUT,
    };
    let data = caller.data_mut().abi.lunatic.data();
    data.scratch = message;
    data.count();
    code
}

fn receive(mut caller: Caller<'_, State>, (ptr, count, timeout): (i32, i32, u64)) -> ImportFuture<'_, i32> {
    let asked = guest(&mut caller).and_then(|guest| {
        let again = again(&mut caller, RECEIVE)?;
        Ok((Tags::read(&mut caller, ptr, count)?, guest, again))
    });
    match asked {
        Ok((tags, guest, again)) => receive_with(caller, guest, tags, (RECEIVE, timeout, again)),
        Err(error) => refused(error),
    }
}

/// Receives in an import that was given this time, or is called again.
fn receive_with(
    mut caller: Caller<'_, State>,
    guest: Arc<Guest>,
    tags: Tags,
    (import, timeout, again): (Waiting, u64, Option<Wait>),
) -> ImportFuture<'_, i32> {
    let asked = match letters::receives(&mut caller, tags.get()) {
        Ok(Question::Told(message)) => return told(&mut caller, message),
        Ok(Question::Open(asked)) => asked,
        Err(error) => return refused(error),
    };
    let bound = guest.program.mailbox_bytes;
    if let Some(message) = guest.process.receive(tags.get(), bound) {
        if let Some(asked) = asked {
            keep_reply(&caller, asked, letters::written(&caller, Some(&message)));
        }
        return told(&mut caller, Some(message));
    }
    Box::new(async move {
        let until = until(again, timeout);
        // Without any time to wait, the driver still passes on what was sent before.
        let mut has_asked = timeout > 0;
        let rested = rest(&mut caller, import, until, |cx, wake_at| {
            let at_most = if has_asked { until } else { None };
            let polled = guest.process.poll_receive(tags.get(), bound, at_most, cx, wake_at);
            if !has_asked && polled.is_pending() {
                *wake_at = until;
            }
            has_asked = true;
            polled
        })
        .await?;
        let Rested::Over(message) = rested else {
            guest.process.stop_waiting();
            return Ok(TIMED_OUT);
        };
        if let Some(asked) = asked {
            keep_reply(&caller, asked, letters::written(&caller, message.as_ref()));
        }
        Ok(received(&mut caller, message))
    })
}

/// Ends a `receive` for which something is there.
fn told<'a>(caller: &mut Caller<'_, State>, message: Option<Message>) -> ImportFuture<'a, i32> {
    match received(caller, message) {
        LINK_DIED => done::<LINK_DIED>(),
        PROCESS_DIED => done::<PROCESS_DIED>(),
        TIMED_OUT => done::<TIMED_OUT>(),
        _ => done::<DATA>(),
    }
}

/// Sends the scratch, unless the wait goes on that follows, and receives with a tag: the answer.
pub(super) fn send_receive(
    mut caller: Caller<'_, State>,
    (id, tag): (u64, i64),
    wait: (Waiting, u64, Option<Wait>),
) -> ImportFuture<'_, i32> {
    const WHAT: &str = "lunatic::message.send_receive_skip_search";
    let begun = guest(&mut caller).and_then(|guest| {
        let goes_on = wait.2.is_some();
        let sent = if goes_on { Begun::Over(0) } else { begin(&mut caller, &guest, WHAT, id)? };
        Ok((sent, guest))
    });
    let tags = Tags::Few([tag, 0, 0, 0], 1);
    match begun {
        Ok((Begun::Over(0), guest)) => receive_with(caller, guest, tags, wait),
        // Nobody is to answer where nobody is.
        Ok((Begun::Over(_away), _guest)) => done::<TIMED_OUT>(),
        Ok((Begun::Goes(sending, asked), guest)) => Box::new(async move {
            let reached = finish(&mut caller, &guest, sending).await;
            if keep(&mut caller, asked, Ok(i32::from(!reached)))? != 0 {
                return Ok(TIMED_OUT);
            }
            Box::into_pin(receive_with(caller, guest, tags, wait)).await
        }),
        Err(error) => refused(error),
    }
}
