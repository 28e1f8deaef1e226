//! Ctrl-C and SIGTERM, for what has to end something before it ends itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Has them be an event. A system that refuses leaves them what they are: the end of the tool.
pub(crate) fn tell<E: Send + 'static>(events: Sender<E>, event: impl Fn() -> E + Send + 'static) {
    let _ = ctrlc::set_handler(move || {
        INTERRUPTED.store(true, Ordering::SeqCst);
        // Whoever waited for it may have ended.
        let _ = events.send(event());
    });
}

/// Has [`is_told`] say whether there was one, for those who look from time to time.
pub(crate) fn heed() {
    let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst));
}

/// Whether there was one, since [`tell`] or [`heed`].
pub(crate) fn is_told() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
