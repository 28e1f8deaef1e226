//! Wakers that send `{:tidepool_wake, id}` to the owner of a task.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Wake;

use rustler::{Env, LocalPid, OwnedEnv};
use tokio::runtime::Handle;

use crate::terms::atoms;

const ARMED: u8 = 0;
const SENT: u8 = 1;
const DISARMED: u8 = 2;

/// One wait of one task: wakes its owner once at most.
pub(crate) struct Waker {
    id: u64,
    owner: LocalPid,
    state: AtomicU8,
    io: Handle,
}

impl Waker {
    pub(crate) fn new(owner: LocalPid, io: Handle) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Waker { id, owner, state: AtomicU8::new(ARMED), io })
    }

    /// Tells this wait from all others of this node.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Stops the waker; `true` when its message was sent before.
    pub(crate) fn disarm(&self) -> bool {
        self.state.swap(DISARMED, Ordering::AcqRel) == SENT
    }

    fn send(&self) {
        // A dead owner needs no message.
        let _ = OwnedEnv::new().send_and_clear(&self.owner, |_| (atoms::tidepool_wake(), self.id));
    }
}

/// What a thread does about wakers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// No task is driven on it: a waker that is woken sends its message.
    AtOnce,
    /// A task is driven on it, and none was woken meanwhile.
    Afterwards,
    /// A task is driven on it, and [`WOKEN`] has the wakers that were woken meanwhile.
    Woken,
}

thread_local! {
    /// Beside the wakers themselves: most slices wake none, and what needs no destructor is quicker to reach.
    static SENDS: Cell<Sends> = const { Cell::new(Sends::AtOnce) };
    /// Wakers that were woken while a task is driven on this thread.
    static WOKEN: RefCell<Vec<Arc<Waker>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `drive`, then sends what it woke: a NIF may send messages as the process that called it, which costs no detour by
/// another thread.
pub(crate) fn sending<R>(env: Env<'_>, drive: impl FnOnce() -> R) -> R {
    SENDS.set(Sends::Afterwards);
    let result = drive();
    if SENDS.replace(Sends::AtOnce) == Sends::Woken {
        for waker in WOKEN.take() {
            // A dead owner needs no message.
            let _ = env.send(&waker.owner, (atoms::tidepool_wake(), waker.id));
        }
    }
    result
}

/// Keeps `waker` for the drive that woke it, or gives it back when there is none.
fn keep_for_drive(waker: Arc<Waker>) -> Option<Arc<Waker>> {
    if SENDS.get() == Sends::AtOnce {
        return Some(waker);
    }
    SENDS.set(Sends::Woken);
    WOKEN.with_borrow_mut(|woken| woken.push(waker));
    None
}

impl Wake for Waker {
    fn wake(self: Arc<Self>) {
        if self.state.compare_exchange(ARMED, SENT, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        let Some(waker) = keep_for_drive(self) else { return };
        if is_scheduler_thread() {
            // The VM takes messages without an environment from its own threads alone when they come from others.
            let io = waker.io.clone();
            io.spawn(async move { waker.send() });
        } else {
            waker.send();
        }
    }
}

/// Whether the calling thread is the VM's.
pub(crate) fn is_scheduler_thread() -> bool {
    // SAFETY: `enif_thread_type` takes nothing, touches nothing but the calling thread's own record, and may be called
    // from any thread once the library is loaded, which it is when a waker exists.
    unsafe { rustler::sys::enif_thread_type() != rustler::sys::ERL_NIF_THR_UNDEFINED }
}
