//! Gives freed memory that the allocator keeps back to the system.
//!
//! glibc keeps freed memory in the heaps of many threads: after a rush of calls with large payloads that is a GiB and more. A
//! busy node is about to use it again. So it is given back when the process has been busy and becomes quiet, and when most of
//! very many instances have gone, or the code of functions. Buffers of messages that nobody has used for some seconds go at any time, and so do pages of
//! instances.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::buffers;

/// How often the thread looks at the process.
const LOOK: Duration = Duration::from_secs(1);
/// CPU time of a quiet process between two looks, at most: a node without calls uses some ms.
const QUIET: Duration = Duration::from_millis(200);

/// So much code that has gone is worth giving back.
const LARGE_BYTES: usize = 16 << 20;
/// What has gone may be on its way still, when it is said: it is given back at so many looks.
const LOOKS: u32 = 3;

/// Bytes of code that have gone since the last look.
static FREED: AtomicUsize = AtomicUsize::new(0);
/// Bytes of guests' calls on the host that were given back since memory was trimmed.
static GIVEN_BACK: AtomicUsize = AtomicUsize::new(0);

/// Notes that so much of guests' calls on the host is given back: it is going, and a quiet node would keep it.
pub(crate) fn given_back(bytes: usize) {
    GIVEN_BACK.fetch_add(bytes, Ordering::Relaxed);
}

/// Notes that the code of a function is going, which took so many bytes: a quiet node would keep what was known of it.
pub(crate) fn freed(bytes: usize) {
    FREED.fetch_add(bytes, Ordering::Relaxed);
}

/// Handle to the thread that looks, which ends with it.
pub(crate) struct Trimmer {
    _ends: Sender<()>,
}

impl Trimmer {
    /// Each second it does what `look` does, which says whether memory is worth giving back.
    pub(crate) fn spawn(look: impl Fn() -> bool + Send + 'static) -> std::io::Result<Self> {
        let (ends, ended) = bounded::<()>(0);
        thread::Builder::new().name("tidepool-trim".into()).spawn(move || {
            let mut watch = Watch { computed: process_time(), busy: false, looks: 0 };
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                buffers::look();
                let (gone, quiet) = (look(), watch.ebbed(process_time()));
                // A busy node is about to use it again.
                let left = !watch.busy && GIVEN_BACK.load(Ordering::Relaxed) >= LARGE_BYTES;
                if watch.sees_code_gone(&FREED) || gone || quiet || left {
                    GIVEN_BACK.store(0, Ordering::Relaxed);
                    trim();
                }
            }
        })?;
        Ok(Trimmer { _ends: ends })
    }
}

/// CPU time of the process at the last look, and whether it was busy then; how many looks there are still for code that has gone.
struct Watch {
    computed: Duration,
    busy: bool,
    looks: u32,
}

impl Watch {
    /// Has the process become quiet since the last look?
    fn ebbed(&mut self, computed: Duration) -> bool {
        let was_busy = self.busy;
        self.busy = computed.saturating_sub(self.computed) > QUIET;
        self.computed = computed;
        was_busy && !self.busy
    }

    /// Has much code gone, since the last look or shortly before?
    fn sees_code_gone(&mut self, freed: &AtomicUsize) -> bool {
        if freed.load(Ordering::Relaxed) >= LARGE_BYTES {
            freed.store(0, Ordering::Relaxed);
            self.looks = LOOKS;
        }
        let sees = self.looks > 0;
        self.looks = self.looks.saturating_sub(1);
        sees
    }
}

fn process_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Takes some ms for each 100 MiB. Threads that allocate from the heap that is being trimmed wait.
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers, and may be called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn buffers_of_messages_are_given_back_when_nobody_uses_them() {
        buffers::give_back(buffers::take(1 << 20));
        assert!(buffers::kept() >= 1 << 20);
        let _trimmer = Trimmer::spawn(|| false).unwrap();
        let began = Instant::now();
        while buffers::kept() > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "{} bytes are still kept", buffers::kept());
            thread::sleep(LOOK / 10);
        }
    }

    #[test]
    fn memory_is_given_back_once_when_a_busy_process_becomes_quiet() {
        let mut watch = Watch { computed: Duration::ZERO, busy: false, looks: 0 };
        let mut computed = Duration::ZERO;
        let looks = [1, 0, 199, 201, 2_000, 900, 150, 10, 0, 201, 0].map(|ms| {
            computed += Duration::from_millis(ms);
            watch.ebbed(computed)
        });
        assert_eq!(looks, [false, false, false, false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn memory_is_given_back_a_few_times_when_much_code_has_gone_however_quiet_the_process_is() {
        let mut watch = Watch { computed: Duration::ZERO, busy: false, looks: 0 };
        let freed = AtomicUsize::new(0);
        let mut after = |bytes: usize| {
            freed.fetch_add(bytes, Ordering::Relaxed);
            watch.sees_code_gone(&freed)
        };
        assert!(!after(0) && !after(LARGE_BYTES - 1), "it would be for little");
        assert_eq!([1, 0, 0, 0, 1].map(after), [true, true, true, false, false]);
    }
}
