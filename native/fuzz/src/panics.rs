//! Panics of all threads: one that a task's runtime swallows is a finding like any other.

use std::sync::{Mutex, PoisonError};

static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Notes panics from now on, and prints them as well unless it is to be `quiet`.
pub fn catch(quiet: bool) {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        FIRST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| panic.to_string());
        if !quiet {
            print(panic);
        }
    }));
}

/// The first panic since this was asked last.
#[must_use]
pub fn take() -> Option<String> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner).take()
}
