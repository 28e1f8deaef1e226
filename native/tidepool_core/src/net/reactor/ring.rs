//! A ring of `io_uring` that tells when sockets are ready, by polls that go on (`IORING_POLL_ADD_MULTI`, Linux 5.13).
//!
//! One thread has the ring, submits to it and reads what it completes: what wakes a poll runs on the thread that has submitted it,
//! which so is never one that runs guests. Others leave what they want in a queue, and wake the thread if it sleeps.
//!
//! A poll keeps its socket open. So a socket that is dropped is shut down at once, which is what its peer sees, and closed when
//! the ring has let go of it. Whoever opens one waits until those are closed that were dropped before, or all but some: so there are
//! never many more than programs have, and an address is free again.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crossbeam_queue::SegQueue;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::sync::watch;

use super::readiness::Readiness;

/// Submissions that the ring takes at once.
const SUBMISSIONS: u32 = 256;
/// Completions that it holds: where there are more, polls end, and are begun again.
const COMPLETIONS: u32 = 4_096;
/// Commands that are looked at before completions are again.
const COMMANDS: usize = 128;
/// Completions of the thread's own: it was woken, or was not to sleep.
const WOKEN: u64 = 0;
const AWAKE: u64 = u64::MAX;
/// How long the thread rests when the kernel has no room for what it asks.
const REST: Duration = Duration::from_millis(1);
/// Whose outcome is that of a cancellation, of the poll whose number is the rest.
const CANCELLED: u64 = 1 << 63;
const EVENTS: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;

/// A socket as the ring's thread has it.
trait Polled: Send + Sync {
    fn fd(&self) -> RawFd;
    fn readiness(&self) -> &Readiness;
}

enum Command {
    Poll(u64, Arc<dyn Polled>),
    Cancel(u64),
    Stop,
}

struct Shared {
    commands: SegQueue<Command>,
    sleeps: AtomicBool,
    /// Set when the ring has failed: nobody looks at commands any more.
    failed: AtomicBool,
    /// Sockets that were dropped and are the ring's to close, and how many of them are closed.
    dropped: AtomicU64,
    closed: watch::Sender<u64>,
    wake: OwnedFd,
}

impl Shared {
    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    fn send(&self, command: Command) {
        self.commands.push(command);
        if self.has_failed() {
            return self.refuse();
        }
        if self.sleeps.swap(false, Ordering::SeqCst) {
            // It fails when it has been written to so often that the thread is awake in any case.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// Nobody does what is wanted any more.
    fn refuse(&self) {
        while let Some(command) = self.commands.pop() {
            if let Command::Poll(_, socket) = command {
                socket.readiness().fail(libc::EIO);
            }
        }
    }
}

/// A ring, and the thread that has it, which ends with this.
pub(crate) struct Ring {
    shared: Arc<Shared>,
    next: AtomicU64,
}

impl Ring {
    /// # Errors
    /// When the kernel gives no ring, or one that has no such polls.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            commands: SegQueue::new(),
            sleeps: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            closed: watch::Sender::new(0),
            wake,
        });
        let (sender, begun) = sync_channel(1);
        let on_thread = Arc::clone(&shared);
        thread::Builder::new().name("tidepool-ring".to_owned()).spawn(move || run(on_thread, &sender))?;
        match begun.recv() {
            Ok(Ok(())) => Ok(Arc::new(Ring { shared, next: AtomicU64::new(WOKEN + 1) })),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the ring's thread has ended")),
        }
    }
}

impl Ring {
    /// Whether it serves no more sockets.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.has_failed()
    }

    /// Waits until of the sockets that were dropped before all but so many are closed.
    pub(super) async fn closed(&self, but: u64) {
        let dropped = self.shared.dropped.load(Ordering::SeqCst).saturating_sub(but);
        // The sender is as old as the ring.
        let _ = self.shared.closed.subscribe().wait_for(|closed| *closed >= dropped).await;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.shared.send(Command::Stop);
    }
}

/// A socket that a ring listens to, from the first time that somebody waits for it.
pub(crate) struct OnRing<S: AsFd + Send + Sync + 'static> {
    ring: Arc<Ring>,
    number: u64,
    entry: Arc<Entry<S>>,
}

struct Entry<S> {
    socket: S,
    readiness: Readiness,
}

