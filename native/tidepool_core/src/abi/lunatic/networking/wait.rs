//! `wait` of `tidepool`: one wait for several sockets and for messages, which tells what is ready.
//!
//! It is level-triggered: what is ready, and is not used, is ready again. Sockets are looked at once each, without waiting; if none
//! is ready, each has a wait of its own, and who is woken looks at those again whose wait is over.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use wasmtime::{Caller, Linker};

use super::data::Socket;
use super::stream::charge;
use super::support::find;
use crate::abi::lunatic::support::{guest, trap};
use crate::abi::lunatic::taped::{Question, is_taped, keep, question};
use crate::abi::lunatic::waits::WAIT;
use crate::abi::memory;
use crate::abi::slots::State;
use crate::net::ready::{Ready, Wait};
use crate::net::stream::Tried;
use crate::net::tcp::{TcpListener, TcpStream};
use crate::net::tls::{TlsListener, TlsStream};
use crate::net::udp::UdpSocket;
use crate::process::handle::Process;
use crate::store::leaving::again;
use crate::store::resting::{self, Rested};

/// Most entries of a wait.
const MAX_ENTRIES: usize = 1_024;
/// Bytes of an entry: a handle (8), its kind (4), what is wanted (2), and what is ready, which is written (2).
const ENTRY_BYTES: usize = 16;
/// Where in it what is ready is.
const READY_AT: usize = 14;
/// What a look at a socket costs, as so many bytes that are moved.
const LOOK_BYTES: usize = 1 << 10;
/// How often a socket is looked at that is said to be ready, and is not, before others have their turn.
const LOOKS: usize = 4;
/// How long all may be looked at before others have their turn: a look at a connection by TLS goes on with its handshake.
const LOOK_TIME: Duration = Duration::from_millis(1);

/// What may be wanted, as bits. A listener that has a connection is readable, and so is a mailbox that has a message.
const READABLE: u16 = 1;
const WRITABLE: u16 = 2;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(WAIT.module, WAIT.name, |caller, (entries, count, ms): (i32, i32, u64)| {
        Box::new(wait(caller, entries, count, ms))
    })?;
    Ok(())
}

async fn wait(mut caller: Caller<'_, State>, ptr: i32, count: i32, ms: u64) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let again = again(&mut caller, WAIT)?;
    let mut entries = read(&mut caller, ptr, count)?;
    let noted = match asks(&mut caller, ptr, entries.len())? {
        Question::Told(ready) => {
            entries.iter_mut().zip(ready).for_each(|(entry, ready)| entry.ready = ready);
            return tell(&mut caller, ptr, &entries);
        }
        Question::Open(noted) => noted,
    };
    charge(&mut caller, entries.len().saturating_mul(LOOK_BYTES));
    let tags = tags(&entries);
    let until = resting::until(again, ms);
    // Without any time to wait, the driver still passes on what was sent before.
    let mut asked = ms > 0;
    let for_messages = entries.iter().all(|entry| matches!(entry.what, What::Message(_)));
    let poll = |cx: &Context<'_>, wake_at: &mut Option<Instant>| {
        let ready = look(&mut entries, (&guest.process, guest.program.mailbox_bytes), tags.as_deref(), cx, wake_at);
        let late = asked && until.is_some_and(|until| until <= Instant::now());
        if ready || late {
            return Poll::Ready(());
        }
        asked = true;
        *wake_at = [*wake_at, until].into_iter().flatten().min();
        Poll::Pending
    };
    let rested = if for_messages {
        resting::rest(&mut caller, WAIT, until, poll).await
    } else {
        resting::wait(&mut caller, poll).await;
        Ok(Rested::Over(()))
    };
    if tags.is_some() {
        guest.process.stop_waiting();
    }
    if let Rested::Left = rested? {
        return Ok(0);
    }
    keep(&mut caller, noted, Ok(entries.iter().map(|entry| entry.ready).collect::<Vec<_>>()))?;
    tell(&mut caller, ptr, &entries)
}

