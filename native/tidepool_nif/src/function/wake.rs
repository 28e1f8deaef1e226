//! Messages that are written while a task is driven, and wakers, which send `{:tidepool_wake, id}` to the owner of a task.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::task::Wake;

use rustler::{Atom, Encoder, Env, LocalPid, OwnedEnv, Term};
use tidepool_core::Address;
use tokio::runtime::Handle;

use crate::terms::{atoms, encode, pid};
use tidepool_core::run_queue::RunQueue;

/// Its owner waits for it.
const ARMED: u8 = 0;
/// The message that ends the wait was sent.
const SENT: u8 = 1;
/// Its owner does not wait.
const DISARMED: u8 = 2;
/// The same, and it was woken meanwhile.
const NOTED: u8 = 3;

/// Where a task is, that another may drive than its owner.
pub(crate) type Seat = dyn Any + Send + Sync;

/// One wait of one task, or all that a process has: wakes its owner once at most for each.
pub(crate) struct Waker {
    id: u64,
    owner: LocalPid,
    state: AtomicU8,
    io: Handle,
    /// Of a process, for who wakes it: the task.
    seat: OnceLock<Weak<Seat>>,
    /// Whether the task's last slice was short: others may drive it.
    suits_inline: AtomicBool,
}

/// As many run queues as cores. A process has the one that its waker's number says.
static QUEUES: LazyLock<Box<[WakerQueue]>> = LazyLock::new(|| {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count).map(|_| RunQueue::default()).collect()
});

type WakerQueue = RunQueue<Arc<Waker>, LocalPid>;

/// The run queues.
pub(crate) fn queues() -> &'static [WakerQueue] {
    &QUEUES
}

/// The run queue of a process.
#[expect(clippy::indexing_slicing, reason = "a remainder is below what divides, and there is a core")]
pub(crate) fn queue(waker: &Waker) -> &'static WakerQueue {
    let number = usize::try_from(waker.id).unwrap_or_default();
    &QUEUES[number % QUEUES.len()]
}

impl Waker {
    pub(crate) fn new(owner: LocalPid, io: Handle) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Waker {
            id,
            owner,
            state: AtomicU8::new(ARMED),
            io,
            seat: OnceLock::new(),
            suits_inline: AtomicBool::new(false),
        })
    }

    /// Says which task it wakes.
    pub(crate) fn take_seat(&self, seat: Weak<Seat>) {
        self.seat.get_or_init(|| seat);
    }

    /// The task that it wakes, while its driver has it, for those who may drive it instead.
    pub(crate) fn seat(&self) -> Option<Arc<Seat>> {
        self.seat.get()?.upgrade()
    }

    /// Who is woken.
    pub(crate) fn owner(&self) -> LocalPid {
        self.owner
    }

    /// Notes whether others than its driver may drive the task.
    pub(crate) fn set_suits_inline(&self, suits_inline: bool) {
        self.suits_inline.store(suits_inline, Ordering::Relaxed);
    }

    /// May others than its driver drive the task?
    pub(crate) fn suits_inline(&self) -> bool {
        self.suits_inline.load(Ordering::Relaxed)
    }

    /// Was it woken, and nobody has driven its task since?
    pub(crate) fn is_sent(&self) -> bool {
        self.state.load(Ordering::Acquire) == SENT
    }

    /// Tells this wait from all others of this node.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Begins a wait: what has come since the last one wakes at once.
    pub(crate) fn arm(self: &Arc<Self>) {
        if self.state.compare_exchange(DISARMED, ARMED, Ordering::AcqRel, Ordering::Acquire) == Err(NOTED) {
            self.state.store(SENT, Ordering::Release);
            post(Letter::Wake(Arc::clone(self)), &self.io);
        }
    }

    /// Was it woken while its owner did not wait?
    pub(crate) fn noted(&self) -> bool {
        self.state.load(Ordering::Acquire) == NOTED
    }

    /// Stops the waker; `true` when its message was sent before.
    pub(crate) fn disarm(&self) -> bool {
        self.state.swap(DISARMED, Ordering::AcqRel) == SENT
    }
}

/// What is sent to a process of the VM, from whatever thread.
pub(crate) enum Letter {
    /// `{:tidepool_wake, id}`.
    Wake(Arc<Waker>),
    /// `:tidepool_run`, to a runner.
    Run(LocalPid),
    /// `:tidepool_wanted`, to the owner of an instance.
    Place(LocalPid),
    /// `{:tidepool_output, process, stream, line}`.
    Line { to: LocalPid, process: Option<Address>, stream: Atom, text: String },
    /// `{:tidepool_input, program}`.
    Wanted { to: LocalPid, program: LocalPid },
    /// `{:tidepool_output, program, stream, bytes}`.
    Written { to: LocalPid, program: LocalPid, stream: Atom, bytes: Vec<u8> },
    /// `{:tidepool_resource_end, id}`.
    ResourceEnd { to: LocalPid, id: u64 },
}

impl Letter {
    fn to(&self) -> LocalPid {
        match self {
            Letter::Wake(waker) => waker.owner,
            Letter::Run(to) | Letter::Place(to) => *to,
            Letter::Line { to, .. } | Letter::Wanted { to, .. } | Letter::Written { to, .. } => *to,
            Letter::ResourceEnd { to, .. } => *to,
        }
    }