impl<S: AsFd + Send + Sync> Polled for Entry<S> {
    fn fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }

    fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl<S: AsFd + Send + Sync + 'static> OnRing<S> {
    pub(super) fn new(ring: &Arc<Ring>, socket: S) -> Self {
        let number = ring.next.fetch_add(1, Ordering::Relaxed);
        OnRing { ring: Arc::clone(ring), number, entry: Arc::new(Entry { socket, readiness: Readiness::new() }) }
    }

    pub(super) fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    pub(super) fn socket(&self) -> &S {
        &self.entry.socket
    }

    pub(super) fn try_io<T>(&self, interest: Interest, operation: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        self.entry.readiness.try_io(interest, || operation(&self.entry.socket))
    }

    pub(super) fn ready(&self, interest: Interest) -> Waiting<'_, S> {
        Waiting { socket: self, interest, number: None }
    }

    /// Nothing would come of trying now.
    pub(super) fn is_not_ready(&self) {
        self.entry.readiness.is_not_ready();
    }

    fn arm(&self) {
        self.ring.shared.send(Command::Poll(self.number, Arc::clone(&self.entry) as Arc<dyn Polled>));
    }
}

impl<S: AsFd + Send + Sync + 'static> Drop for OnRing<S> {
    fn drop(&mut self) {
        if self.entry.readiness.is_armed() {
            // Sockets without a peer say that they have none.
            let _ = rustix::net::shutdown(self.entry.socket.as_fd(), Shutdown::Both);
            self.ring.shared.dropped.fetch_add(1, Ordering::SeqCst);
            self.ring.shared.send(Command::Cancel(self.number));
        }
    }
}

/// A wait for a socket, which ends with its drop.
pub(super) struct Waiting<'a, S: AsFd + Send + Sync + 'static> {
    socket: &'a OnRing<S>,
    interest: Interest,
    number: Option<u64>,
}

impl<S: AsFd + Send + Sync + 'static> Future for Waiting<'_, S> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, interest) = (self.socket, self.interest);
        socket.entry.readiness.poll(interest, &mut self.number, context, || socket.arm())
    }
}

impl<S: AsFd + Send + Sync + 'static> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.socket.entry.readiness.leave(number);
        }
    }
}

/// What the thread does.
fn run(shared: Arc<Shared>, begun: &SyncSender<io::Result<()>>) {
    let mut driver = match Driver::new(shared) {
        Ok(driver) => driver,
        Err(error) => {
            let _ = begun.send(Err(error));
            return;
        }
    };
    // Nobody listens who has given up meanwhile, and then the ring is told to stop.
    let _ = begun.send(Ok(()));
    // Who is woken is another's code.
    match catch_unwind(AssertUnwindSafe(|| driver.drive())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => driver.fail(error.raw_os_error().unwrap_or(libc::EIO)),
        Err(_panic) => driver.fail(libc::EIO),
    }
}

/// A socket that is polled, and whether that is to end.
struct Poller {
    socket: Arc<dyn Polled>,
    ends: bool,
}

struct Driver {
    ring: IoUring,
    shared: Arc<Shared>,
    polled: HashMap<u64, Poller>,
    /// What is to be submitted.
    submissions: VecDeque<squeue::Entry>,
    closed: u64,
}

