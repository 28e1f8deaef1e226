//! Polls of a task's future: with a waker that only notes, with one that its driver keeps, and those of processes.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use wasmtime::{Store, WasmBacktrace};

use super::member::Member;
use super::target::{Call, CallBody, CallFuture};
use crate::base::error::CallError;
use crate::base::request::{HostRequest, ProcessRequest, Reply};
use crate::store::host_channel::HostChannel;

/// A waker that a driver keeps from wait to wait, so that a wait costs no new one.
pub struct Kept<'a> {
    /// It may be woken on any thread, and at any time.
    pub waker: &'a Waker,
    /// Whether it was woken since the task was last driven.
    pub noted: &'a dyn Fn() -> bool,
}

/// What a task's poll came to.
pub(super) enum Polled {
    Ready(Result<Reply, CallError>),
    Host(HostRequest),
    Yield,
    Wait,
}

/// Polls a call.
pub(super) fn poll(
    future: Pin<&mut CallBody>,
    channel: &HostChannel,
    waker: Option<impl FnMut() -> Waker>,
    kept: Option<&Kept<'_>>,
) -> Polled {
    match poll_with(future, || channel.take_request(), waker, kept) {
        Woken::Ready(outcome) => Polled::Ready(outcome),
        Woken::Host(request) => Polled::Host(request),
        Woken::Yield => Polled::Yield,
        Woken::Wait => Polled::Wait,
    }
}

/// The same for a process, which may make others: their instances are made here, so that it sees whether they could be. After a
/// failure others are next: who tries again and again would never leave otherwise.
pub(super) fn poll_process(
    mut future: Pin<&mut CallBody>,
    member: &mut Member,
    call: &Call,
    mut waker: Option<impl FnMut() -> Waker>,
    kept: Option<&Kept<'_>>,
) -> Polled {
    loop {
        if let Some(mut birth) = member.birth.take() {
            match poll_with(birth.making(), || None, waker.as_mut(), kept) {
                Woken::Ready(made) => {
                    let link = birth.link;
                    match member.deliver(birth, made) {
                        Ok(id) => return Polled::Host(HostRequest::Process(ProcessRequest::Spawn { id, link })),
                        Err(text) => {
                            call.channel.answer(Err(text.into()));
                            return Polled::Yield;
                        }
                    }
                }
                Woken::Host(request) => return Polled::Host(request),
                Woken::Yield => {
                    member.birth = Some(birth);
                    return Polled::Yield;
                }
                Woken::Wait => {
                    member.birth = Some(birth);
                    return Polled::Wait;
                }
            }
        }
        match poll(future.as_mut(), &call.channel, waker.as_mut(), kept) {
            Polled::Host(HostRequest::Process(ProcessRequest::Spawn { id, link })) => {
                if let Err(text) = member.conceive(&call.target, id, link) {
                    call.channel.answer(Err(text.into()));
                    return Polled::Yield;
                }
            }
            polled => return polled,
        }
    }
}

/// Ends a process that was killed. One that waits is told to give up: dropped as it is, it would be unwound as well, and the
/// engine would look up what each frame of its stack is called, which takes twice as long as all the rest.
pub(super) fn end_process(mut future: CallFuture, call: &Call) {
    let error = || {
        let error = wasmtime::Error::msg("the process was ended");
        // An error that has a backtrace is given no other.
        match NOWHERE.as_ref().map(|store| store.lock().unwrap_or_else(PoisonError::into_inner)) {
            Some(store) => error.context(WasmBacktrace::force_capture(&*store)),
            None => error,
        }
    };
    if call.channel.give_up(error) {
        let _io = call.target.node.io.enter();
        let _over = future.as_mut().poll(&mut Context::from_waker(&NOTING));
    }
}

/// A store in which nothing runs, for backtraces without frames. They have room for as many as the engine asks for.
static NOWHERE: LazyLock<Option<Mutex<Store<()>>>> = LazyLock::new(|| {
    let mut config = wasmtime::Config::new();
    config.wasm_backtrace_max_frames(NonZeroUsize::new(1));
    wasmtime::Engine::new(&config).ok().map(|engine| Mutex::new(Store::new(&engine, ())))
});

/// What a poll came to.
enum Woken<T> {
    Ready(T),
    Host(HostRequest),
    Yield,
    Wait,
}

/// Polls with a waker that only notes that it was woken, which is enough for a call that never waits. A call that waits is
/// polled again, with the real waker if there is one. A waker that is `kept` is real, and notes.
fn poll_with<T>(
    mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    request: impl Fn() -> Option<HostRequest>,
    waker: Option<impl FnMut() -> Waker>,
    kept: Option<&Kept<'_>>,
) -> Woken<T> {
    if let Some(kept) = kept {
        return match future.poll(&mut Context::from_waker(kept.waker)) {
            Poll::Ready(outcome) => Woken::Ready(outcome),
            Poll::Pending => match request() {
                Some(request) => Woken::Host(request),
                None if (kept.noted)() => Woken::Yield,
                None => Woken::Wait,
            },
        };
    }
    NOTED.set(false);
    if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&NOTING)) {
        return Woken::Ready(outcome);
    }
    if let Some(request) = request() {
        return Woken::Host(request);
    }
    if NOTED.get() {
        return Woken::Yield;
    }
    let Some(mut waker) = waker else { return Woken::Wait };
    let waker = waker();
    if let Poll::Ready(outcome) = future.poll(&mut Context::from_waker(&waker)) {
        return Woken::Ready(outcome);
    }
    request().map_or(Woken::Wait, Woken::Host)
}

thread_local! {
    /// Was the noting waker woken on this thread since it was last reset?
    static NOTED: Cell<bool> = const { Cell::new(false) };
}

static NOTING: LazyLock<Waker> = LazyLock::new(|| Waker::from(Arc::new(Noting)));

struct Noting;

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        NOTED.set(true);
    }
}