    /// The same for a wake of a process that a runner may visit: the run queue has that, and the runner may have to be told.
    fn queued(self) -> Option<Self> {
        match self {
            Letter::Wake(waker) if waker.suits_inline() && waker.seat.get().is_some() => match queue(&waker).add(waker)
            {
                Ok(runner) => runner.map(Letter::Run),
                Err(waker) => Some(Letter::Wake(waker)),
            },
            letter => Some(letter),
        }
    }

    /// Sends it as the process that called a NIF.
    pub(crate) fn send(self, env: Env<'_>) {
        // A dead receiver needs no message.
        let _ = env.send(&self.to(), self);
    }
}

impl Encoder for Letter {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Letter::Wake(waker) => (atoms::tidepool_wake(), waker.id).encode(env),
            Letter::Run(_runner) => atoms::tidepool_run().encode(env),
            Letter::Place(_owner) => atoms::tidepool_wanted().encode(env),
            Letter::Line { process, stream, text, .. } => {
                (atoms::tidepool_output(), pid::term(env, *process), stream, text).encode(env)
            }
            Letter::Wanted { program, .. } => (atoms::tidepool_input(), program).encode(env),
            Letter::Written { program, stream, bytes, .. } => {
                (atoms::tidepool_output(), program, stream, encode::copy(env, bytes)).encode(env)
            }
            Letter::ResourceEnd { id, .. } => (atoms::tidepool_resource_end(), id).encode(env),
        }
    }
}

/// What a thread does about letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// No task is driven on it: a letter is sent at once.
    AtOnce,
    /// A task is driven on it, and there has been no letter meanwhile.
    Afterwards,
    /// A task is driven on it, and [`LETTERS`] has those that came meanwhile.
    Some,
}

thread_local! {
    /// Beside the letters themselves: most slices write none, and what needs no destructor is quicker to reach.
    static SENDS: Cell<Sends> = const { Cell::new(Sends::AtOnce) };
    /// Letters that were written while a task is driven on this thread.
    static LETTERS: RefCell<Vec<Letter>> = const { RefCell::new(Vec::new()) };
}

/// Runs `drive`, then sends what it wrote: a NIF may send messages as the process that called it, which costs no detour by
/// another thread.
pub(crate) fn sending<R>(env: Env<'_>, drive: impl FnOnce() -> R) -> R {
    let (result, woken) = waking(env, drive);
    hand(env, woken);
    result
}

/// Has a process driven that was woken, by a runner or its driver.
pub(crate) fn hand(env: Env<'_>, woken: Option<Arc<Waker>>) {
    if let Some(letter) = woken.and_then(|waker| Letter::Wake(waker).queued()) {
        letter.send(env);
    }
}

/// The same, but for the last wake: who that is of is returned.
pub(crate) fn waking<R>(env: Env<'_>, drive: impl FnOnce() -> R) -> (R, Option<Arc<Waker>>) {
    SENDS.set(Sends::Afterwards);
    let result = drive();
    let mut woken = None;
    if SENDS.replace(Sends::AtOnce) == Sends::Some {
        // Their memory is used again.
        let mut letters = LETTERS.take();
        for letter in letters.drain(..) {
            match letter {
                Letter::Wake(waker) => hand(env, woken.replace(waker)),
                letter => letter.send(env),
            }
        }
        LETTERS.set(letters);
    }
    (result, woken)
}

/// Sends a letter: after the drive that wrote it, or now.
pub(crate) fn post(letter: Letter, io: &Handle) {
    if SENDS.get() != Sends::AtOnce {
        SENDS.set(Sends::Some);
        LETTERS.with_borrow_mut(|letters| letters.push(letter));
        return;
    }
    let Some(letter) = letter.queued() else { return };
    if is_scheduler_thread() {
        // The VM takes messages without an environment from its own threads alone when they come from others.
        io.spawn(async move { send(&letter) });
    } else {
        send(&letter);
    }
}

fn send(letter: &Letter) {
    // A dead receiver needs no message.
    let _ = OwnedEnv::new().send_and_clear(&letter.to(), |env| letter.encode(env));
}

impl Wake for Waker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.load(Ordering::Acquire);
        while state == ARMED || state == DISARMED {
            let woken = if state == ARMED { SENT } else { NOTED };
            match self.state.compare_exchange(state, woken, Ordering::AcqRel, Ordering::Acquire) {
                Ok(ARMED) => return post(Letter::Wake(Arc::clone(self)), &self.io),
                Ok(_disarmed) => return,
                Err(now) => state = now,
            }
        }
    }
}

/// Whether the calling thread is the VM's.
pub(crate) fn is_scheduler_thread() -> bool {
    // SAFETY: `enif_thread_type` takes nothing, touches nothing but the calling thread's own record, and may be called
    // from any thread once the library is loaded, which it is when a waker exists.
    unsafe { rustler::sys::enif_thread_type() != rustler::sys::ERL_NIF_THR_UNDEFINED }
}