impl Driver {
    /// A ring that has shown that it can poll.
    fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(COMPLETIONS);
        // What completes is then looked at when this thread asks for it, and interrupts nobody (Linux 6.1).
        let mut deferred = builder.clone();
        deferred.setup_single_issuer().setup_defer_taskrun();
        let ring = deferred.build(SUBMISSIONS).or_else(|_older| builder.build(SUBMISSIONS))?;
        let mut driver = Driver { ring, shared, polled: HashMap::new(), submissions: VecDeque::new(), closed: 0 };
        driver.listen();
        rustix::io::write(&driver.shared.wake, &1_u64.to_ne_bytes())?;
        let (result, more) = loop {
            driver.submit(true)?;
            let first = driver.ring.completion().next();
            if let Some(first) = first {
                break (first.result(), cqueue::more(first.flags()));
            }
        };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        if !more {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "its polls end with their first event"));
        }
        driver.woken(true);
        Ok(driver)
    }

    fn drive(&mut self) -> io::Result<()> {
        loop {
            for _command in 0..COMMANDS {
                match self.shared.commands.pop() {
                    Some(Command::Poll(number, socket)) => {
                        self.submissions.push_back(poll(socket.fd(), number));
                        self.polled.insert(number, Poller { socket, ends: false });
                    }
                    Some(Command::Cancel(number)) => self.cancel(number),
                    Some(Command::Stop) => return Ok(()),
                    None => break,
                }
            }
            self.shared.sleeps.swap(true, Ordering::SeqCst);
            // What was sent before that has woken nobody.
            let sleep = self.shared.commands.is_empty();
            let submitted = self.submit(sleep);
            self.shared.sleeps.store(false, Ordering::SeqCst);
            submitted?;
            self.complete();
        }
    }

    /// Passes on what is to be submitted, as much as the ring takes at once, and waits for a completion: for that of nothing, if this
    /// is not to `sleep`. The kernel completes what is due while somebody waits, and not else.
    fn submit(&mut self, sleep: bool) -> io::Result<()> {
        let mut queue = self.ring.submission();
        let room = queue.capacity() - queue.len();
        let now = self.submissions.len().min(room.saturating_sub(1));
        let sleep = sleep && now == self.submissions.len();
        let nothing = (!sleep).then(|| opcode::Nop::new().build().user_data(AWAKE));
        for entry in self.submissions.drain(..now).chain(nothing) {
            // SAFETY: what an entry refers to has to stay valid until it completes: polls and cancellations refer to no memory, and
            // the number of a poll's file to a socket that `polled` keeps open.
            // There is room.
            let _ = unsafe { queue.push(&entry) };
        }
        drop(queue);
        match self.ring.submit_and_wait(1) {
            Ok(_submitted) => Ok(()),
            // Completions have to be read first, or others' have to give way.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                if self.ring.completion().is_empty() {
                    thread::sleep(REST);
                }
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells those whom it concerns what has completed.
    fn complete(&mut self) {
        let completed: Vec<_> = self
            .ring
            .completion()
            .map(|entry| (entry.user_data(), entry.result(), cqueue::more(entry.flags())))
            .collect();
        for (number, result, more) in completed {
            match number {
                AWAKE => {}
                WOKEN => self.woken(more),
                _ if number & CANCELLED != 0 => self.cancelled(number & !CANCELLED, result),
                _ => self.polled(number, result, more),
            }
        }
        if *self.shared.closed.borrow() != self.closed {
            self.shared.closed.send_replace(self.closed);
        }
    }

    fn close(&mut self, number: u64) {
        if let Some(Poller { ends: true, .. }) = self.polled.remove(&number) {
            self.closed += 1;
        }
    }

    /// The thread was woken, and is to be woken again.
    fn woken(&mut self, more: bool) {
        let mut count = [0; 8];
        // There may be nothing to read any more.
        let _ = rustix::io::read(&self.shared.wake, &mut count);
        if !more {
            self.listen();
        }
    }

    fn listen(&mut self) {
        self.submissions.push_back(poll(self.shared.wake.as_raw_fd(), WOKEN));
    }

    fn polled(&mut self, number: u64, result: i32, more: bool) {
        let Some(poller) = self.polled.get(&number) else { return };
        if result >= 0 {
            poller.socket.readiness().told(result);
        }
        if more {
            return;
        }
        if poller.ends || result < 0 {
            if !poller.ends {
                poller.socket.readiness().fail(-result);
            }
            self.close(number);
        } else {
            self.submissions.push_back(poll(poller.socket.fd(), number));
        }
    }

    fn cancel(&mut self, number: u64) {
        if let Some(poller) = self.polled.get_mut(&number) {
            poller.ends = true;
            let cancel = opcode::AsyncCancel::new(number).build().user_data(number | CANCELLED);
            self.submissions.push_back(cancel);
        } else {
            // Its poll had failed, and it is closed.
            self.closed += 1;
        }
    }

    /// A poll that was under way says itself that it has ended.
    fn cancelled(&mut self, number: u64, result: i32) {
        match -result {
            libc::EALREADY => self.cancel(number),
            libc::ENOENT => self.close(number),
            _ => {}
        }
    }

    /// The ring can't be used any more: whoever waits, or will, is told.
    fn fail(&mut self, errno: i32) {
        self.shared.failed.store(true, Ordering::SeqCst);
        for poller in self.polled.values() {
            poller.socket.readiness().fail(errno);
        }
        self.shared.refuse();
        self.shared.closed.send_replace(u64::MAX);
    }
}

/// A poll that goes on until it is cancelled.
fn poll(fd: RawFd, number: u64) -> squeue::Entry {
    let events = u32::from(EVENTS.cast_unsigned());
    opcode::PollAdd::new(types::Fd(fd), events).multi(true).build().user_data(number)
}
