//! What the processes of a program may have together, and each of them.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use account::HostMemory;

use crate::base::limits::Limits;

pub(crate) mod account;
pub(crate) mod cpu;
pub(crate) mod living;
pub(crate) mod turns;

/// Bytes of one mailbox.
const MAILBOX_BYTES: usize = 64 << 20;
/// What a program has on the host, whatever memory its function may have.
const TOTAL_BYTES: usize = 1 << 30;

/// What the processes of a program may have together, and each of them.
#[derive(Clone)]
pub(crate) struct Bounds {
    /// Processes at a time, of all programs of the function together.
    pub(crate) processes: usize,
    /// Those that live of them.
    pub(crate) living: Arc<AtomicUsize>,
    /// Bytes of one mailbox.
    pub(crate) mailbox_bytes: usize,
    /// Bytes that all of them have on the host: messages, timers, configurations, names.
    pub(crate) total_bytes: usize,
    /// Of which memory these are.
    pub(crate) memory: Option<Arc<dyn HostMemory>>,
    /// CPU time of all of them, as far as there is a limit.
    pub(crate) total_cpu: Option<Duration>,
}

impl Bounds {
    /// The bounds of a program of a function of which so many processes live, and which has that memory.
    pub(crate) fn of(limits: &Limits, memory: Arc<dyn HostMemory>, living: &Arc<AtomicUsize>) -> Self {
        Bounds {
            processes: usize::try_from(limits.instances).unwrap_or(usize::MAX),
            living: Arc::clone(living),
            mailbox_bytes: MAILBOX_BYTES,
            total_bytes: TOTAL_BYTES.min(memory.limit()),
            memory: Some(memory),
            total_cpu: None,
        }
    }
}