/// The question of what of so many entries is ready.
fn asks(caller: &mut Caller<'_, State>, ptr: i32, count: usize) -> wasmtime::Result<Question<Vec<u16>>> {
    if !is_taped(caller) {
        return Ok(Question::Open(None));
    }
    let entries = memory::read(caller, ptr, memory::length(count * ENTRY_BYTES), usize::MAX)?;
    question(caller, "tidepool.wait", &[&entries])
}

/// What is waited for.
struct Entry {
    what: What,
    wanted: u16,
    ready: u16,
}

enum What {
    /// A message with this tag; 0 is any.
    Message(i64),
    Socket {
        socket: Arc<dyn Ready>,
        /// Of reading and of writing.
        slots: [Slot; 2],
    },
}

/// Whether a socket is ready for something.
enum Slot {
    /// That is to be looked at.
    Look,
    /// It was not, and this is to be waited for.
    Until(Interest),
    /// Whoever waits for it is woken.
    Waits(Wait),
}

/// The entries that the guest gives.
///
/// # Errors
/// Traps the guest when there are too many, or when one names what there is not.
fn read(caller: &mut Caller<'_, State>, ptr: i32, count: i32) -> wasmtime::Result<Vec<Entry>> {
    let count = memory::unsigned(count);
    if count > MAX_ENTRIES {
        return Err(trap(caller, format!("the guest waits for {count} things at once, more than {MAX_ENTRIES}")));
    }
    let bytes = memory::read(caller, ptr, memory::length(count * ENTRY_BYTES), usize::MAX)?;
    bytes.chunks_exact(ENTRY_BYTES).map(|entry| one(caller, entry)).collect()
}

fn one(caller: &mut Caller<'_, State>, bytes: &[u8]) -> wasmtime::Result<Entry> {
    let (Some((handle, rest)), true) = (bytes.split_first_chunk(), bytes.len() == ENTRY_BYTES) else {
        return Err(trap(caller, "an entry of a wait has another length"));
    };
    let [kind, _, _, _, wanted, more, _, _] = *rest else {
        return Err(trap(caller, "an entry of a wait has another length"));
    };
    let (handle, wanted) = (u64::from_le_bytes(*handle), u16::from_le_bytes([wanted, more]));
    let what = match kind {
        0 => What::Message(handle.cast_signed()),
        1 => socket::<TcpListener>(caller, handle)?,
        2 => socket::<TcpStream>(caller, handle)?,
        3 => socket::<TlsListener>(caller, handle)?,
        4 => socket::<TlsStream>(caller, handle)?,
        5 => socket::<UdpSocket>(caller, handle)?,
        other => return Err(trap(caller, format!("the guest waits for something of the kind {other}, which is none"))),
    };
    let known = match kind {
        2 | 4 | 5 => READABLE | WRITABLE,
        _ => READABLE,
    };
    if wanted & !known != 0 {
        return Err(trap(caller, format!("the guest waits for {wanted} of something of the kind {kind}")));
    }
    Ok(Entry { what, wanted, ready: 0 })
}

fn socket<T: Socket + Ready>(caller: &mut Caller<'_, State>, handle: u64) -> wasmtime::Result<What> {
    Ok(What::Socket { socket: find::<T>(caller, handle)?, slots: [Slot::Look, Slot::Look] })
}

/// The tags of messages that are waited for, none if any message is; `None` when no message is.
fn tags(entries: &[Entry]) -> Option<Vec<i64>> {
    let wanted = entries.iter().filter(|entry| entry.wanted & READABLE != 0);
    let tags: Vec<i64> = wanted
        .filter_map(|entry| match entry.what {
            What::Message(tag) => Some(tag),
            What::Socket { .. } => None,
        })
        .collect();
    match tags.as_slice() {
        [] => None,
        all if all.contains(&0) => Some(Vec::new()),
        _ => Some(tags),
    }
}

