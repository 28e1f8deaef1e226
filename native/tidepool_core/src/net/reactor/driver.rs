//! The thread that has a ring: what it submits, and what it does with what completes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::shared::{Command, Polled, Shared};

/// Submissions that the ring takes at once.
const SUBMISSIONS: u32 = 256;
/// Completions that it holds: where there are more, polls end, and are begun again.
const COMPLETIONS: u32 = 4_096;
/// Commands that are looked at before completions are again.
const COMMANDS: usize = 128;
/// The number of the first socket.
pub(super) const FIRST: u64 = WOKEN + 1;
/// Completions of the thread's own: it was woken, or was not to sleep.
const WOKEN: u64 = 0;
const AWAKE: u64 = u64::MAX;
/// How long the thread rests when the kernel has no room for what it asks.
const REST: Duration = Duration::from_millis(1);
/// Whose outcome is that of a cancellation, of the poll whose number is the rest.
const CANCELLED: u64 = 1 << 63;
const EVENTS: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;

/// What the thread does.
pub(super) fn run(shared: Arc<Shared>, begun: &SyncSender<io::Result<()>>) {
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
