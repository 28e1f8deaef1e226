//! Standard input and output of a program, byte for byte, at the pace of whoever is at their other end.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::base::console::Stream;

/// Bytes that the other end has been told of and not taken yet; then the program waits.
const MAX_UNWRITTEN: usize = 256 << 10;
/// Bytes beyond which a process that has not asked is stopped.
const FLOOD: usize = 8 << 20;

/// The other end. Its functions are called on the thread that runs the guest, so they must not block.
pub trait Terminal: Send + Sync {
    /// The program waits for input: [`Stdio::give`] or [`Stdio::end`] is what it waits for. Not called again before one of them.
    fn wanted(&self);

    /// The program has written; [`Stdio::written`] makes room again.
    fn wrote(&self, stream: Stream, bytes: &[u8]);
}

/// Standard input and output of all processes of one program.
pub struct Stdio {
    terminal: Box<dyn Terminal>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    input: VecDeque<Bytes>,
    ended: bool,
    wanted: bool,
    readers: Vec<Waker>,
    unwritten: usize,
    writers: Vec<Waker>,
}

impl Stdio {
    /// Standard input and output with this other end.
    #[must_use]
    pub fn new(terminal: Box<dyn Terminal>) -> Self {
        Stdio { terminal, inner: Mutex::default() }
    }

    /// More input.
    pub fn give(&self, bytes: Bytes) {
        self.arrived(|inner| {
            if !bytes.is_empty() && !inner.ended {
                inner.input.push_back(bytes);
            }
        });
    }

    /// There is no more input.
    pub fn end(&self) {
        self.arrived(|inner| inner.ended = true);
    }

    /// So many bytes of the program's output are where they were to go.
    pub fn written(&self, bytes: usize) {
        let writers = {
            let mut inner = self.inner();
            inner.unwritten = inner.unwritten.saturating_sub(bytes);
            if inner.unwritten < MAX_UNWRITTEN { std::mem::take(&mut inner.writers) } else { Vec::new() }
        };
        writers.into_iter().for_each(Waker::wake);
    }

    fn arrived(&self, change: impl FnOnce(&mut Inner)) {
        let readers = {
            let mut inner = self.inner();
            change(&mut inner);
            inner.wanted = false;
            std::mem::take(&mut inner.readers)
        };
        readers.into_iter().for_each(Waker::wake);
    }

    /// Up to `size` bytes of input, none when they have yet to come; `None` when there is no more.
    pub(crate) fn read(&self, size: usize) -> Option<Bytes> {
        let mut inner = self.inner();
        let Some(first) = inner.input.front_mut() else { return (!inner.ended).then(Bytes::new) };
        let bytes = first.split_to(size.min(first.len()));
        if first.is_empty() {
            inner.input.pop_front();
        }
        Some(bytes)
    }

    /// Waits for input, or its end.
    pub(crate) fn poll_input(&self, cx: &Context<'_>) -> Poll<()> {
        let asks = {
            let mut inner = self.inner();
            if !inner.input.is_empty() || inner.ended {
                return Poll::Ready(());
            }
            wait(&mut inner.readers, cx);
            !std::mem::replace(&mut inner.wanted, true)
        };
        if asks {
            self.terminal.wanted();
        }
        Poll::Pending
    }

    /// Writes; more than there is room for is written as well.
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut inner = self.inner();
        inner.unwritten = inner.unwritten.saturating_add(bytes.len());
        drop(inner);
        self.terminal.wrote(stream, bytes);
    }

    /// Has a process written on without asking whether there is room? All of a program's may write a piece beyond that at once.
    pub(crate) fn is_flooded(&self) -> bool {
        self.inner().unwritten > FLOOD
    }

    /// Is there room?
    pub(crate) fn has_room(&self) -> bool {
        self.inner().unwritten < MAX_UNWRITTEN
    }

    /// Waits for room.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner();
        if inner.unwritten < MAX_UNWRITTEN {
            return Poll::Ready(());
        }
        wait(&mut inner.writers, cx);
        Poll::Pending
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait(waiting: &mut Vec<Waker>, cx: &Context<'_>) {
    if !waiting.iter().any(|other| other.will_wake(cx.waker())) {
        waiting.push(cx.waker().clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often input was wanted, and what was written.
    #[derive(Default)]
    struct Counts {
        wanted: AtomicUsize,
        written: AtomicUsize,
    }

    impl Terminal for Arc<Counts> {
        fn wanted(&self) {
            self.wanted.fetch_add(1, Ordering::Relaxed);
        }

        fn wrote(&self, _stream: Stream, bytes: &[u8]) {
            self.written.fetch_add(bytes.len(), Ordering::Relaxed);
        }
    }

    #[test]
    fn input_is_asked_for_once_until_it_comes_and_comes_in_order_to_its_end() {
        let counts = Arc::new(Counts::default());
        let stdio = Stdio::new(Box::new(Arc::clone(&counts)));
        let cx = Context::from_waker(Waker::noop());
        assert!(stdio.poll_input(&cx).is_pending() && stdio.poll_input(&cx).is_pending());
        assert_eq!(counts.wanted.load(Ordering::Relaxed), 1);
        assert_eq!(stdio.read(9), Some(Bytes::new()), "it has yet to come");
        stdio.give("low ".into());
        stdio.give("tide".into());
        stdio.end();
        assert!(stdio.poll_input(&cx).is_ready());
        let read: Vec<_> = std::iter::from_fn(|| stdio.read(3)).collect();
        assert_eq!(read, ["low", " ", "tid", "e"]);
        stdio.give("more".into());
        assert_eq!(stdio.read(9), None, "it has ended");
    }

    #[test]
    fn who_writes_more_than_is_taken_waits() {
        let counts = Arc::new(Counts::default());
        let stdio = Stdio::new(Box::new(Arc::clone(&counts)));
        let cx = Context::from_waker(Waker::noop());
        assert!(stdio.poll_room(&cx).is_ready());
        stdio.write(Stream::Stdout, &vec![0; MAX_UNWRITTEN + 10]);
        assert!(stdio.poll_room(&cx).is_pending());
        stdio.written(10);
        assert!(stdio.poll_room(&cx).is_pending());
        stdio.written(1);
        assert!(stdio.poll_room(&cx).is_ready());
        assert_eq!(counts.written.load(Ordering::Relaxed), MAX_UNWRITTEN + 10);
    }
}
