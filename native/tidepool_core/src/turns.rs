//! Whose turn it is to compute, among guests that go on for long.
//!
//! A guest that has used up its first slice takes turns with others like it: no more of them compute at a time than there
//! are cores, each for one short slice after another, while the others wait in line. So a process that is woken finds a
//! core within a slice or two, however many guests compute. Left to the run queue of the driver's scheduler, it would wait
//! behind each of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// So many slices are a turn: about 1 ms.
const SLICES_PER_TURN: u32 = 20;

/// The turns of a runtime. Whoever comes first is first.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    at_a_time: usize,
}

impl Turns {
    pub(crate) fn new(at_a_time: usize) -> Self {
        Turns { free: Arc::new(Semaphore::new(at_a_time)), at_a_time }
    }

    /// Does anybody have one?
    pub(crate) fn are_taken(&self) -> bool {
        self.free.available_permits() < self.at_a_time
    }
}

type InLine = dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send;

/// A guest's place in it.
#[derive(Default)]
pub(crate) enum Turn {
    #[default]
    None,
    InLine(Pin<Box<InLine>>),
    Taken {
        _permit: OwnedSemaphorePermit,
        slices: u32,
    },
}

impl Turn {
    /// Takes the turn, or a place in the line for it: then `waker` is woken when it has come.
    pub(crate) fn take(&mut self, turns: &Turns, waker: impl FnOnce() -> Waker) -> Poll<()> {
        match self {
            Turn::Taken { .. } => return Poll::Ready(()),
            Turn::InLine(_) => {}
            Turn::None => {
                // Never overtakes: while somebody waits, none is free.
                if let Ok(permit) = Arc::clone(&turns.free).try_acquire_owned() {
                    *self = Turn::Taken { _permit: permit, slices: 0 };
                    return Poll::Ready(());
                }
                *self = Turn::InLine(Box::pin(Arc::clone(&turns.free).acquire_owned()));
            }
        }
        let Turn::InLine(in_line) = self else { return Poll::Ready(()) };
        let Poll::Ready(permit) = in_line.as_mut().poll(&mut Context::from_waker(&waker())) else {
            return Poll::Pending;
        };
        // Nobody closes the semaphore; if somebody did, everyone might compute.
        *self = permit.map_or(Turn::None, |permit| Turn::Taken { _permit: permit, slices: 0 });
        Poll::Ready(())
    }

    /// One slice of the turn is over; the last one ends the turn, and those in line come before the next.
    pub(crate) fn spend(&mut self) {
        if let Turn::Taken { slices, .. } = self {
            *slices += 1;
            if *slices >= SLICES_PER_TURN {
                *self = Turn::None;
            }
        }
    }
}