/// Notes of each entry what is ready of it; `false` when nothing is. Then what becomes ready wakes.
fn look(
    entries: &mut [Entry],
    (process, bound): (&Process, usize),
    tags: Option<&[i64]>,
    cx: &Context<'_>,
    wake_at: &mut Option<Instant>,
) -> bool {
    let message = tags.is_some_and(|tags| process.has_message(tags, bound, cx, wake_at));
    let (mut any, mut is_late, began) = (false, false, Instant::now());
    for entry in entries.iter_mut() {
        is_late = is_late || began.elapsed() > LOOK_TIME;
        if is_late {
            entry.ready = 0;
            continue;
        }
        entry.ready = match &mut entry.what {
            What::Message(tag) => {
                // Of several tags, those are told that have one.
                let has = message && process.has_message(tag_alone(tag), bound, cx, wake_at);
                if has { entry.wanted & READABLE } else { 0 }
            }
            What::Socket { socket, slots } => is_ready(&**socket, entry.wanted, slots, cx),
        };
        any |= entry.ready != 0;
    }
    if !any && is_late {
        // All are looked at again, of which those before have less to do then.
        cx.waker().wake_by_ref();
    } else if !any {
        for entry in entries.iter_mut() {
            if let What::Socket { socket, slots } = &mut entry.what {
                entry.ready = begin(socket, entry.wanted, slots, cx);
                any |= entry.ready != 0;
            }
        }
    }
    any
}

fn tag_alone(tag: &i64) -> &[i64] {
    if *tag == 0 { &[] } else { std::slice::from_ref(tag) }
}

/// The two things that a socket may be ready for.
const BOTH: [(u16, Interest); 2] = [(READABLE, Interest::READABLE), (WRITABLE, Interest::WRITABLE)];

/// What a socket is ready for, of those things that nothing waits for, or whose wait is over.
fn is_ready(socket: &dyn Ready, wanted: u16, slots: &mut [Slot; 2], cx: &Context<'_>) -> u16 {
    let mut ready = 0;
    for ((bit, interest), slot) in BOTH.into_iter().zip(slots) {
        if wanted & bit == 0 {
            continue;
        }
        if let Slot::Waits(wait) = slot
            && is_pending(wait, cx)
        {
            continue;
        }
        *slot = match socket.try_ready(interest) {
            Tried::Done(()) => {
                ready |= bit;
                Slot::Look
            }
            Tried::Wait(until) => Slot::Until(until),
        };
    }
    ready
}

/// Has a socket wake that is not ready; what it has become ready for meanwhile.
fn begin(socket: &Arc<dyn Ready>, wanted: u16, slots: &mut [Slot; 2], cx: &Context<'_>) -> u16 {
    for ((bit, interest), slot) in BOTH.into_iter().zip(slots) {
        let Slot::Until(mut until) = *slot else { continue };
        for _look in 0..LOOKS {
            let mut wait = Arc::clone(socket).until_ready(until);
            if is_pending(&mut wait, cx) {
                *slot = Slot::Waits(wait);
                break;
            }
            match socket.try_ready(interest) {
                Tried::Done(()) => {
                    *slot = Slot::Look;
                    return wanted & bit;
                }
                Tried::Wait(again) => until = again,
            }
        }
        if !matches!(slot, Slot::Waits(_)) {
            *slot = Slot::Look;
            cx.waker().wake_by_ref();
        }
    }
    0
}

fn is_pending(wait: &mut Wait, cx: &Context<'_>) -> bool {
    wait.as_mut().poll(&mut Context::from_waker(cx.waker())).is_pending()
}

/// Writes what is ready to where the guest has its entries; how many have something.
fn tell(caller: &mut Caller<'_, State>, ptr: i32, entries: &[Entry]) -> wasmtime::Result<i32> {
    let memory = memory::memory(caller)?;
    for (number, entry) in entries.iter().enumerate() {
        let at = memory::unsigned(ptr) + number * ENTRY_BYTES + READY_AT;
        if memory.write(&mut *caller, at, &entry.ready.to_le_bytes()).is_err() {
            return Err(memory::bad_pointer(caller, ptr, entries.len() * ENTRY_BYTES));
        }
    }
    Ok(memory::length(entries.iter().filter(|entry| entry.ready != 0).count()))
}
