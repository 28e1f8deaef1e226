//! A waker that a test can wait for.

use std::sync::{Arc, Condvar, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    pub(crate) fn is_woken(&self) -> bool {
        *self.woken.lock().unwrap()
    }

    /// Waits until it has been woken, and forgets that; `false` when `at_most` has passed first.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let woken = self.woken.lock().unwrap();
        let (mut woken, _) = self.changed.wait_timeout_while(woken, at_most, |woken| !*woken).unwrap();
        std::mem::take(&mut *woken)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_all();
    }
}
